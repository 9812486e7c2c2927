//! Cases of the flat tensors: fills, norms of gradients, optimizer steps.

use super::bench::{Bench, Case};
use super::cases::Cases;
use crate::ops::{self, params, sumsq};
use crate::plan::{DType, PlanError, Scalars};

/// Elements that lanes must stride over; and so many that a workgroup of 64 lanes for each 64 of them would exceed every
/// device's limits.
const LONG: [usize; 2] = [300_077, 65_536 * 64 + 77];

pub(super) fn all(b: &mut Bench, thorough: bool) -> Cases {
    let long = LONG[usize::from(thorough)];
    let mut cases = Vec::new();
    for (width, count, rows) in [(333, 0, 9), (40, 1, 4), (1, 2, 1), (long, 2, 1)] {
        cases.push(fill(b, width, count, rows)?);
    }
    for (width, row) in [(1, 0), (200, 2), (10_007, 1), (long, 0)] {
        cases.push(sumsq(b, width, row)?);
    }
    for width in [1, 1000, long] {
        cases.push(adamw(b, width)?);
    }
    Ok(cases)
}

fn fill(b: &mut Bench, width: usize, count: u32, rows: usize) -> Result<Case, PlanError> {
    let held = if count == 2 { rows } else { rows + 3 };
    let y = b.output(DType::F32, held, width)?;
    let p = params::fill::Params { width: width as u32, count, value: -1.5, pad0: 0 };
    // A fixed tensor is filled in a step without rows too.
    let step = b.step(if count == 2 { 0 } else { rows }, 0);
    b.case(format!("fill {rows} x {width}"), held, ops::Fill { rows: b.rows, y, params: p }, step)
}

/// One of three rows of the pieces is written.
fn sumsq(b: &mut Bench, width: usize, row: u32) -> Result<Case, PlanError> {
    let x = b.floats(1, width, 2.0)?;
    let y = b.floats(3, sumsq::PIECES, 1.0)?;
    let p = params::sumsq::Params { width: width as u32, row, ..Default::default() };
    let step = b.step(0, 0);
    b.case(format!("sumsq of {width}"), 1, ops::SumSq { rows: b.rows, x, y, params: p }, step)
}

fn adamw(b: &mut Bench, width: usize) -> Result<Case, PlanError> {
    let grad = b.floats(1, width, 3.0)?;
    let w = b.floats(1, width, 1.0)?;
    let m = b.floats(1, width, 0.1)?;
    let v = b.values(width).iter().map(|v| (v.abs() * 0.1 + 1e-3).to_bits()).collect();
    let v = b.words(DType::F32, 1, width, v)?;
    let decays = u32::from(width != 1000);
    let p = params::adamw::Params { width: width as u32, decays, ..Default::default() };
    let mut step = b.step(0, 0);
    step.scalars = Scalars {
        rate: 0.02,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-8,
        decay: 0.1,
        scale: 0.7,
        correct1: 0.271,
        correct2: 0.0297,
    };
    b.case(format!("adamw of {width}"), 1, ops::AdamW { scalars: b.scalars, grad, w, m, v, params: p }, step)
}

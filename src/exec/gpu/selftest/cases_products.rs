//! Cases of the gradient through an encoded matrix, and of the products with trained matrices.

use super::bench::{Bench, Case};
use super::cases::{Cases, cols, planes};
use crate::ops::{self, params};
use crate::plan::{DType, PlanError, TensorId};
use crate::quant::Format;

/// A product: the matrix, the rows, and the columns of the wide tensor that belong to it.
#[derive(Clone, Copy)]
struct ProductCase {
    out: usize,
    cols: usize,
    capacity: usize,
    count: usize,
    /// Width of y or dy and first column.
    shard: Option<(usize, usize)>,
    accumulate: bool,
    alpha: f32,
    extras: bool,
}

const BASE: ProductCase = ProductCase {
    out: 70,
    cols: 160,
    capacity: 80,
    count: 67,
    shard: None,
    accumulate: false,
    alpha: 1.0,
    extras: false,
};

impl ProductCase {
    fn shard(&self) -> (usize, usize) {
        self.shard.unwrap_or((self.out, 0))
    }

    /// Every other case works on the output rows.
    fn outputs(&self) -> u32 {
        (self.count % 2) as u32
    }

    fn name(&self, what: &str) -> String {
        let (stride, offset) = self.shard();
        format!(
            "{what} {}x{} at {offset} of {stride}, {} of {} rows{}{}",
            self.out,
            self.cols,
            self.count,
            self.capacity,
            if self.accumulate { ", accumulate" } else { "" },
            if self.extras { ", bias, residual" } else { "" }
        )
    }

    /// A tensor that the op writes: with values if it adds to them.
    fn target(&self, b: &mut Bench, rows: usize, width: usize) -> Result<TensorId, PlanError> {
        if self.accumulate { b.floats(rows, width, 2.0) } else { b.output(DType::F32, rows, width) }
    }
}

/// Every format: aligned and not, whole tiles and remainders.
pub(super) fn linear_backs(b: &mut Bench, format: Format) -> Cases {
    let base = ProductCase { cols: cols(format), ..BASE };
    let list = [
        ProductCase { shard: Some((72, 0)), ..base },
        ProductCase { out: 67, shard: Some((140, 36)), count: 5, accumulate: true, ..base },
        ProductCase { out: 35, shard: Some((71, 33)), count: 18, ..base },
    ];
    list.iter().map(|c| linear_back(b, format, c)).collect()
}

fn linear_back(b: &mut Bench, format: Format, c: &ProductCase) -> Result<Case, PlanError> {
    let (stride, offset) = c.shard();
    let dy = b.floats(c.capacity, stride, 1.0)?;
    let w = b.weight(Some(format), c.out, c.cols)?;
    let dx = c.target(b, c.capacity, c.cols)?;
    let p = params::linear_back::Params {
        planes: planes(format, c.out, c.cols),
        cols: c.cols as u32,
        out: c.out as u32,
        dy_stride: stride as u32,
        dy_offset: offset as u32,
        count: c.outputs(),
        accumulate: u32::from(c.accumulate),
        ..Default::default()
    };
    let step = b.step(c.count, 0);
    b.case(
        c.name(&format!("linear_back {}", format.name())),
        c.capacity,
        ops::LinearBack { rows: b.rows, dy, w, dx, params: p },
        step,
    )
}

/// Products with trained matrices.
pub(super) fn all(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (count, c) in [67, 1, 8, 33, 130].into_iter().zip([0usize, 1, 2, 3, 4]) {
        let c = &ProductCase {
            count,
            capacity: count + c,
            accumulate: c % 2 == 0,
            alpha: 0.5 + c as f32,
            extras: c % 2 == 1,
            ..BASE
        };
        // The factors of an adapter, both ways; a square; odd shapes; parts of a wider tensor.
        for (out, cols, shard) in [
            (8, 576, None),
            (576, 8, None),
            (8, 32, None),
            (16, 100, Some((64, 20))),
            (200, 64, Some((300, 96))),
            (36, 36, None),
            (40, 28, Some((45, 3))),
            (7, 65, None),
            (65, 7, Some((80, 8))),
        ] {
            let c = ProductCase { out, cols, shard, ..*c };
            cases.push(project(b, &c)?);
            cases.push(project_back(b, &c)?);
            cases.push(outer(b, &c)?);
        }
    }
    // No rows: nothing is added.
    cases.push(outer(b, &ProductCase { count: 0, capacity: 4, alpha: 2.0, out: 8, cols: 64, ..BASE })?);
    Ok(cases)
}

fn project(b: &mut Bench, c: &ProductCase) -> Result<Case, PlanError> {
    let (stride, offset) = c.shard();
    let x = b.floats(c.capacity, c.cols, 1.0)?;
    let w = b.floats(c.out, c.cols, 1.0)?;
    let bias = if c.extras { Some(b.floats(1, c.out, 1.0)?) } else { None };
    let residual = if c.extras { Some(b.floats(c.capacity, stride, 4.0)?) } else { None };
    let y = c.target(b, c.capacity, stride)?;
    let p = params::project::Params {
        cols: c.cols as u32,
        out: c.out as u32,
        y_stride: stride as u32,
        y_offset: offset as u32,
        count: c.outputs(),
        accumulate: u32::from(c.accumulate),
        alpha: c.alpha,
        has_bias: u32::from(c.extras),
        has_residual: u32::from(c.extras),
        ..Default::default()
    };
    let step = b.step(c.count, 0);
    b.case(
        c.name("project"),
        c.capacity,
        ops::Project { rows: b.rows, x, w, bias, residual, y, params: p },
        step,
    )
}

fn project_back(b: &mut Bench, c: &ProductCase) -> Result<Case, PlanError> {
    let (stride, offset) = c.shard();
    let dy = b.floats(c.capacity, stride, 1.0)?;
    let w = b.floats(c.out, c.cols, 1.0)?;
    let dx = c.target(b, c.capacity, c.cols)?;
    let p = params::project_back::Params {
        cols: c.cols as u32,
        out: c.out as u32,
        dy_stride: stride as u32,
        dy_offset: offset as u32,
        count: c.outputs(),
        accumulate: u32::from(c.accumulate),
        alpha: c.alpha,
        pad0: 0,
    };
    let step = b.step(c.count, 0);
    b.case(c.name("project_back"), c.capacity, ops::ProjectBack { rows: b.rows, dy, w, dx, params: p }, step)
}

fn outer(b: &mut Bench, c: &ProductCase) -> Result<Case, PlanError> {
    let (stride, offset) = c.shard();
    let dy = b.floats(c.capacity, stride, 1.0)?;
    let x = b.floats(c.capacity, c.cols, 1.0)?;
    let dw = b.floats(c.out, c.cols, 1.0)?;
    let p = params::outer::Params {
        cols: c.cols as u32,
        out: c.out as u32,
        dy_stride: stride as u32,
        dy_offset: offset as u32,
        count: c.outputs(),
        alpha: c.alpha,
        ..Default::default()
    };
    let step = b.step(c.count, 0);
    b.case(c.name("outer"), c.capacity, ops::Outer { rows: b.rows, dy, x, dw, params: p }, step)
}

//! Sums of squares of a flat tensor, in pieces that the host adds up: the norm that clips a gradient.

use super::cpu::{Context, Real};
use super::params::sumsq::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Pieces that a tensor is cut into.
pub const PIECES: usize = 256;

/// Arguments: rows, x (1, width), y (blocks, PIECES): row `row` of it is written.
pub static DEF: OpDef = OpDef {
    stem: "sumsq",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::update("y")],
    check,
    tolerance: |_, call| 8.0 + (f64::from(call.params.get::<Params>().width) / PIECES as f64).sqrt(),
    over: |_| Over::One,
    cost: |call, _| Cost::other(1, &[call.params.get::<Params>().width]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 1, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    let held = call.args[2].map_or(0, |id| program.capacity_rows(id));
    let ok = |t: &crate::plan::Tensor| t.width == PIECES && (p.row as usize) < held;
    require(program, call, 2, ok, || format!("must be {PIECES} wide and hold row {}", p.row))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let x = c.read(1);
    let each = (p.width as usize).div_ceil(PIECES);
    let mut y = c.write_columns(2, PIECES, 0, PIECES, 1);
    let range = y.range.clone();
    for (piece, y) in range.zip(y.row_mut(p.row as usize)) {
        let x = &x[(piece * each).min(x.len())..((piece + 1) * each).min(x.len())];
        *y = F::dot(x, x);
    }
}

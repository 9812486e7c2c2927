//! Gradient of [`super::gather`]: `dx[outs[o].row] += dy[o]`. No two outputs of a step name the same row.

use super::cpu::{Context, Real};
use super::params::gather_back::Params;
use super::{Arg, Cost, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, outs, dy (O, width), dx (T, width).
pub static DEF: OpDef = OpDef {
    stem: "gather_back",
    args: &[Arg::input("rows"), Arg::input("outs"), Arg::read("dy"), Arg::update("dx")],
    check,
    tolerance: |_, _| 2.0,
    over: |_| Over::One,
    cost: |call, load| Cost::other(2 * load.outputs, &[call.params.get::<Params>().width]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, [2, 3], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<Params>().width as usize;
    let dy = c.read(2);
    let mut dx = c.write_columns(3, width, 0, width, 16);
    let range = dx.range.clone();
    for o in 0..c.rows(1) {
        F::axpy(F::ONE, &dy[o * width..][range.clone()], dx.row_mut(c.out(o).row as usize));
    }
}

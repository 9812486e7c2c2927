//! Gradient of the table of [`super::lookup`]: `dw[token of row t] += scale * dx[t]`, in the order of the rows.

use super::cpu::{Context, Real};
use super::params::lookup_back::Params;
use super::{Arg, Cost, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, dx (T, width), dw (vocab, width).
pub static DEF: OpDef = OpDef {
    stem: "lookup_back",
    args: &[Arg::input("rows"), Arg::read("dx"), Arg::update("dw")],
    check,
    tolerance: |_, _| 16.0,
    over: |_| Over::One,
    cost: |call, load| Cost::other(2 * load.rows, &[call.params.get::<Params>().width]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, [1, 2], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let dx = c.read(1);
    let mut dw = c.write_columns(2, width, 0, width, 16);
    let range = dw.range.clone();
    for t in 0..c.rows(0) {
        let dw = dw.row_mut(c.row(t).token as usize);
        F::axpy(F::from_f32(p.scale), &dx[t * width..][range.clone()], dw);
    }
}

//! Gradient of a bias: db += the sum of dy over the rows, in their order.

use super::cpu::{Context, Real};
use super::params::bias_back::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, dy (T, dy_stride), db (1, width).
pub static DEF: OpDef = OpDef {
    stem: "bias_back",
    args: &[Arg::input("rows"), Arg::read("dy"), Arg::update("db")],
    check,
    // The reduction runs over the rows of the step.
    tolerance: |_, _| 64.0,
    over: |_| Over::One,
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::other(load.over(Over::of(p.count)), &[p.width])
    },
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let end = (p.dy_offset + p.width) as usize;
    let ok = |t: &crate::plan::Tensor| t.width == p.dy_stride as usize && end <= t.width;
    require(program, call, 1, ok, || format!("must be {} wide and hold column {end}", p.dy_stride))?;
    require(program, call, 2, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (dy, stride) = (c.read(1), p.dy_stride as usize);
    let (first, db) = c.write_chunks(2, p.width as usize, 1);
    let first = p.dy_offset as usize + first;
    for t in 0..c.rows(p.count) {
        F::axpy(F::ONE, &dy[t * stride + first..][..db.len()], db);
    }
}

//! Fills a tensor's active rows with one value.

use super::cpu::{Context, Real};
use super::params::fill::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, y (T, width).
pub static DEF: OpDef = OpDef {
    stem: "fill",
    args: &[Arg::input("rows"), Arg::write("y")],
    check,
    tolerance: |_, _| 0.0,
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::other(load.over(Over::of(p.count)), &[p.width])
    },
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 1, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (_, y) = c.write_chunks(1, c.rows(p.count) * p.width as usize, 1);
    y.fill(F::from_f32(p.value));
}

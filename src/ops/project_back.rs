//! Gradient of the input of [`super::project`]: dx (+)= alpha dy w.

use super::cpu::{Context, Real};
use super::matmul::{Operand, matmul_nn};
use super::params::project_back::Params;
use super::{Arg, Cost, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, dy (T, dy_stride), w (out, cols), dx (T, cols).
pub static DEF: OpDef = OpDef {
    stem: "project_back",
    args: &[Arg::input("rows"), Arg::read("dy"), Arg::read("w"), Arg::update("dx")],
    check,
    tolerance: |_, call| 4.0 + 2.0 * f64::from(call.params.get::<Params>().out).sqrt(),
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out])
    },
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let end = (p.dy_offset + p.out) as usize;
    let ok = |t: &crate::plan::Tensor| t.width == p.dy_stride as usize && end <= t.width;
    require(program, call, 1, ok, || format!("must be {} wide and hold column {end}", p.dy_stride))?;
    wide(program, call, [2, 3], p.cols)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let cols = p.cols as usize;
    let w = Operand::Plain { values: c.read(2) };
    let mut dx = c.write_columns(3, cols, 0, cols, 16);
    matmul_nn(
        &w,
        cols,
        p.out as usize,
        c.read(1),
        p.dy_stride as usize,
        p.dy_offset as usize,
        c.rows(p.count),
        F::from_f32(p.alpha),
        p.accumulate != 0,
        &mut dx,
    );
}

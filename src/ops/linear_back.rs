//! Gradient of the linear layer's input through the encoded matrix: dx (+)= dy w.

use super::cpu::{Context, Real};
use super::matmul::{Operand, matmul_nn};
use super::params::linear_back::Params;
use super::{Accepts, Access, Arg, Cost, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Columns are shared out in multiples of the longest block.
pub(super) const GRANULE: usize = 256;

/// Arguments: rows, dy (T, dy_stride), w (out, cols), dx (T, cols).
pub static DEF: OpDef = OpDef {
    stem: "linear_back",
    args: &[
        Arg::input("rows"),
        Arg::read("dy"),
        Arg::new("w", Access::Read, Accepts::Matrix),
        Arg::update("dx"),
    ],
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
    let w = Operand::Encoded(c.matrix(2, cols));
    let granule = if cols >= 2 * GRANULE { GRANULE } else { cols.div_ceil(2).next_multiple_of(32) };
    let mut dx = c.write_columns(3, cols, 0, cols, granule);
    let (stride, offset) = (p.dy_stride as usize, p.dy_offset as usize);
    let accumulate = p.accumulate != 0;
    matmul_nn(
        &w,
        cols,
        p.out as usize,
        c.read(1),
        stride,
        offset,
        c.rows(p.count),
        F::ONE,
        accumulate,
        &mut dx,
    );
}

//! Gradient of a trained matrix: dw += alpha dy^T x, summed over the rows in their order.

use super::cpu::{Columns, Context, Real};
use super::matmul::matmul_tn;
use super::params::outer::Params;
use super::{Arg, Cost, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program};

/// From so many outputs on the parts share them; of fewer, as of LoRA's first factor, they share the inputs.
const BY_ROWS: usize = 64;

/// Arguments: rows, dy (T, dy_stride), x (T, cols), dw (out, cols).
pub static DEF: OpDef = OpDef {
    stem: "outer",
    args: &[Arg::input("rows"), Arg::read("dy"), Arg::read("x"), Arg::update("dw")],
    check,
    // The reduction runs over the rows of the step.
    tolerance: |_, _| 64.0,
    over: |_| Over::One,
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
    let (cols, out, offset) = (p.cols as usize, p.out as usize, p.dy_offset as usize);
    let (stride, rows, alpha) = (p.dy_stride as usize, c.rows(p.count), F::from_f32(p.alpha));
    if out < BY_ROWS {
        let mut dw = c.write_columns(3, cols, 0, cols, 16);
        return matmul_tn(c.read(1), stride, offset, out, c.read(2), cols, rows, alpha, true, &mut dw);
    }
    // Columns of dy lie far apart and cost most to gather: each part takes its own.
    let (first, dw) = c.write_chunks(3, out, cols);
    let own = dw.len() / cols;
    let mut dw = Columns::new(dw, cols, 0..cols);
    matmul_tn(c.read(1), stride, offset + first, own, c.read(2), cols, rows, alpha, true, &mut dw);
}

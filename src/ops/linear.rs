//! Linear layer over an encoded matrix: y = x w^T (+ bias) (+ residual). The sole matmul of the forward.

use super::cpu::{Columns, Context, Real};
use super::matmul::{Operand, matmul_nt};
use super::params::linear::Params;
use super::{Accepts, Access, Arg, OpDef, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, x (T, cols), w (out, cols), bias (1, out), residual like y, y (T, y_stride).
pub static DEF: OpDef = OpDef {
    stem: "linear",
    args: &[
        Arg::input("rows"),
        Arg::read("x"),
        Arg::new("w", Access::Read, Accepts::Matrix),
        Arg::read("bias").optional(),
        Arg::read("residual").optional(),
        Arg::write("y"),
    ],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, call| 4.0 + 2.0 * f64::from(call.params.get::<Params>().cols).sqrt(),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let end = (p.y_offset + p.out) as usize;
    require(program, call, 1, |t| t.width == p.cols as usize, || format!("must be {} wide", p.cols))?;
    require(program, call, 2, |t| t.width == p.cols as usize, || format!("must be {} wide", p.cols))?;
    require(program, call, 3, |t| t.width == p.out as usize, || format!("must be {} wide", p.out))?;
    for arg in [4, 5] {
        let ok = |t: &crate::plan::Tensor| t.width == p.y_stride as usize && end <= t.width;
        require(program, call, arg, ok, || format!("must be {} wide and hold column {end}", p.y_stride))?;
    }
    Ok(())
}

fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (cols, offset) = (p.cols as usize, p.y_offset as usize);
    let rows = c.rows(p.count);
    let w = c.matrix(2, cols);
    let mut y = c.write_columns(5, p.y_stride as usize, offset, p.out as usize, 16);
    matmul_nt(&Operand::Encoded(w), cols, offset, c.read(1), rows, F::ONE, false, &mut y);
    finish(c, &p, rows, &mut y);
}

/// Adds bias and residual.
fn finish<F: Real>(c: &Context<'_, F>, p: &Params, rows: usize, y: &mut Columns<'_, F>) {
    let range = y.range.clone();
    let (bias, residual) = (c.read(3), c.read(4));
    for t in 0..rows {
        let y = y.row_mut(t);
        if p.has_bias != 0 {
            let first = range.start - p.y_offset as usize;
            F::axpy(F::ONE, &bias[first..first + y.len()], y);
        }
        if p.has_residual != 0 {
            let first = t * p.y_stride as usize + range.start;
            F::axpy(F::ONE, &residual[first..first + y.len()], y);
        }
    }
}

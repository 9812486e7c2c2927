//! Linear layer over an encoded matrix: y = x w^T (+ bias) (+ residual). The sole matmul of the forward.

use super::cpu::{Columns, Context, Real};
use super::matmul::{Operand, matmul_nt};
use super::params::{self, linear::Params};
use super::{Accepts, Access, Arg, Cost, Op, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program, Reverse};

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
    tolerance: |_, call| 4.0 + 2.0 * f64::from(call.params.get::<Params>().cols).sqrt(),
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out])
    },
    grad: Some(grad),
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

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (cols, offset) = (p.cols as usize, p.y_offset as usize);
    let rows = c.rows(p.count);
    let w = c.matrix(2, cols);
    let mut y = c.write_columns(5, p.y_stride as usize, offset, p.out as usize, 16);
    let bias = (p.has_bias != 0).then(|| c.read(3));
    let residual = (p.has_residual != 0).then(|| c.read(4));
    matmul_nt(&Operand::Encoded(w), cols, offset, c.read(1), rows, F::ONE, false, &mut y);
    finish_rows(bias, residual, offset, p.y_stride as usize, 0..rows, &mut y);
}

/// Adds the bias, whose first element is column `offset` of y, and the residual, to rows of a product.
pub(super) fn finish_rows<F: Real>(
    bias: Option<&[F]>,
    residual: Option<&[F]>,
    offset: usize,
    stride: usize,
    rows: std::ops::Range<usize>,
    y: &mut Columns<'_, F>,
) {
    let range = y.range.clone();
    for t in rows {
        let y = y.row_mut(t);
        if let Some(bias) = bias {
            F::axpy(F::ONE, &bias[range.start - offset..][..y.len()], y);
        }
        if let Some(residual) = residual {
            F::axpy(F::ONE, &residual[t * stride + range.start..][..y.len()], y);
        }
    }
}

/// dx (+)= dy w through the frozen matrix; the residual's gradient is dy itself.
fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, x, w, _, residual, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some((dx, accumulate)) = r.flow(x)? {
        let q = params::linear_back::Params {
            planes: p.planes,
            cols: p.cols,
            out: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
            accumulate: u32::from(accumulate),
            ..Default::default()
        };
        r.call(Op::LinearBack, call, vec![rows, Some(dy), w, Some(dx)], q)?;
    }
    r.pass(call, residual, dy)
}

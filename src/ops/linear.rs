//! Linear layer over an encoded matrix: y = x w^T (+ bias) (+ residual). The sole matmul of the forward.

use super::LinearBack;
use super::cpu::{Columns, Context, Real};
use super::matmul::{Operand, matmul_nt};
use super::params::{self, linear::Params};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, cols), w (out, cols), bias (1, out), residual like y, y (T, y_stride).
    Linear(Params) "linear" {
        rows: Read U32,
        x: Read F32,
        w: Read Matrix,
        bias: Read F32 (optional),
        residual: Read F32 (optional),
        y: Write F32,
    }
    check: check,
    tolerance: |p| 4.0 + 2.0 * f64::from(p.cols).sqrt(),
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out]),
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.w], p.cols)?;
    let rows = (p.w_first + p.out) as usize;
    s.require(AT.w, |w| w.rows.per >= rows, || format!("must have {rows} rows"))?;
    s.wide([AT.bias], p.out)?;
    s.holds(AT.residual, p.y_stride, p.y_offset + p.out)?;
    s.holds(AT.y, p.y_stride, p.y_offset + p.out)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Linear>();
    let (cols, offset) = (p.cols as usize, p.y_offset as usize);
    let rows = c.rows(Over::of(p.count));
    let w = c.matrix(AT.w, cols).from_row(p.w_first as usize);
    let mut y = c.write_columns(AT.y, p.y_stride as usize, offset, p.out as usize, 16);
    let bias = (p.has_bias != 0).then(|| c.read(AT.bias));
    let residual = (p.has_residual != 0).then(|| c.read(AT.residual));
    matmul_nt(&Operand::Encoded(w), cols, offset, c.read(AT.x), rows, F::ONE, false, &mut y);
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
fn grad(r: &mut Reverse<'_>, call: &Linear) -> Result<(), PlanError> {
    let p = call.params;
    let Linear { rows, x, w, residual, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some((dx, accumulate)) = r.flow(x)? {
        if p.w_first > 0 {
            return Err(r.fails("is a part of a joined matrix, and those are not trained through"));
        }
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
        r.call(LinearBack { rows, dy, w, dx, params: q })?;
    }
    r.pass(residual, dy)
}

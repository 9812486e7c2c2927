//! Product with a trained f32 matrix: y (+)= alpha x w^T (+ bias) (+ residual). The two factors of a LoRA adapter
//! (Hu et al. 2021), and the linear layers of a model whose own weights are trained.

use super::cpu::{Context, Real};
use super::linear::finish_rows;
use super::matmul::{Operand, matmul_nt};
use super::params::{self, project::Params};
use super::{BiasBack, Outer, ProjectBack};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, cols), w (out, cols), bias (1, out), residual like y, y (T, y_stride).
    Project(Params) "project" {
        rows: Read U32,
        x: Read F32,
        w: Read F32,
        bias: Read F32 (optional),
        residual: Read F32 (optional),
        y: Update F32,
    }
    check: check,
    tolerance: |p| 4.0 + 2.0 * f64::from(p.cols).sqrt(),
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out]),
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.w], p.cols)?;
    s.wide([AT.bias], p.out)?;
    s.holds(AT.residual, p.y_stride, p.y_offset + p.out)?;
    s.holds(AT.y, p.y_stride, p.y_offset + p.out)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Project>();
    let (cols, offset, rows) = (p.cols as usize, p.y_offset as usize, c.rows(Over::of(p.count)));
    let w = Operand::Plain { values: c.read(AT.w) };
    let mut y = c.write_columns(AT.y, p.y_stride as usize, offset, p.out as usize, 16);
    let accumulate = p.accumulate != 0;
    matmul_nt(&w, cols, offset, c.read(AT.x), rows, F::from_f32(p.alpha), accumulate, &mut y);
    let bias = (p.has_bias != 0).then(|| c.read(AT.bias));
    let residual = (p.has_residual != 0).then(|| c.read(AT.residual));
    finish_rows(bias, residual, offset, p.y_stride as usize, 0..rows, &mut y);
}

/// dx += alpha dy w; dw += alpha dy^T x; db += dy; the residual's gradient is dy itself.
fn grad(r: &mut Reverse<'_>, call: &Project) -> Result<(), PlanError> {
    let p = call.params;
    let Project { rows, x, w, bias, residual, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some(dw) = r.sum(w) {
        let q = params::outer::Params {
            cols: p.cols,
            out: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
            alpha: p.alpha,
            ..Default::default()
        };
        r.call(Outer { rows, dy, x, dw, params: q })?;
    }
    if let Some(db) = r.sum(bias) {
        let q = params::bias_back::Params {
            width: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
        };
        r.call(BiasBack { rows, dy, db, params: q })?;
    }
    if let Some((dx, accumulate)) = r.flow(x)? {
        let q = params::project_back::Params {
            cols: p.cols,
            out: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
            accumulate: u32::from(accumulate),
            alpha: p.alpha,
            pad0: 0,
        };
        r.call(ProjectBack { rows, dy, w, dx, params: q })?;
    }
    r.pass(residual, dy)
}

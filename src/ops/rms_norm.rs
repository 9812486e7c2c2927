//! RMS norm (Zhang & Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w (+ residual), per row and group.

use super::cpu::{Context, Real};
use super::params::{self, rms_norm::Params};
use super::{RmsNormBack, RmsNormDw};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, groups * width), w (1, width), residual and y like x.
    RmsNorm(Params) "rms_norm" {
        rows: Read U32,
        x: Read F32,
        w: Read F32,
        residual: Read F32 (optional),
        y: Write F32,
    }
    check: check,
    tolerance: |p| 4.0 + f64::from(p.width).sqrt(),
    over: |p| Over::of(p.count),
    cost: |_, _| Cost::FEW,
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.residual, AT.y], p.width * p.groups)?;
    s.wide([AT.w], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<RmsNorm>();
    let width = p.width as usize;
    let (x, w) = (c.read(AT.x), c.read(AT.w));
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::of(p.count)) * p.groups as usize, width);
    for (i, y) in y.chunks_mut(width).enumerate() {
        let at = (first + i) * width;
        norm_row(&x[at..][..width], w, p.eps, y);
        if p.has_residual != 0 {
            F::axpy(F::ONE, &c.read(AT.residual)[at..][..width], y);
        }
    }
}

/// y = norm(x) * w for one row or group.
pub(super) fn norm_row<F: Real>(x: &[F], w: &[F], eps: f32, y: &mut [F]) {
    let mean = F::dot(x, x) / F::from_f64(x.len() as f64);
    let scale = F::ONE / (mean + F::from_f32(eps)).sqrt();
    for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
        *y = *x * scale * *w;
    }
}

fn grad(r: &mut Reverse<'_>, call: &RmsNorm) -> Result<(), PlanError> {
    let p = call.params;
    let RmsNorm { rows, x, w, residual, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some(dw) = r.sum(w) {
        let q = params::rms_norm_dw::Params { width: p.width, groups: p.groups, count: p.count, eps: p.eps };
        r.call(RmsNormDw { rows, x, dy, dw, params: q })?;
    }
    r.pass(residual, dy)?;
    let Some((dx, accumulate)) = r.flow(x)? else { return Ok(()) };
    let q = params::rms_norm_back::Params {
        width: p.width,
        groups: p.groups,
        count: p.count,
        eps: p.eps,
        accumulate: u32::from(accumulate),
        ..Default::default()
    };
    r.call(RmsNormBack { rows, x, w, dy, dx, params: q })
}

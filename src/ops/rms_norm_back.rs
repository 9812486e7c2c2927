//! Gradient of the input of [`super::rms_norm`]: with r = (mean(x^2) + eps)^-1/2 and g = dy * w,
//! dx (+)= r * (g - x * r^2 * mean(g * x)).

use super::cpu::{Context, Real};
use super::params::rms_norm_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, x (T, groups * width), w (1, width), dy and dx like x.
    RmsNormBack(Params) "rms_norm_back" {
        rows: Read U32,
        x: Read F32,
        w: Read F32,
        dy: Read F32,
        dx: Update F32,
    }
    check: check,
    tolerance: |p| 8.0 + 2.0 * f64::from(p.width).sqrt(),
    over: |p| Over::of(p.count),
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.dy, AT.dx], p.width * p.groups)?;
    s.wide([AT.w], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<RmsNormBack>();
    let width = p.width as usize;
    let (x, w, dy) = (c.read(AT.x), c.read(AT.w), c.read(AT.dy));
    let count = F::from_f64(width as f64);
    let (first, dx) = c.write_chunks(AT.dx, c.rows(Over::of(p.count)) * p.groups as usize, width);
    for (i, dx) in dx.chunks_mut(width).enumerate() {
        let at = (first + i) * width;
        let (x, dy) = (&x[at..at + width], &dy[at..at + width]);
        let scale = F::ONE / (F::dot(x, x) / count + F::from_f32(p.eps)).sqrt();
        let mut inner = F::ZERO;
        for ((x, dy), w) in x.iter().zip(dy).zip(w) {
            inner += *dy * *w * *x;
        }
        let along = scale * scale * inner / count;
        for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(w) {
            let value = scale * (*dy * *w - *x * along);
            *dx = if p.accumulate != 0 { *dx + value } else { value };
        }
    }
}

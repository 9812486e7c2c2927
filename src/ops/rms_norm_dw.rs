//! Gradient of the weight of [`super::rms_norm`]: dw += the sum of dy * x / rms(x) over rows and groups, in order.

use super::cpu::{Context, Real};
use super::params::rms_norm_dw::Params;
use crate::plan::{Cost, Load, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, x (T, groups * width), dy like x, dw (1, width).
    RmsNormDw(Params) "rms_norm_dw" {
        rows: Read U32,
        x: Read F32,
        dy: Read F32,
        dw: Update F32,
    }
    check: check,
    tolerance: |p| 64.0 + f64::from(p.width).sqrt(),
    over: |_| Over::One,
    cost: cost,
}

/// Each 64 columns find the scales of all rows anew.
fn cost(p: &Params, load: &Load) -> Cost {
    Cost::other(load.over(Over::of(p.count)), &[p.width, p.groups, 2 + p.width / 64])
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.dy], p.width * p.groups)?;
    s.wide([AT.dw], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<RmsNormDw>();
    let width = p.width as usize;
    let (x, dy) = (c.read(AT.x), c.read(AT.dy));
    let count = F::from_f64(width as f64);
    let (first, dw) = c.write_chunks(AT.dw, width, 1);
    for at in (0..c.rows(Over::of(p.count)) * p.groups as usize).map(|i| i * width) {
        let row = &x[at..at + width];
        let scale = F::ONE / (F::dot(row, row) / count + F::from_f32(p.eps)).sqrt();
        let (x, dy) = (&x[at + first..], &dy[at + first..]);
        for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
            *dw += *dy * *x * scale;
        }
    }
}

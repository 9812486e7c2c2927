//! One step of AdamW (Loshchilov & Hutter 2019): Adam on the scaled gradient, decay apart from it.

use super::cpu::{Context, Real};
use super::params::adamw::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: scalars, grad, w, m, v, all but the first (1, width).
    AdamW(Params) "adamw" {
        scalars: Read U32,
        grad: Read F32,
        w: Update F32,
        m: Update F32,
        v: Update F32,
    }
    check: check,
    tolerance: |_| 16.0,
    over: |_| Over::One,
    cost: |p, _| Cost::other(8, &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.grad, AT.w, AT.m, AT.v], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<AdamW>();
    let s = c.scalars();
    let f = F::from_f32;
    let width = p.width as usize;
    let decay = if p.decays == 1 { f(s.decay) } else { F::ZERO };
    let grad = c.read(AT.grad);
    let (first, w) = c.write_chunks(AT.w, width, 1);
    let (_, m) = c.write_chunks(AT.m, width, 1);
    let (_, v) = c.write_chunks(AT.v, width, 1);
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(&grad[first..]) {
        let g = *g * f(s.scale);
        *m = f(s.beta1) * *m + (F::ONE - f(s.beta1)) * g;
        *v = f(s.beta2) * *v + (F::ONE - f(s.beta2)) * g * g;
        let step = *m / f(s.correct1) / ((*v / f(s.correct2)).sqrt() + f(s.eps));
        *w = *w - f(s.rate) * (step + decay * *w);
    }
}

//! One step of AdamW (Loshchilov & Hutter 2019): Adam on the scaled gradient, decay apart from it.

use super::cpu::{Context, Real};
use super::params::adamw::Params;
use super::{Arg, Cost, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: scalars, grad, w, m, v, all but the first (1, width).
pub static DEF: OpDef = OpDef {
    stem: "adamw",
    args: &[Arg::input("scalars"), Arg::read("grad"), Arg::update("w"), Arg::update("m"), Arg::update("v")],
    check,
    tolerance: |_, _| 16.0,
    over: |_| Over::One,
    cost: |call, _| Cost::other(8, &[call.params.get::<Params>().width]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..5, p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let s = c.scalars();
    let f = F::from_f32;
    let width = p.width as usize;
    let decay = if p.decays == 1 { f(s.decay) } else { F::ZERO };
    let grad = c.read(1);
    let (first, w) = c.write_chunks(2, width, 1);
    let (_, m) = c.write_chunks(3, width, 1);
    let (_, v) = c.write_chunks(4, width, 1);
    for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(&grad[first..]) {
        let g = *g * f(s.scale);
        *m = f(s.beta1) * *m + (F::ONE - f(s.beta1)) * g;
        *v = f(s.beta2) * *v + (F::ONE - f(s.beta2)) * g * g;
        let step = *m / f(s.correct1) / ((*v / f(s.correct2)).sqrt() + f(s.eps));
        *w = *w - f(s.rate) * (step + decay * *w);
    }
}

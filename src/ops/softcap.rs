//! Capped logits (Gemma Team 2024): y = cap tanh(x / cap), of the step's output rows.

use super::SoftcapBack;
use super::cpu::{Context, Real};
use super::params::{self, softcap::Params};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (O, width), y like x.
    Softcap(Params) "softcap" {
        rows: Read U32,
        x: Read F32,
        y: Write F32,
    }
    check: check,
    tolerance: |_| 16.0,
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(8 * load.outputs, &[p.width]),
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.y], p.width)?;
    if p.cap > 0.0 { Ok(()) } else { Err(s.call.fails(format!("a cap of {} is none", p.cap))) }
}

/// tanh(x / cap) of all elements, whose exponentials go many at a time: tanh v = 1 - 2 / (1 + exp 2v).
pub(super) fn bend<F: Real>(x: &[F], cap: f32, y: &mut [F]) {
    y.copy_from_slice(x);
    F::exp_all(y, F::from_f64(2.0) / F::from_f32(cap), F::ZERO);
    y.iter_mut().for_each(|y| *y = F::ONE - F::from_f64(2.0) / (F::ONE + *y));
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Softcap>();
    let x = c.read(AT.x);
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Outputs) * p.width as usize, 1);
    bend(&x[first..][..y.len()], p.cap, y);
    y.iter_mut().for_each(|y| *y *= F::from_f32(p.cap));
}

fn grad(r: &mut Reverse<'_>, call: &Softcap) -> Result<(), PlanError> {
    let p = call.params;
    let Softcap { rows, x, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let Some(dx) = r.fresh(x)? else { return Ok(()) };
    let params = params::softcap_back::Params { width: p.width, cap: p.cap, ..Default::default() };
    r.call(SoftcapBack { rows, x, dy, dx, params })
}

//! Capped logits (Gemma Team 2024): y = cap tanh(x / cap), of the step's output rows.

use super::cpu::{Context, Real};
use super::params::{self, softcap::Params};
use super::{Arg, Cost, Op, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, x (O, width), y like x.
pub static DEF: OpDef = OpDef {
    stem: "softcap",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::write("y")],
    check,
    tolerance: |_, _| 16.0,
    over: |_| Over::Outputs,
    cost: |call, load| Cost::other(8 * load.outputs, &[call.params.get::<Params>().width]),
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..3, p.width)?;
    if p.cap > 0.0 {
        return Ok(());
    }
    Err(PlanError::Call { call: call.label.clone(), why: format!("a cap of {} is none", p.cap) })
}

/// tanh(x / cap) of all elements, whose exponentials go many at a time: tanh v = 1 - 2 / (1 + exp 2v).
pub(super) fn bend<F: Real>(x: &[F], cap: f32, y: &mut [F]) {
    y.copy_from_slice(x);
    F::exp_all(y, F::from_f64(2.0) / F::from_f32(cap), F::ZERO);
    y.iter_mut().for_each(|y| *y = F::ONE - F::from_f64(2.0) / (F::ONE + *y));
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let x = c.read(1);
    let (first, y) = c.write_chunks(2, c.rows(1) * p.width as usize, 1);
    bend(&x[first..][..y.len()], p.cap, y);
    y.iter_mut().for_each(|y| *y *= F::from_f32(p.cap));
}

fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, x, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    match r.flow(x)? {
        None => Ok(()),
        Some((dx, false)) => {
            let q = params::softcap_back::Params { width: p.width, cap: p.cap, ..Default::default() };
            r.call(Op::SoftcapBack, call, vec![rows, x, Some(dy), Some(dx)], q)
        }
        Some(_) => {
            let why = "its input must not be used elsewhere".into();
            Err(PlanError::Call { call: call.label.clone(), why })
        }
    }
}

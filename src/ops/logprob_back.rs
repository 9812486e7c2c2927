//! Gradient of the logits, in their place: `coef / temperature * (onehot(label) - softmax(logits / temperature))`, where
//! `coef` is the derivative of the objective with respect to the label's log-probability at that temperature.

use super::cpu::{Context, Real};
use super::params::logprob_back::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};
use crate::text::softmax_scale;

/// Arguments: rows, outs, y (O, 1): the labels' log-probabilities, logits (O, vocab).
pub static DEF: OpDef = OpDef {
    stem: "logprob_back",
    args: &[Arg::input("rows"), Arg::input("outs"), Arg::read("y"), Arg::update("logits")],
    check,
    // The log-probability is a difference of numbers of the logits' size, and the exponential makes it relative.
    tolerance: |_, _| 64.0,
    over: |_| Over::Outputs,
    cost: |call, load| Cost::other(4 * load.outputs, &[call.params.get::<Params>().vocab]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 2, |t| t.width == 1, || "must be 1 wide".into())?;
    require(program, call, 3, |t| t.width == p.vocab as usize, || format!("must be {} wide", p.vocab))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let vocab = c.params::<Params>().vocab as usize;
    let y = c.read(2);
    let (first, logits) = c.write_chunks(3, c.rows(1), vocab);
    for (o, logits) in logits.chunks_mut(vocab).enumerate() {
        let out = c.out(first + o);
        let scale = F::from_f32(softmax_scale(out.temperature));
        let (label, coef) = (out.label as usize, F::from_f32(out.coef) * scale);
        let (own, y) = (logits[label], y[first + o]);
        F::exp_all(logits, scale, y - own * scale);
        logits.iter_mut().for_each(|logit| *logit = -coef * *logit);
        logits[label] += coef;
    }
}

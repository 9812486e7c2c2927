//! Gradient of the logits, in their place: `coef / temperature * (onehot(label) - softmax(logits / temperature))`, where
//! `coef` is the derivative of the objective with respect to the label's log-probability at that temperature.

use super::cpu::{Context, Real};
use super::params::logprob_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};
use crate::text::softmax_scale;

op! {
    /// Arguments: rows, outs, y (O, 1): the labels' log-probabilities, logits (O, vocab).
    LogProbBack(Params) "logprob_back" {
        rows: Read U32,
        outs: Read U32,
        y: Read F32,
        logits: Update F32,
    }
    check: check,
    // The log-probability is a difference of numbers of the logits' size, and the exponential makes it relative.
    tolerance: |_| 64.0,
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(4 * load.outputs, &[p.vocab]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.y], 1)?;
    s.wide([AT.logits], p.vocab)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let vocab = c.params::<LogProbBack>().vocab as usize;
    let y = c.read(AT.y);
    let (first, logits) = c.write_chunks(AT.logits, c.rows(Over::Outputs), vocab);
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

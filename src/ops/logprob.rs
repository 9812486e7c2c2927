//! Log-probability of a given token at a temperature: `y[o] = l[label] - log sum exp l`, where `l = logits[o] / temperature`.

use super::cpu::{Context, Real};
use super::params::logprob::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};
use crate::text::softmax_scale;

op! {
    /// Arguments: rows, outs, logits (O, vocab), y (O, 1).
    LogProb(Params) "logprob" {
        rows: Read U32,
        outs: Read U32,
        logits: Read F32,
        y: Write F32,
    }
    check: check,
    tolerance: |p| 32.0 + f64::from(p.vocab).sqrt(),
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(4 * load.outputs, &[p.vocab]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.logits], p.vocab)?;
    s.wide([AT.y], 1)
}

/// The largest of the logits, and log sum exp of `scale` times what they are above it.
pub fn log_sum_exp<F: Real>(logits: &[F], scale: F) -> (F, F) {
    let max = logits.iter().fold(F::LOWEST, |m, l| if *l > m { *l } else { m });
    (max, F::sum_exp(logits, max, scale).ln())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let vocab = c.params::<LogProb>().vocab as usize;
    let logits = c.read(AT.logits);
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Outputs), 1);
    for (o, y) in y.iter_mut().enumerate() {
        let logits = &logits[(first + o) * vocab..][..vocab];
        let out = c.out(first + o);
        let scale = F::from_f32(softmax_scale(out.temperature));
        let (max, sum) = log_sum_exp(logits, scale);
        *y = logits.get(out.label as usize).map_or(F::LOWEST, |l| (*l - max) * scale - sum);
    }
}

//! Draws the next token of each output row and puts it into the token table.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::sample::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};
use crate::text::{Breakers, MAX_DRY_LAST_N, MAX_LAST_N, SamplerParams};

op! {
    /// Arguments: rows, outs, logits (O, vocab), tokens (slots, ctx), sampled (O, 4): token, bits of its
    /// log-probability under the full softmax at the temperature, status (1: a logit is not a number), 0. Output rows of a step
    /// have different slots: each puts its choice where another of its slot would look for repetitions.
    Sample(Params) "sample" {
        rows: Read U32,
        outs: Read U32,
        logits: Read F32,
        tokens: Update U32,
        sampled: Write U32,
    }
    check: check,
    tolerance: |_| 0.0,
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(64 * load.outputs, &[p.vocab]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.logits], p.vocab)?;
    s.wide([AT.tokens], p.ctx)?;
    s.wide([AT.sampled], 4)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Sample>();
    let (vocab, ctx) = (p.vocab as usize, p.ctx as usize);
    let (logits, tokens, sampled) = (c.read(AT.logits), c.words(AT.tokens), c.words(AT.sampled));
    let breakers = Breakers::from_vectors([p.breakers0, p.breakers1, p.breakers2]);
    for o in c.share(c.rows(Over::Outputs), 1) {
        let out = c.out(o);
        let sampler = SamplerParams {
            temperature: out.temperature,
            top_k: out.top_k,
            top_p: out.top_p,
            min_p: out.min_p,
            repeat_penalty: out.repeat_penalty,
            repeat_last_n: out.repeat_last_n,
            dry_multiplier: out.dry_multiplier,
            dry_base: out.dry_base,
            dry_allowed_length: out.dry_allowed,
            dry_last_n: out.dry_last_n,
            seed: out.seed,
        };
        let table = &tokens[out.slot as usize * ctx..][..ctx];
        let pos = out.pos as usize;
        let mut history = [0u32; MAX_DRY_LAST_N];
        let held = (pos + 1).min(if out.dry_multiplier > 0.0 { MAX_DRY_LAST_N } else { MAX_LAST_N });
        for (h, t) in history.iter_mut().zip(&table[pos + 1 - held..=pos]) {
            *h = t.load(Ordering::Relaxed);
        }
        let logits = &logits[o * vocab..][..vocab];
        let choice = F::choose(logits, &history[..held], &sampler, &breakers, out.pos);
        let (token, logprob, status) = choice.map_or((0, f32::NAN, 1), |c| (c.token, c.logprob, 0));
        if let Some(next) = table.get(pos + 1) {
            next.store(token, Ordering::Relaxed);
        }
        for (word, value) in sampled[o * 4..].iter().zip([token, logprob.to_bits(), status, 0]) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

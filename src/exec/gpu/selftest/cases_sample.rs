//! DRY in the sampler: texts that repeat themselves in several ways, and what searches them.

use super::bench::{Bench, Case};
use super::cases::Cases;
use crate::ops::{self, params};
use crate::plan::{DType, PlanError};

/// How DRY is asked: multiplier, base, allowed length, how far back; and the temperature and penalty beside it.
const ASKED: [(f32, f32, u32, u32, f32, f32); 8] = [
    (0.8, 1.75, 2, 2048, 0.0, 1.0),
    (3.0, 1.5, 1, 2048, 0.0, 1.0),
    (0.8, 1.75, 2, 100, 0.9, 1.2),
    (5.0, 1.0, 4, u32::MAX, 0.7, 1.0),
    (2.0, 1.75, 0, 3, 0.0, 1.1),
    (9.0, 40.0, 3, 700, 0.0, 1.0),
    (0.5, 1.2, 6, 2048, 1.3, 1.0),
    (0.0, 1.75, 2, 2048, 0.0, 1.0),
];

/// Texts: words in circles of several lengths, one word only, one with few words, in which short runs come again often.
pub(super) fn all(b: &mut Bench) -> Cases {
    let text = |kind: usize, i: usize| match kind {
        0 => i % 7 + 10,
        1 => 5,
        2 => (i * i / 3 + i / 5) % 6 + 20,
        _ => (i % 31) * usize::from(i % 31 != 30) + i / 500,
    };
    let mut cases = Vec::new();
    for (breakers, first) in [(false, 2300), (true, 2300), (true, 40), (false, 0)] {
        cases.push(case(b, breakers, first, &text)?);
    }
    Ok(cases)
}

fn case(
    b: &mut Bench,
    breakers: bool,
    first: usize,
    text: &dyn Fn(usize, usize) -> usize,
) -> Result<Case, PlanError> {
    let (vocab, ctx, count) = (400, 2400, ASKED.len());
    let mut values: Vec<f32> = b.values(count * vocab).iter().map(|v| v * 2.0).collect();
    // What would go on with the text is likelier than the rest, so that the penalty decides.
    for o in 0..count {
        for more in 1..4 {
            values[o * vocab + text(o % 4, first + o + more)] += 5.0 - more as f32;
        }
    }
    let logits = b.words(DType::F32, count, vocab, values.iter().map(|v| v.to_bits()).collect())?;
    let table = (0..count * ctx).map(|i| text(i / ctx % 4, i % ctx) as u32).collect();
    let tokens = b.words(DType::U32, count, ctx, table)?;
    let sampled = b.output(DType::U32, count, 4)?;
    let mut p = params::sample::Params { vocab: vocab as u32, ctx: ctx as u32, ..Default::default() };
    if breakers {
        (p.breakers0, p.breakers2) = ([300, 7, 12, 1], [0, 0, 22, 2]);
    }
    let mut step = b.step(count, first);
    for (o, (out, asked)) in step.outs.iter_mut().zip(ASKED).enumerate() {
        (out.dry_multiplier, out.dry_base, out.dry_allowed, out.dry_last_n, ..) = asked;
        (out.temperature, out.repeat_penalty) = (asked.4, asked.5);
        (out.repeat_last_n, out.seed, out.slot) = (64, o as u32, o as u32);
    }
    let name = format!("sample with DRY at {first}{}", if breakers { ", breakers" } else { "" });
    b.case(name, count, ops::Sample { rows: b.rows, outs: b.outs, logits, tokens, sampled, params: p }, step)
}

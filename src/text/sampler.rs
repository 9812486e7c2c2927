//! Choosing the next token from logits.
//!
//! The order is llama.cpp's: repetition penalty, top-k, top-p, min-p, temperature, draw. Sets are found by a
//! threshold on the logit, never by sorting, so that the device does the same thing with the same result: all
//! logits that tie with the last one kept are kept. Random numbers are a hash of (seed, position), so that the
//! same seed gives the same text whatever the batch or the chunk.

/// How to choose. [`Default`] gives llama.cpp's defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerParams {
    /// 0 or less takes the likeliest token.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this likely relative to the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Logits of recent tokens are divided by this (multiplied if negative); 1 leaves them.
    pub repeat_penalty: f32,
    /// How many recent tokens the penalty looks at; at most [`MAX_LAST_N`].
    pub repeat_last_n: u32,
    /// Seed of the draws.
    pub seed: u32,
}

/// Most recent tokens the repetition penalty looks at.
pub const MAX_LAST_N: usize = 256;

impl Default for SamplerParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

impl SamplerParams {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// There are no logits.
    #[error("there are no logits to sample from")]
    Empty,
    /// A logit is not a number.
    #[error("logit {0} is not a number: the model file is damaged, or the device computes wrongly")]
    NotANumber(usize),
}

/// A token and its log-probability under the unfiltered softmax at temperature 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
}

/// Chooses tokens on the host. `history` holds all tokens so far, the prompt included.
pub trait Sampler {
    /// The next token. The logits may be changed.
    fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32, SamplerError>;
}

/// The host's form of what the device does.
impl Sampler for SamplerParams {
    fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32, SamplerError> {
        let pos = history.len().saturating_sub(1) as u32;
        choose(logits, history, self, pos).map(|c| c.token)
    }
}

/// A uniform number in [0, 1) from a seed and a position: two rounds of MurmurHash3's finalizer.
pub fn uniform(seed: u32, pos: u32) -> f32 {
    let h = mix(mix(seed.wrapping_add(0x9e37_79b9)) ^ pos.wrapping_mul(0x85eb_ca6b));
    (h >> 8) as f32 / 16_777_216.0
}

fn mix(mut h: u32) -> u32 {
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// Maps floats to integers in the same order.
pub fn order_key(v: f32) -> u32 {
    let bits = v.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

/// Inverse of [`order_key`].
pub fn from_key(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & 0x7fff_ffff } else { !key })
}

/// Chooses the token at `pos + 1`; `history` are the tokens up to `pos`. Allocates nothing.
pub fn choose(logits: &[f32], history: &[u32], p: &SamplerParams, pos: u32) -> Result<Choice, SamplerError> {
    if logits.is_empty() {
        return Err(SamplerError::Empty);
    }
    if let Some(at) = logits.iter().position(|l| l.is_nan()) {
        return Err(SamplerError::NotANumber(at));
    }
    let recent = &history[history.len().saturating_sub((p.repeat_last_n as usize).min(MAX_LAST_N))..];
    let recent = if p.repeat_penalty == 1.0 { &[] } else { recent };
    let logit = |i: usize| penalised(logits[i], recent.contains(&(i as u32)), p.repeat_penalty);
    let scan = Scan { logit: &logit, len: logits.len() };
    let (best, max) = scan.max();
    let token = if p.temperature <= 0.0 { best } else { draw(&scan, p, max, uniform(p.seed, pos)) };
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
    Ok(Choice { token, logprob: (f64::from(logits[token as usize] - top) - sum.ln()) as f32 })
}

fn penalised(logit: f32, recent: bool, penalty: f32) -> f32 {
    match (recent, logit > 0.0) {
        (false, _) => logit,
        (true, true) => logit / penalty,
        (true, false) => logit * penalty,
    }
}

struct Scan<'a> {
    logit: &'a dyn Fn(usize) -> f32,
    len: usize,
}

impl Scan<'_> {
    fn all(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.len).map(|i| (self.logit)(i))
    }

    /// The first of the largest logits.
    fn max(&self) -> (u32, f32) {
        let pick = |best: (u32, f32), (i, l): (usize, f32)| if l > best.1 { (i as u32, l) } else { best };
        self.all().enumerate().fold((0, f32::NEG_INFINITY), pick)
    }

    fn count_from(&self, key: u32) -> usize {
        self.all().filter(|l| order_key(*l) >= key).count()
    }

    // Sums are made in f64: the device adds in another order, and should find the same sets.
    fn mass_from(&self, key: u32, max: f32) -> f64 {
        self.all().filter(|l| order_key(*l) >= key).map(|l| f64::from((l - max).exp())).sum()
    }
}

/// The largest key between `low` and `high` that satisfies a condition true for `low` and monotone.
fn bisect(mut low: u32, mut high: u32, holds: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}

fn draw(scan: &Scan<'_>, p: &SamplerParams, max: f32, u: f32) -> u32 {
    let top = order_key(max);
    let mut threshold = 0;
    if p.top_k > 0 && (p.top_k as usize) < scan.len {
        threshold = bisect(0, top, |key| scan.count_from(key) >= p.top_k as usize);
    }
    if p.top_p < 1.0 {
        let wanted = f64::from(p.top_p) * scan.mass_from(threshold, max);
        threshold = bisect(threshold, top, |key| scan.mass_from(key, max) >= wanted);
    }
    if p.min_p > 0.0 {
        threshold = threshold.max(order_key(max + p.min_p.ln())).min(top);
    }
    let weight = |l: f32| if order_key(l) >= threshold { ((l - max) / p.temperature).exp() } else { 0.0 };
    let goal = f64::from(u) * scan.all().map(|l| f64::from(weight(l))).sum::<f64>();
    let mut sum = 0.0;
    let mut last = 0;
    for (i, l) in scan.all().enumerate() {
        let w = weight(l);
        if w > 0.0 {
            sum += f64::from(w);
            last = i as u32;
            if sum > goal {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits() -> Vec<f32> {
        (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 100.0).collect()
    }

    #[test]
    fn keys_keep_the_order() {
        let values = [f32::NEG_INFINITY, -3.5, -0.0, 0.0, 1e-20, 2.0, f32::INFINITY];
        for pair in values.windows(2) {
            assert!(order_key(pair[0]) <= order_key(pair[1]), "{pair:?}");
            assert_eq!(from_key(order_key(pair[1])), pair[1]);
        }
    }

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let choice = choose(&[1.0, 5.0, 5.0, 2.0], &[], &SamplerParams::greedy(), 0).unwrap();
        assert_eq!(choice.token, 1);
        let expected = -(2.0 + (-4f64).exp() + (-3f64).exp()).ln();
        assert!((f64::from(choice.logprob) - expected).abs() < 1e-6);
    }

    #[test]
    fn filters_keep_what_they_say() {
        let l = logits();
        let p = SamplerParams { top_k: 5, top_p: 1.0, min_p: 0.0, temperature: 10.0, ..Default::default() };
        let mut sorted = l.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let seen: std::collections::BTreeSet<u32> =
            (0..400).map(|pos| choose(&l, &[], &p, pos).unwrap().token).collect();
        assert_eq!(seen.len(), 5);
        assert!(seen.iter().all(|t| l[*t as usize] >= sorted[4]));
        let p = SamplerParams { top_p: 0.005, top_k: 0, ..p };
        let first = choose(&l, &[], &SamplerParams::greedy(), 0).unwrap().token;
        assert!((0..50).all(|pos| choose(&l, &[], &p, pos).unwrap().token == first));
        let p = SamplerParams { min_p: 0.9, top_p: 1.0, ..p };
        assert!(
            (0..50).all(|pos| l[choose(&l, &[], &p, pos).unwrap().token as usize] >= sorted[0] + 0.9f32.ln())
        );
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let l: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln()).collect();
        let p = SamplerParams {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 7,
            ..Default::default()
        };
        let mut counts = [0usize; 4];
        for pos in 0..20_000 {
            counts[choose(&l, &[], &p, pos).unwrap().token as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([10_000.0, 5_000.0, 2_500.0, 2_500.0]) {
            assert!((*count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
        }
        let text = |seed| {
            (0..64)
                .map(|pos| choose(&l, &[], &SamplerParams { seed, ..p }, pos).unwrap().token)
                .collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn the_penalty_lowers_recent_tokens() {
        let p = SamplerParams { repeat_penalty: 3.0, repeat_last_n: 2, ..SamplerParams::greedy() };
        assert_eq!(choose(&[2.0, 1.0, -1.0], &[0, 2], &p, 0).unwrap().token, 1);
        assert_eq!(choose(&[2.0, 1.0, -1.0], &[0, 1, 2], &p, 0).unwrap().token, 0);
    }

    #[test]
    fn damaged_logits_are_refused() {
        assert_eq!(choose(&[], &[], &SamplerParams::greedy(), 0), Err(SamplerError::Empty));
        assert_eq!(
            choose(&[0.0, f32::NAN], &[], &SamplerParams::greedy(), 0),
            Err(SamplerError::NotANumber(1))
        );
    }
}

//! Choosing the next token from logits.
//!
//! The order is llama.cpp's: repetition penalty, DRY, top-k, top-p, min-p, temperature, draw. Sets are found by a
//! threshold on the logit, never by sorting, so that the device does the same thing with the same result: all
//! logits that tie with the last one kept are kept. Random numbers are a hash of (seed, position), so that the
//! same seed gives the same text whatever the batch or the chunk.

use crate::simd::sum_exp;

mod dry;

pub use dry::{Breakers, MAX_DRY_LAST_N};

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
    /// Of DRY, what a token's logit loses that goes on with a repetition of the allowed length; 0 is off.
    pub dry_multiplier: f32,
    /// Of DRY, what that grows by with each further token of the repetition.
    pub dry_base: f32,
    /// Of DRY, the length from which on a repetition costs something.
    pub dry_allowed_length: u32,
    /// Of DRY, how many recent tokens are searched; at most [`MAX_DRY_LAST_N`].
    pub dry_last_n: u32,
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
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_last_n: MAX_DRY_LAST_N as u32,
            seed: 0,
        }
    }
}

impl SamplerParams {
    /// Always the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// The same, held harder against repetition and with other draws, the more so the more often: for another try where `tries`
    /// before it ran in a circle.
    pub fn firmer(&self, tries: u32) -> Self {
        let more = tries.saturating_sub(1);
        Self {
            temperature: self.temperature * (1.0 + 0.25 * more as f32),
            dry_multiplier: self.dry_multiplier.max(1.5) * (1.0 + more as f32),
            dry_base: self.dry_base.max(1.75),
            dry_allowed_length: self
                .dry_allowed_length
                .min(4)
                .saturating_sub(more)
                .max(self.dry_allowed_length.min(2)),
            dry_last_n: MAX_DRY_LAST_N as u32,
            seed: mix(self.seed ^ 0x9e37_79b9u32.wrapping_mul(tries)),
            ..*self
        }
    }

    /// Whether the parameters make sense.
    ///
    /// # Errors
    /// [`SamplerError::BadParameter`] for the first that does not.
    pub fn check(&self) -> Result<(), SamplerError> {
        let checks = [
            ("temperature", "a finite number", self.temperature.is_finite()),
            ("top_p", "a number, usually between 0 and 1", !self.top_p.is_nan()),
            ("min_p", "a number, usually between 0 and 1", !self.min_p.is_nan()),
            (
                "repeat_penalty",
                "a number above 0, usually 1 to 1.3",
                self.repeat_penalty > 0.0 && self.repeat_penalty.is_finite(),
            ),
            (
                "dry_multiplier",
                "0 (off) or above, usually about 0.8",
                self.dry_multiplier >= 0.0 && self.dry_multiplier.is_finite(),
            ),
            (
                "dry_base",
                "1 or above",
                self.dry_multiplier == 0.0 || (self.dry_base >= 1.0 && self.dry_base.is_finite()),
            ),
        ];
        match checks.into_iter().find(|(_, _, sound)| !sound) {
            Some((name, allowed, _)) => Err(SamplerError::BadParameter { name, allowed }),
            None => Ok(()),
        }
    }
}

/// Why no token could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplerError {
    /// There are no logits.
    #[error("there are no logits to sample from")]
    Empty,
    /// A logit is not a number, or plus infinity. (Minus infinity is a token that is never drawn.)
    #[error("logit {0} is not a number: the model file is damaged, or the device computes wrongly")]
    NotANumber(usize),
    /// A parameter makes no sense.
    #[error("{name} must be {allowed}")]
    BadParameter {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        allowed: &'static str,
    },
}

/// A token and its log-probability under the unfiltered softmax at the temperature; that at 1 where sampling is greedy.
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

/// What logits are multiplied with for a softmax at a temperature. At 0 and below, which is greedy, the softmax is that at 1.
pub fn softmax_scale(temperature: f32) -> f32 {
    // Also where the inverse would not be finite.
    if temperature > 0.0 { 1.0 / temperature.max(1e-30) } else { 1.0 }
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
///
/// # Errors
/// [`SamplerError`] if there are no logits, one is not a number, or a parameter makes no sense.
pub fn choose(logits: &[f32], history: &[u32], p: &SamplerParams, pos: u32) -> Result<Choice, SamplerError> {
    choose_with_breakers(logits, history, p, &Breakers::NONE, pos)
}

/// [`choose`], where DRY's repetitions end at `breakers`.
///
/// # Errors
/// As there.
pub fn choose_with_breakers(
    logits: &[f32],
    history: &[u32],
    p: &SamplerParams,
    breakers: &Breakers,
    pos: u32,
) -> Result<Choice, SamplerError> {
    p.check()?;
    if logits.is_empty() {
        return Err(SamplerError::Empty);
    }
    // False for NaN too. First without a way out of the loop, so that it uses vectors.
    let sound = |l: &f32| *l < f32::INFINITY;
    if !logits.iter().fold(true, |all, l| all & sound(l)) {
        return Err(SamplerError::NotANumber(logits.iter().position(|l| !sound(l)).unwrap_or(0)));
    }
    let mut room = [Replaced::default(); MAX_LAST_N + MAX_DRY_LAST_N];
    let all = Candidates { logits, replaced: penalised(logits, history, p, breakers, &mut room) };
    let (best, max) = all.max();
    let token = if p.temperature <= 0.0 { best } else { draw(&all, p, max, uniform(p.seed, pos)) };
    let top = largest(logits);
    let scale = softmax_scale(p.temperature);
    let sum = sum_exp(logits, top, scale);
    let above = f64::from(logits[token as usize] - top) * f64::from(scale);
    Ok(Choice { token, logprob: (above - sum.ln()) as f32 })
}

/// A token with its new logit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Replaced {
    token: u32,
    logit: f32,
    /// Length of the repetition that it would go on with.
    run: usize,
}

/// Tokens with new logits, sorted, each once.
struct List<'r> {
    room: &'r mut [Replaced],
    held: usize,
}

impl List<'_> {
    /// The place of a token, which is put in with this logit if it is not there.
    fn place(&mut self, token: u32, logit: f32) -> &mut Replaced {
        let place = self.room[..self.held].partition_point(|r| r.token < token);
        let there = self.room[..self.held].get(place).is_some_and(|r| r.token == token);
        if !there {
            self.room.copy_within(place..self.held, place + 1);
            self.room[place] = Replaced { token, logit, run: 0 };
            self.held += 1;
        }
        &mut self.room[place]
    }
}

/// Tokens that a penalty meets with their new logits, sorted, each once. `room` is enough for all that both penalties look at.
fn penalised<'r>(
    logits: &[f32],
    history: &[u32],
    p: &SamplerParams,
    breakers: &Breakers,
    room: &'r mut [Replaced],
) -> &'r [Replaced] {
    let mut list = List { room, held: 0 };
    if p.repeat_penalty != 1.0 {
        for &token in history.iter().rev().take((p.repeat_last_n as usize).min(MAX_LAST_N)) {
            let Some(&logit) = logits.get(token as usize) else { continue };
            list.place(token, if logit > 0.0 { logit / p.repeat_penalty } else { logit * p.repeat_penalty });
        }
    }
    if p.dry_multiplier > 0.0 {
        dry::continuations(history, p, breakers, |token, run| {
            if let Some(&logit) = logits.get(token as usize) {
                let replaced = list.place(token, logit);
                replaced.run = replaced.run.max(run);
            }
        });
        dry::punish(&mut list.room[..list.held], p);
    }
    let List { room, held } = list;
    &room[..held]
}

/// Tokens with their logits, in order of their ids.
trait Scan {
    /// Calls `f` with every token.
    fn each(&self, f: impl FnMut(u32, f32));

    /// The first of the largest logits.
    fn max(&self) -> (u32, f32) {
        let mut best = (0, f32::NEG_INFINITY);
        self.each(|token, logit| {
            if logit > best.1 {
                best = (token, logit);
            }
        });
        best
    }

    fn count_from(&self, key: u32) -> usize {
        let mut count = 0;
        self.each(|_, logit| count += usize::from(order_key(logit) >= key));
        count
    }

    // Sums are made in f64: the device adds in another order, and should find the same sets.
    fn mass_from(&self, key: u32, max: f32) -> f64 {
        let mut mass = 0.0;
        self.each(|_, logit| {
            if order_key(logit) >= key {
                mass += f64::from((logit - max).exp());
            }
        });
        mass
    }
}

/// The whole vocabulary, some logits replaced.
struct Candidates<'a> {
    logits: &'a [f32],
    replaced: &'a [Replaced],
}

impl Candidates<'_> {
    /// Calls `f` with the tokens between those that were replaced, from the first on, and with these alone.
    fn stretches(&self, mut f: impl FnMut(usize, &[f32])) {
        let mut start = 0;
        for replaced in self.replaced {
            let token = replaced.token as usize;
            f(start, &self.logits[start..token]);
            f(token, &[replaced.logit]);
            start = token + 1;
        }
        f(start, &self.logits[start..]);
    }
}

impl Scan for Candidates<'_> {
    fn each(&self, mut f: impl FnMut(u32, f32)) {
        self.stretches(|first, logits| {
            for (i, &logit) in logits.iter().enumerate() {
                f((first + i) as u32, logit);
            }
        });
    }

    fn max(&self) -> (u32, f32) {
        let mut best = (0, f32::NEG_INFINITY);
        self.stretches(|first, logits| {
            let max = largest(logits);
            if max > best.1 {
                let place = logits.iter().position(|logit| *logit == max).unwrap_or(0);
                best = ((first + place) as u32, max);
            }
        });
        best
    }
}

/// The largest, minus infinity if there are none: lanes apart, so that it uses vectors.
fn largest(logits: &[f32]) -> f32 {
    let max = |a: f32, b: f32| if b > a { b } else { a };
    let (whole, rest) = logits.as_chunks::<32>();
    let mut lanes = [f32::NEG_INFINITY; 32];
    for logits in whole {
        for (lane, logit) in lanes.iter_mut().zip(logits) {
            *lane = max(*lane, *logit);
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |most, logit| max(most, *logit))
}

/// Tokens that passed a filter.
struct Few<'a>(&'a [(u32, f32)]);

impl Scan for Few<'_> {
    fn each(&self, mut f: impl FnMut(u32, f32)) {
        self.0.iter().for_each(|&(token, logit)| f(token, logit));
    }
}

/// Up to this many tokens are set aside, so that further filters need not look at the whole vocabulary again.
const FEW: usize = 256;

/// The key of the k-th largest logit, `k` being at most [`FEW`]: the smallest in a heap of the k largest.
fn kth_key(all: &Candidates<'_>, k: usize) -> u32 {
    let mut heap = [0u32; FEW];
    let heap = &mut heap[..k];
    all.each(|_, logit| {
        let key = order_key(logit);
        if key > heap[0] {
            heap[0] = key;
            sift_down(heap);
        }
    });
    heap[0]
}

/// Restores a binary heap, smallest first, whose first element has grown.
fn sift_down(heap: &mut [u32]) {
    let mut at = 0;
    loop {
        let left = 2 * at + 1;
        let Some(&smaller) = heap.get(left) else { return };
        let child = if heap.get(left + 1).is_some_and(|right| *right < smaller) { left + 1 } else { left };
        if heap[at] <= heap[child] {
            return;
        }
        heap.swap(at, child);
        at = child;
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

/// Applies top-k; what it keeps is set aside where it is little.
fn draw(all: &Candidates<'_>, p: &SamplerParams, max: f32, u: f32) -> u32 {
    let k = p.top_k as usize;
    if k == 0 || k >= all.logits.len() {
        return draw_from(all, 0, p, max, u);
    }
    if k > FEW {
        let key = bisect(0, order_key(max), |key| all.count_from(key) >= k);
        return draw_from(all, key, p, max, u);
    }
    let key = kth_key(all, k);
    let mut kept = [(0, 0.0); FEW];
    let mut count = 0;
    all.each(|token, logit| {
        if order_key(logit) >= key {
            if let Some(place) = kept.get_mut(count) {
                *place = (token, logit);
            }
            count += 1;
        }
    });
    match kept.get(..count) {
        Some(kept) => draw_from(&Few(kept), key, p, max, u),
        // More ties with the last one kept than there is room for.
        None => draw_from(all, key, p, max, u),
    }
}

/// Applies top-p and min-p to the tokens of at least `key`, and draws.
fn draw_from(scan: &impl Scan, key: u32, p: &SamplerParams, max: f32, u: f32) -> u32 {
    let top = order_key(max);
    let mut threshold = key;
    if p.top_p < 1.0 {
        let wanted = f64::from(p.top_p) * scan.mass_from(threshold, max);
        threshold = bisect(threshold, top, |key| scan.mass_from(key, max) >= wanted);
    }
    if p.min_p > 0.0 {
        threshold = threshold.max(order_key(max + p.min_p.ln())).min(top);
    }
    let weight = |l: f32| if order_key(l) >= threshold { ((l - max) / p.temperature).exp() } else { 0.0 };
    let mut total = 0.0;
    scan.each(|_, logit| total += f64::from(weight(logit)));
    let goal = f64::from(u) * total;
    let mut sum = 0.0;
    // The first whose weight passes the goal; if rounding lets none pass, the last that weighs anything.
    let mut last = 0;
    scan.each(|token, logit| {
        let w = weight(logit);
        if w > 0.0 && sum <= goal {
            sum += f64::from(w);
            last = token;
        }
    });
    last
}

#[cfg(test)]
mod tests;

//! One dial for a model from nothing: from its size follow shape, vocabulary, learning rate, batch and steps.

use crate::model::{Arch, Blueprint};
use crate::train::{Schedule, Settings};

/// Width of the residual stream over the number of layers: small models do better deep (Touvron et al. 2023, SmolLM2).
const ASPECT: usize = 32;
/// Widths that are tried.
const WIDTHS: std::ops::RangeInclusive<usize> = 1..=128;
/// Tokens to train on for each weight (Hoffmann et al. 2022).
const TOKENS_A_WEIGHT: u64 = 20;
/// Times that text can be gone through and still teach almost as much as new text (Muennighoff et al. 2023).
const EPOCHS: u64 = 4;
/// Fewest steps that are worth the name.
const LEAST_STEPS: u64 = 200;

/// Sizes of training from nothing; each can be set by hand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Number of weights that was asked for.
    pub size: u64,
    /// Vocabulary of a tokenizer that is made along.
    pub vocab: usize,
    /// Tokens of a window, and the context that the model is trained for.
    pub seq: usize,
    /// Windows of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Highest learning rate.
    pub learning_rate: f32,
}

impl Recipe {
    /// What is usual for a model of about `size` weights.
    pub fn of(size: u64) -> Self {
        let vocab = match size {
            0..=1_500_000 => 2048,
            1_500_001..=15_000_000 => 4096,
            15_000_001..=40_000_000 => 8192,
            40_000_001..=100_000_000 => 16_384,
            _ => 32_768,
        };
        let seq = if size < 30_000_000 { 256 } else { 512 };
        // About 4,000 tokens a step for the smallest, 130,000 for the largest; more than that learns little more from each.
        let tokens = (4096.0 * (size as f64 / 1e6).max(1.0).sqrt()).min(131_072.0) as usize;
        let batch = (4096 / seq).max(1);
        let accumulate = (tokens / (batch * seq)).max(1);
        // The rates of GPT-2's and nanoGPT's small models, 6e-4 at 124 million and 1e-3 at 10 million.
        let rate = 1e-3 * (1e7 / size.max(1) as f64).powf(0.2);
        let learning_rate = (rate.clamp(2e-4, 3e-3) * 1e5).round() as f32 / 1e5;
        Self { size, vocab, seq, batch, accumulate, learning_rate }
    }

    /// The shape whose number of weights is nearest to what was asked for.
    pub fn blueprint(&self, name: &str, arch: &'static Arch, vocab: usize) -> Blueprint {
        let shape = |width: usize| shape(name, arch, vocab, self.seq, width);
        let apart = |b: &Blueprint| b.parameters().abs_diff(self.size);
        let whole = |b: &Blueprint| b.heads * b.head_dim == b.width;
        WIDTHS.map(|n| shape(n * ASPECT)).filter(whole).min_by_key(apart).unwrap_or_else(|| shape(ASPECT))
    }

    /// Steps that teach a model of `weights` as much as it takes, or as much as a text of `tokens` tokens has to teach.
    pub fn steps(&self, weights: u64, tokens: u64) -> u64 {
        let all = (weights * TOKENS_A_WEIGHT).min(tokens.saturating_mul(EPOCHS));
        (all / self.tokens_a_step()).max(LEAST_STEPS)
    }

    /// Tokens of a step.
    pub fn tokens_a_step(&self) -> u64 {
        (self.seq * self.batch * self.accumulate).max(1) as u64
    }

    /// Settings of a run of so many steps: AdamW as GPT-3 had it (Brown et al. 2020), a warm-up over a fiftieth of the steps, and
    /// half a cosine wave down to a tenth.
    pub fn settings(&self, steps: u64) -> Settings {
        Settings {
            full: true,
            learning_rate: self.learning_rate,
            schedule: Schedule::Cosine,
            floor: 0.1,
            warmup: (steps / 50).clamp(1, 2000),
            weight_decay: 0.1,
            betas: (0.9, 0.95),
            clip: 1.0,
            batch: self.batch,
            accumulate: self.accumulate,
            seq: self.seq,
            epochs: 1,
            max_steps: Some(steps),
            eval_every: (steps / 20).max(1),
            patience: 0,
            ..Settings::default()
        }
    }
}

/// A shape of a given width, all else by proportion.
fn shape(name: &str, arch: &'static Arch, vocab: usize, ctx: usize, width: usize) -> Blueprint {
    let head_dim = if width < 512 { 32 } else { 64 };
    let heads = width / head_dim;
    // Keys and values of a third or half of the heads cost little and save cache (Ainslie et al. 2023).
    let kv_heads = [3, 2].into_iter().find(|n| heads.is_multiple_of(*n)).map_or(heads, |n| heads / n);
    Blueprint {
        arch,
        name: name.into(),
        layers: (width / ASPECT).max(2),
        width,
        // Three matrices instead of two, of the same size together (Shazeer 2020).
        ff: (width * 8 / 3).next_multiple_of(32),
        heads,
        kv_heads,
        head_dim,
        vocab,
        ctx,
        rope_base: 10_000.0,
        rms_eps: 1e-5,
        tied: true,
    }
}

/// `3m`, `135M`, `1.5b` or a plain number of weights.
///
/// # Errors
/// What it should have been.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let fail = || format!("`{text}` is no size such as 3m, 30m or 135m");
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 1e3),
        Some((at, 'm')) => (&lower[..at], 1e6),
        Some((at, 'b')) => (&lower[..at], 1e9),
        _ => (lower.as_str(), 1.0),
    };
    let size = number.parse::<f64>().map_err(|_| fail())? * unit;
    if (1e4..=1e10).contains(&size) {
        Ok(size as u64)
    } else {
        Err(format!("{}, between 10k and 10b", fail()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_come_near_to_the_size_asked_for() {
        let llama = Arch::by_name("llama").unwrap();
        for size in [1_000_000, 3_000_000, 10_000_000, 30_000_000, 135_000_000, 1_000_000_000] {
            let recipe = Recipe::of(size);
            let b = recipe.blueprint("x", llama, recipe.vocab);
            b.check().unwrap();
            let ratio = b.parameters() as f64 / size as f64;
            assert!((0.75..1.35).contains(&ratio), "{size}: {} weights, {b:?}", b.parameters());
            assert_eq!(b.heads * b.head_dim, b.width);
        }
        assert_eq!(Recipe::of(3_000_000).blueprint("x", llama, 4096).width, 192);
    }

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("3m"), Ok(3_000_000));
        assert_eq!(parse_size(" 1.5B"), Ok(1_500_000_000));
        assert_eq!(parse_size("260k"), Ok(260_000));
        for bad in ["", "m", "-3m", "nan", "inf", "3x", "1", "11b"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_text_than_is_needed_changes_nothing() {
        let recipe = Recipe::of(3_000_000);
        let enough = recipe.steps(3_000_000, 60_000_000);
        assert_eq!(recipe.steps(3_000_000, u64::MAX), enough);
        assert!(recipe.steps(3_000_000, 1_000_000) < enough);
    }
}

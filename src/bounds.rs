//! Bounds of errors that tests allow, each with what it follows from. Compiled for tests alone: for the library's own,
//! and by path for those in `tests`. Those of single kernels are their ops' (`OpDef::tolerance`), those of the encoders
//! in `quant/bounds.rs`.
#![allow(dead_code, reason = "each test crate uses its own part")]

/// The most that one rounding to float32 changes, as a part of the result.
pub const ROUNDING: f64 = f32::EPSILON as f64 / 2.0;
/// The same in double precision.
pub const ROUNDING_64: f64 = f64::EPSILON / 2.0;
/// The same of half floats.
pub const HALF: f64 = 1.0 / 2048.0;
/// The step of the cache's 16-bit values, as a part of the largest of their block: 14 bits with a sign.
pub const BLOCK16: f64 = 1.0 / 8192.0;

/// What so many roundings of like size come to: they add up as a walk does, to their root in the mean; three times that
/// is not met.
pub const fn walk(roundings: u32) -> f64 {
    3.0 * roundings.isqrt() as f64 * ROUNDING
}

/// A number that is rounded some times on its way, or printed with all its digits and read again.
pub const ROUNDED: f64 = 16.0 * ROUNDING;

/// Sums of `terms` terms in the worst order: each rounding moves the sum by up to a rounding of the sum of sizes.
pub fn sum(terms: usize, sizes: f64) -> f64 {
    terms as f64 * ROUNDING * sizes
}

// Whole models.

/// Logits of the golden models in float32 (relative L2): behind each are some three thousand roundings, layers times
/// seven products times their hundred terms. The generator measures 0.5e-6 to 1.2e-6 between two orders of sums; an
/// epsilon or a rope base that is wrong by a hundredth moves them by 1.7e-4 or more.
pub const MODEL: f64 = walk(3_025);
/// Log-probabilities of the same: differences of a logit and a sum over the vocabulary, each of them off like that, and
/// twice as much where the other side is float32 too.
pub const LOG_PROBABILITY: f64 = 2.0 * MODEL;
/// The same models in double precision: the reference rotates in float32, so that an angle is off by its position's roundings.
pub const ANGLES: f64 = 32.0 * ROUNDING;

/// A model of `layers` layers and products of `terms` terms in the mean, both sides in float32.
pub const fn model(layers: u32, terms: u32) -> f64 {
    walk(2 * 7 * layers * terms)
}

/// What the 16-bit cache adds: keys and values of each layer are off by anything in a step, 1 / sqrt(12) of it in the
/// mean, as a walk. The step is a part of the power of two above the largest of four values, which is 2.2 times as large
/// as their root mean square: 1.5 for the largest of four, 1.44 for the power of two.
pub fn block16(layers: usize) -> f64 {
    3.0 * 2.2 * BLOCK16 * (2.0 * layers as f64 / 12.0).sqrt()
}

/// Log-probabilities relative to themselves, of two computations in float32: they are what is left of logits some five
/// times as large.
pub const SCORED: f64 = 5.0 * LOG_PROBABILITY;
/// Log-probabilities of tiny models, one side through the 16-bit cache and the other not: eight steps of the cache's values.
pub const CACHED: f64 = 8.0 * BLOCK16;
/// The same, of an answer of up to ten tokens.
pub const CACHED_ANSWER: f64 = 10.0 * CACHED;

/// Mean negative log-likelihood of a text of a thousand tokens: a perplexity to four digits. Of shorter ones, three: a
/// token's own error, which is larger, counts for more.
pub const NLL: f64 = 1e-4;
pub const NLL_SHORT: f64 = 1e-3;

/// What is promised of Gemma 3 (CHANGELOG): last logits as transformers', which rounds in float32 as well; ten times
/// that through the 16-bit cache and for a step's loss.
pub const GEMMA: f64 = 1e-4;
pub const GEMMA_BLOCK16: f64 = 10.0 * GEMMA;

// Explanations.

/// Attention and lengths of what layers add, as is promised of `ember explain` (CHANGELOG): the reference is float32 itself.
pub const EXPLAINED: f64 = 1e-4;
/// Shares of a whole (softmax): an exponential, whose argument of some tens is rounded, and a sum.
pub const SHARES: f64 = walk(3_025);
/// A share as the root of it in a byte, squared again: the largest step is from 254 to 255.
pub const BYTE_SHARE: f32 = 1.0 / 255.0;

// Training.

/// Losses and log-probabilities against double precision, through some layers: sums of ten thousand roundings.
pub const LOSS: f64 = walk(12_500);
/// Gradients against double precision: sums of terms of both signs, which leave a tenth of their size.
pub const GRADIENT: f64 = 10.0 * LOSS;
/// The same at temperatures below 1, which multiply logits before the exponential.
pub const GRADIENT_COLD: f64 = 2.4 * GRADIENT;
/// What a dozen steps change: sums of quotients of a gradient and its root mean square, which are no better than the elements
/// near zero, a tenth of the others.
pub const CHANGE: f64 = 10.0 * GRADIENT;

/// The bars of the reference run of the default model (PEFT and TRL on the dequantized weights in float32): loss of the
/// first step, of every step, which follow from each other's weights, cosine and error of gradients, cosine of what the
/// adapter becomes.
pub const FIRST_LOSS: f64 = 1e-3;
pub const EVERY_LOSS: f64 = 1e-2;
pub const GRADIENT_COSINE: f64 = 0.999;
pub const GRADIENT_ERROR: f64 = 2e-2;
pub const FINAL_COSINE: f64 = 0.99;

/// Slopes by central differences in double precision, of moves of `SLOPE_MOVE`: the third derivative leaves move^2 / 6 of sums
/// that are up to a thousand times as large.
pub const SLOPE_MOVE: f32 = 5e-4;
pub const SLOPE: f64 = 1e-4;
/// Along random directions through whole models, with scores and coefficients that cross as float32: a loss of about
/// one is known to a rounding, which a move of `DIRECTION_MOVE` divides.
pub const DIRECTION_MOVE: f64 = 4e-3;
pub const DIRECTION: f64 = 32.0 * ROUNDING / DIRECTION_MOVE;
/// Objectives alone: log-probabilities to 4 and moves of `OBJECTIVE_MOVE`, coefficients as float32.
pub const OBJECTIVE_MOVE: f32 = 1e-3;
pub const OBJECTIVE: f64 = 19.0 * (OBJECTIVE_MOVE as f64) * (OBJECTIVE_MOVE as f64);
/// The smallest slope that can be told: a double's rounding of a loss of some hundreds, divided by the move.
pub const OBJECTIVE_FLOOR: f64 = 9e5 * ROUNDING_64 / OBJECTIVE_MOVE as f64;
/// The same where values are doubles (moves of 1e-5).
pub const VALUE_MOVE: f64 = 1e-5;
pub const VALUE: f64 = 100.0 * VALUE_MOVE * VALUE_MOVE;

/// Objectives against torch in double precision: coefficients are float32, and are exponentials of float32's differences.
pub const TORCH: f64 = walk(3_025);
/// The table has ten digits.
pub const TABLE_DIGITS: f64 = 1e-9;
/// Sums of log-probabilities of about 50 as float32: half a unit is 2^-19.
pub const SUMS_OF_50: f64 = 1.0 / 524_288.0;

// Texts and files.

/// Arithmetic in double precision over a short list of numbers of about one.
pub const DOUBLES: f64 = 4096.0 * ROUNDING_64;
/// A number to a power of some ninety, by products in float32, sixteen roundings each.
pub const POWERS: f64 = 1_600.0 * ROUNDING;
/// Advantages of spread one: what divides them has 1e-8 added to it, which is squared.
pub const WHITENED: f64 = 4e-8;
/// A loss of a few nats, printed as float32's shortest text.
pub const PRINTED_LOSS: f64 = 160.0 * ROUNDING;

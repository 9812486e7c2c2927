//! Text and tokens.
mod sampler;

pub use sampler::{Choice, MAX_LAST_N, Sampler, SamplerError, SamplerParams, choose, from_key, order_key, uniform};

//! Objectives: pure functions from token scores to a loss and a coefficient per token. One file each.

mod sft;

pub use sft::Sft;

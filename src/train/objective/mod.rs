//! Objectives: pure functions from token scores to a loss and a coefficient per token. One file each.

mod anchor;
mod sft;

pub use anchor::Anchor;
pub use sft::Sft;

//! Objectives: pure functions from token scores to a loss and a coefficient per token. One file each.
//!
//! Log-probabilities come as f32, everything is computed in f64, and coefficients go out as f32. Definitions and defaults are
//! those of TRL, where not said otherwise. A score that is not a finite number, or lists that should be equally long and are
//! not, make the loss NaN, never a panic; an empty completion has no loss.

mod anchor;
mod dpo;
mod error;
mod grpo;
mod ipo;
mod kto;
mod math;
mod orpo;
mod pair;
mod ppo;
mod reward;
mod rloo;
mod sft;
mod simpo;
mod token;

pub use anchor::Anchor;
pub use dpo::Dpo;
pub use error::ObjectiveError;
pub use grpo::{Grpo, GrpoLoss, Window};
pub use ipo::Ipo;
pub use kto::Kto;
pub use orpo::Orpo;
pub use pair::{PairLoss, PairMetrics, PairObjective, Side};
pub use ppo::Ppo;
pub use reward::{RewardLoss, ScorePairLoss};
pub use rloo::Rloo;
pub use sft::Sft;
pub use simpo::SimPo;
pub use token::TokenLoss;

pub(super) use math::k3;

#[cfg(test)]
mod tests;

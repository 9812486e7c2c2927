//! Direct preference optimization (Rafailov et al. 2023): −log σ(β(D_w − D_l)), D the log-ratio of an answer's probability
//! under policy and reference.

use super::error::Check;
use super::pair::{PairMetrics, Side, Slopes};
use super::{ObjectiveError, math};

/// The objective of a pair.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Dpo {
    /// How much a departure from the reference counts.
    pub beta: f64,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

impl Dpo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: β must be finite and above 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("dpo").positive("beta", self.beta).map(|_| ())
    }

    pub(super) fn slopes(&self, chosen: Side, rejected: Side) -> Slopes {
        let metrics = PairMetrics {
            chosen_reward: self.beta * chosen.log_ratio(),
            rejected_reward: self.beta * rejected.log_ratio(),
        };
        let margin = metrics.margin();
        let slope = self.beta * math::sigmoid(-margin);
        Slopes { loss: -math::log_sigmoid(margin), chosen: -slope, rejected: slope, metrics }
    }
}

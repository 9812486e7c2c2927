//! Simple preference optimization (Meng et al. 2024): −log σ(β(m_w − m_l) − γ), m the mean log-probability of an answer's
//! tokens. No reference.

use super::error::Check;
use super::pair::{PairMetrics, Side, Slopes};
use super::{ObjectiveError, math};

/// The objective of a pair.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct SimPo {
    /// Scale of the reward.
    pub beta: f64,
    /// By how much the chosen answer's reward should be ahead.
    pub gamma: f64,
}

impl Default for SimPo {
    /// The paper's β of 2, at which TRL's γ of 0.5 makes sense.
    fn default() -> Self {
        Self { beta: 2.0, gamma: 0.5 }
    }
}

impl SimPo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: β must be finite and above 0, γ finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("simpo").positive("beta", self.beta)?.at_least_zero("gamma", self.gamma).map(|_| ())
    }

    pub(super) fn slopes(&self, chosen: Side, rejected: Side) -> Slopes {
        let metrics = PairMetrics {
            chosen_reward: self.beta * chosen.mean(),
            rejected_reward: self.beta * rejected.mean(),
        };
        let ahead = metrics.margin() - self.gamma;
        let slope = self.beta * math::sigmoid(-ahead);
        Slopes {
            loss: -math::log_sigmoid(ahead),
            chosen: -slope / chosen.tokens(),
            rejected: slope / rejected.tokens(),
            metrics,
        }
    }
}

//! Identity preference optimization (Azar et al. 2023): (d_w − d_l − 1/(2β))², d the mean over an answer's tokens of the
//! log-ratio to the reference. The mean, not the sum, as its authors confirmed to TRL.

use super::ObjectiveError;
use super::error::Check;
use super::pair::{PairMetrics, Side, Slopes};

/// The objective of a pair.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ipo {
    /// How much a departure from the reference counts (the paper's τ).
    pub beta: f64,
}

impl Default for Ipo {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

impl Ipo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: β must be finite and above 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("ipo").positive("beta", self.beta).map(|_| ())
    }

    pub(super) fn slopes(&self, chosen: Side, rejected: Side) -> Slopes {
        let (w, l) = (chosen.log_ratio(), rejected.log_ratio());
        let error = w / chosen.tokens() - l / rejected.tokens() - 1.0 / (2.0 * self.beta);
        Slopes {
            loss: error * error,
            chosen: 2.0 * error / chosen.tokens(),
            rejected: -2.0 * error / rejected.tokens(),
            // Sums, as in TRL, so that they compare with those of DPO.
            metrics: PairMetrics { chosen_reward: self.beta * w, rejected_reward: self.beta * l },
        }
    }
}

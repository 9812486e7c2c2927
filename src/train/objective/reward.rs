//! A reward model's objective (Bradley and Terry 1952; Ouyang et al. 2022): −log σ(r_w − r_l − margin) + c(r_w + r_l)². The
//! second term keeps scores around zero.

use super::error::Check;
use super::{ObjectiveError, math};

/// The objective of a pair of scores.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RewardLoss {
    /// Weight c of the square of the scores' sum; 0 for none.
    pub center: f64,
}

/// What a pair of scores comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScorePairLoss {
    /// The loss of this pair, not weighted.
    pub loss: f64,
    /// Derivative of the weighted loss with respect to the chosen answer's score.
    pub chosen: f64,
    /// And to the rejected one's.
    pub rejected: f64,
}

impl Default for RewardLoss {
    /// The weight that TRL recommends; its own default is not to centre.
    fn default() -> Self {
        Self { center: 0.01 }
    }
}

impl RewardLoss {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: the weight must be finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("reward").at_least_zero("center", self.center).map(|_| ())
    }

    /// Loss and coefficients of a pair; `margin` is by how much the chosen answer should be ahead, `weight` 1 / pairs of the
    /// window.
    pub fn pair(&self, chosen: f64, rejected: f64, margin: f64, weight: f64) -> ScorePairLoss {
        let (ahead, sum) = (chosen - rejected - margin, chosen + rejected);
        if !ahead.is_finite() || !sum.is_finite() {
            return ScorePairLoss { loss: f64::NAN, chosen: 0.0, rejected: 0.0 };
        }
        let (slope, centering) = (math::sigmoid(-ahead), 2.0 * self.center * sum);
        ScorePairLoss {
            loss: -math::log_sigmoid(ahead) + self.center * sum * sum,
            chosen: (centering - slope) * weight,
            rejected: (centering + slope) * weight,
        }
    }
}

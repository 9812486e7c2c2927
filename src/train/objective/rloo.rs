//! REINFORCE leave-one-out (Ahmadian et al. 2024). Several answers to a prompt are rewarded, less a penalty for departing from
//! the reference; an answer's advantage is its reward against the mean of the others'. Per sequence:
//! −min(ρA, clip(ρ, 1 − ε, 1 + ε_high)A), ρ the ratio of the whole answer's probability to that when it was sampled.

use super::error::Check;
use super::token::{sound, surrogate};
use super::{ObjectiveError, TokenLoss, math};

/// The objective of a group's answers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rloo {
    /// How far the ratio may go below 1.
    pub epsilon: f64,
    /// And above.
    pub epsilon_high: f64,
    /// What a nat of departure from the reference costs; 0: there is no need of a reference.
    pub beta: f64,
}

impl Default for Rloo {
    fn default() -> Self {
        Self { epsilon: 0.2, epsilon_high: 0.2, beta: 0.05 }
    }
}

impl Rloo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: ε must be above 0 and below 1, ε_high finite and above 0, β finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("rloo")
            .below_one("epsilon", self.epsilon)?
            .positive("epsilon_high", self.epsilon_high)?
            .at_least_zero("beta", self.beta)
            .map(|_| ())
    }

    /// Whether it compares with the reference.
    pub fn needs_reference(&self) -> bool {
        self.beta != 0.0
    }

    /// A reward less the penalty β·Σ(l_old − l_ref); `reference` is not looked at if β is 0. NaN where a score is missing or not
    /// finite.
    pub fn penalized(&self, reward: f64, old: &[f32], reference: &[f32]) -> f64 {
        if !self.needs_reference() {
            return reward;
        }
        if old.len() != reference.len() {
            return f64::NAN;
        }
        reward - self.beta * (math::sum(old) - math::sum(reference))
    }

    /// Advantages of one group's answers from their penalized rewards. If all are equal there is nothing to learn: zeros.
    pub fn advantages(&self, penalized: &[f64]) -> Vec<f64> {
        if math::all_equal(penalized) {
            return vec![0.0; penalized.len()];
        }
        let (sum, siblings) =
            (penalized.iter().sum::<f64>(), penalized.len().saturating_sub(1).max(1) as f64);
        penalized.iter().map(|r| r - (sum - r) / siblings).collect()
    }

    /// Loss and coefficients of one answer. `now` are the log-probabilities of its tokens, `old` those when it was sampled,
    /// `weight` is 1 / answers of the window. Where the ratio is clipped, `clipped` counts all tokens.
    pub fn sequence(&self, now: &[f32], old: &[f32], advantage: f64, weight: f64) -> TokenLoss {
        if now.is_empty() && old.is_empty() {
            return TokenLoss::nothing(0);
        }
        if !sound(&[now, old]) || !advantage.is_finite() {
            return TokenLoss::undefined(now.len());
        }
        let log_ratio = math::sum(now) - math::sum(old);
        let policy = surrogate(log_ratio, advantage, 1.0 - self.epsilon, 1.0 + self.epsilon_high);
        let square = |(l, old): (&f32, &f32)| 0.5 * (f64::from(*l) - f64::from(*old)).powi(2);
        TokenLoss {
            loss: policy.loss * weight,
            coefs: math::fill(policy.slope * weight, now.len()),
            clipped: if policy.clipped { now.len() } else { 0 },
            kl: now.iter().zip(old).map(square).sum(),
            ..TokenLoss::default()
        }
    }
}

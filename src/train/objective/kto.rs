//! Kahneman-Tversky optimization (Ethayarajh et al. 2024), for answers that were liked or not, one by one:
//! λ_d(1 − σ(β(D − z))) where liked, λ_u(1 − σ(β(z − D))) where not. D is the log-ratio of the answer's probability under
//! policy and reference, z an estimate of the divergence of the two, from prompts with answers that are not theirs.

use super::error::Check;
use super::pair::Side;
use super::{ObjectiveError, TokenLoss, math};

/// The objective of a rated answer.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Kto {
    /// How much a departure from the reference counts.
    pub beta: f64,
    /// Weight of the answers that were liked.
    pub desirable_weight: f64,
    /// Weight of the others.
    pub undesirable_weight: f64,
}

impl Default for Kto {
    fn default() -> Self {
        Self { beta: 0.1, desirable_weight: 1.0, undesirable_weight: 1.0 }
    }
}

impl Kto {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: β must be finite and above 0, the weights finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("kto")
            .positive("beta", self.beta)?
            .at_least_zero("desirable_weight", self.desirable_weight)?
            .at_least_zero("undesirable_weight", self.undesirable_weight)
            .map(|_| ())
    }

    /// The log-ratio of an answer, of which [`Self::kl`] takes those of mismatched pairs.
    pub fn log_ratio(side: Side) -> f64 {
        side.log_ratio()
    }

    /// z of a window: the mean log-ratio of its mismatched pairs (each prompt with the answer of another), at least 0; 0 of
    /// none. No gradient goes through it.
    pub fn kl(mismatched: &[f64]) -> f64 {
        let mean = mismatched.iter().sum::<f64>() / mismatched.len().max(1) as f64;
        // Not `max`, which would turn NaN into a number.
        if mean < 0.0 { 0.0 } else { mean }
    }

    /// Loss and coefficients of one answer; `weight` is 1 / answers of the window.
    pub fn example(&self, side: Side, desirable: bool, kl: f64, weight: f64) -> TokenLoss {
        let tokens = side.policy.len();
        if tokens == 0 {
            return TokenLoss::nothing(0);
        }
        let log_ratio = side.log_ratio();
        if !log_ratio.is_finite() || !kl.is_finite() {
            return TokenLoss::undefined(tokens);
        }
        let (sign, lambda) =
            if desirable { (1.0, self.desirable_weight) } else { (-1.0, self.undesirable_weight) };
        // 1 − σ(x) = σ(−x), with derivative −σ(x)σ(−x).
        let x = sign * self.beta * (log_ratio - kl);
        let (value, slope) = (math::sigmoid(-x), -sign * self.beta * math::sigmoid(x) * math::sigmoid(-x));
        TokenLoss {
            loss: lambda * value * weight,
            coefs: math::fill(lambda * slope * weight, tokens),
            reward: self.beta * log_ratio,
            ..TokenLoss::default()
        }
    }
}

//! Group relative policy optimization (Shao et al. 2024). Several answers to a prompt are rewarded; an answer's advantage is
//! its reward against the group's mean. Per token: −min(ρA, clip(ρ, 1 − ε, 1 + ε_high)A) + β(e^d − d − 1), ρ the ratio of the
//! token's probability to that when it was sampled, d the log-ratio of reference to policy.

use super::error::Check;
use super::token::{sound, surrogate};
use super::{ObjectiveError, TokenLoss, math};

/// Added to a group's standard deviation.
const STD_EPSILON: f64 = 1e-4;

/// What the loss of a window's tokens is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrpoLoss {
    /// The length of each sequence, then the sequences (the paper's).
    #[default]
    Grpo,
    /// All tokens of the window (Yu et al. 2025).
    Dapo,
    /// Sequences times the greatest length (Liu et al. 2025).
    DrGrpo,
}

/// The window that a sequence is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its sequences.
    pub sequences: usize,
    /// Completion tokens of all of them.
    pub tokens: usize,
    /// The most tokens that a completion may have.
    pub max_len: usize,
}

/// The objective of a group's answers.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Grpo {
    /// How far the ratio may go below 1.
    pub epsilon: f64,
    /// And above.
    pub epsilon_high: f64,
    /// Weight of the divergence from the reference; 0: there is no need of one.
    pub beta: f64,
    /// What is averaged over.
    pub loss: GrpoLoss,
    /// Whether advantages are divided by the group's standard deviation.
    pub scale_std: bool,
}

impl Default for Grpo {
    fn default() -> Self {
        Self::of(GrpoLoss::default())
    }
}

impl Grpo {
    /// With the defaults of a kind: DAPO has a higher upper bound (0.28), Dr. GRPO no standard deviation.
    pub fn of(loss: GrpoLoss) -> Self {
        let epsilon_high = if loss == GrpoLoss::Dapo { 0.28 } else { 0.2 };
        Self { epsilon: 0.2, epsilon_high, beta: 0.0, loss, scale_std: loss != GrpoLoss::DrGrpo }
    }

    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: ε must be above 0 and below 1, ε_high finite and above 0, β finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("grpo")
            .below_one("epsilon", self.epsilon)?
            .positive("epsilon_high", self.epsilon_high)?
            .at_least_zero("beta", self.beta)
            .map(|_| ())
    }

    /// Whether it compares with the reference.
    pub fn needs_reference(&self) -> bool {
        self.beta != 0.0
    }

    /// Advantages of one group's answers from their rewards. If all are equal there is nothing to learn: zeros.
    pub fn advantages(&self, rewards: &[f64]) -> Vec<f64> {
        if math::all_equal(rewards) {
            return vec![0.0; rewards.len()];
        }
        let (mean, std) = math::mean_and_std(rewards.iter().copied());
        let scale = if self.scale_std { std + STD_EPSILON } else { 1.0 };
        rewards.iter().map(|r| (r - mean) / scale).collect()
    }

    /// The weight of each token of a sequence of so many in its window.
    pub fn norm(&self, tokens: usize, window: Window) -> f64 {
        let sequences = window.sequences.max(1) as f64;
        1.0 / match self.loss {
            GrpoLoss::Grpo => sequences * tokens.max(1) as f64,
            GrpoLoss::Dapo => window.tokens.max(1) as f64,
            GrpoLoss::DrGrpo => sequences * window.max_len.max(1) as f64,
        }
    }

    /// Loss and coefficients of one answer. `now` are the log-probabilities of its tokens, `old` those when it was sampled,
    /// `reference` those of the reference (not looked at if β is 0), `norm` is each token's weight ([`Self::norm`]).
    pub fn sequence(
        &self,
        now: &[f32],
        old: &[f32],
        reference: &[f32],
        advantage: f64,
        norm: f64,
    ) -> TokenLoss {
        let reference = if self.needs_reference() { reference } else { now };
        if !sound(&[now, old, reference]) || !advantage.is_finite() {
            return TokenLoss::undefined(now.len());
        }
        let mut out = TokenLoss { coefs: Vec::with_capacity(now.len()), ..TokenLoss::default() };
        for ((&l, &old), &reference) in now.iter().zip(old).zip(reference) {
            let (l, old, reference) = (f64::from(l), f64::from(old), f64::from(reference));
            let policy = surrogate(l - old, advantage, 1.0 - self.epsilon, 1.0 + self.epsilon_high);
            let d = reference - l;
            let kl = math::k3(d);
            out.loss += (policy.loss + self.beta * kl) * norm;
            out.coefs.push(((policy.slope - self.beta * d.exp_m1()) * norm) as f32);
            out.clipped += usize::from(policy.clipped);
            out.kl += kl;
        }
        out
    }
}

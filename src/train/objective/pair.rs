//! Objectives of pairs: an answer that was chosen over another.

use super::{Dpo, Ipo, ObjectiveError, Orpo, SimPo, math};

/// Log-probabilities of the tokens of one answer.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// Under the policy.
    pub policy: &'a [f32],
    /// Under the reference; empty for objectives without one.
    pub reference: &'a [f32],
}

impl Side<'_> {
    /// Log of the ratio of the answer's probabilities under policy and reference; NaN if a score is missing or not finite.
    pub(super) fn log_ratio(&self) -> f64 {
        if self.policy.len() == self.reference.len() {
            math::sum(self.policy) - math::sum(self.reference)
        } else {
            f64::NAN
        }
    }

    /// Mean log-probability under the policy.
    pub(super) fn mean(&self) -> f64 {
        math::sum(self.policy) / self.tokens()
    }

    pub(super) fn tokens(&self) -> f64 {
        self.policy.len().max(1) as f64
    }
}

/// What a pair comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct PairLoss {
    /// The loss of this pair, not weighted.
    pub loss: f64,
    /// Derivatives of the weighted loss with respect to the policy's log-probabilities of the chosen answer.
    pub chosen: Vec<f32>,
    /// And of the rejected one.
    pub rejected: Vec<f32>,
    /// What the policy makes of the pair.
    pub metrics: PairMetrics,
}

/// The rewards that a policy implies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairMetrics {
    /// Of the chosen answer.
    pub chosen_reward: f64,
    /// Of the rejected one.
    pub rejected_reward: f64,
}

impl PairMetrics {
    /// By how much the chosen answer is ahead.
    pub fn margin(&self) -> f64 {
        self.chosen_reward - self.rejected_reward
    }

    /// Whether it is.
    pub fn correct(&self) -> bool {
        self.chosen_reward > self.rejected_reward
    }
}

/// Loss of one pair, and its derivative per token of each answer: it is the same for all tokens of one.
pub(super) struct Slopes {
    pub(super) loss: f64,
    pub(super) chosen: f64,
    pub(super) rejected: f64,
    pub(super) metrics: PairMetrics,
}

/// An objective of pairs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PairObjective {
    /// Direct preference optimization.
    Dpo(Dpo),
    /// Identity preference optimization.
    Ipo(Ipo),
    /// Odds ratio preference optimization.
    Orpo(Orpo),
    /// Simple preference optimization.
    SimPo(SimPo),
}

impl PairObjective {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dpo(_) => "dpo",
            Self::Ipo(_) => "ipo",
            Self::Orpo(_) => "orpo",
            Self::SimPo(_) => "simpo",
        }
    }

    /// Whether it compares with the reference.
    pub fn needs_reference(&self) -> bool {
        matches!(self, Self::Dpo(_) | Self::Ipo(_))
    }

    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: the first of them.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        match self {
            Self::Dpo(objective) => objective.check(),
            Self::Ipo(objective) => objective.check(),
            Self::Orpo(objective) => objective.check(),
            Self::SimPo(objective) => objective.check(),
        }
    }

    /// Loss and coefficients of a pair; `weight` is 1 / pairs of the window. A pair with an empty answer has no loss.
    pub fn pair(&self, chosen: Side, rejected: Side, weight: f64) -> PairLoss {
        let tokens = (chosen.policy.len(), rejected.policy.len());
        if tokens.0 == 0 || tokens.1 == 0 {
            let (chosen, rejected) = (vec![0.0; tokens.0], vec![0.0; tokens.1]);
            return PairLoss { loss: 0.0, chosen, rejected, metrics: PairMetrics::default() };
        }
        let slopes = match self {
            Self::Dpo(objective) => objective.slopes(chosen, rejected),
            Self::Ipo(objective) => objective.slopes(chosen, rejected),
            Self::Orpo(objective) => objective.slopes(chosen, rejected),
            Self::SimPo(objective) => objective.slopes(chosen, rejected),
        };
        PairLoss {
            loss: slopes.loss,
            chosen: math::fill(slopes.chosen * weight, tokens.0),
            rejected: math::fill(slopes.rejected * weight, tokens.1),
            metrics: slopes.metrics,
        }
    }
}

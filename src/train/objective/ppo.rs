//! Proximal policy optimization (Schulman et al. 2017), as for language models (Ziegler et al. 2019; Ouyang et al. 2022). Every
//! token costs the divergence from the reference, the last one earns the answer's score; advantages come from a value per token
//! (generalized advantage estimation, Schulman et al. 2016).
//!
//! The score is earned at the answer's last token. TRL puts it one further, on the first token of padding, where there is one.

use super::error::Check;
use super::token::{sound, surrogate};
use super::{ObjectiveError, TokenLoss, math};

/// Added to the variance when whitening.
const VARIANCE_EPSILON: f64 = 1e-8;

/// The objective of an answer's policy and values.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Ppo {
    /// How far the ratio of probabilities may go from 1.
    pub clip: f64,
    /// What a nat of departure from the reference costs.
    pub kl: f64,
    /// Weight of the value loss.
    pub vf_coef: f64,
    /// How far a value may go from what it was.
    pub value_clip: f64,
    /// Discount per token.
    pub gamma: f64,
    /// λ of the advantages: 0 trusts the values, 1 the rewards.
    pub lambda: f64,
    /// Whether advantages are whitened.
    pub whiten: bool,
}

impl Default for Ppo {
    fn default() -> Self {
        Self { clip: 0.2, kl: 0.05, vf_coef: 0.1, value_clip: 0.2, gamma: 1.0, lambda: 0.95, whiten: true }
    }
}

impl Ppo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: the clip range of ratios must be above 0 and below 1, that of values finite and above 0, the weights
    /// finite and at least 0, γ and λ from 0 to 1.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("ppo")
            .below_one("clip", self.clip)?
            .at_least_zero("kl", self.kl)?
            .at_least_zero("vf_coef", self.vf_coef)?
            .positive("value_clip", self.value_clip)?
            .fraction("gamma", self.gamma)?
            .fraction("lambda", self.lambda)
            .map(|_| ())
    }

    /// Whether it compares with the reference.
    pub fn needs_reference(&self) -> bool {
        self.kl != 0.0
    }

    /// The reward of each token: −kl·(l_old − l_ref), and the score at the last. `reference` is not looked at if kl is 0. NaN
    /// where a score is missing.
    pub fn rewards(&self, old: &[f32], reference: &[f32], score: f64) -> Vec<f64> {
        let mut rewards: Vec<f64> = if !self.needs_reference() {
            vec![0.0; old.len()]
        } else if old.len() == reference.len() {
            let cost = |(l, r): (&f32, &f32)| -self.kl * (f64::from(*l) - f64::from(*r));
            old.iter().zip(reference).map(cost).collect()
        } else {
            vec![f64::NAN; old.len()]
        };
        if let Some(last) = rewards.last_mut() {
            *last += score;
        }
        rewards
    }

    /// Advantages and returns of one answer from each token's reward and value when it was sampled. Both are as long as `rewards`;
    /// values that are missing are NaN.
    pub fn gae(&self, rewards: &[f64], values: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let value = |t: usize| values.get(t).map_or(f64::NAN, |v| f64::from(*v));
        let (mut advantages, mut returns) = (vec![0.0; rewards.len()], vec![0.0; rewards.len()]);
        let (mut next_value, mut advantage) = (0.0, 0.0);
        let places = rewards.iter().zip(&mut advantages).zip(&mut returns).enumerate().rev();
        for (t, ((reward, out), back)) in places {
            let delta = reward + self.gamma * next_value - value(t);
            advantage = delta + self.gamma * self.lambda * advantage;
            next_value = value(t);
            (*out, *back) = (advantage, advantage + next_value);
        }
        (advantages, returns)
    }

    /// Gives the advantages of all answers together mean 0 and variance 1, if the settings say so.
    pub fn whiten(&self, advantages: &mut [Vec<f64>]) {
        if !self.whiten {
            return;
        }
        let (mean, std) = math::mean_and_std(advantages.iter().flatten().copied());
        let scale = 1.0 / (std * std + VARIANCE_EPSILON).sqrt();
        advantages.iter_mut().flatten().for_each(|a| *a = (*a - mean) * scale);
    }

    /// Loss and coefficients of one answer's tokens: max(−ρA, −clip(ρ, 1 ± clip)A). `now` are their log-probabilities, `old` those
    /// when they were sampled, `norm` is 1 / tokens of the window.
    pub fn policy(&self, now: &[f32], old: &[f32], advantages: &[f64], norm: f64) -> TokenLoss {
        let finite = advantages.len() == now.len() && advantages.iter().all(|a| a.is_finite());
        if !sound(&[now, old]) || !finite {
            return TokenLoss::undefined(now.len());
        }
        let mut out = TokenLoss { coefs: Vec::with_capacity(now.len()), ..TokenLoss::default() };
        for ((&l, &old), &advantage) in now.iter().zip(old).zip(advantages) {
            let log_ratio = f64::from(l) - f64::from(old);
            let policy = surrogate(log_ratio, advantage, 1.0 - self.clip, 1.0 + self.clip);
            out.loss += policy.loss * norm;
            out.coefs.push((policy.slope * norm) as f32);
            out.clipped += usize::from(policy.clipped);
            out.kl += 0.5 * log_ratio * log_ratio;
        }
        out
    }

    /// Loss and coefficients (with respect to the values) of one answer's values: vf_coef·½·max((v − R)², (v_c − R)²), where v_c
    /// is v kept within value_clip of what it was. `norm` is 1 / tokens of the window.
    pub fn value(&self, now: &[f32], old: &[f32], returns: &[f64], norm: f64) -> TokenLoss {
        let finite = returns.len() == now.len() && returns.iter().all(|r| r.is_finite());
        if !sound(&[now, old]) || !finite {
            return TokenLoss::undefined(now.len());
        }
        let mut out = TokenLoss { coefs: Vec::with_capacity(now.len()), ..TokenLoss::default() };
        for ((&v, &old), &aim) in now.iter().zip(old).zip(returns) {
            let (v, old) = (f64::from(v), f64::from(old));
            let free = v - aim;
            let bounded = v.max(old - self.value_clip).min(old + self.value_clip) - aim;
            let clipped = bounded * bounded > free * free;
            let (error, slope) = if clipped { (bounded, 0.0) } else { (free, free) };
            out.loss += self.vf_coef * 0.5 * error * error * norm;
            out.coefs.push((self.vf_coef * slope * norm) as f32);
            out.clipped += usize::from(clipped);
        }
        out
    }
}

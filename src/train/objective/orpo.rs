//! Odds ratio preference optimization (Hong et al. 2024): −m_w − β·log σ(o_w − o_l), m the mean log-probability of an answer's
//! tokens, o = m − log(1 − exp m) the logarithm of its odds. No reference. The first term is over the answer's tokens; TRL's is
//! over the prompt's too.

use super::error::Check;
use super::pair::{PairMetrics, Side, Slopes};
use super::{ObjectiveError, math};

/// A mean log-probability of an f32 softmax is known no better than this; odds of exactly 1 would be infinite.
const LEAST: f64 = -(f32::EPSILON as f64);

/// The objective of a pair.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Orpo {
    /// Weight of the odds ratio (the paper's λ).
    pub beta: f64,
}

impl Default for Orpo {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

/// Logarithm of the odds of exp(m), and its derivative 1 / (1 − exp m).
fn odds(m: f64) -> (f64, f64) {
    // Not `min`, which would turn NaN into a number.
    let m = if m > LEAST { LEAST } else { m };
    (m - math::log1mexp(m), -1.0 / m.exp_m1())
}

impl Orpo {
    /// Refuses parameters with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`]: β must be finite and at least 0.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        Check("orpo").at_least_zero("beta", self.beta).map(|_| ())
    }

    pub(super) fn slopes(&self, chosen: Side, rejected: Side) -> Slopes {
        let (w, l) = (chosen.mean(), rejected.mean());
        let ((odds_w, slope_w), (odds_l, slope_l)) = (odds(w), odds(l));
        let ahead = odds_w - odds_l;
        let slope = self.beta * math::sigmoid(-ahead);
        Slopes {
            loss: -w - self.beta * math::log_sigmoid(ahead),
            chosen: (-1.0 - slope * slope_w) / chosen.tokens(),
            rejected: slope * slope_l / rejected.tokens(),
            metrics: PairMetrics { chosen_reward: self.beta * w, rejected_reward: self.beta * l },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certain_answers_stay_finite() {
        let side = |policy| Side { policy, reference: &[] };
        for (w, l) in [(&[0.0f32, 0.0][..], &[-1.0f32][..]), (&[-1.0], &[0.0, 0.0]), (&[0.0], &[0.0])] {
            let slopes = Orpo::default().slopes(side(w), side(l));
            let all = [slopes.loss, slopes.chosen, slopes.rejected];
            assert!(all.iter().all(|v| v.is_finite()), "{w:?} {l:?}: {all:?}");
        }
    }
}

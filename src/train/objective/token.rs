//! What objectives of single sequences come to, and the clipped ratio that the policy gradients share.

/// Loss and coefficients of one sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// The sequence's part of the window's loss: the parts add up to it.
    pub loss: f64,
    /// Derivative of that with respect to each token's log-probability (of a value loss: to each value).
    pub coefs: Vec<f32>,
    /// Tokens at which clipping took the gradient.
    pub clipped: usize,
    /// Sum over the tokens of an estimate of the divergence: from the reference for [`Grpo`](super::Grpo) (k3), else from the
    /// policy that wrote the text (half the squared difference). 0 where an objective has none.
    pub kl: f64,
    /// The reward that the policy implies: of [`Kto`](super::Kto), else 0.
    pub reward: f64,
}

impl TokenLoss {
    /// No tokens, no loss.
    pub(super) fn nothing(tokens: usize) -> Self {
        Self { coefs: vec![0.0; tokens], ..Self::default() }
    }

    /// What the scores do not allow to be computed.
    pub(super) fn undefined(tokens: usize) -> Self {
        Self { loss: f64::NAN, ..Self::nothing(tokens) }
    }
}

/// Whether the lists are as long as the first one, and finite throughout.
pub(super) fn sound(lists: &[&[f32]]) -> bool {
    let len = lists.first().map_or(0, |first| first.len());
    lists.iter().all(|list| list.len() == len && list.iter().all(|v| v.is_finite()))
}

/// −min(ρA, clip(ρ, low, high)·A) for a ratio ρ of probabilities.
pub(super) struct Surrogate {
    pub(super) loss: f64,
    /// Derivative with respect to log ρ.
    pub(super) slope: f64,
    /// The clipped term is the smaller one.
    pub(super) clipped: bool,
}

/// For the logarithm of a ratio, an advantage, and bounds of the ratio.
pub(super) fn surrogate(log_ratio: f64, advantage: f64, low: f64, high: f64) -> Surrogate {
    let ratio = log_ratio.exp();
    // Not `clamp`, which panics if the bounds are not in order.
    let (free, bounded) = (ratio * advantage, ratio.max(low).min(high) * advantage);
    if bounded < free {
        Surrogate { loss: -bounded, slope: 0.0, clipped: true }
    } else {
        Surrogate { loss: -free, slope: -free, clipped: false }
    }
}

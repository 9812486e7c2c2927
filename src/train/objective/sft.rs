//! Supervised fine-tuning: the mean negative log-probability of the targets of a whole accumulation window, not the mean of
//! its parts' means.

/// The objective of one window.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sft {
    /// Targets of the window.
    pub targets: usize,
}

impl Sft {
    /// Derivative of the loss with respect to each target's log-probability.
    pub fn coefficient(&self) -> f32 {
        -1.0 / self.targets.max(1) as f32
    }

    /// A part's contribution to the loss.
    pub fn loss(&self, log_probs: &[f32]) -> f64 {
        let sum: f64 = log_probs.iter().map(|l| f64::from(*l)).sum();
        -sum / self.targets.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn the_coefficient_is_the_derivative() {
        let window = Sft { targets: 5 };
        let at = [-0.5f32, -2.0, -0.25, -3.0, -1.5];
        for i in 0..at.len() {
            let moved = |by: f32| {
                let mut l = at;
                l[i] += by;
                window.loss(&l[..2]) + window.loss(&l[2..])
            };
            let slope = (moved(0.5) - moved(-0.5)) / 1.0;
            assert!((slope - f64::from(window.coefficient())).abs() < bounds::ROUNDING, "{slope}");
        }
    }
}

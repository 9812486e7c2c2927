//! Keeping what a model knew: half the mean squared difference between a text's log-probabilities and those that the model
//! gave it before training. Unlike training on such texts, it has no gradient where nothing has changed.

/// The objective of one text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Anchor {
    /// Factor of the loss.
    pub weight: f32,
}

impl Anchor {
    /// Derivatives of the loss with respect to each log-probability.
    pub fn coefficients(&self, log_probs: &[f32], reference: &[f32]) -> Vec<f32> {
        let factor = self.weight / log_probs.len().max(1) as f32;
        log_probs.iter().zip(reference).map(|(l, r)| factor * (l - r)).collect()
    }

    /// The loss.
    pub fn loss(&self, log_probs: &[f32], reference: &[f32]) -> f64 {
        let square = |(l, r): (&f32, &f32)| (f64::from(*l) - f64::from(*r)).powi(2);
        let sum: f64 = log_probs.iter().zip(reference).map(square).sum();
        0.5 * f64::from(self.weight) * sum / log_probs.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn coefficients_are_the_derivatives() {
        let anchor = Anchor { weight: 0.7 };
        let (at, reference) = ([-0.5f32, -2.0, -0.25, -3.0], [-0.75f32, -1.0, -0.25, -3.5]);
        let coefs = anchor.coefficients(&at, &reference);
        for i in 0..at.len() {
            let moved = |by: f32| {
                let mut l = at;
                l[i] += by;
                anchor.loss(&l, &reference)
            };
            let slope = (moved(0.25) - moved(-0.25)) / 0.5;
            assert!((slope - f64::from(coefs[i])).abs() < bounds::ROUNDED, "{slope} {}", coefs[i]);
        }
        assert_eq!(coefs[2], 0.0, "what has not changed is left alone");
    }
}

//! Learning rate over the steps.

/// Part of the steps over which [`Schedule::Wsd`] falls.
const DECAY: f64 = 0.2;

/// Shape of the learning rate after the warm-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// The same to the end.
    Constant,
    /// Falls to zero in a straight line.
    #[default]
    Linear,
    /// Falls to zero in half a cosine wave (Loshchilov & Hutter 2017).
    Cosine,
    /// Stays, and falls to zero in a straight line over the last fifth (warm-up, stable, decay: Hu et al. 2024).
    Wsd,
}

impl Schedule {
    /// Factor of the learning rate of step `step` (from 0) of `total`, the first `warmup` of which rise from near zero.
    pub fn factor(self, step: u64, total: u64, warmup: u64) -> f64 {
        if step < warmup {
            return (step + 1) as f64 / warmup as f64;
        }
        let span = total.saturating_sub(warmup).max(1);
        let done = ((step - warmup) as f64 / span as f64).min(1.0);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - done,
            Schedule::Wsd => ((1.0 - done) / DECAY).min(1.0),
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn rises_then_falls() {
        for schedule in [Schedule::Linear, Schedule::Cosine] {
            let all: Vec<f64> = (0..100).map(|s| schedule.factor(s, 100, 10)).collect();
            assert!((all[0] - 0.1).abs() < bounds::DOUBLES && (all[9] - 1.0).abs() < bounds::DOUBLES);
            assert!(all[10..].windows(2).all(|w| w[1] < w[0]), "{schedule:?}");
            assert!(all[99] > 0.0 && all[99] < 0.02, "the last step still moves: {}", all[99]);
        }
        assert_eq!(Schedule::Wsd.factor(89, 110, 10), 1.0, "it stays for four fifths");
        assert!((Schedule::Wsd.factor(100, 110, 10) - 0.5).abs() < bounds::DOUBLES);
        assert_eq!(Schedule::Constant.factor(50, 100, 10), 1.0);
        assert_eq!(Schedule::Linear.factor(0, 1, 0), 1.0, "a single step trains");
        assert_eq!(Schedule::Linear.factor(500, 100, 0), 0.0);
    }
}

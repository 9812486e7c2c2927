//! Sizes submissions by measured time: integrated GPUs have watchdogs, and a desktop wants its GPU back in between.

use std::time::Duration;

/// First guess of a device's speed, in multiply-adds a second: low, so that the first steps are cut finely.
const FIRST_GUESS: f64 = 20e9;
/// Weight of a new measurement.
const MIX: f64 = 0.25;

/// How much work goes into one submission.
#[derive(Clone, Debug)]
pub struct Governor {
    target: f64,
    seconds_per_unit: f64,
}

impl Governor {
    /// Aims at submissions of `target_ms` milliseconds.
    pub fn new(target_ms: u32) -> Self {
        Self { target: f64::from(target_ms.max(1)) / 1e3, seconds_per_unit: 1.0 / FIRST_GUESS }
    }

    /// Work of one submission, in multiply-adds.
    pub fn budget(&self) -> f64 {
        self.target / self.seconds_per_unit
    }

    /// Takes a measurement: so much work took so long.
    pub fn observe(&mut self, work: f64, took: Duration) {
        if work > 0.0 {
            let measured = (took.as_secs_f64() / work).clamp(1e-16, 1e-3);
            self.seconds_per_unit += MIX * (measured - self.seconds_per_unit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_device() {
        let mut governor = Governor::new(30);
        let first = governor.budget();
        for _ in 0..50 {
            governor.observe(1e9, Duration::from_millis(1000));
        }
        assert!((governor.budget() / 30e6 - 1.0).abs() < 0.01, "{}", governor.budget());
        assert!(governor.budget() < first);
        for _ in 0..200 {
            governor.observe(1e9, Duration::from_micros(100));
        }
        assert!(governor.budget() > first);
    }

    #[test]
    fn an_empty_step_teaches_nothing() {
        let mut governor = Governor::new(30);
        let before = governor.budget();
        governor.observe(0.0, Duration::from_secs(5));
        assert_eq!(governor.budget(), before);
    }
}

//! Sizes submissions by measured time: integrated GPUs have watchdogs, and a desktop wants its GPU back in between.

use std::time::Duration;

use crate::exec::ExecError;

/// First guess of a device's speed, in multiply-adds a second: less than any GPU does, so that no watchdog bites before a step
/// has been measured, and the first step is only cut too finely.
const FIRST_GUESS: f64 = 1e9;
/// Weight of a new measurement.
const MIX: f64 = 0.25;
/// Milliseconds of one submission after which a driver may take its device away: the shortest known, of the Raspberry Pi's.
const WATCHDOG: u32 = 500;
/// A step is waited for as many times longer than it is expected to take, and this long in any case.
const PATIENCE: (f64, Duration) = (20.0, Duration::from_secs(60));
/// No wait is longer.
const MOST_PATIENCE: f64 = 3600.0;

/// How much work goes into one submission.
#[derive(Clone, Debug)]
pub struct Governor {
    target: f64,
    /// Seconds that no submission may take, where the device has a watchdog.
    watchdog: Option<f64>,
    seconds_per_unit: f64,
    measured: bool,
}

impl Governor {
    /// Aims at submissions of `target_ms` milliseconds; `watched`: the device has a watchdog. Who aims at longer ones than a
    /// watchdog bears knows that there is none.
    pub fn new(target_ms: u32, watched: bool) -> Self {
        let seconds = |ms: u32| f64::from(ms) / 1e3;
        Self {
            target: seconds(target_ms.max(1)),
            watchdog: watched.then_some(seconds(WATCHDOG.max(target_ms))),
            seconds_per_unit: 1.0 / FIRST_GUESS,
            measured: false,
        }
    }

    /// Work of one submission, in multiply-adds.
    pub fn budget(&self) -> f64 {
        self.target / self.seconds_per_unit
    }

    /// Whether the device bears a call, which is a submission of its own at least, of so much work. Before anything was
    /// measured it is taken to.
    ///
    /// # Errors
    /// [`ExecError::Watchdog`].
    pub fn bears(&self, op: &'static str, work: f64) -> Result<(), ExecError> {
        let seconds = work * self.seconds_per_unit;
        match self.watchdog {
            Some(most) if self.measured && seconds > most => Err(ExecError::Watchdog { op, seconds, most }),
            _ => Ok(()),
        }
    }

    /// How long a step of so much work is waited for. What runs on a CPU cannot hang, but makes its machine code within the first
    /// step, and may hardly get a turn beside others.
    pub fn patience(&self, work: f64) -> Duration {
        let (times, least) = PATIENCE;
        if self.watchdog.is_none() {
            return Duration::from_secs_f64(MOST_PATIENCE);
        }
        Duration::from_secs_f64((times * work * self.seconds_per_unit).min(MOST_PATIENCE)).max(least)
    }

    /// Takes a measurement: so much work took so long.
    pub fn observe(&mut self, work: f64, took: Duration) {
        if work > 0.0 {
            let measured = (took.as_secs_f64() / work).clamp(1e-16, 1e-3);
            let mix = if self.measured { MIX } else { 1.0 };
            self.seconds_per_unit += mix * (measured - self.seconds_per_unit);
            self.measured = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_device() {
        let mut governor = Governor::new(30, true);
        let first = governor.budget();
        governor.observe(1e9, Duration::from_millis(10_000));
        assert!((governor.budget() / 3e6 - 1.0).abs() < 0.01, "the first measurement replaces the guess");
        assert!(governor.budget() < first);
        for _ in 0..50 {
            governor.observe(1e9, Duration::from_millis(1000));
        }
        assert!((governor.budget() / 30e6 - 1.0).abs() < 0.01, "{}", governor.budget());
        for _ in 0..200 {
            governor.observe(1e9, Duration::from_micros(100));
        }
        assert!(governor.budget() > first);
    }

    #[test]
    fn an_empty_step_teaches_nothing() {
        let mut governor = Governor::new(30, true);
        let before = governor.budget();
        governor.observe(0.0, Duration::from_secs(5));
        assert_eq!(governor.budget(), before);
    }

    /// The slowest GPU that is known to run models does 0.2e9 multiply-adds a second.
    #[test]
    fn the_first_submission_passes_no_watchdog() {
        let seconds = Governor::new(30, true).budget() / 0.2e9;
        assert!(seconds < f64::from(WATCHDOG) / 1e3, "{seconds}");
    }

    #[test]
    fn what_would_pass_the_watchdog_is_refused_once_the_device_is_known() {
        let mut governor = Governor::new(30, true);
        assert!(governor.bears("linear", 1e12).is_ok(), "nothing is known yet");
        governor.observe(1e9, Duration::from_millis(1000));
        assert!(governor.bears("linear", 0.4e9).is_ok());
        let refused = governor.bears("linear", 0.6e9);
        assert!(matches!(refused, Err(ExecError::Watchdog { op: "linear", seconds, .. }) if seconds > 0.5));
        for mut lenient in [Governor::new(30, false), Governor::new(2000, true)] {
            lenient.observe(1e9, Duration::from_millis(1000));
            assert!(lenient.bears("linear", 1.5e9).is_ok());
        }
    }

    #[test]
    fn a_wait_is_as_long_as_the_work() {
        let mut governor = Governor::new(30, true);
        governor.observe(1e9, Duration::from_millis(1000));
        assert_eq!(governor.patience(1e6), PATIENCE.1);
        assert_eq!(governor.patience(10e9), Duration::from_secs(200));
        assert_eq!(governor.patience(1e15), Duration::from_secs(3600));
        assert_eq!(Governor::new(30, false).patience(1e6), Duration::from_secs(3600), "nothing to hang");
    }
}

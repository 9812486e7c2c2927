//! How long something will still take: from how fast its last steps went, the newest counting most.

use std::time::{Duration, Instant};

/// Steps count for as much less as this is long ago.
const FADES: Duration = Duration::from_secs(10);
/// But each of the last few slow ones still counts for this part of the next.
const LEAST: f64 = 0.8;
/// What would take longer is not foreseen.
const LONGEST: f64 = 99.0 * 24.0 * 3600.0;

/// Follows how many are done.
#[derive(Clone, Debug)]
pub struct Pace {
    /// When so many were done.
    last: (Instant, u64),
    /// Things done, and the seconds they took, faded.
    done: f64,
    seconds: f64,
}

impl Pace {
    /// So many are done already; they say nothing of the pace.
    pub fn new(done: u64, now: Instant) -> Self {
        Self { last: (now, done), done: 0.0, seconds: 0.0 }
    }

    /// So many are done now.
    pub fn at(&mut self, done: u64, now: Instant) {
        let new = done.saturating_sub(self.last.1);
        if new == 0 {
            return;
        }
        let took = now.saturating_duration_since(self.last.0).as_secs_f64();
        let kept = (-took / FADES.as_secs_f64()).exp().max(LEAST);
        self.done = self.done * kept + new as f64;
        self.seconds = self.seconds * kept + took;
        self.last = (now, done);
    }

    /// Done in a second; none before the first step is done.
    pub fn rate(&self) -> Option<f64> {
        (self.done > 0.0 && self.seconds > 0.0).then(|| self.done / self.seconds)
    }

    /// Seconds until `total` are done; none while there is nothing to tell it from, or where it is beyond all measure.
    pub fn left(&self, total: u64, now: Instant) -> Option<f64> {
        let each = 1.0 / self.rate()?;
        let since = now.saturating_duration_since(self.last.0).as_secs_f64();
        let todo = total.saturating_sub(self.last.1) as f64;
        // What a step takes longer than those before slows the pace down while it lasts.
        let overdue = (since - each).max(0.0);
        let slower = (self.seconds + overdue) / self.done;
        let left = if overdue > 0.0 { (todo - 1.0).max(0.0) * slower } else { todo * each - since };
        (left.is_finite() && left < LONGEST).then_some(left.max(0.0))
    }
}

/// `45 s`, `3 min 20 s`, `2 h 05 min`, `4 d 3 h`
pub fn in_words(seconds: f64) -> String {
    let s = seconds.ceil() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        3600..86400 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86400, s % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begin: Instant, seconds: f64) -> Instant {
        begin + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn nothing_is_foreseen_before_the_first_step() {
        let t = Instant::now();
        let mut pace = Pace::new(5, t);
        assert_eq!((pace.left(10, after(t, 100.0)), pace.rate()), (None, None));
        pace.at(5, after(t, 200.0));
        assert_eq!(pace.left(10, after(t, 200.0)), None, "the same number is no step");
        pace.at(6, after(t, 202.0));
        assert!(pace.left(10, after(t, 202.0)).is_some());
    }

    #[test]
    fn an_even_pace_is_told_and_counts_down() {
        let t = Instant::now();
        let mut pace = Pace::new(0, t);
        (1..=50).for_each(|n| pace.at(n, after(t, n as f64 * 2.0)));
        let left = |seconds| pace.left(100, after(t, seconds)).unwrap();
        assert!((left(100.0) - 100.0).abs() < 0.1, "{}", left(100.0));
        assert!((left(101.0) - 99.0).abs() < 0.1, "{}", left(101.0));
        assert_eq!(pace.left(50, after(t, 100.0)), Some(0.0));
    }

    #[test]
    fn what_was_resumed_from_is_not_part_of_the_pace() {
        let t = Instant::now();
        let mut pace = Pace::new(1_000_000, t);
        pace.at(1_000_010, after(t, 10.0));
        assert_eq!(pace.left(1_000_020, after(t, 10.0)).map(f64::round), Some(10.0));
    }

    #[test]
    fn a_change_of_pace_is_followed_within_some_steps() {
        let t = Instant::now();
        let mut pace = Pace::new(0, t);
        (1..=20).for_each(|n| pace.at(n, after(t, n as f64 * 10.0)));
        (1..=20).for_each(|n| pace.at(20 + n, after(t, 200.0 + n as f64)));
        let left = pace.left(140, after(t, 220.0)).unwrap();
        assert!((90.0..250.0).contains(&left), "100 at the new pace: {left}");
    }

    #[test]
    fn no_time_is_absurd() {
        let t = Instant::now();
        let mut pace = Pace::new(0, t);
        pace.at(1, after(t, 3600.0));
        assert_eq!(pace.left(u64::MAX, after(t, 3600.0)), None);
        // Bytes that come in a burst, and a stall.
        let mut bytes = Pace::new(0, t);
        (1..=1000).for_each(|n| bytes.at(n * 65536, after(t, n as f64 * 1e-4)));
        assert!(bytes.left(100_000_000, after(t, 0.1)).unwrap() < 1.0);
        let stalled = bytes.left(100_000_000, after(t, 10.1)).unwrap();
        assert!((5.0..30.0).contains(&stalled), "half of it took ten seconds: {stalled}");
        let mut still = Pace::new(0, t);
        still.at(5, t);
        assert_eq!(still.left(10, t), None, "steps that took no time tell nothing");
    }

    #[test]
    fn times_are_written_for_people() {
        let all = [0.2, 59.0, 60.0, 200.0, 7500.0, 90_000.0].map(in_words);
        assert_eq!(all, ["1 s", "59 s", "1 min 00 s", "3 min 20 s", "2 h 05 min", "1 d 1 h"]);
    }
}

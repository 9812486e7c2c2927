//! What is told of a run's steps.

use std::time::{Duration, Instant};

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// Steps so far, this one included.
    pub step: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Mean negative log-probability of the window's targets, before the update.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Loss of keeping what the model knew, where that is asked for.
    pub anchor_loss: Option<f64>,
    /// Targets of the window.
    pub targets: u64,
    /// Token rows of the window.
    pub rows: u64,
    /// Time it took, pauses apart.
    pub took: Duration,
    /// Loss or gradient was not finite: nothing was changed.
    pub skipped: bool,
    /// Loss on the validation data, if it was measured after this step.
    pub validation: Option<f64>,
    /// The validation loss is the best so far.
    pub best: bool,
    /// What else the objective tells, by name.
    pub metrics: Vec<(String, f64)>,
    /// What the model wrote in this step, where it did.
    pub samples: Vec<Sample>,
    /// What people should know of this step.
    pub notes: Vec<String>,
}

/// Something that the model wrote, and what it got for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What it was asked.
    pub prompt: String,
    /// What it wrote.
    pub completion: String,
    /// Its reward; not a number if it could not be judged, `None` if nobody judges.
    pub reward: Option<f64>,
    /// What the reward is the sum of.
    pub parts: Vec<(String, f64)>,
}

impl StepReport {
    pub(super) fn new(step: u64, epoch: u64) -> Self {
        Self {
            step,
            epoch,
            loss: 0.0,
            grad_norm: 0.0,
            rate: 0.0,
            anchor_loss: None,
            targets: 0,
            rows: 0,
            took: Duration::ZERO,
            skipped: false,
            validation: None,
            best: false,
            metrics: vec![],
            samples: vec![],
            notes: vec![],
        }
    }
}

/// Means of metrics over the parts of a step.
#[derive(Default)]
pub(super) struct Sums(Vec<(&'static str, f64, f64)>);

impl Sums {
    /// Adds sums and the weights that they are divided by.
    pub fn add(&mut self, metrics: &[(&'static str, f64, f64)]) {
        for (name, sum, weight) in metrics {
            match self.0.iter_mut().find(|m| m.0 == *name) {
                Some(held) => (held.1, held.2) = (held.1 + sum, held.2 + weight),
                None => self.0.push((name, *sum, *weight)),
            }
        }
    }

    /// The means, in the order in which they came.
    pub fn means(&self) -> Vec<(String, f64)> {
        let mean = |(name, sum, weight): &(&str, f64, f64)| ((*name).to_owned(), sum / weight);
        self.0.iter().filter(|m| m.2 > 0.0).map(mean).collect()
    }
}

/// The step in work.
pub(super) struct Stage<'a> {
    /// What it did so far.
    pub report: StepReport,
    /// Metrics that become means.
    pub sums: Sums,
    /// Its time.
    pub pace: Pace<'a>,
}

impl<'a> Stage<'a> {
    pub fn new(step: u64, epoch: u64, pause: &'a mut dyn FnMut(Duration)) -> Self {
        Self { report: StepReport::new(step, epoch), sums: Sums::default(), pace: Pace::new(pause) }
    }

    /// What it did in all, with losses and norms as means over its updates.
    pub fn close(self, updates: usize) -> StepReport {
        let Self { mut report, sums, pace } = self;
        let count = updates.max(1) as f64;
        report.loss /= count;
        report.grad_norm /= count;
        let mut metrics = sums.means();
        metrics.append(&mut report.metrics);
        report.metrics = metrics;
        report.took = pace.worked();
        report
    }
}

/// Leaves time to others between pieces of work, and does not count it.
pub(super) struct Pace<'a> {
    pause: &'a mut dyn FnMut(Duration),
    begun: Instant,
    rested: Duration,
}

impl<'a> Pace<'a> {
    fn new(pause: &'a mut dyn FnMut(Duration)) -> Self {
        Self { pause, begun: Instant::now(), rested: Duration::ZERO }
    }

    /// After a piece of work that took so long.
    pub fn rest(&mut self, took: Duration) {
        let before = Instant::now();
        (self.pause)(took);
        self.rested += before.elapsed();
    }

    /// Time since the beginning, pauses apart.
    pub fn worked(&self) -> Duration {
        self.begun.elapsed().saturating_sub(self.rested)
    }
}

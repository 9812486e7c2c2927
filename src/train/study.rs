//! Steps on what a caller chooses, where the order of the data is not the trainer's.

use std::time::{Duration, Instant};

use crate::train::task::Contribution;
use crate::train::trainer::ANCHOR_TOKENS;
use crate::train::{StepReport, TrainError, Trainer};

impl Trainer {
    /// Texts on which the model is to stay, each as its log-probabilities say or, without them, as it is now.
    pub(super) fn anchor_each(&mut self, texts: Vec<(Vec<u32>, Option<Vec<f32>>)>) -> Result<(), TrainError> {
        let (known, unknown): (Vec<_>, Vec<_>) = texts.into_iter().partition(|(_, known)| known.is_some());
        self.anchor_as(known.into_iter().filter_map(|(tokens, reference)| Some((tokens, reference?))));
        self.anchor(unknown.into_iter().map(|(tokens, _)| tokens).collect())
    }

    /// Texts with the log-probabilities of all tokens but the first, which are to stay so.
    fn anchor_as(&mut self, texts: impl IntoIterator<Item = (Vec<u32>, Vec<f32>)>) {
        for (mut tokens, mut reference) in texts {
            tokens.truncate(ANCHOR_TOKENS);
            reference.truncate(tokens.len().saturating_sub(1));
            if tokens.len() > 1 && reference.len() + 1 == tokens.len() {
                self.anchors.push((tokens, reference));
            }
        }
    }

    /// One step of the optimizer on examples of the caller's choice, at a rate of its own, with `anchors` of the texts that
    /// are to stay; the data's own order is left alone.
    pub(super) fn study(
        &mut self,
        items: &[usize],
        rate: f64,
        anchors: usize,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<StepReport, TrainError> {
        let start = Instant::now();
        self.survival.forget();
        self.task.open(items);
        let mut report = StepReport::new(self.core.progress.step + 1, 0);
        self.core.engine.clear()?;
        let (mut part, seed) = (Contribution::default(), self.core.progress.step as u32);
        self.task.gradient(&mut self.core.engine, items, seed, &mut part)?;
        (report.loss, report.rows, report.targets) = (part.loss, part.rows, part.targets);
        for turn in 0..anchors {
            self.anchor_turn(self.core.progress.step as usize * anchors + turn, &mut report)?;
        }
        let updated = self.core.update_at(report.loss, self.core.progress.step, rate)?;
        (report.grad_norm, report.rate, report.skipped) = (updated.grad_norm, updated.rate, updated.skipped);
        self.count(&report);
        report.took = start.elapsed();
        pause(report.took);
        Ok(report)
    }
}

//! Learning as a transaction: a shadow adapter is trained on feedback and judged before anybody uses it. It has to be better
//! on what was held back, and must not have changed what has nothing to do with it. Where the whole change goes too far,
//! the largest part of it that does not is taken, as in the line search of trust regions (Schulman et al. 2015,
//! arXiv:1502.05477, appendix C).

mod asking;
mod circles;
mod judge;
mod teach;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::model::Model;
use crate::train::feedback::Room;
use crate::train::{Feedback, FeedbackOptions, Place, Settings, StepReport, TrainError, Trainer};

use judge::Judge;
pub use judge::{Gate, Limits, Standards};
pub use teach::{Course, Fact, LEAST_ROUNDS, Lecture, Recall, Taught, teach};

/// What is learnt, and what it is judged by.
pub struct Trial {
    /// What is learnt.
    pub lesson: Vec<Feedback>,
    /// What was held back of it; if nothing was, it is judged by how well the lesson itself is learnt.
    pub held_out: Vec<Feedback>,
    /// Texts on which the model is to stay, with the weight of the settings: with the log-probabilities of all tokens but
    /// the first, or as it is now.
    pub steady: Vec<(Vec<u32>, Option<Vec<f32>>)>,
    /// What else it is judged by.
    pub standards: Standards,
    /// How far it may go.
    pub limits: Limits,
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The new adapter.
    pub adapter: Adapter,
    /// How much of the change it has: one of [`SHARES`].
    pub share: f64,
    /// How it was judged.
    pub gates: Vec<Gate>,
}

/// How much of a change is tried, in this order, until it passes.
pub const SHARES: [f64; 4] = [1.0, 0.75, 0.5, 0.25];

/// What happens in a trial.
pub enum Watch<'a> {
    /// What training begins with is about to be measured.
    Measuring,
    /// A step of training.
    Step(&'a StepReport),
    /// So much of the change is about to be judged.
    Judging {
        /// One of [`SHARES`].
        share: f64,
    },
    /// So much of the change was judged.
    Judged {
        /// One of [`SHARES`].
        share: f64,
        /// How.
        gates: &'a [Gate],
    },
}

impl Verdict {
    /// Whether it passed everything.
    pub fn passed(&self) -> bool {
        self.gates.iter().all(|gate| gate.passed)
    }
}

/// Trains a shadow adapter, beginning with `from`, and judges it, or the largest of the [`SHARES`] of its change that passes;
/// if none does, the verdict is on the whole. `watch` sees what happens and may end it all; then there is no verdict. `pause` is
/// called after each piece of training with the time it took.
///
/// # Errors
/// As [`Trainer::feedback`] and [`Trainer::step`].
#[allow(clippy::too_many_arguments)]
pub fn adapt(
    model: &Model,
    trial: Trial,
    options: &FeedbackOptions,
    settings: &Settings,
    place: &Place,
    from: Option<&Adapter>,
    watch: &mut dyn FnMut(Watch<'_>) -> ControlFlow<()>,
    pause: &mut dyn FnMut(Duration),
) -> Result<Option<Verdict>, TrainError> {
    let Trial { lesson, held_out, steady, standards, limits } = trial;
    let rows = steady.iter().map(|(tokens, _)| tokens.len().saturating_sub(1)).max().unwrap_or(0);
    let room = Room {
        rows: rows.max(standards.rows()),
        rollouts: standards.rollouts(),
        divergence: !standards.written.is_empty(),
    };
    let by_itself = held_out.is_empty();
    let held_out = if by_itself { lesson.clone() } else { held_out };
    let mut trainer =
        Trainer::feedback_with_room(model, lesson, held_out, options, settings, place, from, room)?;
    if settings.keep > 0.0 {
        trainer.anchor_each(steady)?;
    }
    let start = trainer.core.values()?;
    if watch(Watch::Measuring).is_break() {
        return Ok(None);
    }
    let judge = Judge::new(model, &mut trainer, standards, limits, by_itself)?;
    while let Some(report) = trainer.step(pause)? {
        if watch(Watch::Step(&report)).is_break() {
            return Ok(None);
        }
    }
    trainer.settle()?;
    let end = trainer.core.values()?;
    let mut whole = None;
    for share in SHARES {
        if watch(Watch::Judging { share }).is_break() {
            return Ok(None);
        }
        trainer.take(between(&start, &end, share as f32))?;
        // What is dear is measured only where the first look is good.
        let gates = match judge.first_look(&mut trainer)? {
            Some(gate) if !gate.passed => vec![gate],
            _ => judge.judge(&mut trainer)?,
        };
        if watch(Watch::Judged { share, gates: &gates }).is_break() {
            return Ok(None);
        }
        if gates.iter().all(|gate| gate.passed) {
            return Ok(Some(verdict(&mut trainer, share, gates)?));
        }
        whole.get_or_insert(gates);
    }
    trainer.take(end)?;
    Ok(Some(verdict(&mut trainer, 1.0, whole.unwrap_or_default())?))
}

fn verdict(trainer: &mut Trainer, share: f64, gates: Vec<Gate>) -> Result<Verdict, TrainError> {
    let info = BTreeMap::from([("share".to_owned(), share.to_string())]);
    Ok(Verdict { adapter: trainer.adapter(info)?, share, gates })
}

/// The way from `start` to `end`, gone as far as `share`.
fn between(start: &[Vec<f32>], end: &[Vec<f32>], share: f32) -> Vec<Vec<f32>> {
    // All of it is what was trained, to the bit.
    let at = |(a, b): (&f32, &f32)| if share < 1.0 { a + share * (b - a) } else { *b };
    let block = |(a, b): (&Vec<f32>, &Vec<f32>)| a.iter().zip(b).map(at).collect();
    start.iter().zip(end).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_change_lies_on_the_way() {
        let (start, end) = ([vec![0.0, 2.0], vec![0.1]], [vec![1.0, -2.0], vec![0.3]]);
        assert_eq!(between(&start, &end, 0.75)[0], [0.75, -1.0]);
        assert_eq!(between(&start, &end, 1.0), end, "to the bit");
    }
}

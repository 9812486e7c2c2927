//! Learning as a transaction: a shadow adapter is trained on feedback and judged before anybody uses it. It has to be better
//! on what was held back, and must not have changed what has nothing to do with it. Where the whole change goes too far,
//! the largest part of it that does not is taken, as in the line search of trust regions (Schulman et al. 2015,
//! arXiv:1502.05477, appendix C).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::model::Model;
use crate::train::data::Example;
use crate::train::task::{losses, mean, mean_loss, sequence};
use crate::train::{
    Engine, Feedback, FeedbackOptions, Place, Sequence, Settings, StepReport, TrainError, Trainer,
};

/// How far a new adapter may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most rise of the perplexity of fixed texts, as a part of it.
    pub perplexity: f64,
    /// Most divergence from the base on texts that it wrote, in nats a token.
    pub divergence: f64,
    /// Most that answers to fixed questions, and those that were learnt before, may become less likely, in nats a token.
    pub canaries: f64,
    /// Most that the answer to any one of the fixed questions may, in nats a token.
    pub worst_canary: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { perplexity: 0.05, divergence: 0.1, canaries: 0.2, worst_canary: 1.0 }
    }
}

/// What is learnt, and what it is judged by.
pub struct Trial {
    /// What is learnt.
    pub lesson: Vec<Feedback>,
    /// What was held back of it; if nothing was, it is judged by how well the lesson itself is learnt.
    pub held_out: Vec<Feedback>,
    /// Texts on which the model is to stay as it is, with the weight of the settings.
    pub steady: Vec<Vec<u32>>,
    /// Texts that the base wrote, others than these, with nothing of them given.
    pub written: Vec<Vec<u32>>,
    /// Fixed texts.
    pub texts: Vec<Vec<u32>>,
    /// Fixed questions with the answers of the model as it is.
    pub canaries: Vec<Example>,
    /// Answers that were learnt before.
    pub learnt: Vec<Example>,
    /// How far it may go.
    pub limits: Limits,
}

/// One thing that was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// What was measured.
    pub name: &'static str,
    /// With the adapter that training began with.
    pub before: f64,
    /// With the new one.
    pub after: f64,
    /// What `after` had to stay on the right side of.
    pub limit: f64,
    /// Whether it did.
    pub passed: bool,
    /// Which of the fixed questions it is about, where it is about one.
    pub canary: Option<usize>,
}

impl Gate {
    /// `after` may be at most `limit`. What is not a number passes nothing.
    fn at_most(name: &'static str, before: f64, after: f64, limit: f64) -> Self {
        Self { name, before, after, limit, passed: after <= limit, canary: None }
    }
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
    /// A step of training.
    Step(&'a StepReport),
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
/// if none does, the verdict is on the whole. `watch` sees what happens and may end it all; then there is no verdict.
///
/// # Errors
/// As [`Trainer::feedback`] and [`Trainer::step`].
pub fn adapt(
    model: &Model,
    trial: Trial,
    options: &FeedbackOptions,
    settings: &Settings,
    place: &Place,
    from: Option<&Adapter>,
    watch: &mut dyn FnMut(Watch<'_>) -> ControlFlow<()>,
) -> Result<Option<Verdict>, TrainError> {
    let Trial { lesson, held_out, steady, written, texts, canaries, learnt, limits } = trial;
    let rows = |text: &Vec<u32>| text.len().saturating_sub(1);
    let extra = [&steady, &written, &texts].into_iter().flatten().map(rows).max().unwrap_or(0);
    let examples = canaries.iter().chain(&learnt);
    let extra = examples.map(|e| sequence(e).rows()).max().unwrap_or(0).max(extra);
    let by_itself = held_out.is_empty();
    let judges = if by_itself { lesson.clone() } else { held_out };
    let mut trainer =
        Trainer::feedback_with_room(model, lesson, judges, options, settings, place, from, extra)?;
    if settings.keep > 0.0 {
        trainer.keep(steady)?;
    }
    let start = trainer.core.values()?;
    let mut judge = Judge::new(&mut trainer, (texts, canaries, learnt, written), limits, by_itself)?;
    let mut pause = |_: Duration| ();
    while let Some(report) = trainer.step(&mut pause)? {
        if watch(Watch::Step(&report)).is_break() {
            return Ok(None);
        }
    }
    trainer.settle()?;
    let end = trainer.core.values()?;
    let mut whole = None;
    for share in SHARES {
        trainer.take(between(&start, &end, share as f32))?;
        let gates = judge.judge(&mut trainer)?;
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

/// Texts, fixed questions, what was learnt before, and what the base wrote.
type Judged = (Vec<Vec<u32>>, Vec<Example>, Vec<Example>, Vec<Vec<u32>>);

/// What a new adapter is judged by, and how the one that training began with does.
struct Judge {
    texts: Vec<Vec<u32>>,
    canaries: Vec<Example>,
    learnt: Vec<Example>,
    written: Vec<Vec<u32>>,
    limits: Limits,
    /// Nothing was held back.
    by_itself: bool,
    before: Measures,
    from_base: FromBase,
}

impl Judge {
    /// Measures what training begins with.
    fn new(trainer: &mut Trainer, by: Judged, limits: Limits, by_itself: bool) -> Result<Self, TrainError> {
        let (texts, canaries, learnt, written) = by;
        let before = Measures::of(trainer, &texts, &canaries, &learnt)?;
        let from_base = base_scores(trainer, &written)?;
        Ok(Self { texts, canaries, learnt, written, limits, by_itself, before, from_base })
    }

    /// Measures what there is now.
    fn judge(&mut self, trainer: &mut Trainer) -> Result<Vec<Gate>, TrainError> {
        let after = Measures::of(trainer, &self.texts, &self.canaries, &self.learnt)?;
        let now = score_all(trainer.engine(), 0, &self.written)?;
        let (before, limits) = (&self.before, &self.limits);
        let mut gates = Vec::new();
        if let (Some(before), Some(after)) = (before.held_out, after.held_out) {
            let name = if self.by_itself { "loss on what was learnt" } else { "loss on what was held back" };
            gates.push(Gate::at_most(name, before, after, before));
        }
        if !self.texts.is_empty() {
            let most = before.perplexity * (1.0 + limits.perplexity);
            gates.push(Gate::at_most("perplexity of fixed texts", before.perplexity, after.perplexity, most));
        }
        if !self.canaries.is_empty() {
            let (old, new) = (mean(&before.canaries), mean(&after.canaries));
            gates.push(Gate::at_most("surprise at fixed answers", old, new, old + limits.canaries));
            gates.extend(worst(&before.canaries, &after.canaries, limits.worst_canary));
        }
        if !self.learnt.is_empty() {
            let most = before.learnt + limits.canaries;
            gates.push(Gate::at_most(
                "surprise at what was learnt before",
                before.learnt,
                after.learnt,
                most,
            ));
        }
        if !self.written.is_empty() {
            let (start, end) = (self.from_base.divergence_of_start, mean_gap(&self.from_base.scores, &now));
            gates.push(Gate::at_most("divergence from the base", start, end, limits.divergence.max(start)));
        }
        Ok(gates)
    }
}

/// What is measured before and after.
struct Measures {
    held_out: Option<f64>,
    perplexity: f64,
    /// Of each answer, the negative log-probability of its tokens, and their number.
    canaries: Vec<(f64, usize)>,
    /// Mean negative log-probability of the tokens that were learnt before.
    learnt: f64,
}

impl Measures {
    fn of(
        trainer: &mut Trainer,
        texts: &[Vec<u32>],
        canaries: &[Example],
        learnt: &[Example],
    ) -> Result<Self, TrainError> {
        let pause = &mut |_: Duration| ();
        let held_out = trainer.validate(pause)?;
        let scores = score_all(trainer.engine(), 0, texts)?;
        let (sum, count) =
            scores.iter().flatten().fold((0.0, 0usize), |(s, n), l| (s - f64::from(*l), n + 1));
        let canaries = losses(trainer.engine(), canaries, pause)?;
        let learnt = mean_loss(trainer.engine(), learnt, pause)?;
        Ok(Self { held_out, perplexity: (sum / count.max(1) as f64).exp(), canaries, learnt })
    }
}

/// The fixed answer that became less likely than all others.
fn worst(before: &[(f64, usize)], after: &[(f64, usize)], limit: f64) -> Option<Gate> {
    let each = |all: &[(f64, usize)]| all.iter().map(|one| mean(&[*one])).collect::<Vec<f64>>();
    let pairs = each(before).into_iter().zip(each(after)).enumerate();
    // What is not a number is the worst there is.
    let rise = |(_, (old, new)): &(usize, (f64, f64))| {
        Some(new - old).filter(|r| !r.is_nan()).unwrap_or(f64::INFINITY)
    };
    let (canary, (old, new)) = pairs.max_by(|a, b| rise(a).total_cmp(&rise(b)))?;
    let gate = Gate::at_most("most surprising fixed answer", old, new, old + limit);
    Some(Gate { canary: Some(canary), ..gate })
}

/// Log-probabilities of every token of texts but the first.
fn score_all(engine: &mut Engine, branch: usize, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, TrainError> {
    let one = |tokens: &Vec<u32>| {
        let trained = vec![true; tokens.len()];
        engine.score_by(branch, &[Sequence { tokens, trained: &trained }], 0)
    };
    texts.iter().filter(|text| text.len() > 1).map(one).collect()
}

/// How the base scores what it wrote, and how far from it training begins.
struct FromBase {
    scores: Vec<Vec<f32>>,
    divergence_of_start: f64,
}

fn base_scores(trainer: &mut Trainer, written: &[Vec<u32>]) -> Result<FromBase, TrainError> {
    let start = score_all(trainer.engine(), 0, written)?;
    let scores = trainer.without_adapters(|engine| score_all(engine, 0, written))?;
    let divergence_of_start = mean_gap(&scores, &start);
    Ok(FromBase { scores, divergence_of_start })
}

/// Mean of what `theirs` is above `ours`, a token: of texts sampled from the former an estimate of the divergence.
fn mean_gap(theirs: &[Vec<f32>], ours: &[Vec<f32>]) -> f64 {
    let pairs = theirs.iter().flatten().zip(ours.iter().flatten());
    let (sum, count) = pairs.fold((0.0, 0usize), |(s, n), (a, b)| (s + f64::from(*a) - f64::from(*b), n + 1));
    sum / count.max(1) as f64
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

    #[test]
    fn the_worst_answer_is_the_one_that_rose_most() {
        let before = [(2.0, 2), (9.0, 3), (1.0, 1)];
        let gate = worst(&before, &[(3.0, 2), (12.0, 3), (1.5, 1)], 0.75).unwrap();
        assert_eq!((gate.canary, gate.before, gate.after, gate.passed), (Some(1), 3.0, 4.0, false));
        let gate = worst(&before, &[(3.0, 2), (9.0, 3), (0.5, 1)], 0.75).unwrap();
        assert_eq!((gate.canary, gate.limit, gate.passed), (Some(0), 1.75, true));
        let gate = worst(&before, &[(3.0, 2), (f64::NAN, 3), (9.0, 1)], 100.0).unwrap();
        assert_eq!((gate.canary, gate.passed), (Some(1), false));
        assert_eq!(worst(&[], &[], 1.0), None);
    }
}

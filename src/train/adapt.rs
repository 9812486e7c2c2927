//! Learning as a transaction: a shadow adapter is trained on feedback and judged before anybody uses it. It has to be better
//! on what was held back, and must not have changed what has nothing to do with it.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::adapter::Adapter;
use crate::model::Model;
use crate::train::data::Example;
use crate::train::task::sequence;
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
}

impl Default for Limits {
    fn default() -> Self {
        Self { perplexity: 0.05, divergence: 0.1, canaries: 0.2 }
    }
}

/// What is learnt, and what it is judged by.
pub struct Trial {
    /// What is learnt.
    pub lesson: Vec<Feedback>,
    /// What was held back of it.
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
}

impl Gate {
    /// `after` may be at most `limit`. What is not a number passes nothing.
    fn at_most(name: &'static str, before: f64, after: f64, limit: f64) -> Self {
        Self { name, before, after, limit, passed: after <= limit }
    }
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The new adapter.
    pub adapter: Adapter,
    /// How it was judged.
    pub gates: Vec<Gate>,
}

impl Verdict {
    /// Whether it passed everything.
    pub fn passed(&self) -> bool {
        self.gates.iter().all(|gate| gate.passed)
    }
}

/// Trains a shadow adapter, beginning with `from`, and judges it. `watch` sees every step and may end it all; then there is no
/// verdict.
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
    watch: &mut dyn FnMut(&StepReport) -> ControlFlow<()>,
) -> Result<Option<Verdict>, TrainError> {
    let Trial { lesson, held_out, steady, written, texts, canaries, learnt, limits } = trial;
    let rows = |text: &Vec<u32>| text.len().saturating_sub(1);
    let extra = [&steady, &written, &texts].into_iter().flatten().map(rows).max().unwrap_or(0);
    let examples = canaries.iter().chain(&learnt);
    let extra = examples.map(|e| sequence(e).rows()).max().unwrap_or(0).max(extra);
    let mut trainer =
        Trainer::feedback_with_room(model, lesson, held_out, options, settings, place, from, extra)?;
    let mut pause = |_: Duration| ();
    let before = Measures::of(&mut trainer, &texts, &canaries, &learnt, &mut pause)?;
    let from_base = base_scores(&mut trainer, &written)?;
    if settings.keep > 0.0 {
        trainer.keep(steady)?;
    }
    while let Some(report) = trainer.step(&mut pause)? {
        if watch(&report).is_break() {
            return Ok(None);
        }
    }
    trainer.settle()?;
    let after = Measures::of(&mut trainer, &texts, &canaries, &learnt, &mut pause)?;
    let now = score_all(trainer.engine(), 0, &written)?;
    let mut gates = Vec::new();
    if let (Some(before), Some(after)) = (before.held_out, after.held_out) {
        gates.push(Gate::at_most("loss on what was held back", before, after, before));
    }
    if !texts.is_empty() {
        let most = before.perplexity * (1.0 + limits.perplexity);
        gates.push(Gate::at_most("perplexity of fixed texts", before.perplexity, after.perplexity, most));
    }
    if !canaries.is_empty() {
        let most = before.canaries + limits.canaries;
        gates.push(Gate::at_most("surprise at fixed answers", before.canaries, after.canaries, most));
    }
    if !learnt.is_empty() {
        let most = before.learnt + limits.canaries;
        gates.push(Gate::at_most("surprise at what was learnt before", before.learnt, after.learnt, most));
    }
    if !written.is_empty() {
        let (start, end) = (from_base.divergence_of_start, mean_gap(&from_base.scores, &now));
        gates.push(Gate::at_most("divergence from the base", start, end, limits.divergence.max(start)));
    }
    let adapter = trainer.adapter(std::collections::BTreeMap::new())?;
    Ok(Some(Verdict { adapter, gates }))
}

/// What is measured before and after.
struct Measures {
    held_out: Option<f64>,
    perplexity: f64,
    /// Mean negative log-probability of the answers' tokens.
    canaries: f64,
    /// The same of what was learnt before.
    learnt: f64,
}

impl Measures {
    fn of(
        trainer: &mut Trainer,
        texts: &[Vec<u32>],
        canaries: &[Example],
        learnt: &[Example],
        pause: &mut dyn FnMut(Duration),
    ) -> Result<Self, TrainError> {
        let held_out = trainer.validate(pause)?;
        let scores = score_all(trainer.engine(), 0, texts)?;
        let (sum, count) =
            scores.iter().flatten().fold((0.0, 0usize), |(s, n), l| (s - f64::from(*l), n + 1));
        let canaries = crate::train::task::mean_loss(trainer.engine(), canaries, pause)?;
        let learnt = crate::train::task::mean_loss(trainer.engine(), learnt, pause)?;
        Ok(Self { held_out, perplexity: (sum / count.max(1) as f64).exp(), canaries, learnt })
    }
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

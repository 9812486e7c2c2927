//! Learning from what people thought of answers: pairs of which one was chosen (the DPO family), single answers that were
//! liked or not (KTO), and plain examples, in any mix.

use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{BranchHead, Model};
use crate::train::data::{Batching, Example};
use crate::train::objective::{Kto, ObjectiveError, PairObjective, Side};
use crate::train::task::{Contribution, DataTask, Task, sequence};
use crate::train::trainer::{Against, Boot, REFERENCE};
use crate::train::{Engine, Place, Rollouts, Sequence, Settings, TrainError, Trainer};

/// One piece of feedback.
#[derive(Clone, Debug, PartialEq)]
pub enum Feedback {
    /// Two answers to one prompt.
    Pair {
        /// The better one.
        chosen: Example,
        /// The other.
        rejected: Example,
    },
    /// One answer, liked or not.
    Thumb {
        /// The answer.
        example: Example,
        /// It was liked.
        desirable: bool,
    },
    /// An answer to learn as it is.
    Example(Example),
}

impl Feedback {
    fn rows(&self) -> usize {
        match self {
            Feedback::Pair { chosen, rejected } => sequence(chosen).rows() + sequence(rejected).rows(),
            Feedback::Thumb { example, .. } | Feedback::Example(example) => sequence(example).rows(),
        }
    }
}

/// What is made of feedback.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct FeedbackOptions {
    /// The objective of pairs.
    pub pairs: PairObjective,
    /// The objective of single answers.
    pub kto: Kto,
    /// Weight of learning a pair's better answer as it is (the mean negative log-probability of its tokens), beside the
    /// pair's objective (Pang et al. 2024).
    pub sft: f64,
    /// What the model is compared with.
    pub against: Against,
}

impl FeedbackOptions {
    /// Refuses numbers with which it would mean nothing.
    ///
    /// # Errors
    /// [`ObjectiveError`] naming the number.
    pub fn check(&self) -> Result<(), ObjectiveError> {
        self.pairs.check()?;
        self.kto.check()
    }
}

/// Data and what was computed of them.
#[derive(Default)]
struct Set {
    items: Vec<Feedback>,
    /// Log-probabilities under the model before training, of each item's sequences; computed when first needed.
    reference: Vec<Option<Vec<f32>>>,
}

impl Set {
    fn new(items: Vec<Feedback>) -> Self {
        Self { reference: vec![None; items.len()], items }
    }
}

/// The task.
struct FeedbackTask {
    training: Set,
    validation: Set,
    options: FeedbackOptions,
    /// Items of the window.
    window: usize,
    /// Rows that are needed for something else.
    rows: usize,
}

/// What is needed beside training.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// At least so many rows of a step.
    pub rows: usize,
    /// Texts that the model writes.
    pub rollouts: Option<Rollouts>,
    /// How far the model is from its base.
    pub divergence: bool,
}

impl Trainer {
    /// Learns from feedback.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`TrainError::Data`] also for options that make no sense.
    pub fn feedback(
        model: &Model,
        items: Vec<Feedback>,
        validation: Vec<Feedback>,
        options: &FeedbackOptions,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
    ) -> Result<Self, TrainError> {
        Self::feedback_with_room(model, items, validation, options, settings, place, from, Room::default())
    }

    /// The same, with room for something else.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn feedback_with_room(
        model: &Model,
        items: Vec<Feedback>,
        validation: Vec<Feedback>,
        options: &FeedbackOptions,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
        room: Room,
    ) -> Result<Self, TrainError> {
        options.check().map_err(|e| TrainError::Data(e.to_string()))?;
        let needed = |item: &Feedback| match item {
            Feedback::Pair { .. } => options.pairs.needs_reference(),
            Feedback::Thumb { .. } => true,
            Feedback::Example(_) => false,
        };
        let reference = items.iter().chain(&validation).any(needed);
        let batching = Batching::Sequences(settings.batch.max(1));
        let reference = reference.then_some(options.against);
        let (rollouts, divergence) = (room.rollouts, room.divergence);
        let boot = Boot { place, from, head: BranchHead::Tokens, batching, reference, rollouts, divergence };
        let (training, validation) = (Set::new(items), Set::new(validation));
        let task = FeedbackTask { training, validation, options: *options, window: 1, rows: room.rows };
        Trainer::boot(model, task, settings, &boot)
    }
}

impl DataTask for FeedbackTask {
    fn lengths(&self) -> Vec<usize> {
        self.training.items.iter().map(Feedback::rows).collect()
    }

    fn most_rows(&self) -> usize {
        // A mismatched answer may be longer than its prompt's own.
        let all = || self.training.items.iter().chain(&self.validation.items);
        let thumbs = || {
            all().filter_map(|item| match item {
                Feedback::Thumb { example, .. } => Some(example),
                _ => None,
            })
        };
        let prompt = thumbs().map(prompt_len).max().unwrap_or(0);
        let answer = thumbs().map(|e| e.tokens.len() - prompt_len(e)).max().unwrap_or(0);
        all().map(Feedback::rows).max().unwrap_or(1).max(prompt + answer).max(self.rows)
    }
}

impl Task for FeedbackTask {
    fn describe(&self) -> serde_json::Value {
        serde_json::to_value(self.options).unwrap_or_default()
    }

    fn open(&mut self, items: &[usize]) {
        self.window = items.len().max(1);
    }

    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        let sweep = Sweep { options: self.options, weight: 1.0 / self.window as f64, seed, learn: true };
        part.add(sweep.run(engine, &mut self.training, items)?);
        Ok(())
    }

    fn validates(&self) -> bool {
        !self.validation.items.is_empty()
    }

    fn validate(
        &mut self,
        engine: &mut Engine,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<Option<f64>, TrainError> {
        let count = self.validation.items.len();
        let sweep = Sweep { options: self.options, weight: 1.0 / count.max(1) as f64, seed: 0, learn: false };
        let all: Vec<usize> = (0..count).collect();
        let mut loss = 0.0;
        for items in all.chunks(8) {
            let start = Instant::now();
            loss += sweep.run(engine, &mut self.validation, items)?.loss;
            pause(start.elapsed());
        }
        Ok(Some(loss))
    }
}

/// A sweep over items.
struct Sweep {
    options: FeedbackOptions,
    /// Of each item.
    weight: f64,
    seed: u32,
    /// With the gradient.
    learn: bool,
}

impl Sweep {
    fn run(&self, engine: &mut Engine, set: &mut Set, items: &[usize]) -> Result<Contribution, TrainError> {
        let mut part = Contribution::default();
        let divergence = self.divergence(engine, set, items)?;
        if let Some(kl) = divergence {
            part.metrics.push(("kl", kl, 1.0));
        }
        for index in items {
            let Set { items, reference } = &mut *set;
            let (Some(item), Some(cached)) = (items.get(*index), reference.get_mut(*index)) else { continue };
            let sequences = sequences_of(item);
            let needed = match item {
                Feedback::Pair { .. } => self.options.pairs.needs_reference(),
                Feedback::Thumb { .. } => true,
                Feedback::Example(_) => false,
            };
            if needed && cached.is_none() {
                *cached = Some(engine.score_by(REFERENCE, &sequences, 0)?);
            }
            let reference = cached.as_deref().unwrap_or_default();
            let scores = engine.score_by(0, &sequences, self.seed)?;
            let coefs = self.judge(item, &scores, reference, divergence.unwrap_or(0.0), &mut part);
            if self.learn {
                engine.gradient_of(0, &coefs)?;
            }
            part.rows += sequences.iter().map(|s| s.rows() as u64).sum::<u64>();
            part.targets += coefs.len() as u64;
        }
        Ok(part)
    }

    /// Coefficients of an item's targets; loss and metrics go into `part`.
    fn judge(
        &self,
        item: &Feedback,
        scores: &[f32],
        reference: &[f32],
        kl: f64,
        part: &mut Contribution,
    ) -> Vec<f32> {
        match item {
            Feedback::Pair { chosen, .. } => {
                let cut = sequence(chosen).targets().min(scores.len());
                let side = |range: std::ops::Range<usize>| Side {
                    policy: &scores[range.clone()],
                    reference: reference.get(range).unwrap_or_default(),
                };
                let (chosen, rejected) = (side(0..cut), side(cut..scores.len()));
                let mut made = self.options.pairs.pair(chosen, rejected, self.weight);
                let (nll, slope) = nll(chosen.policy);
                made.chosen.iter_mut().for_each(|c| *c += (self.options.sft * slope * self.weight) as f32);
                part.loss += (made.loss + self.options.sft * nll) * self.weight;
                let m = made.metrics;
                part.metrics.extend([
                    ("chosen", m.chosen_reward, 1.0),
                    ("rejected", m.rejected_reward, 1.0),
                    ("margin", m.margin(), 1.0),
                    ("accuracy", f64::from(u8::from(m.correct())), 1.0),
                ]);
                made.chosen.extend(made.rejected);
                made.chosen
            }
            Feedback::Thumb { desirable, .. } => {
                let side = Side { policy: scores, reference };
                let made = self.options.kto.example(side, *desirable, kl, self.weight);
                part.loss += made.loss;
                part.metrics.push((if *desirable { "liked" } else { "disliked" }, made.reward, 1.0));
                made.coefs
            }
            Feedback::Example(_) => {
                let (nll, slope) = nll(scores);
                part.loss += nll * self.weight;
                vec![(slope * self.weight) as f32; scores.len()]
            }
        }
    }

    /// KTO's estimate of the divergence from the reference: of prompts with answers to other prompts of the batch.
    fn divergence(&self, engine: &mut Engine, set: &Set, items: &[usize]) -> Result<Option<f64>, TrainError> {
        let thumb = |index: usize| match set.items.get(index) {
            Some(Feedback::Thumb { example, .. }) => Some(example),
            _ => None,
        };
        let mut all: Vec<&Example> = items.iter().filter_map(|i| thumb(*i)).collect();
        if all.is_empty() {
            return Ok(None);
        }
        if all.len() == 1 {
            // An answer from elsewhere: one's own would be no mismatch.
            let others = (0..set.items.len()).filter(|i| !items.contains(i));
            let Some(other) = others.filter_map(thumb).next() else { return Ok(Some(0.0)) };
            all.push(other);
        }
        let mut ratios = Vec::with_capacity(all.len());
        for (at, example) in all.iter().enumerate() {
            let other = all[(at + all.len() - 1) % all.len()];
            let (prompt, answer) = (prompt_len(example), prompt_len(other));
            let tokens = [&example.tokens[..prompt], &other.tokens[answer..]].concat();
            let mut trained = vec![false; prompt];
            trained.extend_from_slice(&other.trained[answer..]);
            let mismatched = [Sequence { tokens: &tokens, trained: &trained }];
            let reference = engine.score_by(REFERENCE, &mismatched, 0)?;
            let policy = engine.score_by(0, &mismatched, self.seed)?;
            ratios.push(Kto::log_ratio(Side { policy: &policy, reference: &reference }));
        }
        Ok(Some(Kto::kl(&ratios)))
    }
}

fn sequences_of(item: &Feedback) -> Vec<Sequence<'_>> {
    match item {
        Feedback::Pair { chosen, rejected } => vec![sequence(chosen), sequence(rejected)],
        Feedback::Thumb { example, .. } | Feedback::Example(example) => vec![sequence(example)],
    }
}

/// Tokens before the first that is learnt.
fn prompt_len(example: &Example) -> usize {
    example.trained.iter().position(|t| *t).unwrap_or(example.tokens.len())
}

/// Mean negative log-probability and its derivative.
fn nll(scores: &[f32]) -> (f64, f64) {
    let count = scores.len().max(1) as f64;
    (-scores.iter().map(|l| f64::from(*l)).sum::<f64>() / count, -1.0 / count)
}

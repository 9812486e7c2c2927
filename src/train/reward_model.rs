//! A reward model: adapters and a scalar head on the base, trained on pairs of answers of which one was chosen.

use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{BranchHead, Model};
use crate::train::data::{Batching, Example};
use crate::train::objective::RewardLoss;
use crate::train::task::{Contribution, DataTask, Task};
use crate::train::trainer::Boot;
use crate::train::{Engine, Place, Sequence, Settings, TrainError, Trainer};

/// Two answers to one prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedPair {
    /// The better one.
    pub chosen: Example,
    /// The other.
    pub rejected: Example,
    /// How much better it is at least.
    pub margin: f64,
}

/// A text whose reward is asked for: that of the state after its last token.
#[derive(Clone, Debug)]
pub struct Judged {
    tokens: Vec<u32>,
    trained: Vec<bool>,
}

impl Judged {
    /// A text of these tokens.
    pub fn new(tokens: &[u32]) -> Self {
        // A scalar head's number belongs to the token that follows: any does.
        let mut tokens = tokens.to_vec();
        tokens.push(0);
        let mut trained = vec![false; tokens.len()];
        if let Some(last) = trained.last_mut() {
            *last = true;
        }
        Self { tokens, trained }
    }

    /// As an engine takes it.
    pub fn sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.tokens, trained: &self.trained }
    }
}

/// Rewards that a branch with a scalar head gives to texts.
///
/// # Errors
/// [`TrainError::Rows`] if a text is longer than a step.
pub fn rewards(engine: &mut Engine, branch: usize, texts: &[&[u32]]) -> Result<Vec<f64>, TrainError> {
    let one = |text: &&[u32]| {
        let judged = Judged::new(text);
        let scores = engine.score_by(branch, &[judged.sequence()], 0)?;
        Ok(scores.first().map_or(f64::NAN, |v| f64::from(*v)))
    };
    texts.iter().map(one).collect()
}

struct Ranked {
    chosen: Judged,
    rejected: Judged,
    margin: f64,
}

impl Ranked {
    fn rows(&self) -> usize {
        self.chosen.sequence().rows() + self.rejected.sequence().rows()
    }
}

struct RewardTask {
    pairs: Vec<Ranked>,
    validation: Vec<Ranked>,
    objective: RewardLoss,
    weight: f64,
    /// Share of the validation pairs in the right order, when last looked.
    accuracy: Option<f64>,
}

impl Trainer {
    /// Trains a reward model; its adapter has a head.
    ///
    /// # Errors
    /// As [`Trainer::new`]; [`TrainError::Data`] also for options that make no sense.
    pub fn reward(
        model: &Model,
        pairs: Vec<RankedPair>,
        validation: Vec<RankedPair>,
        objective: RewardLoss,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
    ) -> Result<Self, TrainError> {
        objective.check().map_err(|e| TrainError::Data(e.to_string()))?;
        let ranked = |pairs: Vec<RankedPair>| -> Vec<Ranked> {
            let one = |p: RankedPair| Ranked {
                chosen: Judged::new(&p.chosen.tokens),
                rejected: Judged::new(&p.rejected.tokens),
                margin: p.margin,
            };
            pairs.into_iter().map(one).collect()
        };
        // What a reward model knew to write is of no matter.
        let settings = Settings { keep: 0.0, ..settings.clone() };
        let batching = Batching::Sequences(settings.batch.max(1));
        let boot = Boot {
            place,
            from,
            head: BranchHead::Scalar,
            batching,
            reference: None,
            rollouts: None,
            divergence: false,
        };
        let (pairs, validation) = (ranked(pairs), ranked(validation));
        let task = RewardTask { pairs, validation, objective, weight: 1.0, accuracy: None };
        Trainer::boot(model, task, &settings, &boot)
    }
}

/// Loss of a pair, whether the order is right, and the two rewards; with its gradient, if there is a weight.
fn pair(
    engine: &mut Engine,
    objective: &RewardLoss,
    pair: &Ranked,
    learn: Option<(f64, u32)>,
) -> Result<(f64, f64, f64), TrainError> {
    let sequences = [pair.chosen.sequence(), pair.rejected.sequence()];
    let (weight, seed) = learn.unwrap_or((1.0, 0));
    let scores = engine.score_by(0, &sequences, seed)?;
    let score = |i: usize| scores.get(i).map_or(f64::NAN, |v| f64::from(*v));
    let (chosen, rejected) = (score(0), score(1));
    let made = objective.pair(chosen, rejected, pair.margin, weight);
    if learn.is_some() {
        engine.gradient_of(0, &[made.chosen as f32, made.rejected as f32])?;
    }
    Ok((made.loss, chosen, rejected))
}

impl DataTask for RewardTask {
    fn lengths(&self) -> Vec<usize> {
        self.pairs.iter().map(Ranked::rows).collect()
    }

    fn most_rows(&self) -> usize {
        self.pairs.iter().chain(&self.validation).map(Ranked::rows).max().unwrap_or(1)
    }
}

impl Task for RewardTask {
    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "reward": self.objective })
    }

    fn open(&mut self, items: &[usize]) {
        self.weight = 1.0 / items.len().max(1) as f64;
    }

    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        let mut made = Contribution::default();
        for ranked in items.iter().filter_map(|i| self.pairs.get(*i)) {
            let (loss, chosen, rejected) = pair(engine, &self.objective, ranked, Some((self.weight, seed)))?;
            made.loss += loss * self.weight;
            made.rows += ranked.rows() as u64;
            made.targets += 2;
            made.metrics.extend([
                ("chosen", chosen, 1.0),
                ("rejected", rejected, 1.0),
                ("margin", chosen - rejected, 1.0),
                ("accuracy", f64::from(u8::from(chosen > rejected)), 1.0),
            ]);
        }
        part.add(made);
        Ok(())
    }

    fn validates(&self) -> bool {
        !self.validation.is_empty()
    }

    fn validate(
        &mut self,
        engine: &mut Engine,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<Option<f64>, TrainError> {
        let (mut sum, mut right) = (0.0, 0usize);
        for ranked in &self.validation {
            let start = Instant::now();
            let (loss, chosen, rejected) = pair(engine, &self.objective, ranked, None)?;
            sum += loss;
            right += usize::from(chosen > rejected);
            pause(start.elapsed());
        }
        let count = self.validation.len().max(1) as f64;
        self.accuracy = Some(right as f64 / count);
        Ok(Some(sum / count))
    }

    fn validation_metrics(&self) -> Vec<(&'static str, f64)> {
        self.accuracy.map(|a| ("validation_accuracy", a)).into_iter().collect()
    }
}

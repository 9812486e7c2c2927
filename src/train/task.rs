//! What a [`Trainer`](crate::train::Trainer) does in a step: what comes before the gradients, and the gradients themselves.

use std::time::{Duration, Instant};

use crate::train::core::Core;
use crate::train::data::Example;
use crate::train::objective::Sft;
use crate::train::order::Window;
use crate::train::report::{Stage, StepReport};
use crate::train::{Engine, Sequence, Settings, TrainError};

/// What parts of an update did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contribution {
    /// Their contribution to the update's loss.
    pub loss: f64,
    /// Token rows run through the model with a gradient.
    pub rows: u64,
    /// Tokens that carried a coefficient.
    pub targets: u64,
    /// Name, sum, and what the step's sum is to be divided by.
    pub metrics: Vec<(&'static str, f64, f64)>,
}

impl Contribution {
    /// Adds another part.
    pub fn add(&mut self, other: Contribution) {
        self.loss += other.loss;
        self.rows += other.rows;
        self.targets += other.targets;
        self.metrics.extend(other.metrics);
    }
}

/// One step of the optimizer.
pub(super) struct Update {
    /// All items that it is made of.
    pub items: Vec<usize>,
    /// Those that go through the model together, with a seed of dropout.
    pub parts: Vec<(Vec<usize>, u32)>,
}

impl Update {
    /// From the micro-batches of a window.
    fn of(window: &Window, seed: u64) -> Self {
        let seed = |epoch: u64, index: usize| (seed as u32) ^ ((epoch as u32) << 16) ^ index as u32;
        let parts = window.batches.iter().map(|b| (b.examples.clone(), seed(b.epoch, b.index)));
        Self { items: window.items(), parts: parts.collect() }
    }
}

/// What is learnt, and from what.
pub(super) trait Task: Send {
    /// What the objective is made of, for checkpoints; null where the settings say it all.
    fn describe(&self) -> serde_json::Value;

    /// What the state that is kept is judged by.
    fn judged(&self) -> &'static str {
        "validation_loss"
    }

    /// A step begins: does what comes before its gradients (a task of rewards writes and has it judged), and says of which
    /// updates it is made.
    fn begin(
        &mut self,
        core: &mut Core,
        window: &Window,
        _stage: &mut Stage<'_>,
    ) -> Result<Vec<Update>, TrainError> {
        Ok(vec![Update::of(window, core.settings.seed)])
    }

    /// An update begins that is made of these items.
    fn open(&mut self, items: &[usize]);

    /// Adds the gradient of some of the update's items, and what it did to `part`.
    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError>;

    /// All updates of the step are made.
    fn end(&mut self, _stage: &mut Stage<'_>) {}

    /// Updates of a step, where the learning rate follows their number instead of the steps'.
    fn updates(&self) -> Option<u64> {
        None
    }

    /// Whether there is validation data.
    fn validates(&self) -> bool {
        false
    }

    /// Loss on it; `pause` is called after each piece of work with the time it took.
    fn validate(
        &mut self,
        _engine: &mut Engine,
        _pause: &mut dyn FnMut(Duration),
    ) -> Result<Option<f64>, TrainError> {
        Ok(None)
    }

    /// What else the last validation told.
    fn validation_metrics(&self) -> Vec<(&'static str, f64)> {
        vec![]
    }

    /// The state with the best validation loss is kept, it is asked for once an epoch, and training ends when it no longer
    /// falls; else it is looked at where that is asked for, and the latest state is kept.
    fn keeps_best(&self) -> bool {
        true
    }

    /// The step is done and validated: looks at what the model does now. `last`: it was the run's last.
    fn look(&mut self, _core: &mut Core, _report: &mut StepReport, _last: bool) -> Result<(), TrainError> {
        Ok(())
    }
}

/// A task on a data set whose items have lengths.
pub(super) trait DataTask: Task {
    /// Rows of each item of the data.
    fn lengths(&self) -> Vec<usize>;
    /// Most rows that any step needs.
    fn most_rows(&self) -> usize;
}

/// An example as a step takes it.
pub(super) fn sequence(example: &Example) -> Sequence<'_> {
    Sequence { tokens: &example.tokens, trained: &example.trained }
}

/// Adds the gradient of predicting the targets of sequences: the loss, and how many they are.
///
/// # Errors
/// As [`Engine::gradient`].
pub(super) fn predict(
    engine: &mut Engine,
    objective: &Sft,
    sequences: &[Sequence<'_>],
    seed: u32,
) -> Result<(f64, usize), TrainError> {
    let targets = sequences.iter().map(Sequence::targets).sum();
    let scores = engine.gradient(sequences, &vec![objective.coefficient(); targets], seed)?;
    Ok((objective.loss(&scores), targets))
}

/// Supervised fine-tuning.
pub(super) struct SftTask {
    examples: Vec<Example>,
    validation: Vec<Example>,
    objective: Sft,
    rows: usize,
}

impl SftTask {
    pub fn new(examples: Vec<Example>, validation: Vec<Example>, settings: &Settings) -> Self {
        let mut task = Self { examples, validation, objective: Sft { targets: 0 }, rows: 0 };
        task.rows = rows_needed(&task.lengths(), &task.validation, settings);
        task
    }

    /// With at least so many rows of a step.
    pub fn with_rows(mut self, rows: usize) -> Self {
        self.rows = self.rows.max(rows);
        self
    }

    fn targets(&self, example: usize) -> usize {
        self.examples.get(example).map_or(0, |e| sequence(e).targets())
    }
}

impl DataTask for SftTask {
    fn lengths(&self) -> Vec<usize> {
        self.examples.iter().map(|e| sequence(e).rows()).collect()
    }

    fn most_rows(&self) -> usize {
        self.rows
    }
}

impl Task for SftTask {
    fn describe(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn open(&mut self, items: &[usize]) {
        self.objective = Sft { targets: items.iter().map(|e| self.targets(*e)).sum() };
    }

    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        let sequences: Vec<Sequence<'_>> =
            items.iter().filter_map(|e| self.examples.get(*e)).map(sequence).collect();
        let (loss, targets) = predict(engine, &self.objective, &sequences, seed)?;
        let rows: usize = sequences.iter().map(Sequence::rows).sum();
        part.add(Contribution { loss, rows: rows as u64, targets: targets as u64, metrics: vec![] });
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
        mean_loss(engine, &self.validation, pause).map(Some)
    }
}

/// Mean negative log-probability of the targets of examples.
pub(super) fn mean_loss(
    engine: &mut Engine,
    examples: &[Example],
    pause: &mut dyn FnMut(Duration),
) -> Result<f64, TrainError> {
    Ok(mean(&losses(engine, examples, pause)?))
}

/// Negative log-probability of the targets of each example, and how many there are.
pub(super) fn losses(
    engine: &mut Engine,
    examples: &[Example],
    pause: &mut dyn FnMut(Duration),
) -> Result<Vec<(f64, usize)>, TrainError> {
    let mut losses = Vec::with_capacity(examples.len());
    for example in examples {
        let start = Instant::now();
        let scores = engine.score(&[sequence(example)], 0)?;
        losses.push((-scores.iter().map(|l| f64::from(*l)).sum::<f64>(), scores.len()));
        pause(start.elapsed());
    }
    Ok(losses)
}

/// A target's part of [`losses`].
pub(super) fn mean(losses: &[(f64, usize)]) -> f64 {
    let (sum, count) = losses.iter().fold((0.0, 0), |(s, n), (loss, targets)| (s + loss, n + targets));
    sum / count.max(1) as f64
}

/// Most rows that a step of these data can have.
fn rows_needed(lengths: &[usize], validation: &[Example], settings: &Settings) -> usize {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let most = match settings.pack {
        true => settings.seq.min(lengths.iter().sum()),
        false => sorted.iter().take(settings.batch.max(1)).sum(),
    };
    most.max(validation.iter().map(|e| sequence(e).rows()).max().unwrap_or(0))
}

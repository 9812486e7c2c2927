//! Goes through a data set, a step of the optimizer at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{Branch, BranchHead, Model};
use crate::session::SessionOptions;
use crate::train::adapters::trained;
use crate::train::core::{Core, Progress};
use crate::train::data::{Batch, Batcher, Batching, Cursor, Example};
use crate::train::objective::Anchor;
use crate::train::task::{SftTask, Task, sequence};
use crate::train::{
    Engine, EngineOptions, LoraOptions, Recompute, Rollouts, Sequence, Settings, TrainError, initialize,
    load_adapter, load_branch, shape_of,
};

/// Most tokens of a text on which the model is to stay as it was.
pub const KEPT_TOKENS: usize = 96;

/// Memory settings of a run; they do not change what is learnt.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Device, threads, budget.
    pub device: SessionOptions,
    /// Layers run again.
    pub recompute: Recompute,
    /// Trained positions whose logits are made together; `None` for the default.
    pub chunk: Option<usize>,
    /// Sequences that the model writes at once, where it writes; `None` for the default.
    pub slots: Option<usize>,
}

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
    pub kept: Option<f64>,
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
            kept: None,
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

/// Means of metrics over the parts of a window.
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

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All epochs, or as many steps as asked for.
    Done,
    /// The validation loss stopped falling.
    Early,
    /// The policy could not be kept within the limit of its divergence.
    Limit,
}

/// Trains adapters on a data set.
pub struct Trainer {
    pub(super) core: Core,
    pub(super) task: Box<dyn Task>,
    /// Texts whose log-probabilities are to stay, and what they were.
    pub(super) anchors: Vec<(Vec<u32>, Vec<f32>)>,
    batcher: Batcher,
    total: u64,
    per_epoch: u64,
    /// The branch that tells how far the model is from its base.
    base: Option<usize>,
    ended: Option<Ended>,
}

/// What a trainer boots its engine with, beside the settings.
pub(super) struct Boot<'a> {
    pub place: &'a Place,
    /// Continues this adapter.
    pub from: Option<&'a Adapter>,
    pub head: BranchHead,
    pub batching: Batching,
    /// The model that is compared with, if there is one.
    pub reference: Option<Against>,
    /// Texts that the model writes.
    pub rollouts: Option<Rollouts>,
    /// How far the model is from its base can be asked.
    pub divergence: bool,
}

impl Trainer {
    /// Supervised fine-tuning. Opens the device and makes the adapters where training begins; `from` continues an
    /// adapter that exists.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there is nothing to train on, [`TrainError::Model`] if the map does not fit the budget.
    pub fn new(
        model: &Model,
        examples: Vec<Example>,
        validation: Vec<Example>,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
    ) -> Result<Self, TrainError> {
        let task = SftTask::new(examples, validation, settings);
        let batching = settings.batching();
        let boot = Boot {
            place,
            from,
            head: BranchHead::Tokens,
            batching,
            reference: None,
            rollouts: None,
            divergence: false,
        };
        Self::boot(model, Box::new(task), settings, &boot)
    }

    /// A trainer of any task.
    pub(super) fn boot(
        model: &Model,
        task: Box<dyn Task>,
        settings: &Settings,
        boot: &Boot<'_>,
    ) -> Result<Self, TrainError> {
        let data = |e: crate::train::data::BatchError| TrainError::Data(e.to_string());
        let mut batcher = Batcher::new(task.lengths(), boot.batching, settings.seed).map_err(data)?;
        let (train, adapters) = trained(model, settings, boot.from)?;
        let reference = boot.reference.map(|against| reference(against, boot.from));
        let divergence = boot.divergence.then(|| Branch {
            name: "base".into(),
            head: BranchHead::Divergence,
            ..Branch::default()
        });
        let branches: Vec<Branch> = reference.into_iter().chain(divergence).collect();
        let base = boot.divergence.then_some(branches.len());
        let kept = if settings.keep > 0.0 { KEPT_TOKENS } else { 0 };
        let options = EngineOptions {
            device: boot.place.device.clone(),
            rows: task.most_rows().max(kept).max(1),
            seq: settings.seq,
            outputs: boot.place.chunk,
            recompute: boot.place.recompute,
            train,
            adapters,
            head: boot.head,
            branches,
            rollouts: boot.rollouts,
        };
        let mut engine = Engine::boot(model, &options)?;
        initialize(&mut engine, settings.seed)?;
        if let Some(adapter) = boot.from {
            load_adapter(&mut engine, adapter)?;
            if boot.reference == Some(Against::Start) {
                load_branch(&mut engine, REFERENCE, adapter)?;
            }
        }
        let per_epoch = (batcher.batches_in(0) as u64).div_ceil(settings.accumulate.max(1) as u64);
        let all = (0..settings.epochs).map(|e| batcher.batches_in(e) as u64);
        let all: u64 = all.map(|n| n.div_ceil(settings.accumulate.max(1) as u64)).sum();
        let total = settings.max_steps.map_or(all, |max| max.min(all.max(1)));
        batcher.resume(Cursor::default()).map_err(data)?;
        let mut settings = settings.clone();
        if let Some(adapter) = boot.from {
            // What is noted in the file is what is in it.
            settings.lora = LoraOptions::of(adapter, settings.lora.dropout);
        }
        let core = Core::new(engine, &settings, task.describe());
        Ok(Self { core, task, anchors: vec![], batcher, total, per_epoch, base, ended: None })
    }

    /// The engine: device, memory map, timing.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.core.engine
    }

    /// Steps of the whole run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Steps so far.
    pub fn step_count(&self) -> u64 {
        self.core.progress.step
    }

    /// Token rows so far.
    pub fn tokens(&self) -> u64 {
        self.core.progress.tokens
    }

    /// Steps of the first epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// Why the run has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.or((self.core.progress.step >= self.total).then_some(Ended::Done))
    }

    /// Best validation loss and the step it was measured after.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.core.best_loss()
    }

    /// Texts on which the model is to stay as it is now, with the weight of the settings; before the first step, and
    /// before a checkpoint is restored. Longer ones are cut to [`KEPT_TOKENS`].
    ///
    /// # Errors
    /// [`TrainError::Exec`] if the device fails.
    pub fn keep(&mut self, texts: Vec<Vec<u32>>) -> Result<(), TrainError> {
        for mut tokens in texts.into_iter().filter(|t| t.len() > 1) {
            tokens.truncate(KEPT_TOKENS);
            let trained = vec![true; tokens.len()];
            let reference = self.core.engine.score(&[Sequence { tokens: &tokens, trained: &trained }], 0)?;
            self.anchors.push((tokens, reference));
        }
        Ok(())
    }

    /// Adds the gradient of one text that is to stay as it was; the texts take turns.
    fn keep_one(&mut self, report: &mut StepReport) -> Result<(), TrainError> {
        self.keep_turn(self.core.progress.step as usize, report)
    }

    /// Adds the gradient of the text whose turn it is.
    pub(super) fn keep_turn(&mut self, turn: usize, report: &mut StepReport) -> Result<(), TrainError> {
        let Some((tokens, reference)) = self.anchors.get(turn % self.anchors.len().max(1)) else {
            return Ok(());
        };
        let trained = vec![true; tokens.len()];
        let text = [Sequence { tokens, trained: &trained }];
        let anchor = Anchor { weight: self.core.settings.keep };
        let scores = self.core.engine.score(&text, 0)?;
        self.core.engine.gradient(&text, &anchor.coefficients(&scores, reference), 0)?;
        *report.kept.get_or_insert(0.0) += anchor.loss(&scores, reference);
        report.rows += text[0].rows() as u64;
        Ok(())
    }

    /// Goes to a place in the data and the steps that a checkpoint names.
    pub(super) fn go_to(&mut self, progress: Progress) -> Result<(), TrainError> {
        self.batcher.resume(progress.cursor).map_err(|e| TrainError::Data(e.to_string()))?;
        self.core.progress = progress;
        Ok(())
    }

    /// One step of the optimizer: a window of micro-batches, clipping, update, and validation where it is due. `pause` is
    /// called after each micro-batch with the time it took. `None` when the run has ended.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] after three windows in a row whose loss or gradient is not finite; what is trained is as
    /// it was before them.
    pub fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
        if self.ended().is_some() {
            return Ok(None);
        }
        let window = self.next_window()?;
        let Some(epoch) = window.first().map(|b| b.epoch) else { return Ok(None) };
        let items: Vec<usize> = window.iter().flat_map(|b| &b.examples).copied().collect();
        self.task.open(&items);
        let mut report = StepReport::new(self.core.progress.step + 1, epoch);
        self.core.engine.clear()?;
        let mut sums = Sums::default();
        for batch in &window {
            let start = Instant::now();
            let seed = (self.core.settings.seed as u32) ^ ((batch.epoch as u32) << 16) ^ batch.index as u32;
            let part = self.task.gradient(&mut self.core.engine, &batch.examples, seed)?;
            report.loss += part.loss;
            report.rows += part.rows;
            report.targets += part.targets;
            sums.add(&part.metrics);
            let took = start.elapsed();
            report.took += took;
            pause(took);
        }
        report.metrics = sums.means();
        let start = Instant::now();
        self.keep_one(&mut report)?;
        let updated = self.core.update(report.loss, self.core.progress.step, self.total)?;
        (report.grad_norm, report.rate) = (updated.grad_norm, updated.rate);
        report.skipped = updated.skipped;
        report.took += start.elapsed();
        self.core.progress.step += 1;
        self.core.progress.tokens += report.rows;
        self.core.progress.cursor = self.batcher.cursor();
        self.core.progress.last.1 = Some(report.loss.to_bits());
        if self.validation_due() {
            self.validate_into(&mut report, pause)?;
        }
        Ok(Some(report))
    }

    /// The next window's micro-batches: all of one epoch.
    fn next_window(&mut self) -> Result<Vec<Batch>, TrainError> {
        let mut window: Vec<Batch> = Vec::new();
        while window.len() < self.core.settings.accumulate.max(1) {
            let before = self.batcher.cursor();
            let Some(batch) = self.batcher.next() else { break };
            if window.first().is_some_and(|first| first.epoch != batch.epoch) {
                // An epoch's last window may be shorter.
                self.batcher.resume(before).map_err(|e| TrainError::Data(e.to_string()))?;
                break;
            }
            window.push(batch);
        }
        Ok(window)
    }

    fn validation_due(&self) -> bool {
        if !self.task.validates() {
            return false;
        }
        let every =
            if self.core.settings.eval_every > 0 { self.core.settings.eval_every } else { self.per_epoch };
        self.core.progress.step.is_multiple_of(every.max(1)) || self.core.progress.step >= self.total
    }

    /// Goes to the state that is kept: the one with the best validation loss, if there was validation.
    pub(super) fn settle(&mut self) -> Result<(), TrainError> {
        let Some(best) = self.core.best.take() else { return Ok(()) };
        self.core.set_blocks(&best)?;
        self.core.best = Some(best);
        Ok(())
    }

    /// Goes to another state, which becomes what is kept.
    pub(super) fn take(&mut self, blocks: Vec<Vec<f32>>) -> Result<(), TrainError> {
        self.core.set_blocks(&blocks)?;
        self.core.best = Some(blocks);
        Ok(())
    }

    /// How far the model is from its base, in nats: the mean over the targets of texts of the exact divergence over the
    /// vocabulary.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if the trainer was not booted for it.
    pub(super) fn divergence(&mut self, texts: &[Example]) -> Result<f64, TrainError> {
        let missing = || TrainError::Adapter("the trainer was booted without its base".into());
        let base = self.base.ok_or_else(missing)?;
        let (mut sum, mut count) = (0.0, 0usize);
        for text in texts {
            let all = self.core.engine.score_by(base, &[sequence(text)], 0)?;
            sum += all.iter().map(|d| f64::from(*d)).sum::<f64>();
            count += all.len();
        }
        Ok(sum / count.max(1) as f64)
    }

    /// Loss on the validation data; `None` without any.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if the device fails.
    pub fn validate(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<f64>, TrainError> {
        if self.task.validates() {
            self.task.validate(&mut self.core.engine, pause).map(Some)
        } else {
            Ok(None)
        }
    }

    fn validate_into(
        &mut self,
        report: &mut StepReport,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), TrainError> {
        let loss = self.task.validate(&mut self.core.engine, pause)?;
        report.validation = Some(loss);
        let told = self.task.validation_metrics();
        report.metrics.extend(told.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.core.progress.last.0 = Some(loss.to_bits());
        report.best = loss.is_finite() && self.best().is_none_or(|(best, _)| loss < best);
        if report.best {
            self.core.progress.best = Some((loss.to_bits(), self.core.progress.step));
            self.core.progress.worse = 0;
            self.core.best = Some(self.core.values()?);
        } else {
            self.core.progress.worse += 1;
            if self.core.settings.patience > 0 && self.core.progress.worse >= self.core.settings.patience {
                self.ended = Some(Ended::Early);
            }
        }
        Ok(())
    }

    /// The adapter: the one with the best validation loss if there was validation, else the latest.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    pub fn adapter(&mut self, info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
        self.core.adapter(info)
    }
}

/// What a policy is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    /// The model as training finds it: the base, or the base with the adapter that training starts from, frozen.
    #[default]
    Start,
    /// The base without adapters.
    Base,
}

/// The branch that is the model before training.
pub(super) const REFERENCE: usize = 1;

/// The model that a policy is compared with.
pub(super) fn reference(against: Against, from: Option<&Adapter>) -> Branch {
    let adapters =
        from.filter(|_| against == Against::Start).map(|adapter| shape_of(adapter, 0.0)).unwrap_or_default();
    Branch { name: "reference".into(), adapters, head: BranchHead::Tokens, trained: false }
}

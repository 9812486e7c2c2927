//! Runs: step after step over some data, and what is kept of them. What a step learns, and whether it writes first, is a
//! [`Task`]'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::io::Existing;
use crate::model::{Branch, BranchHead, Model};
use crate::quant::Format;
use crate::session::SessionOptions;
use crate::train::adapters::trained;
use crate::train::core::{Core, Progress};
use crate::train::data::{Batching, Example};
use crate::train::objective::Anchor;
use crate::train::order::Order;
use crate::train::report::{Stage, StepReport};
use crate::train::survival::Survival;
use crate::train::task::{Contribution, DataTask, SftTask, Task, Update, sequence};
use crate::train::{
    Engine, EngineOptions, LoraOptions, Recompute, Rollouts, Sequence, Settings, TrainError, load_adapter,
    load_branch, shape_of,
};

/// Most tokens of a text on which the model is to stay as it was.
pub const ANCHOR_TOKENS: usize = 96;

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

/// Trains adapters, or all weights of a model: on examples ([`Trainer::new`]), on feedback ([`Trainer::feedback`]), on rewards of
/// what the model writes ([`Trainer::rl`]), on raw text ([`Trainer::pretrain`]), or a model that judges ([`Trainer::reward`]).
pub struct Trainer {
    pub(super) core: Core,
    pub(super) task: Box<dyn Task>,
    /// Texts whose log-probabilities are to stay, and what they were.
    pub(super) anchors: Vec<(Vec<u32>, Vec<f32>)>,
    order: Order,
    total: u64,
    per_epoch: u64,
    /// The branch that tells how far the model is from its base.
    base: Option<usize>,
    /// How it goes on when its device fails.
    pub(super) survival: Survival,
}

/// What a trainer of a data set boots its engine with, beside the settings.
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

/// A run of any kind, before its device is opened.
pub(super) struct Start {
    pub task: Box<dyn Task>,
    pub order: Order,
    /// Steps of the run.
    pub total: u64,
    pub options: EngineOptions,
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
        Self::boot(model, task, settings, &boot)
    }

    /// A trainer of a data set.
    pub(super) fn boot(
        model: &Model,
        task: impl DataTask + 'static,
        settings: &Settings,
        boot: &Boot<'_>,
    ) -> Result<Self, TrainError> {
        let order = Order::shuffled(task.lengths(), boot.batching, settings.accumulate, settings.seed)?;
        let (train, adapters) = trained(model, settings, boot.from)?;
        let reference = boot.reference.map(|against| reference(against, boot.from));
        let divergence = boot.divergence.then(|| Branch {
            name: "base".into(),
            head: BranchHead::Divergence,
            ..Branch::default()
        });
        let branches: Vec<Branch> = reference.into_iter().chain(divergence).collect();
        let base = boot.divergence.then_some(branches.len());
        let anchored = if settings.keep > 0.0 { ANCHOR_TOKENS } else { 0 };
        let options = EngineOptions {
            device: boot.place.device.clone(),
            rows: task.most_rows().max(anchored).max(1),
            seq: settings.seq,
            outputs: boot.place.chunk,
            recompute: boot.place.recompute,
            train,
            adapters,
            head: boot.head,
            branches,
            rollouts: boot.rollouts,
        };
        let all: u64 = (0..settings.epochs).map(|epoch| order.steps_in(epoch)).sum();
        let total = settings.max_steps.map_or(all, |max| max.min(all.max(1)));
        let (from, against) = (boot.from.cloned(), boot.reference);
        let load = move |engine: &mut Engine| -> Result<(), TrainError> {
            let Some(adapter) = &from else { return Ok(()) };
            load_adapter(engine, adapter)?;
            if against == Some(Against::Start) {
                load_branch(engine, REFERENCE, adapter)?;
            }
            Ok(())
        };
        let mut settings = settings.clone();
        if let Some(adapter) = boot.from {
            // What is noted in the file is what is in it.
            settings.lora = LoraOptions::of(adapter, settings.lora.dropout);
        }
        let start = Start { task: Box::new(task), order, total, options };
        Ok(Self { base, ..Self::start(model, &settings, start, load)? })
    }

    /// Opens the device, and makes what is trained as training begins; then it is loaded.
    pub(super) fn start(
        model: &Model,
        settings: &Settings,
        start: Start,
        load: impl Fn(&mut Engine) -> Result<(), TrainError> + Send + 'static,
    ) -> Result<Self, TrainError> {
        let Start { task, order, total, options } = start;
        let mut survival = Survival::new(model, options, settings.seed, Box::new(load));
        let engine = survival.engine()?;
        let per_epoch = order.steps_in(0);
        let core = Core::new(engine, settings, &*task);
        Ok(Self { core, task, anchors: vec![], order, total, per_epoch, base: None, survival })
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
        self.core.ended.or((self.core.progress.step >= self.total).then_some(Ended::Done))
    }

    /// What the kept state was judged by, its value, and the step after which it was kept; `None` where the latest is kept.
    pub fn best(&self) -> Option<(&'static str, f64, u64)> {
        self.core.best().map(|(value, step)| (self.core.judged, value, step))
    }

    /// What the run is made of: settings and objective (null where the settings say it all).
    pub fn made_of(&self) -> (&Settings, &serde_json::Value) {
        (&self.core.settings, &self.core.objective)
    }

    /// Texts on which the model is to stay as it is now, with the weight of the settings; before the first step, and
    /// before a checkpoint is restored. Longer ones are cut to [`ANCHOR_TOKENS`].
    ///
    /// # Errors
    /// [`TrainError::Exec`] if the device fails.
    pub fn anchor(&mut self, texts: Vec<Vec<u32>>) -> Result<(), TrainError> {
        for mut tokens in texts.into_iter().filter(|t| t.len() > 1) {
            tokens.truncate(ANCHOR_TOKENS);
            let trained = vec![true; tokens.len()];
            let reference = self.core.engine.score(&[Sequence { tokens: &tokens, trained: &trained }], 0)?;
            self.anchors.push((tokens, reference));
        }
        Ok(())
    }

    /// Adds the gradient of the text whose turn it is, if there are texts that are to stay as they were.
    pub(super) fn anchor_turn(&mut self, turn: usize, report: &mut StepReport) -> Result<(), TrainError> {
        let Some((tokens, reference)) = self.anchors.get(turn % self.anchors.len().max(1)) else {
            return Ok(());
        };
        let trained = vec![true; tokens.len()];
        let text = [Sequence { tokens, trained: &trained }];
        let anchor = Anchor { weight: self.core.settings.keep };
        let scores = self.core.engine.score(&text, 0)?;
        self.core.engine.gradient(&text, &anchor.coefficients(&scores, reference), 0)?;
        *report.anchor_loss.get_or_insert(0.0) += anchor.loss(&scores, reference);
        report.rows += text[0].rows() as u64;
        Ok(())
    }

    /// Goes to a place in the data and the steps that a checkpoint names.
    pub(super) fn go_to(&mut self, progress: Progress) -> Result<(), TrainError> {
        self.survival.forget();
        self.order.resume(progress.cursor)?;
        self.core.progress = progress;
        Ok(())
    }

    /// Opens the device again after it failed with `error`, or another. The run is then where its state was last kept in
    /// memory, else at its beginning; [`Trainer::restore`] goes on from what was saved. What happened, for people. Steps do so
    /// by themselves where a state is kept: of adapters.
    ///
    /// # Errors
    /// `error`, if it was not the device's, or no device is left.
    pub fn reopen(&mut self, error: TrainError) -> Result<String, TrainError> {
        let happened = self.survival.go_back(&mut self.core, error)?;
        self.order.resume(self.core.progress.cursor)?;
        Ok(happened)
    }

    /// One step: where the model writes, answers and their rewards; then the gradient, clipping and the optimizer (several
    /// times, where a step is several updates), and validation and samples where they are due. `pause` is called after each
    /// piece of work with the time it took. `None` when the run has ended.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] after three updates in a row whose loss or gradient is not finite; what is trained is as it
    /// was before them. [`TrainError::Reward`] if a reward fails.
    pub fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
        let wanted = self.core.progress.step + 1;
        let mut notes = vec![];
        loop {
            let kept = self.survival.keep(&mut self.core);
            match kept.and_then(|()| self.advance(pause)) {
                Ok(Some(report)) if report.step < wanted => {
                    // It was done and told before the device failed, and is the same again.
                }
                Ok(report) => {
                    return Ok(report.map(|mut report| {
                        drop(report.notes.splice(0..0, notes));
                        report
                    }));
                }
                Err(error) if self.survival.has_kept() => notes.push(self.reopen(error)?),
                Err(error) => return Err(error),
            }
        }
    }

    fn advance(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
        if self.ended().is_some() {
            return Ok(None);
        }
        let step = self.core.progress.step;
        let Some(window) = self.order.next(step)? else { return Ok(None) };
        let mut stage = Stage::new(step + 1, window.epoch, pause);
        let updates = self.task.begin(&mut self.core, &window, &mut stage)?;
        for update in &updates {
            self.update(update, &mut stage)?;
        }
        self.task.end(&mut stage);
        let mut report = stage.close(updates.len());
        self.count(&report);
        self.core.progress.cursor = self.order.cursor();
        self.core.progress.last.1 = Some(report.loss.to_bits());
        if self.validation_due() {
            self.validate_into(&mut report, pause)?;
        }
        self.task.look(&mut self.core, &mut report, step + 1 >= self.total)?;
        Ok(Some(report))
    }

    /// One step of the optimizer.
    fn update(&mut self, update: &Update, stage: &mut Stage<'_>) -> Result<(), TrainError> {
        self.core.engine.clear()?;
        self.task.open(&update.items);
        let mut part = Contribution::default();
        for (items, seed) in &update.parts {
            let start = Instant::now();
            self.task.gradient(&mut self.core.engine, items, *seed, &mut part)?;
            stage.pace.rest(start.elapsed());
        }
        stage.sums.add(&part.metrics);
        let step = self.core.progress.step;
        self.anchor_turn(step as usize, &mut stage.report)?;
        let each = self.task.updates();
        let (done, total) =
            each.map_or((step, self.total), |each| (self.core.progress.updates, self.total.max(1) * each));
        let updated = self.core.update(part.loss, done, total)?;
        self.core.progress.updates += u64::from(each.is_some());
        let report = &mut stage.report;
        report.loss += part.loss;
        report.rows += part.rows;
        report.targets += part.targets;
        report.grad_norm += updated.grad_norm;
        report.rate = updated.rate;
        report.skipped |= updated.skipped;
        Ok(())
    }

    /// A step is done.
    pub(super) fn count(&mut self, report: &StepReport) {
        self.core.progress.step += 1;
        self.core.progress.tokens += report.rows;
    }

    fn validation_due(&self) -> bool {
        let every = match self.core.settings.eval_every {
            0 if self.task.keeps_best() => self.per_epoch.max(1),
            every => every,
        };
        let step = self.core.progress.step;
        self.task.validates() && every > 0 && (step.is_multiple_of(every) || step >= self.total)
    }

    /// Goes to the state that is kept: the one with the best validation loss, if there was validation.
    pub(super) fn settle(&mut self) -> Result<(), TrainError> {
        self.survival.forget();
        let Some(best) = self.core.best.take() else { return Ok(()) };
        self.core.set_blocks(&best)?;
        self.core.best = Some(best);
        Ok(())
    }

    /// Goes to another state, which becomes what is kept.
    pub(super) fn take(&mut self, blocks: Vec<Vec<f32>>) -> Result<(), TrainError> {
        self.survival.forget();
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
        if self.task.validates() { self.task.validate(&mut self.core.engine, pause) } else { Ok(None) }
    }

    fn validate_into(
        &mut self,
        report: &mut StepReport,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), TrainError> {
        let Some(loss) = self.task.validate(&mut self.core.engine, pause)? else { return Ok(()) };
        report.validation = Some(loss);
        let told = self.task.validation_metrics();
        report.metrics.extend(told.into_iter().map(|(name, value)| (name.to_owned(), value)));
        self.core.progress.last.0 = Some(loss.to_bits());
        if !self.task.keeps_best() {
            return Ok(());
        }
        report.best = loss.is_finite() && self.core.best().is_none_or(|(best, _)| loss < best);
        if report.best {
            return self.core.mark_best(loss);
        }
        self.core.progress.worse += 1;
        if self.core.settings.patience > 0 && self.core.progress.worse >= self.core.settings.patience {
            self.core.ended = Some(Ended::Early);
        }
        Ok(())
    }

    /// The adapter as it would be kept now: the one that was judged best (see [`Trainer::best`]), else the latest.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    pub fn adapter(&mut self, info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
        self.core.adapter(info)
    }

    /// Where all weights are trained: writes the model as it would be kept now, its metadata with `info` added, matrices in
    /// `format` (F32, F16 or BF16). Gives back where what had the name before is, if it was kept.
    ///
    /// # Errors
    /// [`TrainError::Writing`] if it holds numbers that are not finite, or the file cannot be written.
    pub fn save_model(
        &mut self,
        path: &Path,
        format: Format,
        existing: Existing,
        info: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, TrainError> {
        self.core.save_model(path, format, existing, info)
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

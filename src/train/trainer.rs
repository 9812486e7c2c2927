//! Goes through a data set, a step of the optimizer at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::adapter::Adapter;
use crate::model::{Model, Train};
use crate::plan::Scalars;
use crate::session::SessionOptions;
use crate::train::data::{Batch, Batcher, Cursor, Example};
use crate::train::objective::{Anchor, Sft};
use crate::train::{
    Engine, EngineOptions, Recompute, Sequence, Settings, TrainError, adapter_of, initialize, load_adapter,
};

/// Most tokens of a text on which the model is to stay as it was.
pub const KEPT_TOKENS: usize = 96;
/// Windows in a row whose loss or gradient is not finite after which training ends.
const STRIKES: u32 = 3;

/// Memory settings of a run; they do not change what is learnt.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Device, threads, budget.
    pub device: SessionOptions,
    /// Layers run again.
    pub recompute: Recompute,
    /// Trained positions whose logits are made together; `None` for the default.
    pub chunk: Option<usize>,
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
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// All epochs, or as many steps as asked for.
    Done,
    /// The validation loss stopped falling.
    Early,
}

/// How far a run is; part of its checkpoints.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Progress {
    pub step: u64,
    pub tokens: u64,
    pub strikes: u32,
    pub cursor: Cursor,
    /// Best validation loss, as bits, and the step it was measured after.
    pub best: Option<(u64, u64)>,
    /// Validations since then.
    pub worse: u64,
    /// Last validation loss, last training loss, as bits.
    pub last: (Option<u64>, Option<u64>),
}

/// Supervised fine-tuning of adapters.
pub struct Trainer {
    pub(super) engine: Engine,
    pub(super) settings: Settings,
    pub(super) progress: Progress,
    /// What is trained as it was after the best validation, by block.
    pub(super) best: Option<Vec<Vec<f32>>>,
    /// Texts whose log-probabilities are to stay, and what they were.
    anchors: Vec<(Vec<u32>, Vec<f32>)>,
    batcher: Batcher,
    examples: Vec<Example>,
    validation: Vec<Example>,
    total: u64,
    per_epoch: u64,
    ended: Option<Ended>,
}

impl Trainer {
    /// Opens the device and makes the adapters where training begins; `from` continues an adapter that exists.
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
        let lengths: Vec<usize> = examples.iter().map(|e| e.tokens.len().saturating_sub(1)).collect();
        let mut batcher = Batcher::new(lengths.iter().copied(), settings.batching(), settings.seed)
            .map_err(|e| TrainError::Data(e.to_string()))?;
        let options = EngineOptions {
            device: place.device.clone(),
            rows: rows_needed(&lengths, &validation, settings),
            seq: settings.seq,
            outputs: place.chunk,
            recompute: place.recompute,
            train: Train::Adapters,
            adapters: match from {
                Some(adapter) => crate::train::shape_of(adapter, settings.lora.dropout),
                None => settings.lora.shape(model),
            },
            ..EngineOptions::default()
        };
        let mut engine = Engine::boot(model, &options)?;
        match from {
            Some(adapter) => load_adapter(&mut engine, adapter)?,
            None => initialize(&mut engine, settings.seed)?,
        }
        let per_epoch = (batcher.batches_in(0) as u64).div_ceil(settings.accumulate.max(1) as u64);
        let all = (0..settings.epochs).map(|e| batcher.batches_in(e) as u64);
        let all: u64 = all.map(|n| n.div_ceil(settings.accumulate.max(1) as u64)).sum();
        let total = settings.max_steps.map_or(all, |max| max.min(all.max(1)));
        batcher.resume(Cursor::default()).map_err(|e| TrainError::Data(e.to_string()))?;
        Ok(Self {
            engine,
            settings: settings.clone(),
            progress: Progress::default(),
            best: None,
            anchors: vec![],
            batcher,
            examples,
            validation,
            total,
            per_epoch,
            ended: None,
        })
    }

    /// The engine: device, memory map, timing.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// Steps of the whole run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Steps so far.
    pub fn step_count(&self) -> u64 {
        self.progress.step
    }

    /// Token rows so far.
    pub fn tokens(&self) -> u64 {
        self.progress.tokens
    }

    /// Steps of the first epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.per_epoch
    }

    /// Why the run has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.or((self.progress.step >= self.total).then_some(Ended::Done))
    }

    /// Best validation loss and the step it was measured after.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.progress.best.map(|(loss, step)| (f64::from_bits(loss), step))
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
            let reference = self.engine.score(&[Sequence { tokens: &tokens, trained: &trained }], 0)?;
            self.anchors.push((tokens, reference));
        }
        Ok(())
    }

    /// Adds the gradient of one text that is to stay as it was; the texts take turns.
    fn keep_one(&mut self, report: &mut StepReport) -> Result<(), TrainError> {
        let turn = self.progress.step as usize % self.anchors.len().max(1);
        let Some((tokens, reference)) = self.anchors.get(turn) else { return Ok(()) };
        let trained = vec![true; tokens.len()];
        let text = [Sequence { tokens, trained: &trained }];
        let anchor = Anchor { weight: self.settings.keep };
        let scores = self.engine.score(&text, 0)?;
        self.engine.gradient(&text, &anchor.coefficients(&scores, reference), 0)?;
        report.kept = Some(anchor.loss(&scores, reference));
        report.rows += text[0].rows() as u64;
        Ok(())
    }

    /// Goes to a place in the data and the steps that a checkpoint names.
    pub(super) fn go_to(&mut self, progress: Progress) -> Result<(), TrainError> {
        self.batcher.resume(progress.cursor).map_err(|e| TrainError::Data(e.to_string()))?;
        self.progress = progress;
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
        let objective =
            Sft { targets: window.iter().flat_map(|b| &b.examples).map(|e| self.targets(*e)).sum() };
        let mut report = StepReport {
            step: self.progress.step + 1,
            epoch,
            loss: 0.0,
            grad_norm: 0.0,
            rate: 0.0,
            kept: None,
            targets: objective.targets as u64,
            rows: 0,
            took: Duration::ZERO,
            skipped: false,
            validation: None,
            best: false,
        };
        self.engine.clear()?;
        for batch in &window {
            let start = Instant::now();
            let (loss, rows) = self.micro_batch(batch, &objective)?;
            report.loss += loss;
            report.rows += rows;
            let took = start.elapsed();
            report.took += took;
            pause(took);
        }
        let start = Instant::now();
        self.keep_one(&mut report)?;
        report.grad_norm = self.engine.norm()?;
        self.update(&mut report)?;
        report.took += start.elapsed();
        self.progress.step += 1;
        self.progress.tokens += report.rows;
        self.progress.cursor = self.batcher.cursor();
        self.progress.last.1 = Some(report.loss.to_bits());
        if self.validation_due() {
            self.validate_into(&mut report, pause)?;
        }
        Ok(Some(report))
    }

    /// The next window's micro-batches: all of one epoch.
    fn next_window(&mut self) -> Result<Vec<Batch>, TrainError> {
        let mut window: Vec<Batch> = Vec::new();
        while window.len() < self.settings.accumulate.max(1) {
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

    fn targets(&self, example: usize) -> usize {
        self.examples.get(example).map_or(0, |e| sequence(e).targets())
    }

    /// Loss and rows of one micro-batch, its gradient added to the window's.
    fn micro_batch(&mut self, batch: &Batch, objective: &Sft) -> Result<(f64, u64), TrainError> {
        let sequences: Vec<Sequence<'_>> =
            batch.examples.iter().filter_map(|e| self.examples.get(*e)).map(sequence).collect();
        let targets: usize = sequences.iter().map(Sequence::targets).sum();
        let coefs = vec![objective.coefficient(); targets];
        let seed = (self.settings.seed as u32) ^ ((batch.epoch as u32) << 16) ^ batch.index as u32;
        let scores = self.engine.gradient(&sequences, &coefs, seed)?;
        let rows: usize = sequences.iter().map(Sequence::rows).sum();
        Ok((objective.loss(&scores), rows as u64))
    }

    /// Clips and steps, or skips a window that is not finite.
    fn update(&mut self, report: &mut StepReport) -> Result<(), TrainError> {
        let s = &self.settings;
        report.rate =
            f64::from(s.learning_rate) * s.schedule.factor(self.progress.step, self.total, s.warmup);
        if !report.loss.is_finite() || !report.grad_norm.is_finite() {
            report.skipped = true;
            self.progress.strikes += 1;
            if self.progress.strikes >= STRIKES {
                return Err(TrainError::NotFinite { step: report.step, strikes: STRIKES, loss: report.loss });
            }
            return Ok(());
        }
        self.progress.strikes = 0;
        let clip = f64::from(s.clip);
        let scale = if clip > 0.0 && report.grad_norm > clip { clip / report.grad_norm } else { 1.0 };
        let t = self.progress.step as i32 + 1;
        let scalars = Scalars {
            rate: report.rate as f32,
            beta1: s.betas.0,
            beta2: s.betas.1,
            eps: s.epsilon,
            decay: s.weight_decay,
            scale: scale as f32,
            correct1: (1.0 - f64::from(s.betas.0).powi(t)) as f32,
            correct2: (1.0 - f64::from(s.betas.1).powi(t)) as f32,
        };
        self.engine.update(scalars)
    }

    fn validation_due(&self) -> bool {
        if self.validation.is_empty() {
            return false;
        }
        let every = if self.settings.eval_every > 0 { self.settings.eval_every } else { self.per_epoch };
        self.progress.step.is_multiple_of(every.max(1)) || self.progress.step >= self.total
    }

    /// Mean negative log-probability of the validation data's targets.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if the device fails.
    pub fn validate(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<f64, TrainError> {
        let (mut sum, mut count) = (0.0, 0usize);
        for example in &self.validation {
            let start = Instant::now();
            let scores = self.engine.score(&[sequence(example)], 0)?;
            sum -= scores.iter().map(|l| f64::from(*l)).sum::<f64>();
            count += scores.len();
            pause(start.elapsed());
        }
        Ok(sum / count.max(1) as f64)
    }

    fn validate_into(
        &mut self,
        report: &mut StepReport,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<(), TrainError> {
        let loss = self.validate(pause)?;
        report.validation = Some(loss);
        self.progress.last.0 = Some(loss.to_bits());
        report.best = loss.is_finite() && self.best().is_none_or(|(best, _)| loss < best);
        if report.best {
            self.progress.best = Some((loss.to_bits(), self.progress.step));
            self.progress.worse = 0;
            self.best = Some(self.values()?);
        } else {
            self.progress.worse += 1;
            if self.settings.patience > 0 && self.progress.worse >= self.settings.patience {
                self.ended = Some(Ended::Early);
            }
        }
        Ok(())
    }

    /// Values of all blocks of what is trained.
    pub(super) fn values(&mut self) -> Result<Vec<Vec<f32>>, TrainError> {
        let blocks = self.engine.plans().blocks.clone();
        blocks.iter().map(|b| self.engine.read(b.values)).collect()
    }

    /// The adapter: the one with the best validation loss if there was validation, else the latest.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    pub fn adapter(&mut self, mut info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
        let latest = match self.best.take() {
            None => None,
            Some(best) => {
                let latest = self.values()?;
                self.set_blocks(&best)?;
                self.best = Some(best);
                Some(latest)
            }
        };
        let ids = self.engine.trained();
        let values: Vec<Vec<f32>> =
            ids.iter().map(|(id, ..)| self.engine.read(*id)).collect::<Result<_, _>>()?;
        if let Some(latest) = latest {
            self.set_blocks(&latest)?;
        }
        let float = |bits: Option<u64>| bits.map(|b| format!("{:.6}", f64::from_bits(b)));
        let mut note = |key: &str, value: Option<String>| value.map(|v| info.insert(key.into(), v));
        note("steps", Some(self.progress.step.to_string()));
        note("loss", float(self.progress.last.1));
        note("validation_loss", float(self.progress.best.map(|(loss, _)| loss)));
        note("settings", serde_json::to_string(&self.settings).ok());
        adapter_of(&self.engine, &values, info)
    }

    pub(super) fn set_blocks(&mut self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        let blocks = self.engine.plans().blocks.clone();
        blocks.iter().zip(values).try_for_each(|(block, values)| self.engine.write(block.values, values))
    }
}

/// An example as a step takes it.
fn sequence(example: &Example) -> Sequence<'_> {
    Sequence { tokens: &example.tokens, trained: &example.trained }
}

/// Most rows that a step of these data can have.
fn rows_needed(lengths: &[usize], validation: &[Example], settings: &Settings) -> usize {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let most = match settings.pack {
        true => settings.seq.min(lengths.iter().sum()),
        false => sorted.iter().take(settings.batch.max(1)).sum(),
    };
    let longest = validation.iter().map(|e| e.tokens.len().saturating_sub(1)).max().unwrap_or(0);
    let kept = if settings.keep > 0.0 { KEPT_TOKENS } else { 0 };
    most.max(longest).max(kept).max(1)
}

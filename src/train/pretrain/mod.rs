//! Pretraining: all weights learn to predict the next token of raw text (Radford et al. 2018), from random weights or from
//! those of a model that exists.

mod recipe;
mod start;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub use recipe::{Recipe, parse_size};
pub use start::write_random;

use crate::model::{Model, Train};
use crate::session::{Generated, Request};
use crate::text::{SamplerParams, Tokenizer};
use crate::train::core::{Core, Progress};
use crate::train::corpus::{Pieces, Sampler};
use crate::train::engine::session_error;
use crate::train::objective::Sft;
use crate::train::{
    Ended, Engine, EngineOptions, Place, Rollouts, Sample, Sequence, Settings, StepReport, TrainError,
    initialize,
};

/// Trained positions whose logits are made together: all positions are trained, so that large chunks pay.
pub const OUTPUTS: usize = 512;
/// Sequences whose validation loss is measured between pauses.
const VALIDATED: usize = 8;

/// Text to learn, in windows of about as many tokens each.
pub trait Windows: Send {
    /// Windows of going through the text once.
    fn per_epoch(&self) -> u64;

    /// Appends the sequences of a window, counted over all epochs: one for each document that has a part in it, which is
    /// not seen from the others.
    ///
    /// # Errors
    /// [`TrainError::Data`] if the text cannot be read.
    fn window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError>;

    /// Windows of held-out text.
    fn held_out(&self) -> u64;

    /// As [`Self::window`], of the held-out text.
    ///
    /// # Errors
    /// As there.
    fn held_out_window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError>;
}

/// A corpus, and the held-out windows that are looked at.
#[derive(Clone, Debug)]
pub struct CorpusWindows {
    sampler: Sampler,
    held_out: Vec<u64>,
}

impl CorpusWindows {
    /// At most `held_out` windows of the validation part, evenly spread; `None` for all.
    pub fn new(sampler: Sampler, held_out: Option<u64>) -> Self {
        let held_out = sampler.validation(held_out).collect();
        Self { sampler, held_out }
    }
}

impl Windows for CorpusWindows {
    fn per_epoch(&self) -> u64 {
        self.sampler.windows()
    }

    fn window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError> {
        Ok(self.sampler.window(index, out)?)
    }

    fn held_out(&self) -> u64 {
        self.held_out.len() as u64
    }

    fn held_out_window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError> {
        let window = self.held_out.get(index as usize).copied().unwrap_or(u64::MAX);
        Ok(self.sampler.validation_window(window, out)?)
    }
}

/// What the model is asked to continue as it learns.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// Steps between samples; 0 for none.
    pub every: u64,
    /// Beginnings, as text and as tokens.
    pub prompts: Vec<(String, Vec<u32>)>,
    /// Most tokens of a continuation.
    pub max_new: usize,
    /// Temperature of sampling.
    pub temperature: f32,
}

impl Samples {
    fn longest(&self) -> usize {
        self.prompts.iter().map(|(_, tokens)| tokens.len()).max().unwrap_or(0) + self.max_new
    }
}

/// Trains all weights of a model on text.
pub struct Pretrainer {
    pub(super) core: Core,
    windows: Box<dyn Windows>,
    samples: Samples,
    tokenizer: Tokenizer,
    total: u64,
}

impl Pretrainer {
    /// Opens the device and takes the weights as the model's file has them. `settings` are those of training all weights, with
    /// the number of steps; its `batch` is in windows of at most `seq` tokens.
    ///
    /// # Errors
    /// [`TrainError::Data`] if there is nothing to train on, [`TrainError::Model`] if the map does not fit the budget.
    pub fn new(
        model: &Model,
        windows: Box<dyn Windows>,
        samples: Samples,
        settings: &Settings,
        place: &Place,
    ) -> Result<Self, TrainError> {
        let data = |why: String| TrainError::Data(why);
        if windows.per_epoch() == 0 {
            return Err(TrainError::ShortText { seq: settings.seq });
        }
        let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).map_err(|e| data(e.to_string()))?;
        let settings = Settings { full: true, ..settings.clone() };
        let rows = settings.seq * settings.batch.max(1);
        let sampled = samples.every > 0 && !samples.prompts.is_empty();
        let options = EngineOptions {
            device: place.device.clone(),
            rows,
            seq: settings.seq,
            outputs: place.chunk.or(Some(OUTPUTS)),
            recompute: place.recompute,
            train: Train::All,
            rollouts: sampled.then(|| Rollouts { slots: samples.prompts.len(), ctx: samples.longest() }),
            ..EngineOptions::default()
        };
        let mut engine = Engine::boot(model, &options)?;
        initialize(&mut engine, settings.seed)?;
        let objective = serde_json::json!({ "pretrain": { "held out": windows.held_out() } });
        let total = settings.max_steps.unwrap_or_else(|| {
            (windows.per_epoch() * settings.epochs).div_ceil(window_count(&settings)).max(1)
        });
        let core = Core::new(engine, &settings, objective);
        Ok(Self { core, windows, samples, tokenizer, total })
    }

    /// Steps of the whole run.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Steps of going through the text once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.windows.per_epoch().div_ceil(window_count(&self.core.settings))
    }

    /// Why the run has ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        (self.core.progress.step >= self.total).then_some(Ended::Done)
    }

    /// Steps so far.
    pub fn step_count(&self) -> u64 {
        self.core.progress.step
    }

    pub(super) fn go_to(&mut self, progress: Progress) -> Result<(), TrainError> {
        self.core.progress = progress;
        Ok(())
    }

    /// The engine: device, memory map, timing.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.core.engine
    }

    /// One step of the optimizer: the next windows, a micro-batch at a time, clipping, update, and validation and samples
    /// where they are due. `pause` is called after each micro-batch with the time it took. `None` when the run has ended.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] after three steps in a row whose loss or gradient is not finite.
    pub fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
        if self.ended().is_some() {
            return Ok(None);
        }
        let (step, batch) = (self.core.progress.step, self.core.settings.batch.max(1) as u64);
        let first = step * window_count(&self.core.settings);
        let mut report = StepReport::new(step + 1, first / self.windows.per_epoch().max(1));
        let mut micro: Vec<Pieces> = Vec::new();
        for at in (first..first + window_count(&self.core.settings)).step_by(batch as usize) {
            let mut pieces = Pieces::new();
            (at..at + batch).try_for_each(|index| self.windows.window(index, &mut pieces))?;
            micro.push(pieces);
        }
        report.targets = micro.iter().map(|pieces| pieces.targets() as u64).sum();
        let objective = Sft { targets: report.targets as usize };
        self.core.engine.clear()?;
        for pieces in micro.iter().filter(|pieces| !pieces.is_empty()) {
            let start = Instant::now();
            let sequences: Vec<Sequence<'_>> = pieces.sequences().collect();
            let coefs = vec![objective.coefficient(); pieces.targets()];
            let scores = self.core.engine.gradient(&sequences, &coefs, step as u32)?;
            report.loss += objective.loss(&scores);
            report.rows += pieces.targets() as u64;
            let took = start.elapsed();
            report.took += took;
            pause(took);
        }
        let start = Instant::now();
        let updated = self.core.update(report.loss, step, self.total)?;
        (report.grad_norm, report.rate, report.skipped) = (updated.grad_norm, updated.rate, updated.skipped);
        report.took += start.elapsed();
        self.core.progress.step += 1;
        self.core.progress.tokens += report.rows;
        self.core.progress.last.1 = Some(report.loss.to_bits());
        self.look(&mut report, pause)?;
        Ok(Some(report))
    }

    /// Validation and samples, where they are due.
    fn look(&mut self, report: &mut StepReport, pause: &mut dyn FnMut(Duration)) -> Result<(), TrainError> {
        let last = report.step >= self.total;
        let due = |every: u64| every > 0 && (report.step.is_multiple_of(every) || last);
        if due(self.core.settings.eval_every) {
            report.validation = self.validate(pause)?;
            self.core.progress.last.0 = report.validation.map(f64::to_bits);
        }
        if due(self.samples.every) && !self.samples.prompts.is_empty() {
            report.samples = self.write()?;
        }
        Ok(())
    }

    /// Loss on the held-out text; `None` without any.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if the device fails.
    pub fn validate(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<f64>, TrainError> {
        let (mut sum, mut count) = (0.0, 0usize);
        let batch = self.core.settings.batch.clamp(1, VALIDATED) as u64;
        for at in (0..self.windows.held_out()).step_by(batch as usize) {
            let start = Instant::now();
            let mut pieces = Pieces::new();
            let end = (at + batch).min(self.windows.held_out());
            (at..end).try_for_each(|index| self.windows.held_out_window(index, &mut pieces))?;
            if pieces.is_empty() {
                continue;
            }
            let scores = self.core.engine.score(&pieces.sequences().collect::<Vec<_>>(), 0)?;
            sum -= scores.iter().map(|l| f64::from(*l)).sum::<f64>();
            count += scores.len();
            pause(start.elapsed());
        }
        Ok((count > 0).then(|| sum / count as f64))
    }

    /// Continuations of the prompts, as the model is now.
    fn write(&mut self) -> Result<Vec<Sample>, TrainError> {
        let Samples { prompts, max_new, temperature, .. } = &self.samples;
        let seed = self.core.settings.seed as u32;
        let plain = SamplerParams { top_k: 0, top_p: 1.0, min_p: 0.0, ..SamplerParams::greedy() };
        let sampler = |index: usize| SamplerParams {
            temperature: *temperature,
            seed: seed.wrapping_add(index as u32),
            ..plain
        };
        let asked: Vec<Request<'_>> = prompts
            .iter()
            .enumerate()
            .map(|(index, (_, prompt))| Request::turn(prompt, sampler(index), &self.tokenizer))
            .collect();
        let session = self.core.engine.session();
        // Keys and values of the model as it was before the last update are of no use.
        session.reset();
        let tokenizer = &self.tokenizer;
        let written = session.write(&asked, *max_new).map_err(session_error)?;
        let sample = |((prompt, _), made): (&(String, Vec<u32>), Generated)| Sample {
            prompt: prompt.clone(),
            completion: tokenizer.decode(&made.tokens, true),
            reward: None,
            parts: vec![],
        };
        Ok(prompts.iter().zip(written).map(sample).collect())
    }

    /// What a note of the run says beside settings and steps.
    pub fn info(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("tokens".into(), self.core.progress.tokens.to_string())])
    }
}

/// Windows of a step.
fn window_count(settings: &Settings) -> u64 {
    (settings.batch.max(1) * settings.accumulate.max(1)) as u64
}

//! Pretraining: all weights learn to predict the next token of raw text (Radford et al. 2018), from random weights or from
//! those of a model that exists.

mod recipe;
mod start;

use std::time::{Duration, Instant};

pub use recipe::{Recipe, parse_size};
pub use start::write_random;

use crate::model::{Model, Train};
use crate::session::{Generated, Request};
use crate::text::{SamplerParams, Tokenizer};
use crate::train::core::Core;
use crate::train::corpus::{Pieces, Sampler};
use crate::train::objective::Sft;
use crate::train::order::{Order, Window};
use crate::train::report::{Stage, StepReport};
use crate::train::task::{Contribution, Task, Update, predict};
use crate::train::trainer::Start;
use crate::train::{Engine, EngineOptions, Place, Rollouts, Sample, Sequence, Settings, TrainError, Trainer};

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

/// All weights of a model, on text.
struct TextTask {
    windows: Box<dyn Windows>,
    samples: Samples,
    tokenizer: Tokenizer,
    /// Windows that go through the model together when they are validated.
    together: u64,
    /// The step's micro-batches, and its objective.
    micro: Vec<Pieces>,
    objective: Sft,
}

impl Trainer {
    /// Trains all weights of a model on text: takes them as the model's file has them. `settings` are those of training all
    /// weights, with the number of steps; its `batch` is in windows of at most `seq` tokens. The latest state is kept.
    ///
    /// # Errors
    /// [`TrainError::Data`] and [`TrainError::ShortText`] if there is nothing to train on, [`TrainError::Model`] if the map does
    /// not fit the budget.
    pub fn pretrain(
        model: &Model,
        windows: Box<dyn Windows>,
        samples: Samples,
        settings: &Settings,
        place: &Place,
    ) -> Result<Self, TrainError> {
        let all = windows.per_epoch();
        if all == 0 {
            return Err(TrainError::ShortText { seq: settings.seq });
        }
        let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata);
        let tokenizer = tokenizer.map_err(|e| TrainError::Data(e.to_string()))?;
        let settings = Settings { full: true, ..settings.clone() };
        let sampled = samples.every > 0 && !samples.prompts.is_empty();
        let options = EngineOptions {
            device: place.device.clone(),
            rows: settings.seq * settings.batch.max(1),
            seq: settings.seq,
            outputs: place.chunk.or(Some(OUTPUTS)),
            recompute: place.recompute,
            train: Train::All,
            rollouts: sampled.then(|| Rollouts { slots: samples.prompts.len(), ctx: samples.longest() }),
            ..EngineOptions::default()
        };
        let each = window_count(&settings);
        let total = settings.max_steps.unwrap_or_else(|| (all * settings.epochs).div_ceil(each).max(1));
        let together = settings.batch.clamp(1, VALIDATED) as u64;
        let objective = Sft { targets: 0 };
        let task = TextTask { windows, samples, tokenizer, together, micro: vec![], objective };
        let start = Start { task: Box::new(task), order: Order::Counted { each, all }, total, options };
        Self::start(model, &settings, start, |_| Ok(()))
    }
}

impl Task for TextTask {
    fn describe(&self) -> serde_json::Value {
        serde_json::json!({ "pretrain": { "held out": self.windows.held_out() } })
    }

    /// Reads the step's windows.
    fn begin(
        &mut self,
        core: &mut Core,
        _window: &Window,
        _stage: &mut Stage<'_>,
    ) -> Result<Vec<Update>, TrainError> {
        let (step, batch) = (core.progress.step, core.settings.batch.max(1) as u64);
        let count = window_count(&core.settings);
        self.micro.clear();
        for at in (step * count..(step + 1) * count).step_by(batch as usize) {
            let mut pieces = Pieces::new();
            (at..at + batch).try_for_each(|index| self.windows.window(index, &mut pieces))?;
            if !pieces.is_empty() {
                self.micro.push(pieces);
            }
        }
        let items: Vec<usize> = (0..self.micro.len()).collect();
        let parts = items.iter().map(|index| (vec![*index], step as u32)).collect();
        Ok(vec![Update { items, parts }])
    }

    fn open(&mut self, _items: &[usize]) {
        self.objective = Sft { targets: self.micro.iter().map(Pieces::targets).sum() };
    }

    fn gradient(
        &mut self,
        engine: &mut Engine,
        items: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        for pieces in items.iter().filter_map(|index| self.micro.get(*index)) {
            let sequences: Vec<Sequence<'_>> = pieces.sequences().collect();
            let (loss, targets) = predict(engine, &self.objective, &sequences, seed)?;
            part.add(Contribution { loss, rows: targets as u64, targets: targets as u64, metrics: vec![] });
        }
        Ok(())
    }

    fn validates(&self) -> bool {
        self.windows.held_out() > 0
    }

    fn keeps_best(&self) -> bool {
        false
    }

    fn validate(
        &mut self,
        engine: &mut Engine,
        pause: &mut dyn FnMut(Duration),
    ) -> Result<Option<f64>, TrainError> {
        let (mut sum, mut count) = (0.0, 0usize);
        for at in (0..self.windows.held_out()).step_by(self.together as usize) {
            let start = Instant::now();
            let mut pieces = Pieces::new();
            let end = (at + self.together).min(self.windows.held_out());
            (at..end).try_for_each(|index| self.windows.held_out_window(index, &mut pieces))?;
            if pieces.is_empty() {
                continue;
            }
            let scores = engine.score(&pieces.sequences().collect::<Vec<_>>(), 0)?;
            sum -= scores.iter().map(|l| f64::from(*l)).sum::<f64>();
            count += scores.len();
            pause(start.elapsed());
        }
        Ok((count > 0).then(|| sum / count as f64))
    }

    fn look(&mut self, core: &mut Core, report: &mut StepReport, last: bool) -> Result<(), TrainError> {
        let every = self.samples.every;
        let due = every > 0 && (report.step.is_multiple_of(every) || last);
        if due && !self.samples.prompts.is_empty() {
            report.samples = self.write(core)?;
        }
        Ok(())
    }
}

impl TextTask {
    /// Continuations of the prompts, as the model is now.
    fn write(&self, core: &mut Core) -> Result<Vec<Sample>, TrainError> {
        let Samples { prompts, max_new, temperature, .. } = &self.samples;
        let seed = core.settings.seed as u32;
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
        let session = core.engine.session();
        // Keys and values of the model as it was before the last update are of no use.
        session.reset();
        let tokenizer = &self.tokenizer;
        let written = session.write(&asked, *max_new)?;
        let sample = |((prompt, _), made): (&(String, Vec<u32>), Generated)| Sample {
            prompt: prompt.clone(),
            completion: tokenizer.decode(&made.tokens, true),
            reward: None,
            parts: vec![],
        };
        Ok(prompts.iter().zip(written).map(sample).collect())
    }
}

/// Windows of a step.
fn window_count(settings: &Settings) -> u64 {
    (settings.batch.max(1) * settings.accumulate.max(1)) as u64
}

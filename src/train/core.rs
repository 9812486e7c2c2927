//! What every kind of training has in common: the engine, clipping and the optimizer's step, and what is kept of a run.

use std::collections::BTreeMap;

use crate::adapter::Adapter;
use crate::plan::Scalars;
use crate::train::data::Cursor;
use crate::train::task::Task;
use crate::train::{Ended, Engine, Settings, TrainError, adapter_of};

/// Windows in a row whose loss or gradient is not finite after which training ends.
const STRIKES: u32 = 3;

/// How far a run is; part of its checkpoints.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Progress {
    pub step: u64,
    pub tokens: u64,
    pub strikes: u32,
    pub cursor: Cursor,
    /// Steps of the optimizer, where a step of the run is several.
    #[serde(default)]
    pub updates: u64,
    /// What the state that is kept was judged by (see [`Core::judged`]), as bits, and the step after which it was.
    pub best: Option<(u64, u64)>,
    /// What rewards' costs of departing from the reference are multiplied with.
    #[serde(default)]
    pub strictness: f64,
    /// Judgements since then that were worse.
    pub worse: u64,
    /// Last validation loss, last training loss, as bits.
    pub last: (Option<u64>, Option<u64>),
}

impl Progress {
    /// That of the run before its first step.
    pub fn beginning(&self) -> Self {
        // Only runs on rewards have it, which begin with it whole.
        let strictness = if self.strictness > 0.0 { 1.0 } else { 0.0 };
        Self { strictness, ..Self::default() }
    }
}

/// Engine and state of a run.
pub(super) struct Core {
    pub engine: Engine,
    pub settings: Settings,
    /// What the objective is made of; a resumed run must have the same.
    pub objective: serde_json::Value,
    pub progress: Progress,
    /// What is kept of what is trained, by block; none where the latest is.
    pub best: Option<Vec<Vec<f32>>>,
    /// What that is judged by: a loss, or a reward.
    pub judged: &'static str,
    /// Why the run ended before its last step.
    pub ended: Option<Ended>,
}

/// What a step of the optimizer did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Updated {
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub rate: f64,
    /// Loss or gradient was not finite: nothing was changed.
    pub skipped: bool,
}

impl Core {
    pub fn new(engine: Engine, settings: &Settings, task: &dyn Task) -> Self {
        let (settings, progress) = (settings.clone(), Progress::default());
        let (objective, judged) = (task.describe(), task.judged());
        Self { engine, settings, objective, progress, best: None, judged, ended: None }
    }

    /// What the state that is kept was judged by, and the step after which it was; `None` where the latest is kept.
    pub fn best(&self) -> Option<(f64, u64)> {
        self.progress.best.map(|(value, step)| (f64::from_bits(value), step))
    }

    /// Keeps the state as it is now, with what it was judged by.
    pub fn mark_best(&mut self, value: f64) -> Result<(), TrainError> {
        self.best = Some(self.values()?);
        self.progress.best = Some((value.to_bits(), self.progress.step));
        self.progress.worse = 0;
        Ok(())
    }

    /// Clips and steps, or skips a window that is not finite. `done`, `total`: place in the schedule.
    ///
    /// # Errors
    /// [`TrainError::NotFinite`] after three such windows in a row; what is trained is as it was before them.
    pub fn update(&mut self, loss: f64, done: u64, total: u64) -> Result<Updated, TrainError> {
        self.update_at(loss, done, self.settings.rate(done, total))
    }

    /// The same at a learning rate of the caller's.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn update_at(&mut self, loss: f64, done: u64, rate: f64) -> Result<Updated, TrainError> {
        let grad_norm = self.engine.norm()?;
        let s = &self.settings;
        if !loss.is_finite() || !grad_norm.is_finite() {
            self.progress.strikes += 1;
            if self.progress.strikes >= STRIKES {
                let step = self.progress.step + 1;
                return Err(TrainError::NotFinite { step, strikes: STRIKES, loss });
            }
            return Ok(Updated { grad_norm, rate, skipped: true });
        }
        self.progress.strikes = 0;
        let clip = f64::from(s.clip);
        let scale = if clip > 0.0 && grad_norm > clip { clip / grad_norm } else { 1.0 };
        let t = done as i32 + 1;
        let scalars = Scalars {
            rate: rate as f32,
            beta1: s.betas.0,
            beta2: s.betas.1,
            eps: s.epsilon,
            decay: s.weight_decay,
            scale: scale as f32,
            correct1: (1.0 - f64::from(s.betas.0).powi(t)) as f32,
            correct2: (1.0 - f64::from(s.betas.1).powi(t)) as f32,
        };
        self.engine.update(scalars)?;
        Ok(Updated { grad_norm, rate, skipped: false })
    }

    /// Values of all blocks of what is trained.
    pub fn values(&mut self) -> Result<Vec<Vec<f32>>, TrainError> {
        let blocks = self.engine.plans().blocks.clone();
        blocks.iter().map(|b| self.engine.read(b.values)).collect()
    }

    /// Sets all blocks of what is trained.
    pub fn set_blocks(&mut self, values: &[Vec<f32>]) -> Result<(), TrainError> {
        let blocks = self.engine.plans().blocks.clone();
        blocks.iter().zip(values).try_for_each(|(block, values)| self.engine.write(block.values, values))
    }

    /// The adapter that is kept, else the latest.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    pub fn adapter(&mut self, mut info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
        let values = self.with_best(|engine| {
            engine.trained().iter().map(|(id, ..)| engine.read(*id)).collect::<Result<Vec<_>, _>>()
        })?;
        self.describe(&mut info);
        adapter_of(&self.engine, &values, info)
    }

    /// Does something with the state that is kept, else the latest, which is there again afterwards.
    pub fn with_best<T>(
        &mut self,
        work: impl FnOnce(&mut Engine) -> Result<T, TrainError>,
    ) -> Result<T, TrainError> {
        let Some(best) = self.best.take() else { return work(&mut self.engine) };
        let latest = self.values()?;
        self.set_blocks(&best)?;
        self.best = Some(best);
        let done = work(&mut self.engine);
        self.set_blocks(&latest)?;
        done
    }

    /// Notes how far the run is and what it is made of.
    pub fn describe(&self, info: &mut BTreeMap<String, String>) {
        let float = |bits: Option<u64>| bits.map(|b| format!("{:.6}", f64::from_bits(b)));
        let mut note = |key: &str, value: Option<String>| value.map(|v| info.insert(key.into(), v));
        note("steps", Some(self.progress.step.to_string()));
        note("loss", float(self.progress.last.1));
        note(self.judged, float(self.progress.best.map(|(loss, _)| loss)));
        note("settings", serde_json::to_string(&self.settings).ok());
        note("objective", (!self.objective.is_null()).then(|| self.objective.to_string()));
    }
}

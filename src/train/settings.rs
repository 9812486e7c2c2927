//! What a training run is made of. Kept in its checkpoints: a resumed run must have the same.

use crate::train::data::Batching;
use crate::train::{LoraOptions, Schedule};

/// Settings of a run, apart from device and files.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The adapters; without meaning where all weights are trained.
    pub lora: LoraOptions,
    /// All of the model's own weights are trained, and there are no adapters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub full: bool,
    /// Learning rate after the warm-up.
    pub learning_rate: f32,
    /// Its shape.
    pub schedule: Schedule,
    /// Part of the learning rate that it falls to at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub floor: f32,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Decoupled weight decay, of matrices; norms and biases do not decay.
    pub weight_decay: f32,
    /// Decay rates of the moments.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Largest norm of a window's gradients; 0 for no limit.
    pub clip: f32,
    /// Sequences of a micro-batch.
    pub batch: usize,
    /// Micro-batches of a step.
    pub accumulate: usize,
    /// Weight of keeping what the model knew on texts of its own; 0 for not at all.
    pub keep: f32,
    /// Fills micro-batches with as many sequences as fit `rows`.
    pub pack: bool,
    /// Most tokens of a sequence; of a packed micro-batch, most rows.
    pub seq: usize,
    /// Times that the data is gone through.
    pub epochs: u64,
    /// Ends after so many steps.
    pub max_steps: Option<u64>,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps between validations; 0: once an epoch.
    pub eval_every: u64,
    /// Validations without a better loss after which training ends; 0: never.
    pub patience: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lora: LoraOptions::default(),
            full: false,
            learning_rate: 5e-4,
            schedule: Schedule::Linear,
            floor: 0.0,
            warmup: 0,
            weight_decay: 0.0,
            betas: (0.9, 0.999),
            epsilon: 1e-8,
            clip: 1.0,
            batch: 8,
            accumulate: 1,
            keep: 0.0,
            pack: false,
            seq: 1024,
            epochs: 3,
            max_steps: None,
            seed: 0,
            eval_every: 0,
            patience: 3,
        }
    }
}

impl Settings {
    /// How sequences are put together.
    pub fn batching(&self) -> Batching {
        if self.pack { Batching::Packed { max_rows: self.seq } } else { Batching::Sequences(self.batch) }
    }

    /// Learning rate of step `step` (from 0) of `total`.
    pub fn rate(&self, step: u64, total: u64) -> f64 {
        let factor = self.schedule.factor(step, total, self.warmup);
        let floor = if step < self.warmup { 0.0 } else { f64::from(self.floor) };
        f64::from(self.learning_rate) * (floor + (1.0 - floor) * factor)
    }

    /// The settings in which this run differs from `was`, with both values.
    pub fn differences(&self, was: &Self) -> Vec<Difference> {
        let value = |s: &Self| serde_json::to_value(s).unwrap_or_default();
        differences(&value(self), &value(was))
    }
}

/// A setting that older runs did not have, at the value that they had it at.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A setting in which two runs differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What it is called.
    pub name: String,
    /// What the run was begun with; null where it had no such setting.
    pub was: serde_json::Value,
    /// What this run has.
    pub is: serde_json::Value,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}, was {}", self.name, self.is, self.was)
    }
}

/// Keys in which two objects differ, with both values.
pub fn differences(is: &serde_json::Value, was: &serde_json::Value) -> Vec<Difference> {
    let (Some(a), Some(b)) = (is.as_object(), was.as_object()) else {
        let whole = Difference { name: "objective".into(), was: was.clone(), is: is.clone() };
        return if is == was { vec![] } else { vec![whole] };
    };
    let differs = a.iter().filter(|(key, value)| b.get(*key) != Some(value));
    let difference = |(key, value): (&String, &serde_json::Value)| Difference {
        name: key.clone(),
        was: b.get(key).cloned().unwrap_or_default(),
        is: value.clone(),
    };
    differs.map(difference).collect()
}

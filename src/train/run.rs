//! A training run of any kind, as whatever drives it sees it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::adapter::Adapter;
use crate::io::commit::Slots;
use crate::io::{CommitStore, Existing};
use crate::quant::Format;
use crate::train::pretrain::Pretrainer;
use crate::train::rl::RlTrainer;
use crate::train::{CheckpointError, Ended, Engine, Settings, StepReport, TrainError, Trainer};

/// What [`Trainer`], [`RlTrainer`] and [`Pretrainer`] have in common.
pub trait Run {
    /// See [`Trainer::engine`].
    fn engine(&mut self) -> &mut Engine;
    /// Steps of the whole run.
    fn total(&self) -> u64;
    /// Steps of going through the data once.
    fn steps_per_epoch(&self) -> u64;
    /// Steps so far.
    fn step_count(&self) -> u64;
    /// Why the run has ended, if it has.
    fn ended(&self) -> Option<Ended>;
    /// What the kept state was judged by, its value, and the step after which it was kept; `None` where the latest is kept.
    fn kept(&self) -> Option<(&'static str, f64, u64)>;
    /// One step; see [`Trainer::step`] and [`RlTrainer::step`].
    ///
    /// # Errors
    /// As these.
    fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError>;
    /// What the run is made of: settings and objective (null where the settings say it all).
    fn made_of(&self) -> (&Settings, &serde_json::Value);
    /// The adapter as it would be kept now.
    ///
    /// # Errors
    /// [`TrainError::Adapter`] if it holds numbers that are not finite.
    fn adapter(&mut self, info: BTreeMap<String, String>) -> Result<Adapter, TrainError>;
    /// Where all weights are trained: writes the model as it would be kept now, its metadata with `info` added, matrices in
    /// `format` (F32, F16 or BF16). Gives back where what had the name before is, if it was kept.
    ///
    /// # Errors
    /// [`TrainError::Writing`] if it holds numbers that are not finite, or the file cannot be written.
    fn save_model(
        &mut self,
        path: &Path,
        format: Format,
        existing: Existing,
        info: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, TrainError>;
    /// See [`Trainer::save`].
    ///
    /// # Errors
    /// As there.
    fn save<S: Slots>(&mut self, store: &mut CommitStore<S>, identity: &str) -> Result<(), CheckpointError>;
    /// See [`Trainer::restore`].
    ///
    /// # Errors
    /// As there.
    fn restore<S: Slots>(
        &mut self,
        store: &mut CommitStore<S>,
        identity: &str,
    ) -> Result<bool, CheckpointError>;
}

macro_rules! run {
    ($kind:ty) => {
        impl Run for $kind {
            fn engine(&mut self) -> &mut Engine {
                &mut self.core.engine
            }

            fn total(&self) -> u64 {
                <$kind>::total(self)
            }

            fn steps_per_epoch(&self) -> u64 {
                <$kind>::steps_per_epoch(self)
            }

            fn step_count(&self) -> u64 {
                self.core.progress.step
            }

            fn ended(&self) -> Option<Ended> {
                <$kind>::ended(self)
            }

            fn kept(&self) -> Option<(&'static str, f64, u64)> {
                self.core.best_loss().map(|(value, step)| (self.core.judged, value, step))
            }

            fn step(&mut self, pause: &mut dyn FnMut(Duration)) -> Result<Option<StepReport>, TrainError> {
                <$kind>::step(self, pause)
            }

            fn made_of(&self) -> (&Settings, &serde_json::Value) {
                (&self.core.settings, &self.core.objective)
            }

            fn adapter(&mut self, info: BTreeMap<String, String>) -> Result<Adapter, TrainError> {
                self.core.adapter(info)
            }

            fn save_model(
                &mut self,
                path: &Path,
                format: Format,
                existing: Existing,
                info: &BTreeMap<String, String>,
            ) -> Result<Option<PathBuf>, TrainError> {
                self.core.save_model(path, format, existing, info)
            }

            fn save<S: Slots>(
                &mut self,
                store: &mut CommitStore<S>,
                identity: &str,
            ) -> Result<(), CheckpointError> {
                self.core.save(store, identity)
            }

            fn restore<S: Slots>(
                &mut self,
                store: &mut CommitStore<S>,
                identity: &str,
            ) -> Result<bool, CheckpointError> {
                let Some(progress) = self.core.restore(store, identity)? else { return Ok(false) };
                self.go_to(progress)?;
                Ok(true)
            }
        }
    };
}

run!(Trainer);
run!(RlTrainer);
run!(Pretrainer);

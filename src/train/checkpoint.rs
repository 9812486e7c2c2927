//! A run's state in the two-slot store: what is trained, the optimizer's moments, the place in the data, all together.

use crate::io::commit::Slots;
use crate::io::{CommitError, CommitStore, Sections, SectionsError};
use crate::train::core::{Core, Progress};
use crate::train::{Difference, Settings, TrainError, Trainer};

/// Why a checkpoint could not be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store.
    #[error(transparent)]
    Store(#[from] CommitError),
    /// The state could not be written; the one before is still there.
    #[error("the run's state cannot be saved: {0}")]
    Saving(SectionsError),
    /// What the store holds is no checkpoint.
    #[error("the checkpoint is damaged: {0}")]
    Sections(#[from] SectionsError),
    /// It is of another run.
    #[error("the checkpoint is of another run: {0}; use the same settings, data and model, or start anew")]
    Other(String),
    /// It was begun with other settings.
    #[error("the checkpoint is of a run with other settings: {}; use the same, or start anew", list(.0))]
    Settings(Vec<Difference>),
    /// It was begun with another model or other data.
    #[error(
        "the checkpoint is of a run that was begun with {was}, this is {is}; use the same, or start anew"
    )]
    Identity {
        /// What it was begun with.
        was: String,
        /// What this run has.
        is: String,
    },
    /// The device.
    #[error(transparent)]
    Train(Box<TrainError>),
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}

impl From<TrainError> for CheckpointError {
    fn from(error: TrainError) -> Self {
        CheckpointError::Train(Box::new(error))
    }
}

impl Trainer {
    /// Commits the state: after this a run that is cut short goes on from here. `identity` names data and model, so that
    /// it is not resumed with others.
    ///
    /// # Errors
    /// [`CheckpointError::Store`]; the state before is then still there.
    pub fn save<S: Slots>(
        &mut self,
        store: &mut CommitStore<S>,
        identity: &str,
    ) -> Result<(), CheckpointError> {
        self.core.save(store, identity)
    }

    /// Goes on from the store's state; false if there is none.
    ///
    /// # Errors
    /// [`CheckpointError::Settings`] and [`CheckpointError::Identity`] naming what differs from this run,
    /// [`CheckpointError::Sections`] if it is damaged.
    pub fn restore<S: Slots>(
        &mut self,
        store: &mut CommitStore<S>,
        identity: &str,
    ) -> Result<bool, CheckpointError> {
        let Some(progress) = self.core.restore(store, identity)? else { return Ok(false) };
        self.go_to(progress)?;
        Ok(true)
    }
}

impl Core {
    /// See [`Trainer::save`].
    pub fn save<S: Slots>(
        &mut self,
        store: &mut CommitStore<S>,
        identity: &str,
    ) -> Result<(), CheckpointError> {
        let blocks = self.engine.plans().blocks.clone();
        let mut arrays: Vec<(String, Vec<f32>)> = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            for (name, id) in [("values", block.values), ("first", block.first), ("second", block.second)] {
                arrays.push((format!("{name}.{index}"), self.engine.read(id)?));
            }
        }
        let text = |value: Result<String, serde_json::Error>| {
            value.map_err(|e| CheckpointError::Other(format!("it cannot be written: {e}")))
        };
        let mut sections = Sections::new();
        sections.text("identity", identity);
        sections.text("settings", text(serde_json::to_string(&self.settings))?);
        sections.text("objective", self.objective.to_string());
        sections.text("progress", text(serde_json::to_string(&self.progress))?);
        for (name, values) in &arrays {
            sections.f32s(name.as_str(), values.as_slice());
        }
        for (index, values) in self.best.iter().flatten().enumerate() {
            sections.f32s(format!("best.{index}"), values.as_slice());
        }
        store.commit(sections.len_bytes(), |out| -> Result<(), CheckpointError> {
            sections.write(out).map_err(CheckpointError::Saving)
        })?;
        Ok(())
    }

    /// Takes up the store's state, apart from the place in it, which it gives back; `None` if there is no state.
    ///
    /// # Errors
    /// As [`Trainer::restore`].
    pub fn restore<S: Slots>(
        &mut self,
        store: &mut CommitStore<S>,
        identity: &str,
    ) -> Result<Option<Progress>, CheckpointError> {
        let Some(bytes) = store.read_all()? else { return Ok(None) };
        let sections = Sections::from_bytes(&bytes)?;
        let other = |why: String| Err(CheckpointError::Other(why));
        let saved = sections.get_text("identity")?;
        if saved != identity {
            return Err(CheckpointError::Identity { was: saved.to_owned(), is: identity.to_owned() });
        }
        let parse = |e: serde_json::Error| CheckpointError::Other(format!("it cannot be read: {e}"));
        let settings: Settings = serde_json::from_str(sections.get_text("settings")?).map_err(parse)?;
        let objective: serde_json::Value = match sections.get_text("objective") {
            Ok(text) => serde_json::from_str(text).map_err(parse)?,
            // Written before there were other objectives.
            Err(_) => serde_json::Value::Null,
        };
        let mut differences = self.settings.differences(&settings);
        differences.extend(crate::train::differences(&self.objective, &objective));
        if !differences.is_empty() {
            return Err(CheckpointError::Settings(differences));
        }
        let progress: Progress = serde_json::from_str(sections.get_text("progress")?).map_err(parse)?;
        let blocks = self.engine.plans().blocks.clone();
        let width = |t: &Self, index: usize| {
            let block: crate::plan::TensorId = blocks[index].values;
            t.engine.program().get(block).width
        };
        // All is checked before anything is changed.
        for index in 0..blocks.len() {
            for name in ["values", "first", "second"] {
                let found = sections.get_f32s(&format!("{name}.{index}"))?.len();
                if found != width(self, index) {
                    return other(format!(
                        "`{name}.{index}` has {found} numbers, not {}",
                        width(self, index)
                    ));
                }
            }
        }
        let mut best = Vec::new();
        for index in (0..blocks.len()).filter(|_| progress.best.is_some()) {
            let values = sections.get_f32s(&format!("best.{index}"))?.to_vec();
            if values.len() != width(self, index) {
                return other(format!("`best.{index}` has {} numbers", values.len()));
            }
            best.push(values);
        }
        for (index, block) in blocks.iter().enumerate() {
            for (name, id) in [("values", block.values), ("first", block.first), ("second", block.second)] {
                self.engine.write(id, sections.get_f32s(&format!("{name}.{index}"))?)?;
            }
        }
        self.best = (!best.is_empty()).then_some(best);
        Ok(Some(progress))
    }
}

//! Training on the device: from text to token sequences (`data`), the step, the objectives, and what drives them.
//!
//! A step is a score pass and a gradient pass with a coefficient per token (`objective`); [`Engine`] runs them on an
//! executor, [`Trainer`] goes through a data set with them.

pub mod data;
mod engine;
pub mod objective;

pub use engine::{Engine, EngineOptions, Recompute, Sequence, plan};

use crate::exec::ExecError;
use crate::model::ModelError;

/// Why training could not go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model, its plan or its budget.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A sequence that does not fit the plan.
    #[error("{rows} token rows do not fit a step of {capacity}; raise --seq or shorten the text")]
    Rows {
        /// Rows needed.
        rows: usize,
        /// Rows of a step.
        capacity: usize,
    },
    /// A target that is not a token of its sequence, or coefficients that are not one per target.
    #[error("sequence {sequence}: {why}")]
    Sequence {
        /// Which of the step's sequences.
        sequence: usize,
        /// What was wrong.
        why: String,
    },
}

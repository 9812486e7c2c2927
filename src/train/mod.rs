//! Training on the device: from text to token sequences (`data`), the step, the objectives, and what drives them.
//!
//! A step is a score pass and a gradient pass with a coefficient per token (`objective`); [`Engine`] runs them on an
//! executor. [`Trainer`] is a run of any kind: step after step, reported, validated, saved and resumed; what a step learns,
//! and whether the model writes first, is the run's task.

mod adapt;
mod adapters;
mod auto;
mod checkpoint;
mod core;
pub mod corpus;
pub mod data;
mod engine;
mod feedback;
mod fit;
mod full;
pub mod objective;
mod order;
mod peak;
pub mod pretrain;
mod report;
pub mod reward;
mod reward_model;
pub mod rl;
mod rows;
mod schedule;
mod settings;
mod study;
mod survival;
mod task;
mod trainer;
mod work;

pub use adapt::{
    Course, Fact, Gate, LEAST_ROUNDS, Lecture, Limits, Recall, SHARES, Standards, Taught, Trial, Verdict,
    Watch, adapt, teach,
};
pub use adapters::{LoraOptions, TARGETS, adapter_of, initialize, load_adapter, load_branch, shape_of};
pub use checkpoint::CheckpointError;
pub use engine::{Engine, EngineOptions, Recompute, Rollouts, Sequence};
pub use feedback::{Feedback, FeedbackOptions};
pub use fit::{available as available_memory, plan};
pub use full::{TRAINING, training_info};
pub use peak::{MatmulRate, matmul_rate};
pub use report::{Sample, StepReport};
pub use reward_model::{Judged, RankedPair, rewards};
pub use schedule::Schedule;
pub use settings::{Difference, Settings, differences};
pub use trainer::{ANCHOR_TOKENS, Against, Ended, Place, Trainer};
pub use work::{Load, multiply_adds};

use crate::exec::ExecError;
use crate::io::IoError;
use crate::model::ModelError;
use crate::quantize::QuantizeError;

impl From<IoError> for TrainError {
    fn from(error: IoError) -> Self {
        TrainError::Writing(error.into())
    }
}

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
    #[error("{rows} token rows do not fit a step of {capacity}; a longer step is needed, or a shorter text")]
    Rows {
        /// Rows needed.
        rows: usize,
        /// Rows of a step.
        capacity: usize,
    },
    /// An adapter that does not fit what is trained, or numbers that are not finite.
    #[error("{0}")]
    Adapter(String),
    /// A reward that cannot judge.
    #[error(transparent)]
    Reward(#[from] reward::RewardError),
    /// The trained model cannot be written.
    #[error(transparent)]
    Writing(#[from] QuantizeError),
    /// The corpus, or its token file.
    #[error(transparent)]
    Corpus(#[from] corpus::CorpusError),
    /// Raw text of less than a window.
    #[error("the text is shorter than a window of {seq} tokens; shorter windows are needed, or more text")]
    ShortText {
        /// Tokens of a window.
        seq: usize,
    },
    /// The data cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// Loss or gradient was not finite several times in a row.
    #[error(
        "the loss or its gradient was not finite in {strikes} steps in a row, the last step {step} (loss {loss}); \
         nothing was changed by them. Lower the learning rate, or look at the data"
    )]
    NotFinite {
        /// The last step.
        step: u64,
        /// Steps in a row.
        strikes: u32,
        /// Its loss.
        loss: f64,
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

//! Models: architectures as data, the forward that turns one into a plan, and the file they come from.

mod arch;
mod build;
mod config;
mod file;
mod forward;
mod linear;
mod training;

pub use arch::{ARCHITECTURES, Arch, GateKind, RopePairs};
pub use build::{
    AdapterShape, Branch, BranchHead, BuildOptions, Head, KvType, PairShape, PlanSpec, SCALAR_HEAD, Train,
    build, build_fitting,
};
pub use config::ModelConfig;
pub use file::Model;
pub use training::{Block, Pass, TrainPlans, TrainSpec, build_training};

use crate::gguf::GgufError;
use crate::plan::{BudgetError, PlanError};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file is not a sound GGUF, or lacks a key.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The architecture is not known.
    #[error("architecture `{found}` is not supported; known: {}", known())]
    Architecture {
        /// What the file says.
        found: String,
    },
    /// A setting of the model that this program cannot run.
    #[error("`{key}`: {why}")]
    Setting {
        /// Metadata key.
        key: String,
        /// What was wrong.
        why: String,
    },
    /// A tensor is missing, or has another shape or format.
    #[error("tensor `{name}`: {why}")]
    Tensor {
        /// Tensor name.
        name: String,
        /// What was wrong.
        why: String,
    },
    /// The plan does not hold together.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan does not fit.
    #[error(transparent)]
    Budget(#[from] BudgetError),
}

fn known() -> String {
    ARCHITECTURES.iter().map(|a| a.name).collect::<Vec<_>>().join(", ")
}

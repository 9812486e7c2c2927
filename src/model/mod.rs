//! Models: architectures as data, the forward that turns one into a plan, and the file they come from.

mod arch;
mod blueprint;
mod build;
mod builder;
mod check;
mod config;
mod file;
mod forward;
mod fuse;
mod inspect;
mod keys;
mod layer;
mod linear;
mod options;
mod other;
mod residual;
mod rope;
mod training;

pub use arch::{ARCHITECTURES, Arch, GateKind, Norms, RopePairs, Windows};
pub use blueprint::{Blueprint, BlueprintTensor, Start};
pub use build::{build, build_fitting};
pub use config::ModelConfig;
pub use file::Model;
pub use inspect::{InspectedLayer, Inspection, build_inspection};
pub use layer::{Attention, FeedForward, LayerConfig, Mixer};
pub use options::{
    AdapterShape, Branch, BranchHead, BuildOptions, Head, KvType, PairShape, PlanSpec, SCALAR_HEAD, Train,
};
pub use other::OtherKind;
pub use rope::{RopeScaling, Yarn};
pub use training::{BranchPlans, TrainPlans, TrainSpec, TrainedBlock, build_training};

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
    /// The file is no model of language.
    #[error("this is {0}")]
    OtherKind(OtherKind),
    /// Tensors that the architecture does not have: leaving them out would give another model.
    #[error(
        "{count} tensor(s) that `{arch}` is not known to have: {names}; without them the model would be another"
    )]
    UnknownTensors {
        /// How many.
        count: usize,
        /// The first few.
        names: String,
        /// The architecture.
        arch: &'static str,
    },
    /// A tensor's format cannot be decoded.
    #[error("tensor `{name}`{others}: format {format} is not supported; known: {known}")]
    Format {
        /// Tensor name.
        name: String,
        /// How many others.
        others: String,
        /// The formats.
        format: String,
        /// Formats that are.
        known: String,
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

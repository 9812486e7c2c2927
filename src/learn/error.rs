//! What can go wrong when a model learns from a journal.

use crate::adapter::AdapterError;
use crate::journal::JournalError;
use crate::journal::live::LiveError;
use crate::model::ModelError;
use crate::session::SessionError;
use crate::text::{TemplateError, TokenizerError};
use crate::train::TrainError;

/// Why nothing was learnt. What was live before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LearnError {
    /// The model's vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The base model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store of the live adapter.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The live adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Running the model.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// No entry can be encoded for this model.
    #[error("none of the entries can be learnt from: {0}")]
    Nothing(String),
}

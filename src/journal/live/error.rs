//! What can go wrong with the live adapter.

use crate::adapter::AdapterError;
use crate::io::{CommitError, IoError, SectionsError};

/// Why the live adapter could not be read or changed. What was live before still is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LiveError {
    /// The store.
    #[error(transparent)]
    Store(#[from] CommitError),
    /// The container in the store.
    #[error("the live adapter's state is damaged: {0}")]
    Sections(#[from] SectionsError),
    /// The state in the container.
    #[error(
        "the live adapter's state is damaged: {0}; restore a copy of its folder, or delete it to start anew"
    )]
    Damaged(String),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// There is nothing to roll back.
    #[error("there is no live adapter; nothing has been learnt yet, or all of it was rolled back")]
    NoneLive,
    /// No version has this number.
    #[error("there is no version {version}; the last one is {last}")]
    Unknown {
        /// The number asked for.
        version: u64,
        /// The largest there is; 0 if there is none.
        last: u64,
    },
    /// It is live already.
    #[error("version {version} is the live one already")]
    AlreadyLive {
        /// Its number.
        version: u64,
    },
    /// The bytes of a version were given up for newer ones.
    #[error("version {version} is no longer kept; those kept are {kept}")]
    NotKept {
        /// The number asked for.
        version: u64,
        /// The numbers of those kept.
        kept: String,
    },
}

impl From<IoError> for LiveError {
    fn from(error: IoError) -> Self {
        LiveError::Store(error.into())
    }
}

//! Byte streams: every format in this crate reads and writes through `embedded_io`'s `Read`, `Write` and
//! `Seek`, so that a model can come from a file, from memory, or from a block device without a file system.
//!
//! - [`StdStream`] lends a `std::io` type (a `File`) to code that wants `embedded_io`.
//! - [`MemStream`] reads bytes that are already in memory.
//! - [`MappedFile`] is a file mapped into memory, read only.
//! - [`replace_file`] writes a file so that readers see the old one or the new one, never a half.
//! - [`CommitStore`] commits a state whole or not at all, on two files or on a bare block device.
//! - [`Sections`] is a container of named arrays and texts.
//! - [`text`] reads text as people have it, and refuses what is none.
//! - [`Faulty`] fails, ends or stutters where a test tells it to; [`FaultyDisk`] loses its power.

mod atomic;
pub mod commit;
mod faulty;
mod faulty_disk;
mod mapped;
pub mod sections;
mod stream;
pub mod text;

#[cfg(feature = "train")]
pub(crate) use atomic::sync_folder;
pub use atomic::{FileSink, replace_file};
pub use commit::{CommitError, CommitStore, FolderSlots, Halves};
pub use faulty::Faulty;
pub use faulty_disk::{FaultyDisk, Unflushed};
pub use mapped::MappedFile;
pub use sections::{Sections, SectionsError};
pub use stream::{MemStream, StdStream, SyncedFile};

use std::path::{Path, PathBuf};

/// What can go wrong with a file as a whole. Errors inside a stream are the stream's own.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The operating system refused something.
    #[error("cannot {action} `{path}`: {source}; check that the path is right, readable and has room")]
    System {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or folder it was attempted on.
        path: PathBuf,
        /// The system's own reason.
        source: std::io::Error,
    },
    /// The path names a folder, a pipe or a device where a plain file is needed.
    #[error("`{path}` is not a plain file; give the path of a file")]
    NotAFile {
        /// The path given.
        path: PathBuf,
    },
    /// The path to write has no file name (it ends in `..` or is `/`).
    #[error("`{path}` has no file name to write to; give the path of a file")]
    NoFileName {
        /// The path given.
        path: PathBuf,
    },
    /// Another program is working on it.
    #[error("`{path}` is locked: another program has it open; wait for it or stop it")]
    Busy {
        /// The lock.
        path: PathBuf,
    },
}

impl embedded_io::Error for IoError {
    fn kind(&self) -> embedded_io::ErrorKind {
        match self {
            IoError::System { source, .. } => source.kind().into(),
            IoError::NotAFile { .. } | IoError::NoFileName { .. } => embedded_io::ErrorKind::InvalidInput,
            IoError::Busy { .. } => embedded_io::ErrorKind::Other,
        }
    }
}

impl IoError {
    /// Wraps a system error with what was attempted on which path.
    pub(crate) fn system(action: &'static str, path: &Path, source: std::io::Error) -> IoError {
        IoError::System { action, path: path.to_path_buf(), source }
    }
}

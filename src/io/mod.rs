//! Byte streams: every format in this crate reads and writes through `embedded_io`'s `Read`, `Write` and
//! `Seek`, so that a model can come from a file, from memory, or from a block device without a file system.
//!
//! - [`StdStream`] lends a `std::io` type (a `File`) to code that wants `embedded_io`.
//! - [`MemStream`] reads bytes that are already in memory.
//! - [`MappedFile`] is a file mapped into memory, read only.
//! - [`replace_file`] writes a file so that readers see the old one or the new one, never a half; [`output`] decides what
//!   may be written to at all, and what becomes of a file that is there; [`private`] is for its owner alone.
//! - [`CommitStore`] commits a state whole or not at all, on two files or on a bare block device.
//! - [`Sections`] is a container of named arrays and texts.
//! - [`text`] reads text as people have it, and refuses what is none.
//! - [`Faulty`] fails, ends or stutters where a test tells it to; [`FaultyDisk`] loses its power.

mod atomic;
mod beside;
pub mod commit;
mod faulty;
mod faulty_disk;
mod mapped;
pub mod output;
pub mod private;
pub mod sections;
mod stream;
pub mod text;

#[cfg(feature = "train")]
pub(crate) use atomic::sync_folder;
pub use atomic::{FileSink, OutputFile, Written, replace_file, write_bytes, write_file};
#[cfg(feature = "train")]
pub(crate) use beside::create_beside;
pub use commit::{CommitError, CommitStore, FolderSlots, Halves};
pub use faulty::Faulty;
pub use faulty_disk::{FaultyDisk, Unflushed};
pub use mapped::MappedFile;
pub use output::{Existing, Manner};
pub use private::Access;
pub use sections::{Sections, SectionsError};
pub use stream::{MemStream, StdStream, SyncedFile};

use std::path::{Path, PathBuf};

/// What can go wrong with a file as a whole. Errors inside a stream are the stream's own.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The operating system refused something.
    #[error("cannot {action} `{path}`: {}{}", in_words(source), advice(source))]
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
    /// A file is there, and it is not to be replaced.
    #[error("`{path}` is there already and is not replaced; give another name")]
    Exists {
        /// The path given.
        path: PathBuf,
    },
    /// A folder has the name.
    #[error("`{path}` is a folder; give the name of a file")]
    Folder {
        /// The path given.
        path: PathBuf,
    },
    /// A device, a pipe or a socket, which a file must not replace.
    #[error("`{path}` is {what}, not a plain file: it is not written to; give the path of a file")]
    Special {
        /// The path given.
        path: PathBuf,
        /// What it is, in words.
        what: &'static str,
    },
    /// The file that would be replaced may not be written.
    #[error("`{path}` is write-protected; give another name, or allow writing it")]
    WriteProtected {
        /// The path given.
        path: PathBuf,
    },
    /// There is no folder to write a file in.
    #[error("there is no folder `{path}` to write in; make it, or give another path")]
    NoFolder {
        /// Where it should be.
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
            IoError::NotAFile { .. }
            | IoError::NoFileName { .. }
            | IoError::Folder { .. }
            | IoError::Special { .. } => embedded_io::ErrorKind::InvalidInput,
            IoError::Exists { .. } => embedded_io::ErrorKind::AlreadyExists,
            IoError::WriteProtected { .. } => embedded_io::ErrorKind::PermissionDenied,
            IoError::NoFolder { .. } => embedded_io::ErrorKind::NotFound,
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

/// What a disk without room is called.
pub(crate) const FULL: &str = "the disk is full (no space left)";

/// A system's reason in words that name it, without the system's number.
pub fn in_words(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::StorageFull => FULL.into(),
        ErrorKind::QuotaExceeded => "the quota of disk space is used up".into(),
        ErrorKind::ReadOnlyFilesystem => "the file system is read-only".into(),
        ErrorKind::IsADirectory => "it is a folder, not a file".into(),
        ErrorKind::NotADirectory => "a part of the path is a file, not a folder".into(),
        ErrorKind::InvalidFilename => "the name is too long, or cannot be one".into(),
        _ => {
            let text = error.to_string();
            text.find(" (os error").map_or(text.clone(), |end| text[..end].to_owned())
        }
    }
}

/// What to do about it, where that is known; with what separates it from the reason.
fn advice(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => "; check the path",
        ErrorKind::PermissionDenied => "; check the permissions of the file and of its folder",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room, or give a path on another disk",
        ErrorKind::ReadOnlyFilesystem => "; give a path on another disk",
        ErrorKind::IsADirectory => "; give the path of a file",
        ErrorKind::InvalidFilename => "; give a shorter name",
        _ => "; check that the path is right, readable and has room",
    }
}

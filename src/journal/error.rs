//! What can go wrong with a journal as a whole. Lines that cannot be used are [`Problem`](super::Problem)s.

use crate::io::IoError;

/// Why a journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file.
    #[error(transparent)]
    File(#[from] IoError),
    /// A file of another kind, or of an encoding to which entries cannot be added.
    #[error("`{}` is {what}, and no journal; convert it to UTF-8, or move it away", path.display())]
    NotText {
        /// The file.
        path: std::path::PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A file with something else in it, which entries must not be added to.
    #[error(
        "`{path}` is no journal: none of its lines is an entry, and nothing is added to it; give another file"
    )]
    NotAJournal {
        /// The file.
        path: std::path::PathBuf,
    },
    /// An entry that would not be read back.
    #[error(
        "the entry takes {bytes} bytes, a line of the journal has at most {}; it was not written",
        super::MAX_LINE
    )]
    TooLong {
        /// The line's length.
        bytes: usize,
    },
    /// The numbers are used up, which no honest journal reaches.
    #[error(
        "the journal has an entry number {}, and there are none above; lower it in the file",
        super::MAX_ID
    )]
    NoIdLeft,
    /// An entry that cannot be written as JSON.
    #[error("the entry cannot be written: {0}")]
    Encode(String),
}

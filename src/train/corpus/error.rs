//! What can be wrong with a corpus.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::io::IoError;
use crate::train::data::DataError;

/// Why there is no corpus.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CorpusError {
    /// No path was given.
    #[error("no text was given; name text files, or folders of .txt, .md and .jsonl files")]
    NoPaths,
    /// A folder without texts.
    #[error("`{}` has no .txt, .md or .jsonl files in it; give a folder of texts, or the files by name", path.display())]
    NoTexts {
        /// The folder.
        path: PathBuf,
    },
    /// Folders in folders, deeper than anybody keeps texts.
    #[error("`{}` lies more than {max} folders deep; give a folder further in", path.display())]
    TooDeep {
        /// The folder.
        path: PathBuf,
        /// The most.
        max: usize,
    },
    /// A file or a folder.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file that cannot be read as text.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Text that is no UTF-8.
    #[error(
        "`{}` is not UTF-8 at byte {at}; convert it, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`, or take it out",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The byte, from 1.
        at: u64,
    },
    /// Nothing, or next to it, in all texts.
    #[error(
        "the texts come to {tokens} token(s) to learn from, and at least {needed} are needed; give more text"
    )]
    TooLittle {
        /// Tokens of the part.
        tokens: u64,
        /// The fewest.
        needed: u64,
    },
    /// The validation part would be next to nothing.
    #[error(
        "{tokens} token(s) are too few for a validation part of {fraction}; give more text, or none for validation (0)"
    )]
    TooLittleToHoldOut {
        /// Tokens in all.
        tokens: u64,
        /// The fraction asked for.
        fraction: f64,
    },
    /// A fraction that is none.
    #[error("a validation part of {fraction} is none; give a fraction from 0 (none) to 0.5")]
    Fraction {
        /// The fraction.
        fraction: f64,
    },
    /// A line that cannot stand between documents.
    #[error(
        "the line between documents must be one line with something in it, at most {max} bytes, not {line:?}"
    )]
    Separator {
        /// The line given.
        line: String,
        /// The most bytes.
        max: usize,
    },
    /// The caller stopped.
    #[error("stopped")]
    Stopped,
    /// No file that [`Corpus::build`](super::Corpus::build) wrote.
    #[error("`{}` is no token file of this program, and is left as it is; give another name", path.display())]
    NotACorpus {
        /// The file.
        path: PathBuf,
    },
    /// Of another release.
    #[error("`{}` is a token file of version {version}, this program knows 1; build it again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Not as it was written.
    #[error("the token file `{}` is damaged: {why}; build it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Made for another model.
    #[error("the token file `{}` was encoded with another vocabulary; build it again with this one", path.display())]
    Vocabulary {
        /// The file.
        path: PathBuf,
    },
    /// A window that holds no two tokens.
    #[error("windows of {seq} tokens hold nothing to learn; give 1 or more")]
    Window {
        /// The length given.
        seq: usize,
    },
}

/// What is wrong with a header, before it is known whose.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    NotACorpus,
    Version(u32),
    Damaged(String),
}

impl HeaderError {
    pub(super) fn at(self, path: &Path) -> CorpusError {
        let path = path.to_owned();
        match self {
            Self::NotACorpus => CorpusError::NotACorpus { path },
            Self::Version(version) => CorpusError::Version { path, version },
            Self::Damaged(why) => CorpusError::Damaged { path, why },
        }
    }
}

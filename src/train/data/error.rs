//! What can be wrong with data.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// Why a row was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// Longer than [`MAX_ROW`](super::MAX_ROW) bytes.
    RowTooLong,
    /// The bytes are no UTF-8.
    NotUtf8,
    /// No valid JSON, or nested too deeply.
    BadJson,
    /// A value of the wrong type, or one that cannot be.
    WrongType,
    /// None of the known sets of keys.
    UnknownShape,
    /// Tools or tool calls contain the text of a control token, or are too large.
    UnsafeTools,
    /// A conversation, but the model has no chat template.
    NoTemplate,
    /// The chat template refuses the conversation, or fails.
    Template,
    /// What comes before a reply and what comes with it do not begin alike in the chat template.
    PrefixBroken,
    /// No token would be learnt.
    NothingToTrain,
    /// More tokens than allowed.
    Overlong,
    /// Two answers to choose from that are the same.
    SameAnswers,
    /// Marked as not to be learnt.
    NotToLearn,
    /// A turn that holds a whole conversation with the control tokens of a template.
    Templated,
    /// Calls of tools that the chat template does not write.
    CallsNotWritten,
}

impl Reason {
    /// The reason in a few words.
    pub fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty row",
            Self::RowTooLong => "row too large to read",
            Self::NotUtf8 => "invalid UTF-8",
            Self::BadJson => "invalid JSON",
            Self::WrongType => "wrong type",
            Self::UnknownShape => "unknown shape",
            Self::UnsafeTools => "unusable tools",
            Self::NoTemplate => "no chat template",
            Self::Template => "refused by the chat template",
            Self::PrefixBroken => "replies cannot be told from the prompt",
            Self::NothingToTrain => "nothing to train on",
            Self::Overlong => "too long",
            Self::SameAnswers => "equal answers",
            Self::NotToLearn => "marked as not to be learnt",
            Self::Templated => "a turn that already went through a chat template",
            Self::CallsNotWritten => "tool calls that the chat template does not write",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A row that was not used: where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// The line on which the row begins, from 1.
    pub line: u64,
    /// Why.
    pub reason: Reason,
    /// What exactly.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path.display(), self.line, self.reason, self.detail)
    }
}

/// A row's problem before it is known which row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for RowError {}

/// The longest detail of a message, in characters.
const MAX_DETAIL: usize = 300;

impl RowError {
    pub(super) fn new(reason: Reason, detail: impl fmt::Display) -> Self {
        Self { reason, detail: shorten(&detail.to_string(), MAX_DETAIL) }
    }
}

/// The first `max` characters, with control characters made visible.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Why data could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// No file was given.
    #[error("no data file was given")]
    NoFiles,
    /// A file cannot be read.
    #[error("{}: cannot read the data: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is of a kind that is not read.
    #[error(
        "{}: this is {kind}, which is not read here; convert it to JSON lines (one object per line) or plain text \
         (text in a file named .txt is learnt as it stands)",
        path.display()
    )]
    Binary {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Plain text that is none.
    #[error("{}:{line}: {why}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Plain text where rows are needed.
    #[error(
        "{}: this is plain text, and a JSON object per line is needed",
        path.display()
    )]
    NotRows {
        /// The file.
        path: PathBuf,
    },
    /// In strict mode: the first row that cannot be used.
    #[error("{0}; correct the row, or leave strict mode to skip such rows")]
    Row(Box<Problem>),
    /// Not one row can be used.
    #[error("no row of the data can be trained on\n{0}")]
    NothingLeft(Box<super::Report>),
}

//! What one should know of rows that are used.

use std::fmt;

/// Something in a row that is used, but perhaps not as was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Note {
    /// A text, or a prompt with its completion, that already holds control tokens: they are encoded as such.
    ControlTokens,
    /// Contents with the text of control tokens, which stays text.
    ControlTexts,
    /// The text of the token that ends a turn, taken from the end of a completion, as the template writes it.
    EndTaken,
    /// Tools that the chat template does not write.
    ToolsNotWritten,
    /// Thoughts that the chat template does not write.
    ThoughtsNotWritten,
    /// Replies that say nothing, and are not learnt.
    EmptyReply,
    /// Replies that are marked as not to be learnt.
    MarkedOff,
}

impl Note {
    /// What was found and what becomes of it, in words that follow a number.
    pub fn label(self) -> &'static str {
        match self {
            Self::ControlTokens => "text with the model's control tokens, encoded as such",
            Self::ControlTexts => {
                "row with the text of control tokens in a message, where it stays text; give turns of their own, or the whole \
                 conversation as `text`"
            }
            Self::EndTaken => {
                "completion with the text of an end token at its end, which is left to the template"
            }
            Self::ToolsNotWritten => {
                "row with tools that the chat template does not write, learnt without them"
            }
            Self::ThoughtsNotWritten => {
                "row with thoughts that the chat template does not write, learnt without them"
            }
            Self::EmptyReply => "row with replies that say nothing, which are not learnt",
            Self::MarkedOff => "row with replies marked as not to be learnt, which are not",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Notes of one row: each kind once, with what exactly.
pub(super) type Notes = Vec<(Note, String)>;

/// Adds a note, if there is none of its kind.
pub(super) fn note(notes: &mut Notes, kind: Note, what: impl FnOnce() -> String) {
    if notes.iter().all(|(there, _)| *there != kind) {
        notes.push((kind, super::error::shorten(&what(), 120)));
    }
}

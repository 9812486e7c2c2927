//! Data for training: from files to token sequences with the tokens to learn marked, a split for
//! validation, and batches in an order that a seed fixes.
//!
//! Files are JSON lines, a JSON array of the same objects, or plain text; UTF-8 or UTF-16. A row is `messages` or ShareGPT's
//! `conversations` (with `tools`), `prompt` and `completion` (strings or lists of messages), `instruction`, `input` and `output`,
//! another pair of a question and an answer (`question` and `answer`, `query` and `response`, `input` and `output` …), or
//! `text`; the first of these that is complete counts, and other keys are ignored. See [`Encoder`] for what is trained on.
//!
//! Preferences are [`Pairs`] or [`Thumbs`]; what a model answers while it is rewarded are [`Prompts`].
//!
//! Conversations in memory become sequences by [`Dataset::from_rows`]. Data of another origin needs none of this: make [`Example`]s, and a [`Batcher`] over their lengths.

mod ask;
mod batch;
mod cases;
mod chat;
mod encode;
mod error;
mod example;
mod fields;
mod items;
mod load;
mod marks;
mod message;
mod note;
mod pack;
mod place;
mod plain;
mod prefer;
mod preview;
mod prompts;
mod question;
mod random;
mod raw;
mod read;
mod report;
mod row;
mod split;

pub use batch::{Batch, BatchError, Batcher, Batching, Cursor};
pub use cases::{Case, CaseKind, Marked, read_cases};
pub use encode::{EncodeOptions, Encoder, Overlong, TrainOn};
pub use error::{DataError, Problem, Reason, RowError};
pub use example::{DataFile, Dataset, Example, Source, Span, TokenCounts, lay_out};
pub use items::{Item, Items};
pub(in crate::train) use load::{Take, begin, bytes_of, each_row, io_error};
pub use note::Note;
pub use prefer::{Pair, Pairs, Thumb, Thumbs};
pub use preview::{PreviewSpan, marked, spans};
pub use prompts::{Prompt, Prompts};
pub use question::{Match, normalized};
pub use random::Random;
pub(in crate::train) use random::mix;
pub use read::{Format, MAX_ROW};
pub(in crate::train) use read::{Piece, fill};
pub use report::{Noted, Report, Skipped};
pub(in crate::train) use row::text_alone;
#[cfg(test)]
mod tests;

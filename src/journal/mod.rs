//! What the user thought of answers, and what was learnt from it.
//!
//! The **journal** is a file of JSON lines that belongs to the user: one [`Entry`] a line, to be read, edited and deleted
//! with any editor. [`Journal::append`] writes one whole line and returns when it is on the disk; a line that a power cut
//! tore is reported and passed over, and the next one begins on a line of its own. [`read`] takes what it can and names
//! the lines that it cannot.
//!
//! | field | |
//! |---|---|
//! | `id` | number of the entry, counted up |
//! | `time` | RFC 3339, UTC |
//! | `feedback` | `good`, `bad` (with `why`, where given), `edit` (`better`), `choice` (`other`, `other_cut`, `chosen`: `answer` or `other`), `withdrawn` |
//! | `supersedes` | the `id` of an earlier entry that no longer counts |
//! | `model`, `base` | the model's name, and the first 12 digits of its fingerprint |
//! | `adapter` | what adapters were on |
//! | `system`, `messages` | the conversation up to the user's last message |
//! | `answer`, `cut` | what the model answered, and whether the answer was cut short |
//!
//! What has been learnt is remembered by a hash of what an entry says ([`Entry::key`]), not by its place or number: so
//! lines may be moved, deleted or added, files may be joined, and an entry that the user rewrites is a new one. The set
//! of learnt keys lies in the [`live`] store, in the same commit as the adapter that learnt them.
//!
//! ```
//! use emberlm::journal::{Entry, Feedback, Journal, Said, preferences};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let mut journal = Journal::open(folder.path().join("journal.jsonl"))?;
//! journal.append(&Entry {
//!     messages: vec![Said::user("Where does Ada live?")],
//!     answer: "I do not know.".into(),
//!     feedback: Feedback::Edit { better: "In Porto.".into() },
//!     ..Entry::default()
//! })?;
//! let pairs = preferences(&journal.read()?.entries);
//! assert_eq!((pairs[0].chosen.as_str(), pairs[0].rejected.as_str()), ("In Porto.", "I do not know."));
//! # Ok(())
//! # }
//! ```

mod entry;
mod error;
mod examples;
mod file;
mod lesson;
pub mod live;
mod read;
#[cfg(test)]
mod tests;

pub use crate::chat::{Role, Said};
pub use entry::{Chosen, Entry, Feedback, Key, MAX_ID, MAX_LINE};
pub use error::JournalError;
pub use examples::{Demonstration, Preference, Thumb, demonstrations, preferences, thumbs};
pub use file::Journal;
pub use lesson::{Cursor, Lesson, Standing};
pub use read::{MAX_PROBLEMS, Problem, Reading, read, read_from};

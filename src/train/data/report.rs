//! What became of the rows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::error::{DataError, Problem, Reason, RowError};
use super::note::{Note, Notes};

/// How many problems of a kind are kept in full.
const KEPT: usize = 3;

/// Rows that were skipped for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Vec<Problem>,
}

/// What was noted of rows that are used.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Noted {
    /// Of how many.
    pub count: u64,
    /// The first: its file and line, and what exactly.
    pub first: String,
}

/// What became of the rows of one or more files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows read (of plain text: pieces), used or not.
    pub rows: u64,
    /// Sequences (or pairs, rated answers, prompts) made of them. A row can become several: see `unrolled`.
    pub examples: u64,
    /// What was skipped, by reason.
    pub skipped: BTreeMap<Reason, Skipped>,
    /// Sequences that were cut at the greatest length.
    pub truncated: u64,
    /// Conversations that became one sequence per reply, because the chat template writes earlier turns differently
    /// once others follow.
    pub unrolled: u64,
    /// Sequences with a reply after which the chat template puts no token that ends generation, so that the model
    /// does not learn to stop.
    pub without_end: u64,
    /// What one should know of rows that are used.
    pub notes: BTreeMap<Note, Noted>,
}

impl Report {
    /// How many rows, or sequences of unrolled rows, were skipped.
    pub fn skipped_count(&self) -> u64 {
        self.skipped.values().map(|s| s.count).sum()
    }

    /// Whether there is anything to tell, beside numbers.
    pub fn is_notable(&self) -> bool {
        let Self { skipped, truncated, without_end, notes, .. } = self;
        !skipped.is_empty() || *truncated > 0 || *without_end > 0 || !notes.is_empty()
    }

    /// Adds what was noted of a row that is used.
    pub(super) fn note(&mut self, path: &Path, line: u64, notes: Notes) {
        for (kind, what) in notes {
            let noted = self.notes.entry(kind).or_default();
            noted.count += 1;
            if noted.count == 1 {
                let colon = if what.is_empty() { "" } else { ": " };
                noted.first = format!("{}:{line}{colon}{what}", path.display());
            }
        }
    }

    /// A row that cannot be used: noted, or, in strict mode, an error.
    pub(in crate::train) fn skip(
        &mut self,
        path: &Path,
        line: u64,
        error: RowError,
        strict: bool,
    ) -> Result<(), DataError> {
        let RowError { reason, detail } = error;
        let problem = Problem { path: path.to_owned(), line, reason, detail };
        if strict {
            return Err(DataError::Row(Box::new(problem)));
        }
        self.add(problem);
        Ok(())
    }

    fn add(&mut self, problem: Problem) {
        let skipped = self.skipped.entry(problem.reason).or_default();
        skipped.count += 1;
        if skipped.first.len() < KEPT {
            skipped.first.push(problem);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows read, {} sequences, {} skipped", self.rows, self.examples, self.skipped_count())?;
        for (reason, skipped) in &self.skipped {
            write!(f, "\n  {} × {reason}", skipped.count)?;
            for problem in &skipped.first {
                write!(f, "\n    {}:{}: {}", problem.path.display(), problem.line, problem.detail)?;
            }
        }
        let notes = [
            (self.truncated, "sequences cut at the greatest length"),
            (self.unrolled, "conversations made into one sequence per reply"),
            (
                self.without_end,
                "sequences without an end of turn after a reply: the model will not learn to stop",
            ),
        ];
        for (count, what) in notes.iter().filter(|(count, _)| *count > 0) {
            write!(f, "\n  {count} {what}")?;
        }
        for (note, noted) in &self.notes {
            write!(f, "\n  {} × {note}\n    {}", noted.count, noted.first)?;
        }
        Ok(())
    }
}

//! Where the journal lies, and what to say about it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cli::error::CliResult;
use crate::cli::show;
use crate::cli::store::Home;
use crate::cli::term;
use crate::journal::Reading;

/// The journal's file: the one given, else `journal.jsonl` in the user's folder.
pub fn place(given: Option<&Path>) -> CliResult<PathBuf> {
    match given {
        Some(path) => Ok(path.to_owned()),
        None => Ok(Home::find()?.data.join("journal.jsonl")),
    }
}

/// Now, as entries have it.
pub fn now() -> String {
    crate::text::utc(SystemTime::now())
}

/// Warns of lines that were passed over.
pub fn warn_of_problems(path: &Path, reading: &Reading) {
    let all = reading.problems.len() + reading.more_problems;
    let Some(first) = reading.problems.first() else { return };
    let lines = if all == 1 { "1 line was".to_owned() } else { format!("{all} lines were") };
    let why = show::line(&first.why);
    term::warn(format!("{lines} passed over in {}: line {}: {why}", path.display(), first.line));
}

/// `1 entry`, `2 entries`.
pub fn entries(n: usize) -> String {
    if n == 1 { "1 entry".into() } else { format!("{n} entries") }
}

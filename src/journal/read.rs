//! Reading a journal: bounded, and tolerant of what people and power cuts do to it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::Path;

use super::{Entry, Feedback, JournalError, Key, MAX_ID, MAX_LINE};
use crate::io::text::{Encoding, sniff};
use crate::io::{IoError, private};

/// The most lines that are reported one by one.
pub const MAX_PROBLEMS: usize = 100;

/// A line that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
    /// It is the last one and has no end: writing it was cut short.
    pub torn: bool,
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What counts, in the file's order: without what was replaced or withdrawn, and everything once.
    pub entries: Vec<Entry>,
    /// What was taken back and not said again: what was learnt of it is to be forgotten.
    pub withdrawn: Vec<Entry>,
    /// How many entries were replaced, withdrawn or repeated.
    pub replaced: usize,
    /// Lines that were passed over, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// How many more were.
    pub more_problems: usize,
    /// The largest number of an entry; 0 if there is none.
    pub last_id: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Reading {
    fn report(&mut self, line: u64, why: String, torn: bool) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { line, why, torn });
        } else {
            self.more_problems += 1;
        }
    }
}

/// Reads the journal at `path`; one that does not exist is empty.
///
/// # Errors
/// [`JournalError::File`] if it is there and cannot be read, [`JournalError::NotText`] if it is no UTF-8 file at all.
pub fn read(path: impl AsRef<Path>) -> Result<Reading, JournalError> {
    let path = path.as_ref();
    let file = match plain_file(path) {
        Ok(()) => File::open(path).inspect(private::tighten),
        Err(IoError::System { source, .. }) => Err(source),
        Err(error) => return Err(error.into()),
    };
    match file {
        Ok(file) => {
            let failed = |e| JournalError::from(IoError::system("read", path, e));
            let mut stream = BufReader::new(file);
            let what = match sniff(stream.fill_buf().map_err(failed)?) {
                Ok((Encoding::Utf8, _)) => return read_from(stream).map_err(failed),
                Ok((Encoding::Utf16Le | Encoding::Utf16Be, _)) => "UTF-16 text",
                Err(kind) => kind,
            };
            Err(JournalError::NotText { path: path.to_owned(), what })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reading::default()),
        Err(error) => Err(IoError::system("open", path, error).into()),
    }
}

/// Whether `path` is a file, before it is opened: opening a pipe would wait, reading a device might never end.
pub(super) fn plain_file(path: &Path) -> Result<(), IoError> {
    let metadata = std::fs::metadata(path).map_err(|e| IoError::system("open", path, e))?;
    if metadata.is_file() { Ok(()) } else { Err(IoError::NotAFile { path: path.to_owned() }) }
}

/// Reads a journal from its bytes.
///
/// # Errors
/// The stream's.
pub fn read_from(mut stream: impl BufRead) -> io::Result<Reading> {
    let mut reading = Reading::default();
    let mut effective = Effective::default();
    let mut number = 0;
    while let Some(line) = next_line(&mut stream)? {
        number += 1;
        reading.bytes += line.length;
        match parse(&line, number) {
            Ok(Some(entry)) => {
                reading.last_id = reading.last_id.max(entry.id);
                effective.take(entry);
            }
            Ok(None) => {}
            Err(why) => reading.report(number, why, !line.ended),
        }
    }
    reading.replaced = effective.replaced;
    (reading.entries, reading.withdrawn) = effective.finish();
    Ok(reading)
}

/// A line without its end.
struct Line {
    /// Empty if it was too long.
    bytes: Vec<u8>,
    /// With its end.
    length: u64,
    ended: bool,
}

fn next_line(stream: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Line { bytes: Vec::new(), length: 0, ended: false };
    loop {
        let part = match stream.fill_buf() {
            Ok(part) => part,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if part.is_empty() {
            return Ok((line.length > 0).then_some(line));
        }
        let end = part.iter().position(|&b| b == b'\n');
        let piece = &part[..end.unwrap_or(part.len())];
        let taken = piece.len() + usize::from(end.is_some());
        line.length += taken as u64;
        if line.length <= MAX_LINE as u64 {
            line.bytes.extend_from_slice(piece);
        } else {
            line.bytes = Vec::new();
        }
        stream.consume(taken);
        if end.is_some() {
            line.ended = true;
            return Ok(Some(line));
        }
    }
}

/// The entry of a line; none of an empty one.
fn parse(line: &Line, number: u64) -> Result<Option<Entry>, String> {
    if line.length > MAX_LINE as u64 {
        return Err(format!("it has {} bytes, at most {MAX_LINE} are read", line.length));
    }
    let text = std::str::from_utf8(&line.bytes)
        .map_err(|e| format!("it is not UTF-8 (byte {})", e.valid_up_to() + 1))?;
    // Some editors begin a file with a byte order mark.
    let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text }.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(entry) => Ok(Some(entry)),
        Err(_) if !line.ended => Err("it is cut short".into()),
        Err(error) => Err(without_place(&error)),
    }
}

/// The message without serde's line number, which is always 1.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let plain = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    plain.chars().take(200).collect()
}

/// Entries, and which of them still count.
#[derive(Default)]
struct Effective {
    entries: Vec<Option<Entry>>,
    /// The newest entry of a number.
    by_id: HashMap<u64, usize>,
    /// The newest judgement of an answer.
    by_answer: HashMap<Key, usize>,
    withdrawn: Vec<Entry>,
    replaced: usize,
}

impl Effective {
    fn take(&mut self, entry: Entry) {
        let earlier = entry.supersedes.as_ref().and_then(|id| self.by_id.get(id)).copied();
        let earlier = earlier.and_then(|earlier| self.drop(earlier));
        if entry.feedback == Feedback::Withdrawn {
            self.withdrawn.extend(earlier);
            return;
        }
        // An answer has one judgement, the last. Choices between different answers do not contradict each other.
        if !matches!(entry.feedback, Feedback::Choice { .. })
            && let Some(earlier) = self.by_answer.insert(entry.answer_key(), self.entries.len())
        {
            self.drop(earlier);
        }
        self.by_id.insert(entry.id, self.entries.len());
        self.entries.push(Some(entry));
    }

    fn drop(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(index).and_then(Option::take);
        self.replaced += usize::from(entry.is_some());
        entry
    }

    /// What counts, and what was taken back.
    fn finish(self) -> (Vec<Entry>, Vec<Entry>) {
        let mut seen = HashSet::new();
        let mut first = |entry: &Entry| seen.insert(entry.key());
        let entries = self.entries.into_iter().flatten().filter(&mut first).collect();
        (entries, self.withdrawn.into_iter().filter(&mut first).collect())
    }
}

/// The number after `last`.
pub(super) fn next_id(last: u64) -> Result<u64, JournalError> {
    if last < MAX_ID { Ok(last + 1) } else { Err(JournalError::NoIdLeft) }
}

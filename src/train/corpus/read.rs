//! From files to documents.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::error::CorpusError;
use super::gather::{Documents, Gather};
use super::sources::{self, Source};
use crate::io::IoError;
use crate::io::text::BINARY;
use crate::train::data::{
    DataError, Format, Piece, Report, Take, begin, bytes_of, each_row, fill, io_error, text_alone,
};

/// The longest line between documents, in bytes.
const LONGEST_MARK: usize = 256;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Counts what passes.
struct Counting<'a, R> {
    inner: R,
    done: &'a Cell<u64>,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.done.set(self.done.get() + n as u64);
        Ok(n)
    }
}

/// Reads a file into documents. `mark` is the line between those of plain text.
pub(super) fn file<D: Documents>(
    source: &Source,
    mark: Option<&str>,
    done: &Cell<u64>,
    to: &mut Gather<D>,
    report: &mut Report,
) -> Result<(), CorpusError> {
    let path = source.path.as_path();
    let opened = |e| CorpusError::from(IoError::system("open", path, e));
    let mut file = File::open(path).map_err(opened)?;
    // It is not part of the text, but of the places in the file.
    let mut first = [0; BYTE_ORDER_MARK.len()];
    let marked = file.read(&mut first).map_err(opened)? == first.len() && first == *BYTE_ORDER_MARK;
    file.rewind().map_err(opened)?;
    let (format, reader) = begin(path, Counting { inner: file, done })?;
    match format {
        Format::Text => {
            let before = if marked { BYTE_ORDER_MARK.len() as u64 } else { 0 };
            Plain { path, mark, held: String::new(), line: String::new(), at: before }.read(reader, to)
        }
        _ => rows(path, format, reader, to, report),
    }
}

/// Every row is a document.
fn rows<D: Documents>(
    path: &Path,
    format: Format,
    reader: impl BufRead,
    to: &mut Gather<D>,
    report: &mut Report,
) -> Result<(), CorpusError> {
    let take: &mut Take<CorpusError> = &mut |line, piece: Piece| {
        report.rows += 1;
        match bytes_of(piece).and_then(text_alone) {
            Ok(text) => {
                report.examples += 1;
                to.text(&text)?;
                to.end()
            }
            Err(error) => report.skip(path, line, error, false).map_err(CorpusError::from),
        }
    };
    each_row(path, format, reader, take).map(drop)
}

/// Plain text, of which never more than a block is in memory, however long its lines are.
struct Plain<'a> {
    path: &'a Path,
    mark: Option<&'a str>,
    /// A line's end that is the document's only if the document goes on.
    held: String,
    /// The beginning of a line that may become a mark.
    line: String,
    /// Bytes of the file before the block in work.
    at: u64,
}

impl Plain<'_> {
    fn read<D: Documents>(mut self, mut reader: impl BufRead, to: &mut Gather<D>) -> Result<(), CorpusError> {
        let mut carried = Vec::new();
        // Whether what comes next begins a line.
        let mut fresh = true;
        loop {
            let block = fill(&mut reader).map_err(|e| io_error(self.path, e))?;
            let taken = block.len();
            if taken == 0 {
                break;
            }
            if block.contains(&0) {
                return Err(DataError::Binary { path: self.path.to_owned(), kind: BINARY }.into());
            }
            let mut bytes = std::mem::take(&mut carried);
            bytes.extend_from_slice(block);
            reader.consume(taken);
            let text = match std::str::from_utf8(&bytes) {
                Ok(text) => text,
                // A character may go on in the next block.
                Err(e) if e.error_len().is_none() => {
                    let (whole, rest) = bytes.split_at(e.valid_up_to());
                    carried = rest.to_vec();
                    std::str::from_utf8(whole).unwrap_or_default()
                }
                Err(e) => return Err(self.not_utf8(e.valid_up_to())),
            };
            self.at += text.len() as u64;
            for line in text.split_inclusive('\n') {
                fresh = self.piece(line, fresh, to)?;
            }
        }
        if !carried.is_empty() {
            return Err(self.not_utf8(0));
        }
        self.finish(to)
    }

    fn not_utf8(&self, within: usize) -> CorpusError {
        CorpusError::NotUtf8 { path: self.path.to_owned(), at: self.at + within as u64 + 1 }
    }

    /// Takes a line, or a part of one: `fresh` if the line begins with it. Tells whether the line is over.
    fn piece<D: Documents>(
        &mut self,
        piece: &str,
        fresh: bool,
        to: &mut Gather<D>,
    ) -> Result<bool, CorpusError> {
        let over = piece.ends_with('\n');
        let waiting = !self.line.is_empty();
        if self.mark.is_some() && (fresh || waiting) && self.line.len() + piece.len() <= LONGEST_MARK {
            self.line.push_str(piece);
            if over {
                let line = std::mem::take(&mut self.line);
                self.line(&line, to)?;
            }
            return Ok(over);
        }
        let line = std::mem::take(&mut self.line);
        self.say(&line, to)?;
        self.say(piece, to)?;
        Ok(over)
    }

    /// Takes a short line.
    fn line<D: Documents>(&mut self, line: &str, to: &mut Gather<D>) -> Result<(), CorpusError> {
        if self.mark.is_some_and(|mark| line.trim_end() == mark) {
            self.held.clear();
            return to.end();
        }
        self.say(line, to)
    }

    /// The document goes on with this. Its last line's end is held back, and is written as a line feed alone.
    fn say<D: Documents>(&mut self, text: &str, to: &mut Gather<D>) -> Result<(), CorpusError> {
        if text.is_empty() {
            return Ok(());
        }
        let held = std::mem::take(&mut self.held);
        // A carriage return at the end of a block may be half of a line's end.
        let whole = held == "\r" && text == "\n";
        if !whole {
            to.text(&held)?;
        }
        let said = text.strip_suffix("\r\n").or_else(|| text.strip_suffix(['\n', '\r'])).unwrap_or(text);
        to.text(said)?;
        self.held.push_str(if text.ends_with('\n') { "\n" } else { &text[said.len()..] });
        Ok(())
    }

    fn finish<D: Documents>(mut self, to: &mut Gather<D>) -> Result<(), CorpusError> {
        let line = std::mem::take(&mut self.line);
        self.line(&line, to)?;
        if self.mark.is_none() {
            to.text(&self.held)?;
        }
        to.end()
    }
}

/// Goes through texts as [`Corpus::build`](super::Corpus::build) reads them, without making tokens of them: `take` gets each piece
/// of a document, cut where no word spans the cut if that is possible, and whether it is the first. before it, `progress` gets
/// the bytes read and those there are, and stops the work by [`ControlFlow::Break`].
///
/// # Errors
/// As there.
pub fn each_text(
    paths: &[PathBuf],
    separator: Option<&str>,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    take: &mut dyn FnMut(&str, bool),
) -> Result<Report, CorpusError> {
    if let Some(line) = separator {
        check_separator(line)?;
    }
    let sources = sources::list(paths)?;
    let (done, total) = (Cell::new(0), sources.iter().map(|source| source.bytes).sum());
    let mut texts = Texts { done: &done, total, progress, take };
    let mut gather = Gather::new(&mut texts);
    let mut report = Report::default();
    for source in &sources {
        file(source, separator, &done, &mut gather, &mut report)?;
    }
    Ok(report)
}

struct Texts<'a> {
    done: &'a Cell<u64>,
    total: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    take: &'a mut dyn FnMut(&str, bool),
}

impl Documents for Texts<'_> {
    fn piece(&mut self, text: String, first: bool, _last: bool) -> Result<(), CorpusError> {
        // A file may have grown meanwhile.
        if (self.progress)(self.done.get().min(self.total), self.total).is_break() {
            return Err(CorpusError::Stopped);
        }
        (self.take)(&text, first);
        Ok(())
    }

    fn empty(&mut self) {}
}

/// Checks a line that is to stand between documents.
pub(super) fn check_separator(line: &str) -> Result<(), CorpusError> {
    let sound = !line.trim().is_empty() && line.trim_end() == line && !line.contains(['\n', '\r', '\0']);
    if sound && line.len() + 2 <= LONGEST_MARK {
        return Ok(());
    }
    Err(CorpusError::Separator { line: line.chars().take(60).collect(), max: LONGEST_MARK - 2 })
}

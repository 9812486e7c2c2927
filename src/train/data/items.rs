//! Data of which a row is no single sequence: what all of its kinds share.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::encode::{Encoder, Sequence};
use super::error::{DataError, RowError};
use super::example::{DataFile, Example, Source, TokenCounts, hash};
use super::fields::object;
use super::load::{begin, bytes_of, each_row, finished, io_error};
use super::note::Notes;
use super::report::Report;
use super::split::split;

/// Items of one kind, and the files they came from: [`Pairs`](super::Pairs), [`Thumbs`](super::Thumbs) and
/// [`Prompts`](super::Prompts).
#[derive(Debug, Clone, PartialEq)]
pub struct Items<T> {
    /// The items, in the files' order.
    pub items: Vec<T>,
    /// The files, in the order given.
    pub files: Vec<DataFile>,
}

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self { items: Vec::new(), files: Vec::new() }
    }
}

/// A kind of items. It is not for implementing elsewhere: rows can only be read here.
pub trait Item: Sized + private::FromRow {
    /// A hash of the prompt: items of equal keys stay together when the data is split.
    fn key(&self) -> u64;

    /// Its tokens.
    fn counts(&self) -> TokenCounts;
}

pub(super) mod private {
    use super::{Encoder, Made, RowError, Source};

    /// Reads the items of a row. It and what it needs cannot be named outside.
    pub trait FromRow: Sized {
        /// From the text of an object.
        fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError>;
    }
}

/// What became of a row.
pub struct Made<T> {
    pub(super) items: Vec<T>,
    /// Sequences that were cut.
    pub(super) truncated: u64,
    /// Sequences whose reply has no end.
    pub(super) without_end: u64,
    pub(super) notes: Notes,
}

impl<T> Made<T> {
    /// Of one item made of some sequences.
    pub(super) fn new(items: Vec<T>, sequences: &[&Sequence]) -> Self {
        let count = |holds: fn(&Sequence) -> bool| sequences.iter().filter(|s| holds(s)).count() as u64;
        let notes = sequences.iter().flat_map(|s| s.notes.iter().cloned()).collect();
        Self { items, truncated: count(|s| s.truncated), without_end: count(|s| s.without_end), notes }
    }
}

/// An example whose key is that of its prompt.
pub(super) fn answered(sequence: Sequence, source: Source) -> Example {
    let mut example = Example::new(sequence.tokens, sequence.trained, source);
    example.key = hash(0, example.prompt());
    example
}

impl<T: Item> Items<T> {
    /// Reads files of JSON lines, or of one JSON array. Rows that cannot be used are skipped and reported, or, in strict mode,
    /// an error.
    ///
    /// # Errors
    /// [`DataError`]: a file that cannot be read, or has no rows of JSON; in strict mode, the first bad row; no usable row at all.
    pub fn load<P: AsRef<Path>>(paths: &[P], encoder: &Encoder) -> Result<(Self, Report), DataError> {
        if paths.is_empty() {
            return Err(DataError::NoFiles);
        }
        let (mut items, mut report) = (Self::default(), Report::default());
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).map_err(|e| io_error(path, e))?;
            items.read(path, file, encoder, &mut report)?;
        }
        if items.items.is_empty() {
            return Err(DataError::NothingLeft(Box::new(report)));
        }
        Ok((items, report))
    }

    /// Adds what `reader` gives; `path` names it in messages, and its ending says what it is (see
    /// [`Format::of`](super::Format::of)).
    ///
    /// # Errors
    /// As [`Self::load`], but that no usable row is no error.
    pub fn read(
        &mut self,
        path: &Path,
        reader: impl Read,
        encoder: &Encoder,
        report: &mut Report,
    ) -> Result<(), DataError> {
        let (format, reader) = begin(path, reader)?;
        let file = self.files.len();
        let reader = each_row(path, format, reader, &mut |line, piece| {
            report.rows += 1;
            let source = Source { file, line };
            let text = bytes_of(piece).and_then(object);
            match text.and_then(|text| T::from_row(text, encoder, source)) {
                Ok(made) => {
                    report.examples += made.items.len() as u64;
                    report.truncated += made.truncated;
                    report.without_end += made.without_end;
                    report.note(path, line, made.notes);
                    self.items.extend(made.items);
                    Ok(())
                }
                Err(error) => report.skip(path, line, error, encoder.options.strict),
            }
        })?;
        self.files.push(finished(path, reader));
        Ok(())
    }

    /// Splits into training and validation data, as [`Dataset::split`](super::Dataset::split) does, but that items with the same
    /// prompt land on the same side.
    pub fn split(self, fraction: f64, seed: u64) -> (Self, Self) {
        let (kept, held_out) = split(self.items, T::key, fraction, seed);
        (Self { items: kept, files: self.files.clone() }, Self { items: held_out, files: self.files })
    }

    /// Numbers of tokens, over all items.
    pub fn counts(&self) -> TokenCounts {
        self.items.iter().map(T::counts).fold(TokenCounts::default(), |sum, one| sum + one)
    }

    /// The tokens of every item (of a pair: of both sequences), for a [`Batcher`](super::Batcher).
    pub fn lengths(&self) -> Vec<usize> {
        self.items.iter().map(|item| item.counts().total as usize).collect()
    }
}

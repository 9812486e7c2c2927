//! Data of any kind: one way from files to what rows become.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::encode::{Encoder, Sequence, Sequences};
use super::error::{DataError, RowError};
use super::example::{DataFile, Example, Source, TokenCounts, hash};
use super::fields::object;
use super::load::{begin, bytes_of, each_cut, each_row, finished, io_error};
use super::note::Notes;
use super::read::{Format, Piece};
use super::report::Report;
use super::split::split;

/// Items of one kind, and the files they came from: a [`Dataset`](super::Dataset) of sequences, [`Pairs`](super::Pairs),
/// [`Thumbs`](super::Thumbs) and [`Prompts`](super::Prompts).
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// A hash of what it came from (of a preference or a prompt, the prompt): items of equal keys stay together when the
    /// data is split.
    fn key(&self) -> u64;

    /// Its tokens.
    fn counts(&self) -> TokenCounts;

    /// Gives bytes that stand for what the model sees of it, by which data can be told from others.
    fn identify(&self, take: &mut dyn FnMut(&[u8])) {
        // The prompt's, which holds templates and system prompts.
        take(&self.key().to_le_bytes());
    }
}

pub(super) mod private {
    use super::{Encoder, Made, RowError, Sequence, Source};

    /// What a piece of plain text becomes.
    pub type FromText<T> = fn(Result<Sequence, RowError>, Source) -> Made<T>;

    /// Reads the items of a row. It and what it needs cannot be named outside.
    pub trait FromRow: Sized {
        /// From plain text, if it can be used.
        const FROM_TEXT: Option<FromText<Self>> = None;

        /// From the text of an object.
        fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError>;
    }
}

/// What became of a row.
pub struct Made<T> {
    pub(super) items: Vec<T>,
    /// What could not be used of it.
    pub(super) errors: Vec<RowError>,
    /// It is a conversation that became a sequence for each reply.
    pub(super) unrolled: bool,
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
        let (truncated, without_end) = (count(|s| s.truncated), count(|s| s.without_end));
        Self { items, errors: Vec::new(), unrolled: false, truncated, without_end, notes }
    }
}

impl Made<Example> {
    /// An example of each sequence of a row.
    pub(super) fn examples(sequences: Sequences, source: Source) -> Self {
        let key = sequences.iter().flatten().fold(0, |key, sequence| hash(key, &sequence.tokens));
        let mut made = Self { unrolled: sequences.len() > 1, ..Self::new(Vec::new(), &[]) };
        for sequence in sequences {
            match sequence {
                Ok(Sequence { tokens, trained, truncated, without_end, notes }) => {
                    made.truncated += u64::from(truncated);
                    made.without_end += u64::from(without_end);
                    made.notes.extend(notes);
                    made.items.push(Example { tokens, trained, source, key });
                }
                Err(error) => made.errors.push(error),
            }
        }
        made
    }
}

/// An example whose key is that of its prompt.
pub(super) fn answered(sequence: Sequence, source: Source) -> Example {
    let mut example = Example::new(sequence.tokens, sequence.trained, source);
    example.key = hash(0, example.prompt());
    example
}

impl<T: Item> Items<T> {
    /// Reads files of JSON lines, of one JSON array, or, for sequences, of plain text. Rows that cannot be used are skipped
    /// and reported, or, in strict mode, an error.
    ///
    /// # Errors
    /// [`DataError`]: a file that cannot be read, or has no rows where they are needed; in strict mode, the first bad row; no
    /// usable row at all.
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
        items.or_nothing(report)
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
        let mut into = Intake { path, encoder, data: self, report };
        let reader = match (format, T::FROM_TEXT) {
            (Format::Text, Some(of_text)) => {
                each_cut(path, reader, encoder, &mut |line, cut| into.cut(line, cut, of_text))?
            }
            _ => each_row(path, format, reader, &mut |line, piece| into.piece(line, piece))?,
        };
        self.files.push(finished(path, reader));
        Ok(())
    }

    /// With the report, if there is an item at all.
    pub(super) fn or_nothing(self, report: Report) -> Result<(Self, Report), DataError> {
        if self.items.is_empty() {
            return Err(DataError::NothingLeft(Box::new(report)));
        }
        Ok((self, report))
    }

    /// Splits into training and validation data. About `fraction` (0 to 1) of the rows go to validation: those whose keys
    /// hash, with the seed, below it. So a row always lands on the same side, whatever the other rows are, and equal rows,
    /// sequences of one conversation, and items with the same prompt on the same.
    ///
    /// For a fraction above 0 and at least two different keys, each side gets at least one.
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

/// Where rows of a file go.
pub(super) struct Intake<'a, 'm, T> {
    pub(super) path: &'a Path,
    pub(super) encoder: &'a Encoder<'m>,
    pub(super) data: &'a mut Items<T>,
    pub(super) report: &'a mut Report,
}

impl<T: Item> Intake<'_, '_, T> {
    fn source(&self, line: u64) -> Source {
        Source { file: self.data.files.len(), line }
    }

    fn piece(&mut self, line: u64, piece: Piece) -> Result<(), DataError> {
        self.report.rows += 1;
        let text = bytes_of(piece).and_then(object);
        let made = text.and_then(|text| T::from_row(text, self.encoder, self.source(line)));
        self.add(line, made)
    }

    /// A piece of plain text, or a line of it that cannot be read.
    fn cut(
        &mut self,
        line: u64,
        cut: Result<Sequence, RowError>,
        of_text: private::FromText<T>,
    ) -> Result<(), DataError> {
        self.report.rows += u64::from(cut.is_ok());
        let made = cut.map(|sequence| of_text(self.encoder.fit(sequence), self.source(line)));
        self.add(line, made)
    }

    /// Adds what became of one row.
    pub(super) fn add(&mut self, line: u64, made: Result<Made<T>, RowError>) -> Result<(), DataError> {
        let errors = match made {
            Ok(made) => {
                self.report.examples += made.items.len() as u64;
                self.report.unrolled += u64::from(made.unrolled);
                self.report.truncated += made.truncated;
                self.report.without_end += made.without_end;
                self.report.note(self.path, line, made.notes);
                self.data.items.extend(made.items);
                made.errors
            }
            Err(error) => vec![error],
        };
        let strict = self.encoder.options.strict;
        errors.into_iter().try_for_each(|error| self.report.skip(self.path, line, error, strict))
    }
}

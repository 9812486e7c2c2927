//! Reads files into a [`Dataset`].

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::encode::{Encoder, Sequence, Sequences};
use super::error::{DataError, Reason, RowError};
use super::example::{DataFile, Dataset, Example, Source, hash};
use super::fields::utf8;
use super::message::Turns;
use super::plain::{Cut, Cutter};
use super::read::{Elements, Format, Hashing, Lines, MAX_ROW, Piece, fill};
use super::report::Report;
use super::row::{self, Chat, Row};
use crate::io::text::{self, TextError, TextReader};
use crate::text::Message;

const BUFFER: usize = 64 << 10;
const ICONV: &str = "iconv -f WINDOWS-1252 -t UTF-8";

impl Dataset {
    /// Reads files. Rows that cannot be used are skipped and reported, or, in strict mode, an error.
    ///
    /// # Errors
    /// [`DataError`]: a file that cannot be read; in strict mode, the first bad row; no usable row at all.
    pub fn load<P: AsRef<Path>>(paths: &[P], encoder: &Encoder) -> Result<(Self, Report), DataError> {
        if paths.is_empty() {
            return Err(DataError::NoFiles);
        }
        let (mut dataset, mut report) = (Self::default(), Report::default());
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).map_err(|e| io_error(path, e))?;
            dataset.read(path, file, encoder, &mut report)?;
        }
        if dataset.examples.is_empty() {
            return Err(DataError::NothingLeft(Box::new(report)));
        }
        Ok((dataset, report))
    }

    /// Makes sequences of conversations that are in memory, as [`Self::load`] does of those in a file; a row's number is the line
    /// in the report. Its last message that is learnt is an assistant's.
    ///
    /// # Errors
    /// [`DataError`]: in strict mode, the first row that cannot be used; no usable row at all.
    pub fn from_rows(rows: &[Vec<Message>], encoder: &Encoder) -> Result<(Self, Report), DataError> {
        let (mut dataset, mut report) = (Self::default(), Report::default());
        let path = Path::new("rows in memory");
        for (line, row) in (1..).zip(rows) {
            report.rows += 1;
            let chat = Chat { turns: Turns::from(row.clone()), train_from: 0, tools: None };
            let sequences = encoder.encode(Row::Chat(chat));
            Into { path, encoder, dataset: &mut dataset, report: &mut report }.add(line, sequences)?;
        }
        if dataset.examples.is_empty() {
            return Err(DataError::NothingLeft(Box::new(report)));
        }
        Ok((dataset, report))
    }

    /// Adds what `reader` gives; `path` names it in messages, and its ending says what it is (see [`Format::of`]).
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
        let mut into = Into { path, encoder, dataset: self, report };
        let reader = match format {
            Format::Text => into.text(Lines::new(reader))?,
            _ => each_row(path, format, reader, &mut |line, piece| into.piece(line, piece))?,
        };
        self.files.push(finished(path, reader));
        Ok(())
    }
}

/// A reader of text that hashes the bytes of the file.
pub(in crate::train) type Hashed<R> = BufReader<TextReader<Hashing<R>>>;

/// Begins to read: finds the encoding, and looks what it is.
pub(in crate::train) fn begin<R: Read>(path: &Path, reader: R) -> Result<(Format, Hashed<R>), DataError> {
    let binary = |kind| DataError::Binary { path: path.to_owned(), kind };
    let reader = TextReader::new(Hashing::new(reader)).map_err(|error| match error {
        TextError::Kind(kind) => binary(kind),
        TextError::Io(error) => io_error(path, error),
        other => io_error(path, io::Error::new(io::ErrorKind::InvalidData, other)),
    })?;
    let mut reader = BufReader::with_capacity(BUFFER, reader);
    let first = fill(&mut reader).map_err(|e| io_error(path, e))?;
    let format = Format::of(path, first).map_err(binary)?;
    Ok((format, reader))
}

/// What takes a row, with the line on which it begins.
pub(in crate::train) type Take<'a, E = DataError> = dyn FnMut(u64, Piece) -> Result<(), E> + 'a;

/// Goes through the rows of JSON lines or of an array, and gives the reader back at its end.
pub(in crate::train) fn each_row<R: BufRead, E: From<DataError>>(
    path: &Path,
    format: Format,
    reader: R,
    take: &mut Take<E>,
) -> Result<R, E> {
    let failed = |e| io_error(path, e);
    match format {
        Format::Lines => {
            let mut rows = Lines::new(reader);
            while let Some((line, piece)) = rows.next().map_err(failed)? {
                take(line, piece)?;
            }
            Ok(rows.into_inner())
        }
        Format::Array => {
            let mut rows = Elements::new(reader);
            while let Some((line, piece)) = rows.next().map_err(failed)? {
                take(line, piece)?;
            }
            Ok(rows.into_inner())
        }
        Format::Text => Err(DataError::NotRows { path: path.to_owned() }.into()),
    }
}

/// The file that has been read.
pub(super) fn finished<R: Read>(path: &Path, reader: Hashed<R>) -> DataFile {
    let (bytes, sha256) = reader.into_inner().into_inner().finish();
    DataFile { path: path.to_owned(), bytes, sha256 }
}

/// The bytes of a row, or why there are none.
pub(in crate::train) fn bytes_of(piece: Piece<'_>) -> Result<&[u8], RowError> {
    match piece {
        Piece::Row(bytes) => Ok(bytes),
        Piece::TooLong(bytes) => {
            Err(RowError::new(Reason::RowTooLong, format!("{bytes} bytes, and {MAX_ROW} are read")))
        }
        Piece::Broken(what) => Err(RowError::new(Reason::BadJson, what)),
    }
}

pub(in crate::train) fn io_error(path: &Path, source: io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), source }
}

/// Where rows of a file go.
struct Into<'a, 'm> {
    path: &'a Path,
    encoder: &'a Encoder<'m>,
    dataset: &'a mut Dataset,
    report: &'a mut Report,
}

impl Into<'_, '_> {
    fn piece(&mut self, line: u64, piece: Piece) -> Result<(), DataError> {
        self.report.rows += 1;
        let sequences = match bytes_of(piece).and_then(row::parse) {
            Ok(row) => self.encoder.encode(row),
            Err(error) => vec![Err(error)],
        };
        self.add(line, sequences)
    }

    /// Adds the sequences of one row.
    fn add(&mut self, line: u64, sequences: Sequences) -> Result<(), DataError> {
        self.report.unrolled += u64::from(sequences.len() > 1);
        let source = Source { file: self.dataset.files.len(), line };
        let good = sequences.iter().flatten();
        let key = good.fold(0, |key, sequence| hash(key, &sequence.tokens));
        for sequence in sequences {
            match sequence {
                Ok(Sequence { tokens, trained, truncated, without_end, notes }) => {
                    self.report.note(self.path, line, notes);
                    self.report.examples += 1;
                    self.report.truncated += u64::from(truncated);
                    self.report.without_end += u64::from(without_end);
                    self.dataset.examples.push(Example { tokens, trained, source, key });
                }
                Err(error) => self.skip(line, error)?,
            }
        }
        Ok(())
    }

    fn skip(&mut self, line: u64, error: RowError) -> Result<(), DataError> {
        self.report.skip(self.path, line, error, self.encoder.options.strict)
    }

    fn text<R: BufRead>(&mut self, mut lines: Lines<R>) -> Result<R, DataError> {
        let mut cutter = Cutter::new(self.encoder);
        let mut cuts: Vec<Cut> = Vec::new();
        while let Some((number, piece)) = lines.next().map_err(|e| io_error(self.path, e))? {
            match bytes_of(piece) {
                Ok(bytes) => {
                    let line = self.plain(number, bytes)?;
                    cutter.line(number, &line, &mut |cut| cuts.push(cut));
                }
                Err(error) => self.skip(number, error)?,
            }
            self.add_cuts(&mut cuts)?;
        }
        cutter.finish(&mut |cut| cuts.push(cut));
        self.add_cuts(&mut cuts)?;
        Ok(lines.into_inner())
    }

    /// A line of prose, with the line feed that it is learnt with. Prose with holes is not learnt.
    fn plain<'b>(&self, line: u64, bytes: &'b [u8]) -> Result<Cow<'b, str>, DataError> {
        let bad = |why: String| DataError::NotText { path: self.path.to_owned(), line, why };
        if bytes.contains(&0) {
            return Err(DataError::Binary { path: self.path.to_owned(), kind: text::BINARY });
        }
        let line = utf8(bytes).map_err(|e| bad(format!("{}, e.g. with `{ICONV}`", e.detail)))?;
        Ok(match line.strip_suffix("\r\n") {
            Some(line) => Cow::Owned(format!("{line}\n")),
            None => Cow::Borrowed(line),
        })
    }

    fn add_cuts(&mut self, cuts: &mut Vec<Cut>) -> Result<(), DataError> {
        for (line, sequence) in cuts.drain(..) {
            self.report.rows += 1;
            let fitted = self.encoder.fit(sequence);
            self.add(line, vec![fitted])?;
        }
        Ok(())
    }
}

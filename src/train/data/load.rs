//! Goes through files: their encoding, their rows, their text.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::encode::{Encoder, Sequence};
use super::error::{DataError, Reason, RowError};
use super::example::DataFile;
use super::fields::utf8;
use super::plain::{Cut, Cutter};
use super::read::{Elements, Format, Hashing, Lines, MAX_ROW, Piece, fill};
use crate::io::text::{self, TextError, TextReader};

const BUFFER: usize = 64 << 10;
const ICONV: &str = "iconv -f WINDOWS-1252 -t UTF-8";

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

/// What takes a piece of plain text, or why a line is none.
pub(super) type TakeCut<'a> = dyn FnMut(u64, Result<Sequence, RowError>) -> Result<(), DataError> + 'a;

/// Goes through plain text in pieces of at most a sequence, and gives the reader back at its end.
pub(super) fn each_cut<R: BufRead>(
    path: &Path,
    reader: R,
    encoder: &Encoder,
    take: &mut TakeCut,
) -> Result<R, DataError> {
    let mut lines = Lines::new(reader);
    let mut cutter = Cutter::new(encoder);
    let mut cuts: Vec<Cut> = Vec::new();
    while let Some((number, piece)) = lines.next().map_err(|e| io_error(path, e))? {
        match bytes_of(piece) {
            Ok(bytes) => cutter.line(number, &plain(path, number, bytes)?, &mut |cut| cuts.push(cut)),
            Err(error) => take(number, Err(error))?,
        }
        cuts.drain(..).try_for_each(|(line, sequence)| take(line, Ok(sequence)))?;
    }
    cutter.finish(&mut |cut| cuts.push(cut));
    cuts.into_iter().try_for_each(|(line, sequence)| take(line, Ok(sequence)))?;
    Ok(lines.into_inner())
}

/// A line of prose, with the line feed that it is learnt with. Prose with holes is not learnt.
fn plain<'b>(path: &Path, line: u64, bytes: &'b [u8]) -> Result<Cow<'b, str>, DataError> {
    let bad = |why: String| DataError::NotText { path: path.to_owned(), line, why };
    if bytes.contains(&0) {
        return Err(DataError::Binary { path: path.to_owned(), kind: text::BINARY });
    }
    let line = utf8(bytes).map_err(|e| bad(format!("{}, e.g. with `{ICONV}`", e.detail)))?;
    Ok(match line.strip_suffix("\r\n") {
        Some(line) => Cow::Owned(format!("{line}\n")),
        None => Cow::Borrowed(line),
    })
}

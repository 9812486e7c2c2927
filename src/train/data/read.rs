//! Rows of bytes from a file: streamed, hashed, and never more than [`MAX_ROW`] bytes of one in memory.

use std::io::{self, BufRead, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::io::text::binary_kind;

/// The longest row that is read, in bytes. Longer ones are passed over and reported.
pub const MAX_ROW: usize = 16 << 20;

/// Endings of files that would be learnt as prose and are none.
const NOT_PROSE: [(&str, &str); 24] = [
    ("csv", "a table (CSV)"),
    ("tsv", "a table (TSV)"),
    ("tab", "a table (TSV)"),
    ("parquet", "a Parquet file"),
    ("arrow", "an Arrow file"),
    ("feather", "an Arrow file"),
    ("xls", "a spreadsheet"),
    ("xlsx", "a spreadsheet"),
    ("ods", "a spreadsheet"),
    ("doc", "an Office document"),
    ("docx", "an Office document"),
    ("odt", "an Office document"),
    ("rtf", "a rich text (RTF) document"),
    ("pdf", "a PDF"),
    ("epub", "an e-book"),
    ("html", "a web page (HTML)"),
    ("htm", "a web page (HTML)"),
    ("xml", "an XML file"),
    ("yaml", "a YAML file"),
    ("yml", "a YAML file"),
    ("pkl", "a Python pickle"),
    ("npy", "a NumPy array"),
    ("db", "a database"),
    ("sqlite", "an SQLite database"),
];

/// How rows lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line.
    Lines,
    /// One JSON array of objects.
    Array,
    /// Plain text.
    Text,
}

impl Format {
    /// The format of a file: by its name's ending, and where that leaves it open by its `first` bytes.
    ///
    /// # Errors
    /// What the file is, for packed files, tables and documents.
    pub fn of(path: &Path, first: &[u8]) -> Result<Self, &'static str> {
        if let Some(kind) = binary_kind(first) {
            return Err(kind);
        }
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
        if let Some((_, kind)) = NOT_PROSE.iter().find(|(known, _)| *known == ending) {
            return Err(kind);
        }
        let visible = first.iter().find(|b| !b.is_ascii_whitespace());
        Ok(match (ending.as_str(), visible) {
            ("txt" | "text" | "md", _) => Self::Text,
            // No row begins so, whatever the file's name says.
            (_, Some(b'[')) => Self::Array,
            ("jsonl" | "ndjson", _) => Self::Lines,
            ("json", _) | (_, Some(b'{')) => Self::Lines,
            _ => Self::Text,
        })
    }
}

/// Hashes what passes.
pub(in crate::train) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Hashing<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new(), bytes: 0 }
    }

    /// Length and SHA-256 of what has passed.
    pub(super) fn finish(self) -> (u64, String) {
        (self.bytes, self.hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(buf.get(..n).unwrap_or_default());
        self.bytes += n as u64;
        Ok(n)
    }
}

/// The next bytes; interrupted system calls are retried.
pub(in crate::train) fn fill(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
            Ok(_) => break,
        }
    }
    // The buffer is full now, so that this does not read.
    reader.fill_buf()
}

/// What lies between two boundaries.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::train) enum Piece<'a> {
    /// The bytes of a row. Of a line, with its line feed if it has one.
    Row(&'a [u8]),
    /// So many bytes, which were passed over.
    TooLong(u64),
    /// The array goes on wrongly.
    Broken(&'static str),
}

/// A row's bytes as they come, up to [`MAX_ROW`].
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    length: u64,
}

impl Gathered {
    fn clear(&mut self) {
        // What one long row took is given back.
        if self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.length = 0;
    }

    fn push(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.length <= MAX_ROW as u64 {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.bytes = Vec::new();
        }
    }

    fn piece(&self) -> Piece<'_> {
        if self.length > MAX_ROW as u64 { Piece::TooLong(self.length) } else { Piece::Row(&self.bytes) }
    }
}

/// Lines of a reader.
pub(super) struct Lines<R> {
    reader: R,
    line: u64,
    row: Gathered,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 0, row: Gathered::default() }
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// The next line and its number.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Piece<'_>)>> {
        self.row.clear();
        loop {
            let bytes = fill(&mut self.reader)?;
            let end = bytes.iter().position(|&b| b == b'\n');
            let part = bytes.get(..end.map_or(bytes.len(), |i| i + 1)).unwrap_or_default();
            let taken = part.len();
            self.row.push(part);
            self.reader.consume(taken);
            if end.is_some() || taken == 0 {
                break;
            }
        }
        if self.row.length == 0 {
            return Ok(None);
        }
        self.line += 1;
        Ok(Some((self.line, self.row.piece())))
    }
}

#[derive(PartialEq, Eq)]
enum At {
    Before,
    Inside,
    Behind,
    End,
}

/// Elements of a JSON array, cut at its commas without looking further into them.
pub(super) struct Elements<R> {
    reader: R,
    line: u64,
    row: Gathered,
    at: At,
}

/// How far an element has been followed.
#[derive(Default)]
struct Depth {
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// Takes a byte; true at the `,` or `]` that ends the element.
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b',' | b']' if self.depth == 0 => return true,
            b'"' => self.in_string = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}

impl<R: BufRead> Elements<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 1, row: Gathered::default(), at: At::Before }
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }

    /// The next element and the line on which it begins.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Piece<'_>)>> {
        self.row.clear();
        if self.at == At::Before {
            // A file is only taken for an array if this is its first visible byte.
            if self.visible()? == Some(b'[') {
                self.reader.consume(1);
            }
            self.at = At::Inside;
        }
        if self.at == At::Inside {
            match self.visible()? {
                Some(b']') => {
                    self.reader.consume(1);
                    self.at = At::Behind;
                }
                Some(_) => return self.element().map(Some),
                None => {
                    self.at = At::End;
                    return Ok(Some((self.line, Piece::Broken("the file ends before the array's `]`"))));
                }
            }
        }
        if self.at == At::Behind {
            self.at = At::End;
            if self.visible()?.is_some() {
                let line = self.line;
                // The rest is still read, for the file's hash.
                while !fill(&mut self.reader)?.is_empty() {
                    let n = fill(&mut self.reader)?.len();
                    self.reader.consume(n);
                }
                return Ok(Some((line, Piece::Broken("something comes after the array's `]`"))));
            }
        }
        Ok(None)
    }

    /// Passes over white space; the byte after it is still to be read.
    fn visible(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = fill(&mut self.reader)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let blank = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let found = bytes.get(blank).copied();
            self.line += bytes.iter().take(blank).filter(|&&b| b == b'\n').count() as u64;
            self.reader.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    fn element(&mut self) -> io::Result<(u64, Piece<'_>)> {
        let begun = self.line;
        let mut depth = Depth::default();
        loop {
            let bytes = fill(&mut self.reader)?;
            let end = bytes.iter().position(|&b| depth.ends_at(b));
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            let closed = end.and_then(|i| bytes.get(i)) == Some(&b']');
            let taken = part.len();
            self.line += part.iter().filter(|&&b| b == b'\n').count() as u64;
            self.row.push(part);
            self.reader.consume(taken + usize::from(end.is_some()));
            if closed {
                self.at = At::Behind;
            }
            if end.is_some() || taken == 0 {
                return Ok((begun, self.row.piece()));
            }
        }
    }
}

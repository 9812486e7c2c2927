//! Text as people have it: UTF-8 with or without a byte order mark, and the UTF-16 of Windows. What is no text is refused by
//! name, everywhere alike: nothing is read as garbage.
//!
//! [`decode`] takes a whole text, [`TextReader`] a stream.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use thiserror::Error;

/// How much is looked at to tell what a file is.
const LOOK: usize = 4096;
const BLOCK: usize = 32 << 10;
const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why bytes are no text.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file of another kind.
    #[error("this is {0}, and text is needed; convert it to UTF-8 text")]
    Kind(&'static str),
    /// Neither UTF-8 nor said to be anything else.
    #[error("not UTF-8 at byte {at}; convert it, e.g. with `iconv -f WINDOWS-1252 -t UTF-8`")]
    NotUtf8 {
        /// The byte, from 1.
        at: u64,
    },
    /// It begins as UTF-16 and is none.
    #[error("UTF-16 that is broken at byte {at}; convert it to UTF-8")]
    NotUtf16 {
        /// The byte, from 1.
        at: u64,
    },
    /// The stream.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// How text is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One to four bytes a character.
    Utf8,
    /// Two or four, the low one first.
    Utf16Le,
    /// Two or four, the high one first.
    Utf16Be,
}

/// A file that holds zero bytes.
pub const BINARY: &str = "a binary file (it has zero bytes)";

/// What a file is by its first bytes, where that is known and no text.
pub fn binary_kind(first: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 21] = [
        (b"PAR1", "a Parquet file"),
        (b"ARROW1", "an Arrow file"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
        (b"BZh", "compressed with bzip2"),
        (b"\xfd7zXZ\x00", "compressed with xz"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PK\x03\x04", "a ZIP archive (or an Office document)"),
        (b"\xd0\xcf\x11\xe0", "an Office document"),
        (b"%PDF-", "a PDF"),
        (b"{\\rtf", "a rich text (RTF) document"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"\x89HDF", "an HDF5 file"),
        (b"\x89PNG", "a PNG image"),
        (b"\xff\xd8\xff", "a JPEG image"),
        (b"\x7fELF", "a program"),
        (b"\xff\xfe\x00\x00", "UTF-32 text"),
        (b"\x00\x00\xfe\xff", "UTF-32 text"),
        (b"+/v8", "UTF-7 text"),
        (b"\x80\x04\x95", "a Python pickle"),
    ];
    // These four letters may begin a text about the format; its version is a small number.
    if first.starts_with(b"GGUF") && first.get(4..8).is_some_and(|version| version.contains(&0)) {
        return Some("a GGUF file");
    }
    KINDS.iter().find(|(magic, _)| first.starts_with(magic)).map(|(_, kind)| *kind)
}

/// The encoding of a text that begins so, and the length of its byte order mark.
///
/// # Errors
/// What it is, where it is no text (see [`binary_kind`]).
pub fn sniff(first: &[u8]) -> Result<(Encoding, usize), &'static str> {
    if let Some(kind) = binary_kind(first) {
        return Err(kind);
    }
    Ok(match first {
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, UTF8_MARK.len()),
        [0xff, 0xfe, ..] => (Encoding::Utf16Le, 2),
        [0xfe, 0xff, ..] => (Encoding::Utf16Be, 2),
        _ => (unmarked(first), 0),
    })
}

/// UTF-16 without a mark is known by every other byte being zero, or, where the script is another, at least those of blanks and
/// line feeds: then there are bytes that ASCII has not, or else it is ASCII with a few zeros in it.
fn unmarked(first: &[u8]) -> Encoding {
    let looked = first.get(..LOOK).unwrap_or(first);
    let pairs = looked.chunks_exact(2);
    let all = pairs.len();
    let (mut high, mut low) = (0, 0);
    for pair in pairs {
        high += usize::from(pair[0] == 0);
        low += usize::from(pair[1] == 0);
    }
    let foreign = |b: &u8| !b.is_ascii_graphic() && !matches!(b, 0 | b' ' | b'\t' | b'\n' | b'\r');
    let enough = |zeros: usize| zeros * 2 > all || (zeros * 8 >= all && looked.iter().any(foreign));
    match (high, low) {
        (0, low) if low > 0 && enough(low) => Encoding::Utf16Le,
        (high, 0) if high > 0 && enough(high) => Encoding::Utf16Be,
        _ => Encoding::Utf8,
    }
}

/// The text of a whole file. A byte order mark is not part of it.
///
/// # Errors
/// [`TextError`]: bytes that are no text, or of another encoding.
pub fn decode(bytes: Vec<u8>) -> Result<String, TextError> {
    let (encoding, mark) = sniff(&bytes).map_err(TextError::Kind)?;
    let text = if encoding == Encoding::Utf8 {
        let text = String::from_utf8(bytes)
            .map_err(|e| TextError::NotUtf8 { at: e.utf8_error().valid_up_to() as u64 + 1 })?;
        if mark > 0 { text[mark..].to_owned() } else { text }
    } else {
        let mut units = Units::new(encoding, mark);
        let mut out = Vec::with_capacity(bytes.len());
        units.push(bytes.get(mark..).unwrap_or_default(), &mut out)?;
        units.finish()?;
        String::from_utf8(out).map_err(|e| TextError::NotUtf8 { at: e.utf8_error().valid_up_to() as u64 })?
    };
    if text.contains('\0') { Err(TextError::Kind(BINARY)) } else { Ok(text) }
}

/// The text of a file.
///
/// # Errors
/// [`TextError`], as [`decode`]; [`TextError::Io`] if it cannot be read.
pub fn read_text(path: &Path) -> Result<String, TextError> {
    decode(std::fs::read(path)?)
}

/// UTF-16 to UTF-8, piece by piece.
struct Units {
    big: bool,
    /// The first half of a unit, and of a pair.
    byte: Option<u8>,
    lead: Option<u16>,
    /// Bytes taken so far.
    taken: u64,
}

impl Units {
    fn new(encoding: Encoding, mark: usize) -> Self {
        Self { big: encoding == Encoding::Utf16Be, byte: None, lead: None, taken: mark as u64 }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
        for &byte in bytes {
            self.taken += 1;
            let Some(first) = self.byte.take() else {
                self.byte = Some(byte);
                continue;
            };
            let unit =
                if self.big { u16::from_be_bytes([first, byte]) } else { u16::from_le_bytes([first, byte]) };
            let lead = self.lead.take();
            if lead.is_none() && (0xd800..0xdc00).contains(&unit) {
                self.lead = Some(unit);
                continue;
            }
            let units = [lead.unwrap_or(unit), unit];
            let units = if lead.is_some() { &units[..] } else { &units[..1] };
            for decoded in char::decode_utf16(units.iter().copied()) {
                let c = decoded.map_err(|_| TextError::NotUtf16 { at: self.taken - 1 })?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), TextError> {
        if self.byte.is_some() || self.lead.is_some() {
            return Err(TextError::NotUtf16 { at: self.taken });
        }
        Ok(())
    }
}

/// A stream of text as UTF-8, without its byte order mark. Memory is bounded by a block, whatever comes. UTF-8 is passed on as
/// it is, valid or not; broken UTF-16 is an error of kind [`ErrorKind::InvalidData`].
pub struct TextReader<R> {
    inner: R,
    /// None for UTF-8.
    units: Option<Units>,
    /// What is still to be given.
    out: Vec<u8>,
    given: usize,
    raw: Vec<u8>,
}

impl<R: Read> TextReader<R> {
    /// Looks at the first bytes, and refuses what is no text.
    ///
    /// # Errors
    /// [`TextError::Kind`] and [`TextError::Io`].
    pub fn new(mut inner: R) -> Result<Self, TextError> {
        let mut first = vec![0; LOOK];
        let mut len = 0;
        while len < LOOK {
            match inner.read(&mut first[len..]) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        first.truncate(len);
        let (encoding, mark) = sniff(&first).map_err(TextError::Kind)?;
        let mut reader = Self::of(inner, encoding);
        if let Some(units) = &mut reader.units {
            units.taken = mark as u64;
            units.push(&first[mark..], &mut reader.out)?;
        } else {
            (reader.out, reader.given) = (first, mark);
        }
        Ok(reader)
    }

    /// Of a known encoding; the mark has been read.
    pub fn of(inner: R, encoding: Encoding) -> Self {
        let units = (encoding != Encoding::Utf8).then(|| Units::new(encoding, 0));
        Self { inner, units, out: Vec::new(), given: 0, raw: Vec::new() }
    }

    /// The stream beneath.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Takes the next block of UTF-16; false at the end.
    fn block(&mut self) -> io::Result<bool> {
        let Some(units) = &mut self.units else { return Ok(false) };
        self.raw.resize(BLOCK, 0);
        let n = self.inner.read(&mut self.raw)?;
        (self.given, _) = (0, self.out.clear());
        let invalid = |e: TextError| io::Error::new(ErrorKind::InvalidData, e);
        if n == 0 {
            units.finish().map_err(invalid)?;
            return Ok(false);
        }
        units.push(self.raw.get(..n).unwrap_or_default(), &mut self.out).map_err(invalid)?;
        Ok(true)
    }
}

impl<R: Read> Read for TextReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.given == self.out.len() {
            if self.units.is_none() {
                return self.inner.read(buf);
            }
            if !self.block()? {
                return Ok(0);
            }
        }
        let rest = self.out.get(self.given..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
        let units = mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
        units.flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
    }

    /// Gives a byte at a time.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.len().min(buf.len()).min(1);
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn streamed(bytes: &[u8]) -> String {
        let mut text = String::new();
        TextReader::new(Dribble(bytes)).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn utf8_and_utf16_are_read_with_and_without_marks() {
        let long = "Zeile — 行 🦙\r\n".repeat(5000);
        for text in
            ["Hello, this is text.\r\nSecond line.\r\n", "Grüße, 世界 🦙 all", "Привет, мир и все\n", &long]
        {
            let marked = ["\u{feff}", text].concat().into_bytes();
            for bytes in [text.as_bytes().to_vec(), marked] {
                assert_eq!(decode(bytes.clone()).unwrap(), text);
                assert_eq!(streamed(&bytes), text);
            }
            for (big, mark) in [(false, true), (true, true), (false, false), (true, false)] {
                let bytes = utf16(text, big, mark);
                assert_eq!(decode(bytes.clone()).unwrap(), text, "{big} {mark}");
                assert_eq!(streamed(&bytes), text, "{big} {mark}");
            }
        }
        assert_eq!(decode(Vec::new()).unwrap(), "");
        assert_eq!(decode(UTF8_MARK.to_vec()).unwrap(), "");
        assert_eq!(decode(b"GGUF is a file format".to_vec()).unwrap(), "GGUF is a file format");
    }

    #[test]
    fn what_is_no_text_is_named() {
        let said = |bytes: &[u8]| decode(bytes.to_vec()).unwrap_err().to_string();
        assert!(said(b"ab\xe9t").contains("not UTF-8 at byte 3; convert it"), "{}", said(b"ab\xe9t"));
        for (bytes, what) in [
            (&b"GGUF\x03\x00\x00\x00"[..], "GGUF"),
            (b"%PDF-1.7\n", "PDF"),
            (b"PK\x03\x04..", "ZIP"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"BZh91AY", "bzip2"),
            (b"{\\rtf1 a}", "RTF"),
            (b"\xff\xfe\x00\x00a\x00\x00\x00", "UTF-32"),
            (b"text with a \0 in it", "zero bytes"),
            (b"abc\0def", "zero bytes"),
            (b"text\0text", "zero bytes"),
        ] {
            assert!(said(bytes).contains(what), "{}", said(bytes));
            assert!(said(bytes).contains("convert it to UTF-8"), "{}", said(bytes));
        }
        // Half a character, half a pair, and a pair's second half alone.
        let mut odd = utf16("ab", false, true);
        odd.push(0x20);
        assert!(matches!(decode(odd), Err(TextError::NotUtf16 { at: 7 })));
        let lone = [utf16("a", true, true), vec![0xd8, 0x00]].concat();
        assert!(matches!(decode(lone.clone()), Err(TextError::NotUtf16 { at: 6 })));
        let second = [utf16("a", true, true), vec![0xdc, 0x00, 0, b'b']].concat();
        assert!(matches!(decode(second), Err(TextError::NotUtf16 { at: 5 })));
        let mut out = String::new();
        let error = TextReader::new(&lone[..]).unwrap().read_to_string(&mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }
}

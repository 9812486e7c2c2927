//! Where text is printed: on a terminal nothing steers it but what the command itself paints.

use std::io::{self, Write};
use std::sync::LazyLock;

use crate::cli::show::{Guard, Kind};
use crate::cli::wrap::Wrap;

/// Begins a change of colour. Nobody else can write it: half of it is drawn anew by each process.
static MARK: LazyLock<String> = LazyLock::new(|| {
    use std::hash::{BuildHasher, Hasher};
    let drawn = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("\u{fdd0}{drawn:016x}")
});

/// `text` in the colour of an SGR code, for a [`Screen`].
pub(super) fn painted(code: &str, text: &str) -> String {
    let mark = MARK.as_str();
    format!("{mark}{code}m{text}{mark}0m")
}

/// The text with what it must not do shown, and with the colours painted.
pub(super) fn shown(text: &str, guard: &mut Guard) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split(MARK.as_str());
    guard.push_str(parts.next().unwrap_or_default(), &mut out);
    for part in parts {
        let (code, rest) = part.split_once('m').unwrap_or(("0", part));
        out.push_str("\u{1b}[");
        out.push_str(code);
        out.push('m');
        guard.push_str(rest, &mut out);
    }
    out
}

/// A writer that shows escapes, or one that leaves data as it is.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
    guard: Option<Guard>,
    /// A character that is not complete yet.
    pending: Vec<u8>,
    /// What breaks its lines, on a terminal that shows prose.
    wrap: Option<Wrap>,
}

impl<W: Write> Screen<W> {
    /// Shows text of that kind; without one, bytes pass as they are.
    pub fn new(out: W, kind: Option<Kind>) -> Self {
        Self { out, guard: kind.map(Guard::new), pending: Vec::new(), wrap: None }
    }

    /// Breaks lines between words to so many columns. A word is shown when it is whole: when a space or the line's end
    /// follows, or when the screen is dropped.
    #[must_use]
    pub fn wrapped(mut self, columns: Option<usize>) -> Self {
        self.wrap = columns.filter(|_| self.guard.is_some()).map(Wrap::new);
        self
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        let Some(wrap) = &mut self.wrap else { return };
        let mut rest = String::new();
        wrap.finish(&mut rest);
        // Whoever minds a closed terminal has heard of it before.
        let _ = self.out.write_all(rest.as_bytes());
    }
}

impl<W: Write> Write for Screen<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(guard) = &mut self.guard else { return self.out.write_all(bytes) };
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut chunks = self.pending.utf8_chunks().peekable();
        let mut rest = Vec::new();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && is_beginning(invalid) {
                rest = invalid.to_vec();
            } else {
                // Lone bytes can be controls of other character sets.
                text.extend(invalid.iter().map(|b| format!("\\x{b:02x}")));
            }
        }
        self.pending = rest;
        let shown = shown(&text, guard);
        let Some(wrap) = &mut self.wrap else { return self.out.write_all(shown.as_bytes()) };
        let mut broken = String::with_capacity(shown.len());
        wrap.push_str(&shown, &mut broken);
        self.out.write_all(broken.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whether bytes at the end of a text may become a character.
fn is_beginning(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(kind: Option<Kind>, pieces: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, kind);
        for piece in pieces {
            screen.write_all(piece).unwrap();
        }
        screen.flush().unwrap();
        drop(screen);
        out
    }

    #[test]
    fn data_is_left_as_it_is() {
        let data: &[&[u8]] = &[b"\x1b[2J\r\xff", "\u{202e}\u{9b}".as_bytes()];
        assert_eq!(written(None, data), data.concat());
    }

    #[test]
    fn escapes_are_shown_wherever_pieces_end() {
        let text = "é\u{1b}]0;t\u{7}漢🏴\u{e0067}\u{e007f}\u{9b}1m\n".as_bytes();
        let whole = written(Some(Kind::Prose), &[text]);
        assert_eq!(
            String::from_utf8(whole.clone()).unwrap(),
            "é\\u{1b}]0;t\\u{7}漢🏴\u{e0067}\u{e007f}\\u{9b}1m\n"
        );
        for size in 1..5 {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(written(Some(Kind::Prose), &pieces), whole, "pieces of {size}");
        }
        assert_eq!(written(Some(Kind::Prose), &[b"a\x9bb\xff", b"c\xc3"]), b"a\\x9bb\\xffc");
    }

    #[test]
    fn prose_is_broken_and_the_last_word_is_shown_at_the_end() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, Some(Kind::Prose)).wrapped(Some(12));
        for piece in ["one two thr", "ee \u{1b}", "[2J four"] {
            screen.write_all(piece.as_bytes()).unwrap();
        }
        drop(screen);
        assert_eq!(String::from_utf8(out).unwrap(), "one two\nthree\n\\u{1b}[2J\nfour");
        let mut data = Vec::new();
        Screen::new(&mut data, None).wrapped(Some(4)).write_all(b"one two three").unwrap();
        assert_eq!(data, b"one two three");
    }

    #[test]
    fn own_colours_are_painted_and_those_of_others_shown() {
        let text = format!("{} \u{1b}[31m\u{fdd0}31mx", painted("1;31", "a\u{1b}b"));
        let shown = String::from_utf8(written(Some(Kind::Names), &[text.as_bytes()])).unwrap();
        assert_eq!(shown, "\u{1b}[1;31ma\\u{1b}b\u{1b}[0m \\u{1b}[31m\u{fdd0}31mx");
    }
}

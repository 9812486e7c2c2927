//! From text as it comes to documents in pieces that can be encoded one by one.

use super::error::CorpusError;

/// A document is cut into pieces of about this many bytes.
const PIECE: usize = 128 << 10;
/// Where a piece has no place to be cut within that many bytes, it is cut anywhere.
const LONGEST: usize = 1 << 20;

/// What becomes of documents.
pub(super) trait Documents {
    /// A piece of a document, which may be its first or last one, or both.
    fn piece(&mut self, text: String, first: bool, last: bool) -> Result<(), CorpusError>;
    /// A document of nothing but white space.
    fn empty(&mut self);
}

/// Takes the text of document after document.
pub(super) struct Gather<'a, D> {
    pub(super) to: &'a mut D,
    /// Of the document in work, what has not been handed on.
    text: String,
    /// Whether its beginning has.
    begun: bool,
}

impl<'a, D: Documents> Gather<'a, D> {
    pub(super) fn new(to: &'a mut D) -> Self {
        Self { to, text: String::new(), begun: false }
    }

    /// The document goes on.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CorpusError> {
        let mut rest = text;
        while !rest.is_empty() {
            // Where it is cut must not depend on how the text arrives.
            let next = (self.text.len() / PIECE + 1) * PIECE;
            let (now, later) = rest.split_at(boundary_from(rest, next - self.text.len()));
            self.text.push_str(now);
            rest = later;
            if self.text.len() >= next
                && let Some(at) = cut(&self.text)
            {
                let after = self.text.split_off(at);
                let text = std::mem::replace(&mut self.text, after);
                self.to.piece(text, !self.begun, false)?;
                self.begun = true;
            }
        }
        Ok(())
    }

    /// The document ends.
    pub(super) fn end(&mut self) -> Result<(), CorpusError> {
        let text = std::mem::take(&mut self.text);
        let first = !std::mem::take(&mut self.begun);
        if first && text.trim().is_empty() {
            self.to.empty();
            return Ok(());
        }
        self.to.piece(text, first, true)
    }
}

/// Where to cut a text that goes on: behind the last letter that a blank or a line's end follows, as no pre-tokenizer has a word
/// across that. Where there is none, anywhere, but only once it is too long.
fn cut(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let from = PIECE / 2;
    let good = |&i: &usize| bytes[i - 1].is_ascii_alphabetic() && matches!(bytes[i], b' ' | b'\n');
    let found = (from.max(1)..bytes.len()).rev().find(good);
    found.or_else(|| (text.len() >= LONGEST).then(|| boundary_from(text, LONGEST - 4)))
}

/// The first place from `at` on that is no place within a character, or the text's end.
fn boundary_from(text: &str, at: usize) -> usize {
    (at..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

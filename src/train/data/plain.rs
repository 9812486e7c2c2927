//! Plain text: pieces of at most so many tokens, cut at blank lines where there are any.

use super::encode::{Encoder, Sequence};
use super::note::{Note, Notes, note};
use crate::text::Segment;

/// A paragraph that goes on for so many bytes is encoded at the end of a line.
const MAX_PARAGRAPH: usize = 1 << 20;

/// Gathers paragraphs into pieces.
pub(super) struct Cutter<'a, 'm> {
    encoder: &'a Encoder<'m>,
    paragraph: String,
    paragraph_line: u64,
    ends_blank: bool,
    tokens: Vec<u32>,
    line: u64,
    first: bool,
    /// Of the piece that is being made.
    notes: Notes,
}

/// A piece and the line on which it begins.
pub(super) type Cut = (u64, Sequence);

impl<'a, 'm> Cutter<'a, 'm> {
    pub(super) fn new(encoder: &'a Encoder<'m>) -> Self {
        let (paragraph, tokens) = (String::new(), Vec::new());
        Self {
            encoder,
            paragraph,
            paragraph_line: 1,
            ends_blank: false,
            tokens,
            line: 1,
            first: true,
            notes: Notes::new(),
        }
    }

    /// Takes a line with its line feed.
    pub(super) fn line(&mut self, number: u64, line: &str, emit: &mut dyn FnMut(Cut)) {
        let blank = line.trim().is_empty();
        if (self.ends_blank && !blank) || self.paragraph.len() > MAX_PARAGRAPH {
            self.paragraph_ends(false, emit);
        }
        if self.paragraph.is_empty() {
            self.paragraph_line = number;
        }
        self.paragraph.push_str(line);
        self.ends_blank = blank;
    }

    /// The text has ended.
    pub(super) fn finish(mut self, emit: &mut dyn FnMut(Cut)) {
        self.paragraph_ends(true, emit);
        self.piece_ends(emit);
    }

    fn paragraph_ends(&mut self, text_ends: bool, emit: &mut dyn FnMut(Cut)) {
        let mut ids = self.ids_of_paragraph();
        let something = !ids.is_empty() || !self.first;
        if text_ends && something {
            self.end(&mut ids);
        }
        self.paragraph.clear();
        self.ends_blank = false;
        let bos = usize::from(self.encoder.tokenizer.adds_bos());
        let room = self.encoder.options.max_len - bos;
        // A lone token would be lost, as it is predicted from nothing.
        if self.tokens.len() + ids.len() > room && self.tokens.len() + bos > 1 {
            self.piece_ends(emit);
        }
        if self.tokens.is_empty() {
            self.line = self.paragraph_line;
        }
        for id in ids {
            self.tokens.push(id);
            if self.tokens.len() == room {
                self.piece_ends(emit);
            }
        }
    }

    /// Ends the text, unless it ends with an end token of its own.
    fn end(&self, ids: &mut Vec<u32>) {
        let last = ids.last().or(self.tokens.last());
        if last.is_none_or(|&last| !self.encoder.tokenizer.is_eog(last)) {
            ids.extend(self.encoder.tokenizer.eos());
        }
    }

    /// A paragraph's tokens as they are within the text: no blank is put before it unless it is the first.
    fn ids_of_paragraph(&mut self) -> Vec<u32> {
        if self.paragraph.is_empty() {
            return Vec::new();
        }
        let control = self.encoder.control_text_in(&self.paragraph);
        if let Some(found) = control {
            note(&mut self.notes, Note::ControlTokens, || format!("`{found}`"));
        }
        let special = control.is_some();
        let text = |text: &str| Segment { text: text.to_owned(), message: (!special).then_some(0) };
        if self.first {
            self.first = false;
            return self.encoder.tokenizer.encode(&self.paragraph, special, false);
        }
        let (ids, counts) = self.encoder.tokenizer.encode_cut(&[text("\n"), text(&self.paragraph)], &[1]);
        ids.get(counts.first().copied().unwrap_or(0)..).unwrap_or_default().to_vec()
    }

    fn piece_ends(&mut self, emit: &mut dyn FnMut(Cut)) {
        let mut tokens = std::mem::take(&mut self.tokens);
        if tokens.is_empty() {
            return;
        }
        self.encoder.put_bos(&mut tokens);
        // The text's last token may be left alone: there is nothing to predict it from.
        if tokens.len() < 2 {
            return;
        }
        let mut sequence = self.encoder.whole(tokens);
        sequence.notes = std::mem::take(&mut self.notes);
        emit((self.line, sequence));
        self.line = self.paragraph_line;
    }
}

//! Tokens to text while they come, without ever showing half a character.

use super::tokenizer::Tokenizer;

/// Collects tokens and gives out text as soon as its characters are complete. It keeps its buffers, so that a token
/// costs no allocation once they have grown.
#[derive(Debug, Clone)]
pub struct TokenStream {
    hide_special: bool,
    /// The bytes of a character that is not complete yet, at most three.
    pending: Vec<u8>,
    text: String,
}

impl Tokenizer {
    /// A detokenizer for tokens that come one by one.
    pub fn stream(&self, hide_special: bool) -> TokenStream {
        TokenStream::new(hide_special)
    }
}

impl TokenStream {
    /// An empty stream. `hide_special`: control tokens give no text.
    pub fn new(hide_special: bool) -> Self {
        Self { hide_special, pending: Vec::new(), text: String::new() }
    }

    /// Adds a token and returns the text that is now complete, which may be empty. Bytes that can no longer become
    /// valid UTF-8 give U+FFFD; an id outside of the vocabulary gives nothing.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> &str {
        if self.hide_special && tokenizer.is_control(id) {
            return self.finish();
        }
        self.push_bytes(tokenizer.token_bytes(id).unwrap_or_default())
    }

    /// Adds bytes and returns the text that is now complete.
    pub fn push_bytes(&mut self, bytes: &[u8]) -> &str {
        self.pending.extend_from_slice(bytes);
        self.text.clear();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = after.get(invalid..).unwrap_or_default();
                }
            }
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
        &self.text
    }

    /// Ends the text: what is held back of an incomplete character comes out as U+FFFD.
    pub fn finish(&mut self) -> &str {
        self.text.clear();
        if !self.pending.is_empty() {
            self.text.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_complete_whatever_the_cuts() {
        let text = "aé漢🦙\u{0}x";
        for size in 1..6 {
            let mut stream = TokenStream::new(true);
            let mut out = String::new();
            for chunk in text.as_bytes().chunks(size) {
                out.push_str(stream.push_bytes(chunk));
            }
            out.push_str(stream.finish());
            assert_eq!(out, text);
        }
    }

    #[test]
    fn invalid_bytes_are_replaced_at_once_and_incomplete_ones_at_the_end() {
        let mut stream = TokenStream::new(true);
        assert_eq!(stream.push_bytes(b"a\xffb\xf0\x9f"), "a\u{fffd}b");
        assert_eq!(stream.push_bytes(b"x"), "\u{fffd}x");
        assert_eq!(stream.push_bytes(b"\xe6\xbc"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }
}

//! SentencePiece style BPE: of all neighbours that together are a token, those with the highest score merge first;
//! what remains as single characters without a token is written as bytes.
//!
//! Kudo and Richardson, "SentencePiece" (2018), BPE mode. There are no words: the whole text is one list of symbols,
//! merged through a heap in O(n log n).

use std::collections::{BinaryHeap, HashMap};

use super::bytes::byte_token;
use super::config::{TokenKind, TokenizerConfig};
use super::error::TokenizerError;

const NONE: u32 = u32::MAX;

/// A SentencePiece style vocabulary.
pub(crate) struct Spm {
    ids: HashMap<Vec<u8>, u32>,
    /// Scores as integers of the same order.
    order: Vec<i32>,
    longest: usize,
    byte_ids: [u32; 256],
}

struct Symbol {
    start: u32,
    /// 0 once merged into the left neighbour.
    len: u32,
    prev: u32,
    next: u32,
}

/// A candidate; the heap gives the highest score first, of equal scores the leftmost.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    order: i32,
    at: std::cmp::Reverse<u32>,
    len: u32,
}

impl Spm {
    /// Builds the tables.
    ///
    /// # Errors
    /// [`TokenizerError::NoByteFallback`] if some text could not be encoded at all.
    pub(crate) fn new(config: &TokenizerConfig) -> Result<Self, TokenizerError> {
        let mut ids = HashMap::with_capacity(config.tokens.len());
        let mut byte_ids = [config.special.unk.unwrap_or(NONE); 256];
        let mut longest = 0;
        for (id, text) in config.tokens.iter().enumerate() {
            match config.kind(id) {
                TokenKind::Byte => {
                    if let Some(byte) = byte_token(text) {
                        byte_ids[usize::from(byte)] = id as u32;
                    }
                }
                // A user's text never becomes one of these.
                TokenKind::Control | TokenKind::Unknown => {}
                _ => {
                    longest = longest.max(text.len());
                    ids.entry(text.clone()).or_insert(id as u32);
                }
            }
        }
        if let Some(byte) = (0..=255u8).find(|&b| byte_ids[usize::from(b)] == NONE) {
            return Err(TokenizerError::NoByteFallback { byte });
        }
        let order =
            (0..config.tokens.len()).map(|id| sortable(config.scores.get(id).copied().unwrap_or(0.0)));
        Ok(Self { ids, order: order.collect(), longest, byte_ids })
    }

    /// Appends the tokens of a text whose blanks are already `▁`.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut symbols = symbols_of(text);
        let first: Vec<Pair> =
            (0..symbols.len() as u32).filter_map(|at| self.candidate(text, &symbols, at)).collect();
        let mut heap = BinaryHeap::from(first);
        while let Some(pair) = heap.pop() {
            self.apply(text, &mut symbols, &mut heap, &pair);
        }
        let mut at = 0;
        while let Some(symbol) = symbols.get(at as usize) {
            let bytes = slice(text, symbol.start, symbol.len);
            match self.ids.get(bytes) {
                Some(&id) => out.push(id),
                None => out.extend(bytes.iter().map(|&b| self.byte_ids[usize::from(b)])),
            }
            at = symbol.next;
        }
    }

    /// The pair that starts at symbol `at`, if it is a token.
    fn candidate(&self, text: &str, symbols: &[Symbol], at: u32) -> Option<Pair> {
        let left = symbols.get(at as usize)?;
        let right = symbols.get(left.next as usize)?;
        let len = left.len + right.len;
        if len as usize > self.longest {
            return None;
        }
        let &id = self.ids.get(slice(text, left.start, len))?;
        let order = self.order.get(id as usize).copied().unwrap_or(i32::MIN);
        Some(Pair { order, at: std::cmp::Reverse(at), len })
    }

    /// Merges the pair, unless an earlier merge took one of its halves.
    fn apply(&self, text: &str, symbols: &mut [Symbol], heap: &mut BinaryHeap<Pair>, pair: &Pair) {
        let at = pair.at.0;
        let Symbol { len, prev, next, .. } = symbols[at as usize];
        let Some(right) = symbols.get_mut(next as usize) else { return };
        if len == 0 || right.len == 0 || len + right.len != pair.len {
            return;
        }
        let after = right.next;
        right.len = 0;
        symbols[at as usize].len = pair.len;
        symbols[at as usize].next = after;
        if let Some(after) = symbols.get_mut(after as usize) {
            after.prev = at;
        }
        heap.extend(self.candidate(text, symbols, prev));
        heap.extend(self.candidate(text, symbols, at));
    }
}

/// One symbol per character.
fn symbols_of(text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = text
        .char_indices()
        .enumerate()
        .map(|(i, (start, c))| Symbol {
            start: start as u32,
            len: c.len_utf8() as u32,
            prev: (i as u32).wrapping_sub(1),
            next: i as u32 + 1,
        })
        .collect();
    if let Some(last) = symbols.last_mut() {
        last.next = NONE;
    }
    symbols
}

fn slice(text: &str, start: u32, len: u32) -> &[u8] {
    text.as_bytes().get(start as usize..(start + len) as usize).unwrap_or_default()
}

/// An integer that orders as the score does; -0 is 0 and what is not a number comes last.
fn sortable(score: f32) -> i32 {
    if score.is_nan() {
        return i32::MIN;
    }
    let bits = (score + 0.0).to_bits() as i32;
    // Negative floats grow towards minus infinity: all but the sign is flipped.
    bits ^ ((bits >> 31) as u32 >> 1) as i32
}

#[cfg(test)]
mod tests {
    use super::sortable;

    #[test]
    fn scores_keep_their_order() {
        let scores = [f32::NEG_INFINITY, -1e9, -2.0, -1.0, -1e-30, 0.0, 1e-30, 3.0, f32::INFINITY];
        assert!(scores.windows(2).all(|w| sortable(w[0]) < sortable(w[1])));
        assert_eq!(sortable(-0.0), sortable(0.0));
        assert!(sortable(f32::NAN) < sortable(f32::NEG_INFINITY));
    }
}

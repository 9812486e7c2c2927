//! Byte-level BPE: a word's bytes are merged pair by pair, the pair of lowest rank first.
//!
//! Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (2016), in GPT-2's form. A heap of
//! candidate pairs over a linked list of symbols makes it O(n log n) in the word, so that a megabyte without a single
//! word boundary is no problem.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::bytes::ByteAlphabet;
use super::config::{TokenKind, TokenizerConfig};
use super::error::TokenizerError;
use super::pair_map::{PairMap, pack};

/// No neighbour.
const NONE: u32 = u32::MAX;
/// Words up to this many bytes are remembered within one call.
const CACHED_WORD: usize = 48;
/// At most this many words are remembered within one call.
const CACHED_WORDS: usize = 1 << 16;

/// A byte-level BPE vocabulary. Symbols are token ids, and beyond them numbers for strings that merges mention though
/// they are not tokens.
pub(crate) struct Bpe {
    vocab_len: u32,
    byte_symbol: [u32; 256],
    /// Token of a single byte, for symbols that are not tokens; `NONE` where the vocabulary lacks it.
    byte_token: [u32; 256],
    /// The bytes of symbols that are not tokens.
    extra: Vec<Vec<u8>>,
    /// Left and right to rank and merged.
    merges: PairMap<(u32, u32)>,
    /// Tokens by their bytes, where whole words are taken as they are.
    whole: Option<HashMap<Vec<u8>, u32>>,
}

/// Buffers that one call of `encode` uses for all its words.
#[derive(Default)]
pub(crate) struct BpeScratch<'t> {
    symbols: Vec<Symbol>,
    heap: BinaryHeap<Reverse<Pair>>,
    cache: HashMap<&'t str, (u32, u32)>,
    cached: Vec<u32>,
}

struct Symbol {
    id: u32,
    prev: u32,
    next: u32,
}

/// A candidate; of equal rank the leftmost comes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    /// Rank and place of the left symbol, see [`pack`].
    order: u64,
    /// The symbols it was proposed for.
    symbols: u64,
}

impl Bpe {
    /// Builds the tables. `whole_words`: a word that is a token is taken without merging.
    pub(crate) fn new(config: &TokenizerConfig, whole_words: bool) -> Result<Self, TokenizerError> {
        let alphabet = ByteAlphabet::new();
        let vocab_len = config.tokens.len() as u32;
        let mut ids = token_ids(config, &alphabet);
        let mut extra = Vec::new();
        let mut merges = PairMap::default();
        merges.reserve(config.merges.len());
        for (index, merge) in config.merges.iter().enumerate() {
            let (left, right) = split_merge(merge).ok_or_else(|| bad_merge(index, merge))?;
            // A part that stands for no bytes can never occur in a word.
            let (Some(left), Some(right)) = (alphabet.decode(left), alphabet.decode(right)) else { continue };
            let merged = [left.as_slice(), &right].concat();
            let mut symbol = |bytes: Vec<u8>| intern(&mut ids, &mut extra, vocab_len, bytes);
            let key = pack(symbol(left), symbol(right));
            let merged = symbol(merged);
            merges.entry(key).or_insert((index as u32, merged));
        }
        let byte_symbol = std::array::from_fn(|b| intern(&mut ids, &mut extra, vocab_len, vec![b as u8]));
        let byte_token = byte_symbol.map(|symbol| if symbol < vocab_len { symbol } else { NONE });
        ids.retain(|_, id| *id < vocab_len);
        Ok(Self { vocab_len, byte_symbol, byte_token, extra, merges, whole: whole_words.then_some(ids) })
    }

    /// Bytes that no token stands for; text with them loses them.
    pub(crate) fn missing_bytes(&self) -> impl Iterator<Item = u8> {
        (0..=255u8).filter(|&b| self.byte_token[usize::from(b)] == NONE)
    }

    /// Appends the tokens of one word.
    pub(crate) fn encode_word<'t>(&self, word: &'t str, scratch: &mut BpeScratch<'t>, out: &mut Vec<u32>) {
        if let Some(&id) = self.whole.as_ref().and_then(|whole| whole.get(word.as_bytes())) {
            out.push(id);
            return;
        }
        if word.len() > CACHED_WORD {
            self.merge(word, scratch, out);
            return;
        }
        if let Some(&(start, end)) = scratch.cache.get(word) {
            out.extend_from_slice(&scratch.cached[start as usize..end as usize]);
            return;
        }
        let before = out.len();
        self.merge(word, scratch, out);
        if scratch.cache.len() < CACHED_WORDS {
            let start = scratch.cached.len() as u32;
            scratch.cached.extend_from_slice(&out[before..]);
            scratch.cache.insert(word, (start, scratch.cached.len() as u32));
        }
    }

    fn merge(&self, word: &str, scratch: &mut BpeScratch, out: &mut Vec<u32>) {
        let BpeScratch { symbols, heap, .. } = scratch;
        symbols.clear();
        let last = word.len().saturating_sub(1);
        symbols.extend(word.bytes().enumerate().map(|(i, b)| Symbol {
            id: self.byte_symbol[usize::from(b)],
            prev: if i == 0 { NONE } else { i as u32 - 1 },
            next: if i == last { NONE } else { i as u32 + 1 },
        }));
        let mut first = std::mem::take(heap).into_vec();
        first.clear();
        first.extend((0..last as u32).filter_map(|at| self.candidate(symbols, at)));
        *heap = BinaryHeap::from(first);
        while let Some(Reverse(pair)) = heap.pop() {
            self.apply(symbols, heap, &pair);
        }
        self.collect(symbols, out);
    }

    /// The pair that starts at symbol `at`, if it is a merge.
    fn candidate(&self, symbols: &[Symbol], at: u32) -> Option<Reverse<Pair>> {
        let left = symbols.get(at as usize)?;
        let right = symbols.get(left.next as usize)?;
        let pair = pack(left.id, right.id);
        let &(rank, _) = self.merges.get(&pair)?;
        Some(Reverse(Pair { order: pack(rank, at), symbols: pair }))
    }

    /// Merges the pair, unless an earlier merge took one of its halves. A symbol that was merged into its left
    /// neighbour has the id `NONE`.
    fn apply(&self, symbols: &mut [Symbol], heap: &mut BinaryHeap<Reverse<Pair>>, pair: &Pair) {
        let at = pair.order as u32;
        let Symbol { id, prev, next } = symbols[at as usize];
        let Some(right) = symbols.get_mut(next as usize) else { return };
        if pack(id, right.id) != pair.symbols {
            return;
        }
        let Some(&(_, merged)) = self.merges.get(&pair.symbols) else { return };
        let after = right.next;
        right.id = NONE;
        symbols[at as usize].id = merged;
        symbols[at as usize].next = after;
        if let Some(after) = symbols.get_mut(after as usize) {
            after.prev = at;
        }
        heap.extend(self.candidate(symbols, prev));
        heap.extend(self.candidate(symbols, at));
    }

    fn collect(&self, symbols: &[Symbol], out: &mut Vec<u32>) {
        let mut at = 0;
        while let Some(symbol) = symbols.get(at as usize) {
            match symbol.id.checked_sub(self.vocab_len) {
                None => out.push(symbol.id),
                Some(extra) => {
                    let bytes = self.extra.get(extra as usize).map_or(&[][..], Vec::as_slice);
                    let tokens = bytes.iter().map(|&b| self.byte_token[usize::from(b)]);
                    out.extend(tokens.filter(|&id| id != NONE));
                }
            }
            at = symbol.next;
        }
    }
}

/// Tokens by the bytes they stand for. Control tokens are left out: a user's text never becomes one.
fn token_ids(config: &TokenizerConfig, alphabet: &ByteAlphabet) -> HashMap<Vec<u8>, u32> {
    let mut ids = HashMap::with_capacity(config.tokens.len());
    let usable = |kind| matches!(kind, TokenKind::Normal | TokenKind::Unused);
    for wanted in [true, false] {
        for (id, text) in config.tokens.iter().enumerate() {
            let kind = config.kind(id);
            let take = if wanted { usable(kind) } else { kind == TokenKind::UserDefined };
            if let Some(bytes) = alphabet.decode(text).filter(|b| take && !b.is_empty()) {
                ids.entry(bytes).or_insert(id as u32);
            }
        }
    }
    ids
}

/// The symbol of a string, a new one if it is not a token.
fn intern(ids: &mut HashMap<Vec<u8>, u32>, extra: &mut Vec<Vec<u8>>, vocab_len: u32, bytes: Vec<u8>) -> u32 {
    if let Some(&id) = ids.get(&bytes) {
        return id;
    }
    let id = vocab_len + extra.len() as u32;
    extra.push(bytes.clone());
    ids.insert(bytes, id);
    id
}

/// The parts of `left right`. The blank is looked for from the second byte on, as the left part is never empty.
fn split_merge(merge: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = merge.iter().skip(1).position(|&b| b == b' ')? + 1;
    let (left, right) = (merge.get(..blank)?, merge.get(blank + 1..)?);
    (!right.is_empty()).then_some((left, right))
}

fn bad_merge(index: usize, merge: &[u8]) -> TokenizerError {
    let shown = merge.get(..40).unwrap_or(merge);
    TokenizerError::BadMerge { index, text: String::from_utf8_lossy(shown).into_owned() }
}

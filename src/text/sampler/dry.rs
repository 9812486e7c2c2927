//! DRY ("don't repeat yourself"): a penalty on tokens that would go on with a repetition.
//!
//! Where the end of the text stood before, the token that came next then is made less likely, the more the longer that end
//! is: `multiplier * base ^ (length - allowed length)` is taken off its logit. So a word may come again, and a sentence not
//! word by word. Breakers end a repetition; they keep the form of a chat and of lists from counting as one.

use super::{Replaced, SamplerParams};
use crate::gguf::{Metadata, StringArray};

/// Most recent tokens that DRY searches.
pub const MAX_DRY_LAST_N: usize = 2048;
/// Longest repetition that is told from a longer one.
const MAX_RUN: usize = 50;
/// Largest penalty: a token that it is taken off is never drawn.
const MOST: f32 = 10_000.0;
/// Ranges of breakers; the device has them as three vectors of two.
pub(crate) const RANGES: usize = 6;

/// Tokens at which a repetition ends: control tokens, and those that are line ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakers {
    /// First id and how many.
    ranges: [(u32, u32); RANGES],
}

impl Breakers {
    /// None: repetitions have no end but the text's beginning.
    pub const NONE: Self = Self { ranges: [(0, 0); RANGES] };

    /// Those of a model file's vocabulary: its control tokens, and tokens of line ends and other white space. There is room for
    /// six runs of ids; of line ends the first are kept, which are the commonest.
    pub fn from_metadata(metadata: &Metadata) -> Self {
        let kinds: Vec<i64> = metadata.find("tokenizer.ggml.token_type").ok().flatten().unwrap_or_default();
        let texts: Option<&StringArray> = metadata.find("tokenizer.ggml.tokens").ok().flatten();
        let control = kinds.iter().enumerate().filter(|(_, kind)| **kind == 3).map(|(id, _)| id);
        let line_end = |text: &str| {
            text == "<0x0A>" || {
                // Byte-level vocabularies write a line end, a return, a tab and a space as these.
                let white = |c| matches!(c, '\n' | '\r' | '\t' | ' ' | 'Ċ' | 'č' | 'ĉ' | 'Ġ');
                text.contains(['\n', 'Ċ']) && text.chars().all(white)
            }
        };
        let texts = texts.into_iter().flat_map(StringArray::iter).enumerate();
        Self::new(control.chain(texts.filter(|(_, text)| line_end(text)).map(|(id, _)| id)))
    }

    /// These ids, as far as there is room for their runs.
    pub fn new(ids: impl IntoIterator<Item = usize>) -> Self {
        let mut ranges = [(0, 0); RANGES];
        let mut used = 0;
        for id in ids.into_iter().filter_map(|id| u32::try_from(id).ok()) {
            match ranges[..used].last_mut() {
                Some((first, count)) if *first + *count == id => *count += 1,
                _ if used < RANGES => {
                    ranges[used] = (id, 1);
                    used += 1;
                }
                _ => break,
            }
        }
        Self { ranges }
    }

    /// From the vectors that a plan carries.
    pub(crate) fn from_vectors(vectors: [[u32; 4]; RANGES / 2]) -> Self {
        let mut ranges = [(0, 0); RANGES];
        let pairs = vectors.iter().flat_map(|v| [(v[0], v[1]), (v[2], v[3])]);
        ranges.iter_mut().zip(pairs).for_each(|(to, from)| *to = from);
        Self { ranges }
    }

    /// As a plan carries them.
    pub(crate) fn vectors(&self) -> [[u32; 4]; RANGES / 2] {
        let pair = |i: usize| [self.ranges[2 * i], self.ranges[2 * i + 1]];
        std::array::from_fn(|i| {
            let [(a, b), (c, d)] = pair(i);
            [a, b, c, d]
        })
    }

    /// Whether a token is one.
    pub fn has(&self, token: u32) -> bool {
        self.ranges.iter().any(|(first, count)| token.wrapping_sub(*first) < *count)
    }
}

/// Tokens that would go on with a repetition, each with the length of the longest, through `f`; a token may come several times.
pub(super) fn continuations(
    history: &[u32],
    p: &SamplerParams,
    breakers: &Breakers,
    mut f: impl FnMut(u32, usize),
) {
    let searched = (p.dry_last_n as usize).min(MAX_DRY_LAST_N).min(history.len());
    let history = &history[history.len() - searched..];
    let since = history.iter().rev().take(MAX_RUN).take_while(|token| !breakers.has(**token)).count();
    for end in 1..history.len() {
        let before = history[..end].iter().rev().zip(history.iter().rev()).take(since);
        let run = before.take_while(|(a, b)| a == b).count();
        if run > 0 && run >= p.dry_allowed_length as usize {
            f(history[end], run);
        }
    }
}

/// What a repetition of this length costs the token that goes on with it.
pub(super) fn penalty(p: &SamplerParams, run: usize) -> f32 {
    // By products, not a power: the device does the same.
    let mut penalty = p.dry_multiplier;
    for _ in p.dry_allowed_length as usize..run {
        penalty = (penalty * p.dry_base).min(MOST);
    }
    penalty.min(MOST)
}

/// Takes the penalties off, in a list sorted by tokens.
pub(super) fn punish(list: &mut [Replaced], p: &SamplerParams) {
    for replaced in list.iter_mut().filter(|replaced| replaced.run > 0) {
        replaced.logit -= penalty(p, replaced.run);
    }
}

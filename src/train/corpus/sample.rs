//! Windows of a corpus by number: a step takes the next few, and goes on after an interruption from its number alone.

use std::ops::Range;
use std::sync::Arc;

use super::error::CorpusError;
use super::permute::Permutation;
use super::{Corpus, Split};
use crate::train::Sequence;
use crate::train::data::mix;

/// Sequences one behind another, to be filled again and again.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    tokens: Vec<u32>,
    trained: Vec<bool>,
    ends: Vec<usize>,
}

impl Pieces {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all out; the memory stays.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.ends.clear();
    }

    /// How many sequences there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Targets in all, which is also the number of token rows: every token of a sequence but its first.
    pub fn targets(&self) -> usize {
        self.tokens.len() - self.ends.len()
    }

    /// The sequences, each of two tokens or more, as the engine takes them.
    pub fn sequences(&self) -> impl ExactSizeIterator<Item = Sequence<'_>> + Clone {
        (0..self.ends.len()).map(|i| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            let range = start..self.ends[i];
            Sequence { tokens: &self.tokens[range.clone()], trained: &self.trained[range] }
        })
    }

    /// Adds a sequence; one that has nothing to learn is left out.
    pub fn push(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.end();
    }

    /// Ends the sequence that was begun; one that has nothing to learn is taken out.
    fn end(&mut self) {
        let start = self.ends.last().copied().unwrap_or(0);
        if self.tokens.len() < start + 2 {
            self.tokens.truncate(start);
        } else {
            self.ends.push(self.tokens.len());
        }
        self.trained.resize(self.trained.len().max(self.tokens.len()), true);
    }
}

/// Gives windows of a [`Corpus`].
///
/// The training part is a ring of n tokens. An epoch cuts it into n / `seq` windows (rounded down) of `seq` inputs, each with one
/// more token for the last one's target, from a place on that the seed and the epoch choose; at most `seq` - 1 tokens are left
/// out, other ones in other epochs. The windows come in an order that the seed and the epoch choose. A window falls apart where a
/// document begins, as attention does not go from one to another.
///
/// Windows are numbered through all epochs, so that step s of b windows has those from s b on.
#[derive(Debug, Clone)]
pub struct Sampler {
    corpus: Arc<Corpus>,
    seq: u64,
    seed: u64,
}

impl Sampler {
    /// Windows of `seq` inputs, or of all tokens where there are fewer.
    ///
    /// # Errors
    /// [`CorpusError::Window`] for 0, [`CorpusError::TooLittle`] if there are not two tokens to learn from.
    pub fn new(corpus: Arc<Corpus>, seq: usize, seed: u64) -> Result<Self, CorpusError> {
        if seq == 0 {
            return Err(CorpusError::Window { seq });
        }
        let tokens = corpus.tokens(Split::Train);
        if tokens < 2 {
            return Err(CorpusError::TooLittle { tokens, needed: 2 });
        }
        Ok(Self { corpus, seq: seq as u64, seed })
    }

    /// The corpus.
    pub fn corpus(&self) -> &Corpus {
        &self.corpus
    }

    /// Inputs of a window.
    pub fn seq(&self) -> usize {
        self.seq as usize
    }

    /// Windows of an epoch, of each the same number.
    pub fn windows(&self) -> u64 {
        (self.corpus.tokens(Split::Train) / self.seq).max(1)
    }

    /// The epoch of a window, from 0.
    pub fn epoch(&self, window: u64) -> u64 {
        window / self.windows()
    }

    /// The place in the ring at which an epoch begins to cut.
    fn phase(&self, epoch: u64) -> u64 {
        let random = mix(mix(self.seed ^ 0x5048_4153_4531) ^ mix(epoch.wrapping_add(1)));
        ((u128::from(random) * u128::from(self.corpus.tokens(Split::Train))) >> 64) as u64
    }

    /// Appends the sequences of a window.
    ///
    /// # Errors
    /// [`CorpusError::Damaged`] where the file has what is no token.
    pub fn window(&self, window: u64, out: &mut Pieces) -> Result<(), CorpusError> {
        let (tokens, windows) = (self.corpus.tokens(Split::Train), self.windows());
        let (epoch, index) = (window / windows, window % windows);
        // Looking up one window costs the keys of its epoch, which is less than reading its tokens.
        let place = Permutation::new(windows, self.seed, epoch).at(index);
        let start = self.phase(epoch) + place * self.seq;
        let places = (0..self.seq.min(tokens) + 1).map(|i| (start + i) % tokens);
        self.take(Split::Train, places, out)
    }

    /// Replaces `out` by the sequences of a step of `batch` windows.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn step(&self, step: u64, batch: usize, out: &mut Pieces) -> Result<(), CorpusError> {
        out.clear();
        let first = step.saturating_mul(batch as u64);
        (0..batch as u64).try_for_each(|i| self.window(first.saturating_add(i), out))
    }

    /// Windows of the validation part, one behind another from its beginning; the last may be shorter.
    pub fn validation_windows(&self) -> u64 {
        self.corpus.tokens(Split::Validation).saturating_sub(1).div_ceil(self.seq)
    }

    /// The windows of the validation part to be judged by: all, or `limit` of them, evenly spread. Always the same.
    pub fn validation(&self, limit: Option<u64>) -> impl ExactSizeIterator<Item = u64> + Clone + use<> {
        let all = self.validation_windows();
        let some = limit.map_or(all, |limit| limit.min(all));
        let count = usize::try_from(some).unwrap_or(usize::MAX);
        let spread = move |i: usize| ((i as u128 * u128::from(all)) / u128::from(some.max(1))) as u64;
        (0..count).map(spread)
    }

    /// Appends the sequences of a window of the validation part.
    ///
    /// # Errors
    /// As [`Self::window`].
    pub fn validation_window(&self, window: u64, out: &mut Pieces) -> Result<(), CorpusError> {
        let tokens = self.corpus.tokens(Split::Validation);
        let start = window.saturating_mul(self.seq).min(tokens);
        let end = start.saturating_add(self.seq + 1).min(tokens);
        self.take(Split::Validation, Range { start, end }, out)
    }

    fn take(
        &self,
        split: Split,
        places: impl Iterator<Item = u64>,
        out: &mut Pieces,
    ) -> Result<(), CorpusError> {
        for place in places {
            let token = self.corpus.token(split, place);
            if !matches!(token, Ok((_, false))) {
                out.end();
            }
            out.tokens.push(token?.0);
        }
        out.end();
        Ok(())
    }
}

//! Runs of words that come again.

use std::collections::{HashMap, HashSet};

/// Words in a run.
const RUN: usize = 8;

/// A text as words: what is between them does not matter, nor does the case of letters.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    /// The word being written.
    open: Option<Word>,
    /// The last words, at most [`RUN`], the newest last.
    last: Vec<Word>,
    /// Bytes since the end of the last word,
    gap: usize,
    /// and those of them up to the last that is not white space.
    marks: usize,
    /// Something stands in the line already.
    line_begun: bool,
    /// Words so far.
    count: u64,
    /// By a run's hash: how often it came, and the number of its last word then.
    seen: HashMap<u64, (u32, u64)>,
    /// Hashes of the beginnings of runs that, once more, would be too many.
    begun: HashSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    hash: u64,
    letters: bool,
    /// Digits alone, at the beginning of a line.
    number: bool,
    /// Bytes in the text, those before it since the word before included.
    bytes: usize,
    /// Bytes of those up to the white space before it.
    marks: usize,
}

/// Hash of nothing (FNV-1a's).
const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn mixed(hash: u64, value: u64) -> u64 {
    // A product and a rotation: neither is enough where values differ in high bits only.
    (hash ^ value).wrapping_mul(0x0100_0000_01b3_9e3d).rotate_left(23)
}

impl Words {
    /// Takes the next character; whether it completes a run for the `allowed`th time.
    pub(super) fn push(&mut self, c: char, allowed: u32) -> bool {
        let apostrophe = matches!(c, '\'' | '’');
        if c.is_alphanumeric() || (apostrophe && self.open.is_some()) {
            let (bytes, marks) = (self.gap, self.marks);
            let number = !self.line_begun;
            let word = self.open.get_or_insert(Word { hash: SEED, letters: false, number, bytes, marks });
            self.line_begun = true;
            word.number &= c.is_ascii_digit();
            for low in c.to_lowercase().filter(|_| !apostrophe) {
                word.hash = mixed(word.hash, u64::from(low));
            }
            word.letters |= c.is_alphabetic();
            word.bytes += c.len_utf8();
            return false;
        }
        if self.item_number(c) {
            return false;
        }
        if self.end(allowed) {
            return true;
        }
        self.gap += c.len_utf8();
        if !c.is_whitespace() {
            (self.marks, self.line_begun) = (self.gap, true);
        }
        self.line_begun &= c != '\n';
        false
    }

    /// Whether the word being written and `c` are the number of a list's item, which is no word of it: a list of the same
    /// things again is a circle, whatever its numbers.
    fn item_number(&mut self, c: char) -> bool {
        let Some(word) = self.open.filter(|word| word.number && matches!(c, '.' | ')')) else { return false };
        (self.open, self.gap, self.marks) = (None, word.bytes + 1, word.marks);
        true
    }

    /// The word being written, if any, is complete; whether that completes a run for the `allowed`th time.
    pub(super) fn end(&mut self, allowed: u32) -> bool {
        let Some(word) = self.open.take() else { return false };
        (self.gap, self.marks) = (0, 0);
        self.count += 1;
        if self.last.len() == RUN {
            self.last.remove(0);
        }
        self.last.push(word);
        // Numbers alone are a table or a matrix.
        if self.last.len() < RUN || self.last.iter().filter(|word| word.letters).count() < RUN / 2 {
            return false;
        }
        let hash = self.hash_of_last(RUN);
        let (times, at) = self.seen.entry(hash).or_insert((0, 0));
        // A run that overlaps the one before is the same again.
        if *times > 0 && self.count - *at < RUN as u64 {
            return false;
        }
        (*times, *at) = (*times + 1, self.count);
        let times = *times;
        if times + 1 >= allowed {
            for begun in 1..RUN {
                self.begun.insert(hash_of(&self.last[..begun]));
            }
        }
        times >= allowed
    }

    /// A new text begins: no run crosses here.
    pub(super) fn part(&mut self) {
        self.open = None;
        self.last.clear();
        (self.gap, self.marks, self.line_begun) = (0, 0, false);
    }

    /// Bytes at the end of the text that may become a run that is one too many; a whole run after [`Words::end`] said so.
    pub(super) fn suspect(&self) -> usize {
        if self.begun.is_empty() {
            return 0;
        }
        let open = self.open.map_or(self.gap, |word| word.bytes);
        let known = |k: usize| self.begun.contains(&self.hash_of_last(k));
        // The eighth word of a full run has just been counted.
        let full = self.last.len() == RUN && self.seen.contains_key(&self.hash_of_last(RUN));
        let longest = if full && self.open.is_none() && self.gap == 0 {
            Some(RUN)
        } else {
            (1..RUN.min(self.last.len() + 1)).rev().find(|k| known(*k))
        };
        let Some(longest) = longest else {
            // The word being written, or to come, may begin one.
            return self.open.map_or(self.gap - self.marks, |word| word.bytes - word.marks);
        };
        let words = &self.last[self.last.len() - longest..];
        let first = words.first().map_or(0, |word| word.marks);
        words.iter().map(|word| word.bytes).sum::<usize>() - first + open
    }

    fn hash_of_last(&self, k: usize) -> u64 {
        hash_of(&self.last[self.last.len().saturating_sub(k)..])
    }
}

fn hash_of(words: &[Word]) -> u64 {
    words.iter().fold(mixed(SEED, words.len() as u64), |hash, word| mixed(hash, word.hash))
}

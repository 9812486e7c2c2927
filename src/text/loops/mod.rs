//! Notices that a text runs in a circle while it is written, and holds back what would be the repetition.
//!
//! Two signs are looked for. A run of eight words that comes for the third time, not counting overlaps; earlier texts,
//! such as the answers before in a conversation, count. And a piece that is repeated without end, whatever its
//! characters. Code, where lines look alike, is judged more mildly unless it is asked to be judged as well.

mod period;
mod words;

use period::Period;
use words::Words;

/// How soon a text is taken for a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// For answers: a run of words for the third time. Code that is worked on may come again and again.
    Short,
    /// The same, of code too: for models that are too small to work on code.
    Shortest,
    /// For thoughts, which turn the same sentences over: only what has clearly no end.
    Long,
}

/// Watches a text that comes in pieces, and gives out what is certain not to be the third of a kind.
///
/// ```
/// use emberlm::text::{LoopGuard, Patience};
///
/// let mut guard = LoopGuard::new(Patience::Short);
/// let mut shown = String::new();
/// for _ in 0..9 {
///     shown += guard.push("I am always glad to be of help to you, my friend. ");
/// }
/// shown += guard.finish();
/// assert!(guard.found());
/// assert_eq!(shown.matches("glad").count(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct LoopGuard {
    words: Words,
    period: Period,
    fences: Fences,
    patience: Patience,
    /// Text not given out yet.
    held: String,
    /// Bytes of it that can be.
    safe: usize,
    out: String,
    found: bool,
}

impl LoopGuard {
    /// Nothing written yet.
    pub fn new(patience: Patience) -> Self {
        Self {
            words: Words::default(),
            period: Period::default(),
            fences: Fences::default(),
            patience,
            held: String::new(),
            safe: 0,
            out: String::new(),
            found: false,
        }
    }

    /// Nothing written yet, and the same patience.
    pub fn anew(&self) -> Self {
        Self::new(self.patience)
    }

    /// Counts runs of words of an earlier text.
    pub fn remember(&mut self, text: &str) {
        let mut fences = Fences::default();
        let mut words = std::mem::take(&mut self.words);
        words.part();
        for c in text.chars() {
            let _ = words.push(c, words_allowed(self.patience, fences.push(c)));
        }
        let _ = words.end(words_allowed(self.patience, fences.inside()));
        words.part();
        self.words = words;
    }

    /// Adds text and returns what can be shown of it. After a circle was found, nothing comes any more.
    pub fn push(&mut self, text: &str) -> &str {
        self.out.clear();
        for c in text.chars() {
            if self.found {
                break;
            }
            let code = self.fences.push(c) && self.patience != Patience::Shortest;
            self.found = self.words.push(c, words_allowed(self.patience, code));
            if !self.found {
                self.held.push(c);
                self.found = self.period.push(c, code || self.patience == Patience::Long);
            }
            // Character by character, so that it makes no difference how the text is cut.
            self.safe = self.safe.max(self.held.len() - self.suspect());
        }
        self.out.extend(self.held.drain(..self.safe));
        self.safe = 0;
        if self.found {
            self.held.clear();
        }
        &self.out
    }

    /// Ends the text: what was held back comes out, unless it is the third of its kind.
    pub fn finish(&mut self) -> &str {
        self.out.clear();
        if !self.found && self.words.end(words_allowed(self.patience, self.fences.inside())) {
            self.found = true;
            let safe = self.held.len() - self.suspect();
            self.held.truncate(safe);
        }
        std::mem::swap(&mut self.out, &mut self.held);
        &self.out
    }

    /// Whether the text ran in a circle.
    pub fn found(&self) -> bool {
        self.found
    }

    /// Bytes at the end of the text that may be the beginning of a run that was there twice.
    fn suspect(&self) -> usize {
        self.words.suspect().min(self.held.len())
    }
}

/// The time at which a run of words is one too often.
fn words_allowed(patience: Patience, code: bool) -> u32 {
    match (patience, code) {
        (Patience::Short, false) | (Patience::Shortest, _) => 3,
        _ => 8,
    }
}

/// Whether a text is within a fenced block of code.
#[derive(Clone, Debug, Default)]
struct Fences {
    inside: bool,
    /// Backticks at the beginning of the line; none are counted once something else came.
    ticks: Option<u8>,
    line_begun: bool,
}

impl Fences {
    /// Takes the next character; whether the text is in a block then.
    fn push(&mut self, c: char) -> bool {
        match c {
            '\n' => (self.ticks, self.line_begun) = (None, false),
            '`' if !self.line_begun => {
                let ticks = self.ticks.map_or(1, |n| n.saturating_add(1));
                self.ticks = Some(ticks);
                if ticks == 3 {
                    self.inside = !self.inside;
                }
            }
            c if !c.is_whitespace() => self.line_begun = true,
            _ => {}
        }
        self.inside
    }

    fn inside(&self) -> bool {
        self.inside
    }
}

#[cfg(test)]
mod tests;

//! A piece that is repeated without end.

use std::collections::VecDeque;

/// Longest piece, in characters.
const LONGEST: usize = 240;
/// A text repeats itself once so many characters have been the same as a piece before them, and
const AGAIN: usize = 72;
/// so many pieces were.
const PIECES: usize = 3;
/// Where there are no letters: lines of dashes, matrices of zeros, dots in a table.
const PLAIN: usize = 400;
/// How much more is let pass in code.
const PATIENT: usize = 4;

/// Counts, for each length of a piece, how long the text has been that piece again and again.
#[derive(Clone, Debug)]
pub(super) struct Period {
    last: VecDeque<char>,
    /// By the piece's length less one: characters that were the same as those a piece before.
    same: Vec<u32>,
    /// Characters since the last letter.
    since_letter: usize,
}

impl Default for Period {
    fn default() -> Self {
        Self { last: VecDeque::with_capacity(LONGEST), same: vec![0; LONGEST], since_letter: usize::MAX }
    }
}

impl Period {
    /// Takes the next character; whether the text runs in a circle.
    pub(super) fn push(&mut self, c: char, patient: bool) -> bool {
        self.since_letter = if c.is_alphabetic() { 0 } else { self.since_letter.saturating_add(1) };
        let mut circle = false;
        let factor = if patient { PATIENT } else { 1 };
        for (before, (past, same)) in self.last.iter().zip(&mut self.same).enumerate() {
            if *past != c {
                *same = 0;
                continue;
            }
            *same += 1;
            let length = before + 1;
            let least = if self.since_letter < length { AGAIN } else { PLAIN };
            circle |= *same as usize >= (PIECES * length).max(least) * factor;
        }
        if self.last.len() == LONGEST {
            self.last.pop_back();
        }
        self.last.push_front(c);
        circle
    }
}

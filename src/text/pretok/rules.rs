//! The rules that stages are made of. A rule says where a match that starts at a given character ends.

use crate::text::class::{LETTER, LOWERISH, MARK, Mask, NEWLINE, NUMBER, PUNCT, SPACE, SYMBOL, UPPERISH};

/// A set of characters.
#[derive(Clone, Copy)]
pub(crate) enum Set {
    /// Characters that have any of these properties.
    Any(Mask),
    /// Characters that have none of these properties.
    None(Mask),
    /// Characters in these inclusive ranges, sorted.
    In(&'static [(char, char)]),
    /// Characters that are neither white space nor in the string.
    NotSpaceNor(&'static str),
    /// Characters that have any of these properties, or are in the string.
    AnyOr(Mask, &'static str),
}

impl Set {
    fn has(self, c: char, mask: Mask) -> bool {
        match self {
            Set::Any(m) => mask & m != 0,
            Set::None(m) => mask & m == 0,
            Set::In(ranges) => {
                let after = ranges.partition_point(|&(low, _)| low <= c);
                after > 0 && ranges.get(after - 1).is_some_and(|&(_, high)| c <= high)
            }
            Set::NotSpaceNor(s) => mask & SPACE == 0 && !s.contains(c),
            Set::AnyOr(m, s) => mask & m != 0 || s.contains(c),
        }
    }
}

/// One way of cutting, applied to every piece of the text.
pub(crate) enum Stage {
    /// GPT-2's expression: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
    /// The family that began with GPT-4's expression.
    Words(Words),
    /// One to `max` characters of a set.
    Run { set: Set, max: usize },
    /// `\s?[set]+`, or ` ?[set]+` where only the blank may lead.
    Led { lead_any_space: bool, set: Set },
    /// `\s+$`: white space at the end of a piece.
    TrailingSpace,
    /// Exactly this many characters of a set.
    Exactly { set: Set, count: usize },
}

/// The variable parts of GPT-4's family:
/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    /// `(?i:'s|'t|…)` comes first.
    pub contractions: bool,
    /// An ASCII punctuation mark followed by ASCII letters is a word (DeepSeek V3).
    pub punct_word: bool,
    /// What words are made of.
    pub word: Mask,
    /// Words are `capitals* smalls+` or `capitals+ smalls*`, with a contraction as an ending if `Some(true)` (GPT-4o).
    pub cased: Option<bool>,
    /// Properties that keep a character from leading a word.
    pub no_lead: Mask,
    /// Most digits in a number; 0 where the scheme has no rule for numbers.
    pub digits: usize,
    /// What a run of symbols is made of.
    pub symbols: Set,
    /// What may follow a run of symbols.
    pub tail: &'static str,
}

impl Words {
    /// Llama 3's values, from which others differ in a field or two.
    pub(crate) const LLAMA3: Words = Words {
        contractions: true,
        punct_word: false,
        word: LETTER,
        cased: None,
        no_lead: NEWLINE | LETTER | NUMBER,
        digits: 3,
        symbols: Set::None(SPACE | LETTER | NUMBER),
        tail: "\r\n",
    };
    /// DeepSeek V3's last stage.
    pub(crate) const DEEPSEEK3: Words = Words {
        contractions: false,
        punct_word: true,
        word: LETTER | MARK,
        no_lead: NEWLINE | LETTER | PUNCT | SYMBOL,
        digits: 0,
        symbols: Set::Any(PUNCT | SYMBOL),
        ..Words::LLAMA3
    };
}

/// The first character of a piece where `stage` may match. White space at the end is looked for from the end, so that
/// long runs before it are not scanned again and again.
pub(crate) fn first_candidate(stage: &Stage, masks: &[Mask]) -> usize {
    match stage {
        Stage::TrailingSpace => masks.iter().rposition(|m| m & SPACE == 0).map_or(0, |i| i + 1),
        _ => 0,
    }
}

/// Where the match of `stage` that starts at `at` ends, if there is one. `at` lies within the piece and is not
/// before [`first_candidate`].
pub(crate) fn find_end(stage: &Stage, chars: &[char], masks: &[Mask], at: usize) -> Option<usize> {
    let piece = Stretch { chars, masks };
    match *stage {
        Stage::Gpt2 => piece.gpt2(at),
        Stage::Words(ref words) => piece.words(words, at),
        Stage::Run { set, max } => some_if_longer(at, piece.run_up_to(set, at, max)),
        Stage::Led { lead_any_space, set } => {
            let leads = if lead_any_space { piece.is(SPACE, at) } else { piece.char(at) == Some(' ') };
            piece.led_run(leads, set, at)
        }
        Stage::TrailingSpace => some_if_longer(at, chars.len()),
        Stage::Exactly { set, count } => {
            (piece.run_up_to(set, at, count) == at + count).then_some(at + count)
        }
    }
}

fn some_if_longer(at: usize, end: usize) -> Option<usize> {
    (end > at).then_some(end)
}

/// A stretch of text that a stage looks at; nothing outside it is seen.
struct Stretch<'a> {
    chars: &'a [char],
    masks: &'a [Mask],
}

impl Stretch<'_> {
    fn char(&self, at: usize) -> Option<char> {
        self.chars.get(at).copied()
    }

    fn is(&self, mask: Mask, at: usize) -> bool {
        self.masks.get(at).is_some_and(|m| m & mask != 0)
    }

    fn has(&self, set: Set, at: usize) -> bool {
        match (self.chars.get(at), self.masks.get(at)) {
            (Some(&c), Some(&m)) => set.has(c, m),
            _ => false,
        }
    }

    /// The end of the run of `set` from `at`.
    fn run(&self, set: Set, at: usize) -> usize {
        self.run_up_to(set, at, usize::MAX)
    }

    fn run_up_to(&self, set: Set, at: usize, max: usize) -> usize {
        let mut end = at;
        while end - at < max && self.has(set, end) {
            end += 1;
        }
        end
    }

    /// `lead?[set]+`.
    fn led_run(&self, leads: bool, set: Set, at: usize) -> Option<usize> {
        if leads && self.has(set, at + 1) {
            return Some(self.run(set, at + 1));
        }
        some_if_longer(at, self.run(set, at))
    }

    fn gpt2(&self, at: usize) -> Option<usize> {
        let blank = self.char(at) == Some(' ');
        self.contraction(at, false)
            .or_else(|| self.led_run(blank, Set::Any(LETTER), at))
            .or_else(|| self.led_run(blank, Set::Any(NUMBER), at))
            .or_else(|| self.led_run(blank, Set::None(SPACE | LETTER | NUMBER), at))
            .or_else(|| self.spaces(at))
    }

    fn words(&self, rules: &Words, at: usize) -> Option<usize> {
        let blank = self.char(at) == Some(' ');
        let contraction = if rules.contractions { self.contraction(at, true) } else { None };
        contraction
            .or_else(|| if rules.punct_word { self.punct_word(at) } else { None })
            .or_else(|| match rules.cased {
                Some(ending) => self.cased_word(rules, at, ending),
                None => self.word(rules, at),
            })
            .or_else(|| some_if_longer(at, self.run_up_to(Set::Any(NUMBER), at, rules.digits)))
            .or_else(|| self.led_run(blank, rules.symbols, at).map(|end| self.tail(rules.tail, end)))
            .or_else(|| self.lines(at))
            .or_else(|| self.spaces(at))
    }

    /// `'s|'t|'re|'ve|'m|'ll|'d`, with ASCII capitals too if `any_case`.
    fn contraction(&self, at: usize, any_case: bool) -> Option<usize> {
        if self.char(at) != Some('\'') {
            return None;
        }
        let letter = |i| {
            let c = self.char(at + i).unwrap_or(' ');
            if any_case { c.to_ascii_lowercase() } else { c }
        };
        match (letter(1), letter(2)) {
            ('s' | 't' | 'm' | 'd', _) => Some(at + 2),
            ('r' | 'v', 'e') | ('l', 'l') => Some(at + 3),
            _ => None,
        }
    }

    fn punct_word(&self, at: usize) -> Option<usize> {
        let letter = |i: usize| self.char(i).is_some_and(|c| c.is_ascii_alphabetic());
        if !self.char(at).is_some_and(|c| c.is_ascii_punctuation()) {
            return None;
        }
        let mut end = at + 1;
        while letter(end) {
            end += 1;
        }
        (end > at + 1).then_some(end)
    }

    /// `[^…]?[word]+`.
    fn word(&self, rules: &Words, at: usize) -> Option<usize> {
        self.led_run(self.has(Set::None(rules.no_lead), at), Set::Any(rules.word), at)
    }

    /// `[^…]?U*L+ending?|[^…]?U+L*ending?` with U the capital and L the small class, which overlap.
    fn cased_word(&self, rules: &Words, at: usize, ending: bool) -> Option<usize> {
        let leads = self.has(Set::None(rules.no_lead), at);
        let starts = [leads.then_some(at + 1), Some(at)];
        let tries = starts.iter().flatten();
        let end = tries
            .clone()
            .find_map(|&start| self.capitals_then_smalls(start))
            .or_else(|| tries.clone().find_map(|&start| self.only_capitals(start)))?;
        let ended = if ending { self.contraction(end, true) } else { None };
        Some(ended.unwrap_or(end))
    }

    /// `U*L+`: as many of U as leave one of L, the way a backtracking engine finds it.
    fn capitals_then_smalls(&self, start: usize) -> Option<usize> {
        let capitals = self.run(Set::Any(UPPERISH), start);
        let smalls = self.run(Set::Any(LOWERISH), capitals);
        if smalls > capitals {
            return Some(smalls);
        }
        (start..capitals).rev().find(|&i| self.is(LOWERISH, i)).map(|i| i + 1)
    }

    /// `U+L*`, tried where `U*L+` failed, so that nothing of L follows.
    fn only_capitals(&self, start: usize) -> Option<usize> {
        some_if_longer(start, self.run(Set::Any(UPPERISH), start))
    }

    fn tail(&self, tail: &str, mut end: usize) -> usize {
        while self.char(end).is_some_and(|c| tail.contains(c)) {
            end += 1;
        }
        end
    }

    /// `\s*[\r\n]+`: white space up to the last line end of the run.
    fn lines(&self, at: usize) -> Option<usize> {
        let end = self.run(Set::Any(SPACE), at);
        (at..end).rev().find(|&i| self.is(NEWLINE, i)).map(|i| i + 1)
    }

    /// `\s+(?!\S)|\s+`: white space, less the last character where text follows and there is more than one.
    fn spaces(&self, at: usize) -> Option<usize> {
        let end = self.run(Set::Any(SPACE), at);
        let text_follows = end < self.chars.len();
        some_if_longer(at, if text_follows && end > at + 1 { end - 1 } else { end })
    }
}

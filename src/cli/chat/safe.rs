//! The line editor's view of a line: what is edited, or comes from the history, must not steer the terminal either.

use std::borrow::Cow;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{Editor, Helper};

/// An editor that shows control characters as signs.
pub(super) type SafeEditor = Editor<Safe, DefaultHistory>;

/// Shows each control character as one sign, so that the cursor is where it seems to be.
pub(super) struct Safe;

impl Highlighter for Safe {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        if line.chars().any(steers) {
            Cow::Owned(line.chars().map(sign).collect())
        } else {
            Cow::Borrowed(line)
        }
    }
}

impl Completer for Safe {
    type Candidate = String;
}

impl Hinter for Safe {
    type Hint = String;
}

impl Validator for Safe {}

impl Helper for Safe {}

fn steers(c: char) -> bool {
    (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Of ASCII's controls Unicode has pictures.
fn sign(c: char) -> char {
    match c {
        _ if !steers(c) => c,
        '\u{7f}' => '␡',
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_become_signs_of_one_column() {
        assert_eq!(Safe.highlight("a\u{1b}[2J\r\u{9b}\u{202e}\u{7f}b\nc", 0), "a␛[2J␍\u{fffd}\u{fffd}␡b\nc");
        assert!(matches!(Safe.highlight("plain é 漢", 0), Cow::Borrowed("plain é 漢")));
    }
}

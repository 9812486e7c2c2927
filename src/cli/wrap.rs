//! Prose broken between words to a terminal's width, as it streams: the word being written is held back until it is whole.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

const TAB: usize = 8;
const JOINER: char = '\u{200d}';
/// What a colour ends with, before which nothing is known of the text.
const COLOUR_END: char = 'm';

/// Breaks lines. What it is given is shown already: its only escapes are colours.
#[derive(Debug)]
pub struct Wrap {
    columns: usize,
    /// Where the cursor is.
    column: usize,
    /// Spaces before the word, which a break takes the place of.
    space: String,
    /// The word so far, with its colours.
    word: String,
    /// The word goes on from one that was too long for a line: there is no break before it.
    glued: bool,
    /// The beginning of the line, as far as a fence of code needs it.
    begin: String,
    /// Between fences of code, whose lines stay as they are.
    code: bool,
    /// Within a colour.
    colour: bool,
    /// Columns that lines after a break begin with, spaces in them.
    indent: usize,
}

impl Wrap {
    /// For a terminal of so many columns, at the beginning of a line.
    pub fn new(columns: usize) -> Self {
        Self {
            columns: columns.max(2),
            column: 0,
            space: String::new(),
            word: String::new(),
            glued: false,
            begin: String::new(),
            code: false,
            colour: false,
            indent: 0,
        }
    }

    /// Takes text, and appends what of it can be shown.
    pub fn push_str(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.push(c, out);
        }
    }

    fn push(&mut self, c: char, out: &mut String) {
        if self.colour || c == '\u{1b}' {
            // Colours take no room; before a word they are shown at once.
            self.colour = c != 'm';
            let to = if self.word.is_empty() && self.space.is_empty() { out } else { &mut self.word };
            return to.push(c);
        }
        if c == '\n' {
            self.end_line(out);
        } else {
            if self.begin.len() < 16 {
                self.begin.push(c);
            }
            self.within_line(c, out);
        }
    }

    fn within_line(&mut self, c: char, out: &mut String) {
        if self.code {
            out.push(c);
        } else if c == ' ' || c == '\t' {
            self.place(out);
            self.glued = false;
            self.space.push(c);
        } else {
            if self.word.chars().next_back().is_some_and(|before| parts(before, c)) {
                self.place(out);
                self.glued = false;
            }
            self.word.push(c);
            if self.word.len() >= self.columns && visible(&self.word) >= self.columns {
                self.place(out);
                self.glued = true;
            }
        }
    }

    fn end_line(&mut self, out: &mut String) {
        let fence = self.begin.trim_start();
        let fence = fence.starts_with("```") || fence.starts_with("~~~");
        self.place(out);
        // Spaces at the end of a line would only begin another one.
        self.space.clear();
        out.push('\n');
        self.code ^= fence;
        (self.column, self.glued) = (0, false);
        self.begin.clear();
    }

    /// Shows the word, on the next line if it does not fit.
    fn place(&mut self, out: &mut String) {
        if self.word.is_empty() {
            return;
        }
        let (spaces, width) = (self.spaces(), visible(&self.word));
        if self.glued {
            self.column = (self.column + width) % self.columns;
        } else if self.column + spaces + width <= self.columns || self.column == 0 {
            out.push_str(&self.space);
            self.column += spaces + width;
        } else {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', self.indent));
            self.column = self.indent + width;
        }
        if self.column > self.columns {
            self.column %= self.columns;
        }
        self.space.clear();
        out.push_str(&self.word);
        self.word.clear();
    }

    /// Columns that the spaces before the word take.
    fn spaces(&self) -> usize {
        let step = |at: usize, c: char| if c == '\t' { (at / TAB + 1) * TAB } else { at + 1 };
        self.space.chars().fold(self.column, step) - self.column
    }

    /// Shows what is held back.
    pub fn finish(&mut self, out: &mut String) {
        self.place(out);
        if self.column + self.spaces() < self.columns {
            self.column += self.spaces();
            out.push_str(&self.space);
        }
        self.space.clear();
    }
}

/// Whether a line may be broken between two characters that no space is between: those of scripts without spaces.
fn parts(before: char, after: char) -> bool {
    let wide = |c: char| c.width() == Some(2);
    let closing = |c: char| {
        matches!(
            c,
            '、' | '。' | '，' | '．' | '！' | '？' | '：' | '；' | '」' | '』' | '）' | '】' | '》' | 'ー'
        )
    };
    let opening = |c: char| matches!(c, '「' | '『' | '（' | '【' | '《');
    let modifier = matches!(after, '\u{1f3fb}'..='\u{1f3ff}');
    let joined = before == JOINER || after.width().unwrap_or(0) == 0 || modifier;
    let punctuation = closing(after) || opening(before) || (wide(before) && after.is_ascii_punctuation());
    (wide(before) || wide(after)) && !joined && !punctuation && before != COLOUR_END
}

/// Columns of a text with colours in it.
fn visible(text: &str) -> usize {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().map_or(0, UnicodeWidthStr::width);
    first + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.width())).sum::<usize>()
}

/// A whole text, line by line; a line goes on below its own text: below the second column of a table, or a little further in
/// than it began.
pub fn whole(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 40);
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let mut wrap = Wrap::new(columns);
        wrap.indent = below(line, columns);
        wrap.push_str(line, &mut out);
        wrap.finish(&mut out);
        if lines.peek().is_some() {
            out.push('\n');
        }
    }
    out
}

/// Where a line's continuation begins.
fn below(line: &str, columns: usize) -> usize {
    let begin = line.len() - line.trim_start().len();
    let second = line[begin..].find("  ").map(|gap| {
        let rest = &line[begin + gap..];
        visible(line) - visible(rest.trim_start())
    });
    match second {
        Some(column) if column <= columns / 2 => column,
        _ => (begin + 2).min(columns / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text pushed in pieces of so many characters.
    fn streamed(text: &str, columns: usize, size: usize) -> String {
        let (mut wrap, mut out) = (Wrap::new(columns), String::new());
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            wrap.push_str(&piece.iter().collect::<String>(), &mut out);
        }
        wrap.finish(&mut out);
        out
    }

    fn wrapped(text: &str, columns: usize) -> String {
        let whole = streamed(text, columns, usize::MAX);
        for size in 1..7 {
            assert_eq!(streamed(text, columns, size), whole, "pieces of {size}");
        }
        whole
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three four", 9), "one two\nthree\nfour");
        assert_eq!(
            wrapped("one two  three", 13),
            "one two\nthree".replace("two\n", "two  ").replace("  three", "\nthree")
        );
        assert_eq!(wrapped("exactly8 x", 8), "exactly8\nx");
        assert_eq!(wrapped("a\n\n  b c", 5), "a\n\n  b c", "what the text itself breaks stays");
        assert_eq!(wrapped("end   \nnext", 5), "end\nnext");
        assert_eq!(wrapped("a\tb c", 10), "a\tb\nc");
    }

    #[test]
    fn no_line_is_wider_and_nothing_but_space_is_lost() {
        let text = "The quick brown fox, 漢字かな交じり文。 👩\u{200d}👩\u{200d}👧 jumps; é e\u{301} und weiter geht es — so.";
        for columns in 8..60 {
            let broken = wrapped(text, columns);
            let widest = broken.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= columns, "{columns}: {broken}");
            let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(bare(&broken), bare(text));
        }
    }

    #[test]
    fn words_longer_than_a_line_are_left_to_the_terminal() {
        let link = "https://example.org/a/long/path";
        let broken = wrapped(&format!("see {link} and more"), 12);
        assert_eq!(broken, format!("see\n{link} and\nmore"));
    }

    #[test]
    fn code_stays_as_it_is() {
        let code = "```py\nprint('a long line of code', 1, 2, 3)\n```\n";
        assert_eq!(wrapped(&format!("{code}and then words"), 10), format!("{code}and then\nwords"));
    }

    #[test]
    fn colours_take_no_room() {
        let dim = "\u{1b}[2mone two\u{1b}[0m three";
        assert_eq!(wrapped(dim, 13), "\u{1b}[2mone two\u{1b}[0m three");
        assert_eq!(wrapped(dim, 12), "\u{1b}[2mone two\u{1b}[0m\nthree");
    }

    #[test]
    fn scripts_without_spaces_break_between_their_signs() {
        assert_eq!(wrapped("漢字漢字漢字", 4), "漢字\n漢字\n漢字");
        assert_eq!(wrapped("漢字漢。字", 6), "漢字\n漢。字", "no line begins with a full stop");
    }

    #[test]
    fn only_the_word_being_written_is_held_back() {
        let (mut wrap, mut out) = (Wrap::new(20), String::new());
        wrap.push_str("one tw", &mut out);
        assert_eq!(out, "one");
        wrap.push_str("o three", &mut out);
        assert_eq!(out, "one two");
    }

    #[test]
    fn tables_go_on_below_their_second_column() {
        let line = "/good     the last answer was good and all";
        assert_eq!(whole(line, 24), "/good     the last\n          answer was\n          good and all");
        assert_eq!(whole("warning: a b c d", 10), "warning: a\n  b c d");
        assert_eq!(whole("a\n", 10), "a\n");
    }
}

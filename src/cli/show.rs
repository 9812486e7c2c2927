//! Text that comes from files and models, made harmless: it must neither steer the terminal nor hide in it.
//!
//! Everything that is printed goes through `cli::screen` or `term::say`, which use this; a line of its own,
//! such as a name, goes through [`line()`].

use std::borrow::Cow;

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer: invisible characters that languages are written with stay.
    Prose,
    /// Names, values, messages: what cannot be seen is shown, as two names may differ by nothing else.
    Names,
}

/// Follows a text character by character, across pieces.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    kind: Kind,
    before: Option<char>,
    /// Within the tags of a flag, such as Scotland's.
    flag: bool,
}

impl Guard {
    /// At the beginning of a text.
    pub fn new(kind: Kind) -> Self {
        Self { kind, before: None, flag: false }
    }

    /// Appends a character, or the escape that stands for it (`\u{1b}`, `\r`). Line ends and tabs stay.
    pub fn push(&mut self, c: char, out: &mut String) {
        let harmless = self.harmless(c);
        self.flag = c == '\u{1f3f4}' || (self.flag && is_tag(c));
        self.before = Some(c);
        if harmless { out.push(c) } else { out.extend(c.escape_default()) }
    }

    /// Appends a text.
    pub fn push_str(&mut self, text: &str, out: &mut String) {
        for c in text.chars() {
            self.push(c, out);
        }
    }

    fn harmless(self, c: char) -> bool {
        match c {
            '\n' | '\t' => true,
            // ASCII and Latin-1 controls: escapes, backspace, carriage return, bell, CSI, OSC.
            _ if c.is_control() => false,
            ' '..='~' => true,
            // Line separators; characters that change the direction of text; annotations.
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' => false,
            // A whole text can hide in tags. They belong into flags only.
            _ if is_tag(c) => self.flag,
            '\u{e0100}'..='\u{e01ef}' => self.before.is_some_and(is_ideograph),
            '\u{e0000}'..='\u{e0fff}' => false,
            // Joiners and variants belong to the character before them.
            '\u{200c}' | '\u{200d}' => {
                self.before.is_some_and(|b| !b.is_ascii() && !matches!(b, '\u{200c}' | '\u{200d}'))
            }
            '\u{fe00}'..='\u{fe0f}' => self.before.is_some_and(|b| {
                let keycap = b.is_ascii_digit() || matches!(b, '#' | '*');
                (keycap || !b.is_ascii()) && !matches!(b, '\u{200c}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}')
            }),
            _ if is_unseen(c) => self.kind == Kind::Prose && !self.before.is_some_and(is_unseen),
            _ => true,
        }
    }
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

/// Characters that come in variants.
fn is_ideograph(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Characters that take no room, and are written in some languages.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2060}'..='\u{2065}'
            | '\u{feff}'
    )
}

/// A text of names or messages, with its lines.
pub fn text(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\t')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    Guard::new(Kind::Names).push_str(text, &mut out);
    Cow::Owned(out)
}

/// A text on one line: line ends and tabs are shown too.
pub fn line(text: &str) -> String {
    self::text(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// The name of a file, on one line.
pub fn path(path: &std::path::Path) -> String {
    line(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prose(text: &str) -> String {
        let mut out = String::new();
        Guard::new(Kind::Prose).push_str(text, &mut out);
        out
    }

    #[test]
    fn what_steers_a_terminal_is_shown() {
        for (given, shown) in [
            ("\u{1b}[31mred\u{1b}[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("\u{1b}]0;title\u{7}x", "\\u{1b}]0;title\\u{7}x"),
            ("a\u{9b}2Jb\u{9d}0;t\u{9c}\u{85}", "a\\u{9b}2Jb\\u{9d}0;t\\u{9c}\\u{85}"),
            ("safe\rgone\u{8}\u{7f}\u{0}", "safe\\rgone\\u{8}\\u{7f}\\u{0}"),
            ("\u{202e}txt.exe\u{2066}\u{2069}", "\\u{202e}txt.exe\\u{2066}\\u{2069}"),
            ("a\u{2028}b\u{2029}\u{fff9}", "a\\u{2028}b\\u{2029}\\u{fff9}"),
        ] {
            assert_eq!((text(given).as_ref(), prose(given).as_str()), (shown, shown), "{given:?}");
        }
    }

    #[test]
    fn what_hides_in_a_text_is_shown() {
        let tags: String = "run".bytes().map(|b| char::from_u32(0xe0000 + u32::from(b)).unwrap()).collect();
        assert_eq!(prose(&tags), "\\u{e0072}\\u{e0075}\\u{e006e}");
        assert_eq!(prose("a\u{fe0f}x\u{e0101}y\u{200d}"), "a\\u{fe0f}x\\u{e0101}y\\u{200d}");
        assert_eq!(prose("☂\u{fe0f}\u{fe01}\u{fe02}"), "☂\u{fe0f}\\u{fe01}\\u{fe02}");
        assert_eq!(text("pay\u{200b}pal\u{ad}\u{feff}"), "pay\\u{200b}pal\\u{ad}\\u{feff}");
        assert_eq!(prose("a\u{200b}b\u{200b}\u{2060}"), "a\u{200b}b\u{200b}\\u{2060}");
    }

    #[test]
    fn languages_and_emoji_stay() {
        for given in [
            "tab\tline\nend",
            "漢字かな 🐈 é e\u{301} ÿ",
            "❤\u{fe0f}\u{200d}🔥 👩\u{200d}👩\u{200d}👧 1\u{fe0f}\u{20e3} 葛\u{e0100}",
            "🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}!",
            "می\u{200c}خواهم עברית क्\u{200d}ष",
        ] {
            assert_eq!((text(given).as_ref(), prose(given).as_str()), (given, given));
        }
        assert_eq!(prose("ก\u{200b}ข"), "ก\u{200b}ข");
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(line("a\nerror: b\tc"), "a\\nerror: b\\tc");
        assert_eq!(line("plain"), "plain");
        assert_eq!(path(std::path::Path::new("a\u{1b}[2J\n.gguf")), "a\\u{1b}[2J\\n.gguf");
    }
}

//! Cuts a template into text and tags, with Jinja2's rules for white space (`trim_blocks`, `lstrip_blocks`).

use super::SyntaxError;
use crate::text::template::python::is_space;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    /// Text as it comes out.
    Data(String),
    /// `{{ ... }}`.
    Variable(Vec<Token>, usize),
    /// `{% ... %}`.
    Block(Vec<Token>, usize),
}

/// What stands in a tag.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Lexeme,
    pub(super) line: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lexeme {
    Name(String),
    Text(String),
    /// Decimal digits; `None` beyond 128 bits.
    Int(Option<i128>),
    Float(f64),
    Op(&'static str),
}

const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
];

/// With `\n` for every end of line, and without one at the very end.
pub(super) fn normalized(source: &str) -> String {
    let mut source = source.replace("\r\n", "\n").replace('\r', "\n");
    if source.ends_with('\n') {
        source.pop();
    }
    source
}

/// Cuts up a [`normalized`] template.
pub(super) fn lex(source: &str) -> Result<Vec<Piece>, SyntaxError> {
    let mut lexer = Lexer { source, at: 0, line: 1, line_starts: true, pieces: Vec::new() };
    while lexer.step()? {}
    Ok(lexer.pieces)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: usize,
    /// Whether what came last ended with a line.
    line_starts: bool,
    pieces: Vec<Piece>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn error<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError { line: self.line, message: message.into() })
    }

    /// Takes `len` bytes.
    fn advance(&mut self, len: usize) -> &'s str {
        let taken = self.rest().get(..len).unwrap_or_default();
        self.at += taken.len();
        self.line += taken.matches('\n').count();
        taken
    }

    fn skip_spaces(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start_matches(is_space).len());
    }

    /// The text up to a tag, and the tag.
    fn step(&mut self) -> Result<bool, SyntaxError> {
        let rest = self.rest();
        let opens =
            |&(at, _): &(usize, &str)| rest.as_bytes().get(at + 1).is_some_and(|next| b"{%#".contains(next));
        let Some((at, _)) = rest.match_indices('{').find(opens) else {
            self.push_data(rest);
            return Ok(false);
        };
        let text = self.advance(at);
        let open = self.advance(2);
        let sign = self.rest().chars().next().filter(|c| "-+".contains(*c));
        self.advance(usize::from(sign.is_some()));
        let text = self.stripped(text, sign, open == "{{");
        self.push_data(text);
        match open {
            "{{" => {
                let line = self.line;
                let tokens = self.tag("}}")?;
                self.pieces.push(Piece::Variable(tokens, line));
            }
            "{#" => self.comment()?,
            _ if self.raw_begins() => self.raw()?,
            _ => {
                let line = self.line;
                let tokens = self.tag("%}")?;
                self.pieces.push(Piece::Block(tokens, line));
            }
        }
        Ok(true)
    }

    fn push_data(&mut self, text: &str) {
        if !text.is_empty() {
            self.pieces.push(Piece::Data(text.to_owned()));
        }
    }

    fn stripped(&self, text: &'s str, sign: Option<char>, variable: bool) -> &'s str {
        if sign == Some('-') {
            return text.trim_end_matches(is_space);
        }
        let start = text.rfind('\n').map_or(0, |at| at + 1);
        let (before, last) = text.split_at(start);
        let begins = start > 0 || self.line_starts;
        if sign.is_none() && !variable && begins && last.chars().all(is_space) { before } else { text }
    }

    /// Takes the end of a tag and the white space that goes with it.
    fn close(&mut self, end: &str, trims: bool) -> bool {
        let rest = self.rest();
        let start = self.at;
        if rest.strip_prefix('-').is_some_and(|r| r.starts_with(end)) {
            self.advance(1 + end.len());
            self.skip_spaces();
        } else if trims && rest.strip_prefix('+').is_some_and(|r| r.starts_with(end)) {
            self.advance(1 + end.len());
        } else if rest.starts_with(end) {
            self.advance(end.len());
            if trims && self.rest().starts_with('\n') {
                self.advance(1);
            }
        } else {
            return false;
        }
        self.line_starts = self.source.get(start..self.at).is_some_and(|taken| taken.ends_with('\n'));
        true
    }

    fn comment(&mut self) -> Result<(), SyntaxError> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else { return self.error("Missing end of comment tag") };
        let signed = rest.get(..end).is_some_and(|text| text.ends_with(['-', '+']));
        self.advance(end - usize::from(signed));
        self.close("#}", true);
        Ok(())
    }

    /// Whether this tag, whose beginning is taken, is `raw`; takes it if so.
    fn raw_begins(&mut self) -> bool {
        let (at, line) = (self.at, self.line);
        self.skip_spaces();
        if self.rest().starts_with("raw") {
            self.advance(3);
            self.skip_spaces();
            if !self.rest().starts_with('+') && self.close("%}", false) {
                return true;
            }
        }
        (self.at, self.line) = (at, line);
        false
    }

    fn raw(&mut self) -> Result<(), SyntaxError> {
        let begin = self.at;
        while let Some(at) = self.rest().find("{%") {
            self.advance(at);
            let text = self.source.get(begin..self.at).unwrap_or_default();
            self.advance(2);
            let sign = self.rest().chars().next().filter(|c| "-+".contains(*c));
            self.advance(usize::from(sign.is_some()));
            let (at, line) = (self.at, self.line);
            let text = self.stripped(text, sign, false);
            self.skip_spaces();
            if self.rest().starts_with("endraw") {
                self.advance(6);
                self.skip_spaces();
                if self.close("%}", true) {
                    self.push_data(text);
                    return Ok(());
                }
            }
            (self.at, self.line) = (at, line);
        }
        self.error("Missing end of raw directive")
    }

    /// The tokens up to the end of a tag.
    fn tag(&mut self, end: &str) -> Result<Vec<Token>, SyntaxError> {
        let mut tokens = Vec::new();
        let mut open: Vec<&str> = Vec::new();
        loop {
            if open.is_empty() && self.close(end, end == "%}") {
                return Ok(tokens);
            }
            let line = self.line;
            let Some(first) = self.rest().chars().next() else { return self.error("a tag is not closed") };
            if is_space(first) {
                self.skip_spaces();
                continue;
            }
            let kind = self.token(first)?;
            if let Lexeme::Op(op) = kind {
                match op {
                    "(" => open.push(")"),
                    "[" => open.push("]"),
                    "{" => open.push("}"),
                    ")" | "]" | "}" if open.pop() != Some(op) => {
                        return self.error(format!("unexpected '{op}'"));
                    }
                    _ => {}
                }
            }
            tokens.push(Token { kind, line });
        }
    }

    fn token(&mut self, first: char) -> Result<Lexeme, SyntaxError> {
        if first.is_ascii_digit() {
            return self.number();
        }
        if first.is_alphanumeric() || first == '_' {
            let rest = self.rest();
            let len = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            return Ok(Lexeme::Name(self.advance(len).to_owned()));
        }
        if first == '"' || first == '\'' {
            return self.string(first);
        }
        let rest = self.rest();
        match OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            Some(op) => {
                self.advance(op.len());
                Ok(Lexeme::Op(op))
            }
            None => self.error(format!("unexpected char {first:?}")),
        }
    }

    fn number(&mut self) -> Result<Lexeme, SyntaxError> {
        let rest = self.rest();
        let after_dot = self.at > 0 && self.source.as_bytes().get(self.at - 1) == Some(&b'.');
        if let Some(len) = float_len(rest).filter(|_| !after_dot) {
            let digits = self.advance(len).replace('_', "");
            return Ok(Lexeme::Float(digits.parse().unwrap_or(f64::INFINITY)));
        }
        let prefixed = [("0b", 2), ("0o", 8), ("0x", 16)].into_iter().find_map(|(prefix, base)| {
            let same = rest.get(..2).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
            let len = run(rest.get(2..).filter(|_| same)?, base, true);
            (len > 0).then_some((2, len, base))
        });
        let (skip, len, base) = prefixed.unwrap_or_else(|| {
            let zeros = rest.len() - rest.trim_start_matches(['0', '_']).len();
            (0, if zeros > 0 { zeros } else { run(rest, 10, false) }, 10)
        });
        let digits = self.advance(skip + len).get(skip..).unwrap_or_default().replace('_', "");
        Ok(Lexeme::Int(i128::from_str_radix(&digits, base).ok()))
    }

    fn string(&mut self, quote: char) -> Result<Lexeme, SyntaxError> {
        let mut escaped = false;
        let end = self.rest().char_indices().skip(1).find(|&(_, c)| {
            let end = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            end
        });
        let Some((end, _)) = end else { return self.error("a string is not closed") };
        let text = self.advance(end + 1);
        match unescape(text.get(1..end).unwrap_or_default()) {
            Some(text) => Ok(Lexeme::Text(text)),
            None => self.error("a string has an escape that is not valid"),
        }
    }
}

/// The length of a run of digits with underscores between them.
fn run(text: &str, base: u32, leading: bool) -> usize {
    let mut len = 0;
    let mut after_digit = leading;
    for (at, c) in text.char_indices() {
        if c.is_digit(base) {
            len = at + 1;
            after_digit = true;
        } else if c == '_' && after_digit {
            after_digit = false;
        } else {
            break;
        }
    }
    len
}

fn float_len(text: &str) -> Option<usize> {
    let whole = run(text, 10, false);
    let from = |at: usize| text.get(at..).unwrap_or_default();
    let fraction = match from(whole).strip_prefix('.') {
        Some(digits) => match run(digits, 10, false) {
            0 => 0,
            len => len + 1,
        },
        None => 0,
    };
    let after = whole + fraction;
    let exponent = from(after).strip_prefix(['e', 'E']).map(|tail| {
        let sign = usize::from(tail.starts_with(['+', '-']));
        match run(tail.get(sign..).unwrap_or_default(), 10, false) {
            0 => 0,
            len => 1 + sign + len,
        }
    });
    let exponent = exponent.unwrap_or(0);
    (whole > 0 && (fraction > 0 || exponent > 0)).then_some(after + exponent)
}

/// Python's escapes; unknown ones stay as they are.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    // A pair of surrogates is one character here, where Python would fail to encode it later.
    let mut high: Option<u32> = None;
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let code = |chars: &mut std::str::Chars<'_>, len: usize| {
            let digits: String = chars.by_ref().take(len).collect();
            (digits.len() == len).then(|| u32::from_str_radix(&digits, 16).ok()).flatten()
        };
        match chars.next()? {
            '\n' => {}
            'n' => out.push('\n'),
            't' => out.push('\t'),
            'r' => out.push('\r'),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            c @ ('\\' | '\'' | '"') => out.push(c),
            'x' => out.push(char::from_u32(code(&mut chars, 2)?)?),
            'U' => out.push(char::from_u32(code(&mut chars, 8)?)?),
            'u' => {
                let unit = code(&mut chars, 4)?;
                match high.take() {
                    Some(first) if (0xdc00..0xe000).contains(&unit) => {
                        out.push(char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (unit - 0xdc00))?);
                    }
                    Some(_) => return None,
                    None if (0xd800..0xdc00).contains(&unit) => high = Some(unit),
                    None => out.push(char::from_u32(unit)?),
                }
            }
            c @ '0'..='7' => {
                let mut number = c.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = chars.clone().next().and_then(|c| c.to_digit(8)) else { break };
                    number = number * 8 + digit;
                    chars.next();
                }
                out.push(char::from_u32(number)?);
            }
            // Names of characters would take a table of them all.
            'N' => return None,
            other => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    if high.is_some() { None } else { Some(out) }
}

//! Jinja2's expressions, rewritten as the engine's: operators, literals, tests and look-ups become calls of functions
//! that do what Python does ([`super::super::python`]).

mod postfix;

use super::SyntaxError;
use super::lex::{Lexeme, Token};
use crate::text::template::python::{FUNCTION, may_be_method};

/// How deeply expressions may be nested: two steps of the engine's own limit of 150 each.
const MAX_DEPTH: usize = 60;
/// The most parts of an `and` or `or`, which the engine nests.
pub(super) const MAX_PARTS: usize = 200;
/// Marks a line number in rewritten text, for [`super::Out`].
pub(super) const LINE: char = '\u{1}';

/// Reads the tokens of a tag.
pub(super) struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
    line: usize,
}

pub(super) type Parsed = Result<String, SyntaxError>;

/// A call of one of our functions.
pub(super) fn function(name: &str, args: &[String]) -> String {
    format!("{FUNCTION}{name}({})", args.join(", "))
}

/// A string literal of the engine.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

impl<'t> Parser<'t> {
    pub(super) fn new(tokens: &'t [Token], line: usize) -> Self {
        Self { tokens, at: 0, depth: 0, line }
    }

    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, SyntaxError> {
        let line = self.tokens.get(self.at).map_or(self.line, |token| token.line);
        Err(SyntaxError { line, message: message.into() })
    }

    fn peek(&self) -> Option<&'t Lexeme> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    pub(super) fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub(super) fn end(&self) -> Result<(), SyntaxError> {
        match self.peek() {
            None => Ok(()),
            Some(token) => self.fail(format!("expected the end of the tag, got {}", describe(Some(token)))),
        }
    }

    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Some(Lexeme::Op(found)) if *found == op)
    }

    pub(super) fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_op(&mut self, op: &str) -> Result<(), SyntaxError> {
        if self.skip_op(op) {
            return Ok(());
        }
        self.fail(format!("expected '{op}', got {}", describe(self.peek())))
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Lexeme::Name(found)) if found == name)
    }

    pub(super) fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect_name(&mut self) -> Parsed {
        match self.peek() {
            Some(Lexeme::Name(name)) => {
                self.at += 1;
                Ok(name.clone())
            }
            other => self.fail(format!("expected a name, got {}", describe(other))),
        }
    }

    /// Expressions with commas between are a tuple.
    pub(super) fn tuple(&mut self, condition: bool) -> Parsed {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let ended = self.done() || self.is_op(")") || self.is_name("recursive");
            if ended && (is_tuple || items.is_empty()) {
                break;
            }
            items.push(if condition { self.expression()? } else { self.or()? });
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        match items.pop() {
            Some(only) if !is_tuple => Ok(only),
            Some(last) => {
                items.push(last);
                Ok(function("tuple", &items))
            }
            None => self.fail(format!("expected an expression, got {}", describe(self.peek()))),
        }
    }

    /// `a if b else c`, and all that binds closer.
    pub(super) fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("the expression is nested too deeply");
        }
        let mut value = self.or()?;
        let mut count = 0;
        while self.skip_name("if") {
            count += 1;
            if count > MAX_DEPTH {
                return self.fail("the expression is nested too deeply");
            }
            let condition = self.or()?;
            value = if self.skip_name("else") {
                format!("({value} if {condition} else {})", self.expression()?)
            } else {
                format!("({value} if {condition})")
            };
        }
        self.depth -= 1;
        Ok(value)
    }

    fn or(&mut self) -> Parsed {
        self.joined("or", Self::and)
    }

    fn and(&mut self) -> Parsed {
        self.joined("and", Self::not)
    }

    fn joined(&mut self, word: &str, part: fn(&mut Self) -> Parsed) -> Parsed {
        let mut parts = vec![part(self)?];
        while self.skip_name(word) {
            parts.push(part(self)?);
            if parts.len() > MAX_PARTS {
                return self.fail(format!("more than {MAX_PARTS} conditions in a row"));
            }
        }
        let joined = parts.join(&format!(" {word} "));
        Ok(if parts.len() == 1 { joined } else { format!("({joined})") })
    }

    fn not(&mut self) -> Parsed {
        let mut count = 0usize;
        while self.is_name("not") {
            self.at += 1;
            count += 1;
        }
        let value = self.comparison()?;
        Ok(match count {
            0 => value,
            n if n % 2 == 1 => format!("(not {value})"),
            _ => format!("(not (not {value}))"),
        })
    }

    fn comparison(&mut self) -> Parsed {
        let mut args = vec![self.sum()?];
        loop {
            let op = match self.peek() {
                Some(Lexeme::Op(op @ ("==" | "!=" | "<" | "<=" | ">" | ">="))) => op,
                Some(Lexeme::Name(name)) if name == "in" => "in",
                Some(Lexeme::Name(name)) if name == "not" => {
                    let next = self.tokens.get(self.at + 1).map(|token| &token.kind);
                    if !matches!(next, Some(Lexeme::Name(name)) if name == "in") {
                        break;
                    }
                    self.at += 1;
                    "notin"
                }
                _ => break,
            };
            self.at += 1;
            args.extend([literal(op), self.sum()?]);
        }
        Ok(only_or(args, "compare"))
    }

    fn sum(&mut self) -> Parsed {
        self.chain(&["+", "-"], Self::concatenation)
    }

    fn concatenation(&mut self) -> Parsed {
        let mut args = vec![self.product()?];
        while self.skip_op("~") {
            args.push(self.product()?);
        }
        Ok(only_or(args, "concatenate"))
    }

    fn product(&mut self) -> Parsed {
        self.chain(&["*", "/", "//", "%"], Self::power)
    }

    fn power(&mut self) -> Parsed {
        self.chain(&["**"], |parser| parser.unary(true))
    }

    /// Operators of one rank, from the left.
    fn chain(&mut self, ops: &[&str], part: fn(&mut Self) -> Parsed) -> Parsed {
        let mut args = vec![part(self)?];
        while let Some(op) = ops.iter().find(|op| self.is_op(op)) {
            self.at += 1;
            args.extend([literal(op), part(self)?]);
        }
        Ok(only_or(args, "chain"))
    }

    fn unary(&mut self, with_filter: bool) -> Parsed {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("the expression is nested too deeply");
        }
        let value = if self.skip_op("-") {
            function("negative", &[self.unary(false)?])
        } else if self.skip_op("+") {
            function("positive", &[self.unary(false)?])
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        let value = if with_filter { self.filters(value)? } else { value };
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Parsed {
        let Some(token) = self.tokens.get(self.at) else {
            return self.fail("expected an expression, got the end of the tag");
        };
        self.at += 1;
        match &token.kind {
            Lexeme::Name(name) => self.name(name, token.line),
            Lexeme::Text(text) => {
                let mut text = text.clone();
                while let Some(Lexeme::Text(more)) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Ok(literal(&text))
            }
            Lexeme::Int(Some(int)) => Ok(int.to_string()),
            Lexeme::Int(None) => self.fail("an integer is beyond 128 bits"),
            Lexeme::Float(float) if float.is_infinite() => Ok(function("infinity", &[])),
            Lexeme::Float(float) => Ok(format!("{float:?}")),
            Lexeme::Op("(") => {
                let value =
                    if self.is_op(")") { function("tuple", &[]) } else { self.nested(|p| p.tuple(true))? };
                self.expect_op(")")?;
                // Filters bind less than what may follow.
                Ok(if value.contains('|') { format!("({value})") } else { value })
            }
            Lexeme::Op("[") => {
                let items = self.nested(|p| p.items("]", Self::expression))?;
                Ok(function("list", &items))
            }
            Lexeme::Op("{") => {
                let pair = |p: &mut Self| {
                    let key = p.expression()?;
                    p.expect_op(":")?;
                    Ok(format!("{key}, {}", p.expression()?))
                };
                let items = self.nested(|p| p.items("}", pair))?;
                Ok(function("dict", &items))
            }
            Lexeme::Op(op) => {
                self.at -= 1;
                self.fail(format!("unexpected '{op}'"))
            }
        }
    }

    fn name(&self, name: &str, line: usize) -> Parsed {
        Ok(match name {
            "true" | "True" => "true".to_owned(),
            "false" | "False" => "false".to_owned(),
            "none" | "None" => "none".to_owned(),
            name if !name.is_ascii() => return self.fail(format!("the name '{name}' is not in ASCII")),
            name => format!("{LINE}{line}{LINE}{name}"),
        })
    }

    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<T, SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("the expression is nested too deeply");
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Items with commas between, up to a closing bracket.
    fn items(&mut self, close: &str, item: impl Fn(&mut Self) -> Parsed) -> Result<Vec<String>, SyntaxError> {
        let mut items = Vec::new();
        while !self.skip_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.skip_op(close) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }
}

fn describe(token: Option<&Lexeme>) -> String {
    match token {
        None => "the end of the tag".to_owned(),
        Some(Lexeme::Name(name)) => format!("'{name}'"),
        Some(Lexeme::Text(_)) => "a string".to_owned(),
        Some(Lexeme::Int(_) | Lexeme::Float(_)) => "a number".to_owned(),
        Some(Lexeme::Op(op)) => format!("'{op}'"),
    }
}

fn only_or(mut args: Vec<String>, name: &str) -> String {
    match (args.len(), args.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            args.extend(last);
            function(name, &args)
        }
    }
}

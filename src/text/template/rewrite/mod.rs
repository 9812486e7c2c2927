//! Rewrites a template written for Jinja2 before the engine reads it.
//!
//! The engine does statements, scopes, macros and loops as Jinja2 does. Its lexer, its operators and its values are its
//! own; so white space is taken care of here, and every operation of an expression becomes a call of a function that
//! does what Python does. Lines stay where they were.

mod expr;
mod lex;
mod statement;

use expr::LINE;
use lex::Piece;

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// A template for the engine.
///
/// # Errors
/// [`SyntaxError`] if it is no valid template.
pub(super) fn rewrite(source: &str) -> Result<String, SyntaxError> {
    let source = lex::normalized(source);
    let mut out = Out { text: String::with_capacity(source.len() * 2), line: 1 };
    let mut statements = statement::Statements::default();
    for piece in lex::lex(&source)? {
        match piece {
            Piece::Data(text) => out.data(&text),
            Piece::Variable(tokens, line) => {
                let mut parser = expr::Parser::new(&tokens, line);
                let value = parser.tuple(true)?;
                parser.end()?;
                out.tag(&format!("{{{{ {LINE}{line}{LINE}{value} }}}}"));
            }
            Piece::Block(tokens, line) => {
                let tag = statements.rewrite(&tokens, line)?;
                out.tag(&tag);
            }
        }
    }
    Ok(out.text)
}

/// Keeps lines in step.
struct Out {
    text: String,
    line: usize,
}

impl Out {
    /// Text that comes out as it is.
    fn data(&mut self, text: &str) {
        self.line += text.matches('\n').count();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == '{' && chars.peek().is_none_or(|next| "{%#".contains(*next)) {
                self.text.push_str("{{ \"{\" }}");
            } else {
                self.text.push(c);
            }
        }
    }

    /// A tag; where it names a line, ends of lines are put before it until it stands there.
    fn tag(&mut self, tag: &str) {
        for (i, part) in tag.split(LINE).enumerate() {
            match part.parse::<usize>() {
                Ok(line) if i % 2 == 1 => {
                    while self.line < line {
                        self.text.push('\n');
                        self.line += 1;
                    }
                }
                _ => self.text.push_str(part),
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Names of a file as messages show them.

use std::fmt;

/// A name taken from a file, made safe and short for a message: quoted, escaped, at most 80 characters.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 80;
        match self.0.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// Shorthand for a quoted name as an owned string.
pub(super) fn quoted(name: &str) -> String {
    Quoted(name).to_string()
}

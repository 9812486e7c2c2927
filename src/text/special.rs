//! Finds tokens that are looked for in the text as they stand, before all else: control tokens where asked for, and
//! user-defined tokens always.

use std::ops::Range;

use super::config::TokenKind;
use super::error::TokenizerError;

/// Longest text of a special token: matching takes at most this many steps per byte of text.
const MAX_LEN: usize = 256;
const NONE: u32 = u32::MAX;

/// Part of a text: text to encode, or a token found in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fragment<'t> {
    /// To be encoded.
    Text(&'t str),
    /// Found.
    Token(u32),
}

/// A trie of all special tokens' texts.
pub(crate) struct SpecialTokens {
    nodes: Vec<Node>,
    roots: [u32; 256],
}

#[derive(Default)]
struct Node {
    found: Option<Special>,
    children: Vec<(u8, u32)>,
}

#[derive(Clone, Copy)]
struct Special {
    id: u32,
    user_defined: bool,
    strip_right: bool,
}

impl SpecialTokens {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), roots: [NONE; 256] }
    }

    /// Adds a token, if it is of a kind that is looked for. Of equal texts the first stays.
    pub(crate) fn add(
        &mut self,
        id: u32,
        text: &[u8],
        kind: TokenKind,
        strip_right: bool,
    ) -> Result<(), TokenizerError> {
        let user_defined = kind == TokenKind::UserDefined;
        let control = matches!(kind, TokenKind::Control | TokenKind::Unknown);
        let Some((&first, rest)) = text.split_first().filter(|_| user_defined || control) else {
            return Ok(());
        };
        if text.len() > MAX_LEN {
            return Err(TokenizerError::SpecialTooLong { id, len: text.len(), max: MAX_LEN });
        }
        let root = &mut self.roots[usize::from(first)];
        if *root == NONE {
            *root = self.nodes.len() as u32;
            self.nodes.push(Node::default());
        }
        let mut at = *root;
        for &byte in rest {
            at = self.child_or_new(at, byte);
        }
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.found.get_or_insert(Special { id, user_defined, strip_right });
        }
        Ok(())
    }

    fn child(&self, at: u32, byte: u8) -> Option<u32> {
        let children = &self.nodes.get(at as usize)?.children;
        children.iter().find(|(b, _)| *b == byte).map(|&(_, to)| to)
    }

    fn child_or_new(&mut self, at: u32, byte: u8) -> u32 {
        if let Some(to) = self.child(at, byte) {
            return to;
        }
        let to = self.nodes.len() as u32;
        self.nodes.push(Node::default());
        if let Some(node) = self.nodes.get_mut(at as usize) {
            node.children.push((byte, to));
        }
        to
    }

    /// The id of the special token with exactly this text.
    pub(crate) fn id_of(&self, text: &str) -> Option<u32> {
        let (special, len) = self.longest(text.as_bytes(), |_, _| true)?;
        (len == text.len()).then_some(special.id)
    }

    /// The longest allowed token that `text` starts with, and its length.
    fn longest(&self, text: &[u8], allowed: impl Fn(Special, usize) -> bool) -> Option<(Special, usize)> {
        let (&first, rest) = text.split_first()?;
        let mut at = self.roots[usize::from(first)];
        let mut best = None;
        let mut len = 1;
        let mut rest = rest.iter();
        while let Some(node) = self.nodes.get(at as usize) {
            if let Some(special) = node.found.filter(|&s| allowed(s, len)) {
                best = Some((special, len));
            }
            let Some(to) = rest.next().and_then(|&byte| self.child(at, byte)) else { break };
            at = to;
            len += 1;
        }
        best
    }

    /// The first token in `text` that `wanted` holds for, and where it begins.
    pub(crate) fn find(&self, text: &str, wanted: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let bytes = text.as_bytes();
        let known = |at: &usize| self.roots[usize::from(bytes[*at])] != NONE;
        (0..bytes.len()).filter(known).find_map(|at| {
            let found = self.longest(&bytes[at..], |special, _| wanted(special.id));
            found.map(|(special, _)| (at, special.id))
        })
    }

    /// Cuts `text` at its special tokens, leftmost and longest first. Control tokens count only if `parse_control`,
    /// and never where they overlap one of the `guarded` byte ranges, which are sorted and apart.
    pub(crate) fn split<'t>(
        &self,
        text: &'t str,
        parse_control: bool,
        guarded: &[Range<usize>],
    ) -> Vec<Fragment<'t>> {
        let bytes = text.as_bytes();
        let mut out = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() {
            if self.roots[usize::from(bytes[at])] == NONE {
                at += 1;
                continue;
            }
            let free = |len: usize| {
                let next = guarded.partition_point(|g| g.end <= at);
                guarded.get(next).is_none_or(|g| g.start >= at + len)
            };
            let allowed = |s: Special, len| s.user_defined || (parse_control && free(len));
            let Some((special, len)) = self.longest(&bytes[at..], allowed) else {
                at += 1;
                continue;
            };
            push_text(&mut out, text, start..at);
            out.push(Fragment::Token(special.id));
            at += len;
            while special.strip_right && bytes.get(at).is_some_and(|b| b.is_ascii_whitespace() || *b == 0x0b)
            {
                at += 1;
            }
            start = at;
        }
        push_text(&mut out, text, start..bytes.len());
        out
    }
}

/// Appends that part of the text. A token whose text is not valid UTF-8 may end within a character; what is left of
/// that character goes with it.
fn push_text<'t>(out: &mut Vec<Fragment<'t>>, text: &'t str, mut range: Range<usize>) {
    while range.start < range.end && !text.is_char_boundary(range.start) {
        range.start += 1;
    }
    while range.start < range.end && !text.is_char_boundary(range.end) {
        range.end -= 1;
    }
    if let Some(part) = text.get(range).filter(|part| !part.is_empty()) {
        out.push(Fragment::Text(part));
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "contents are lists of ranges")]
mod tests {
    use super::*;

    fn specials() -> SpecialTokens {
        let mut specials = SpecialTokens::new();
        for (id, text, kind, strip) in [
            (0, "<a>", TokenKind::Control, false),
            (1, "<a><b>", TokenKind::Control, false),
            (2, "\n\n", TokenKind::UserDefined, false),
            (3, "<e>", TokenKind::Control, true),
            (4, "plain", TokenKind::Normal, false),
            (5, "<a>", TokenKind::Control, false),
        ] {
            specials.add(id, text.as_bytes(), kind, strip).unwrap();
        }
        specials
    }

    #[test]
    fn longest_match_wins_and_control_tokens_need_leave() {
        use Fragment::{Text, Token};
        let s = specials();
        assert_eq!(
            s.split("x<a><b>\n\nplain<a", true, &[]),
            [Text("x"), Token(1), Token(2), Text("plain<a")]
        );
        assert_eq!(s.split("x<a>\n\ny", false, &[]), [Text("x<a>"), Token(2), Text("y")]);
        assert_eq!(s.split("<e> \n<e>x", true, &[]), [Token(3), Token(3), Text("x")]);
        assert_eq!(s.id_of("<a>"), Some(0));
        assert_eq!(s.id_of("<a"), None);
    }

    #[test]
    fn guarded_ranges_hold_no_control_tokens() {
        use Fragment::{Text, Token};
        let s = specials();
        assert_eq!(s.split("<a><a><a>", true, &[3..6]), [Token(0), Text("<a>"), Token(0)]);
        // A token put together from both sides of a border.
        assert_eq!(s.split("<a>", true, &[0..1]), [Text("<a>")]);
        assert_eq!(s.split("<a><b>", true, &[5..6]), [Token(0), Text("<b>")]);
    }

    #[test]
    fn hostile_texts_of_tokens() {
        let mut s = SpecialTokens::new();
        s.add(7, b"\xc3", TokenKind::UserDefined, false).unwrap();
        assert_eq!(s.split("aéb", true, &[]), [Fragment::Text("a"), Fragment::Token(7), Fragment::Text("b")]);
        let long = vec![b'x'; 1000];
        assert!(matches!(
            s.add(8, &long, TokenKind::Control, false),
            Err(TokenizerError::SpecialTooLong { id: 8, len: 1000, .. })
        ));
    }
}

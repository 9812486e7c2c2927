//! Looks for texts in a text that comes in pieces.

/// What is known of a text whose end is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// One of the texts lies here, in bytes: the one that is complete first, of those the longest.
    At(usize, usize),
    /// None does, and from here on one may begin.
    From(usize),
}

/// Looks for `wanted` in `text`.
pub(super) fn find<'a>(text: &str, wanted: impl Iterator<Item = &'a str> + Clone) -> Found {
    let places = wanted.clone().filter_map(|w| text.find(w).map(|start| (start + w.len(), start)));
    if let Some((end, start)) = places.min() {
        return Found::At(start, end);
    }
    let longest = wanted.clone().map(str::len).max().unwrap_or(0);
    let begins = |at: usize| {
        text.get(at..).is_some_and(|rest| !rest.is_empty() && wanted.clone().any(|w| w.starts_with(rest)))
    };
    let first = (text.len() + 1).saturating_sub(longest);
    Found::From((first..text.len()).find(|&at| begins(at)).unwrap_or(text.len()))
}

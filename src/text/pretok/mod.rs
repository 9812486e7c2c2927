//! Pre-tokenizers: how a byte-level BPE vocabulary cuts text into words before merging.
//!
//! Each named scheme is a list of [`Stage`]s, the counterparts of the regular expressions in the models' published
//! `tokenizer.json` files. Every stage cuts each piece that the stage before it left into matches and what lies
//! between matches. No regular-expression engine is involved: each rule looks at a bounded number of runs, so the
//! time is linear in the text whatever it holds.

mod names;
mod ranges;
mod rules;

pub(crate) use names::{known_names, scheme};
pub(crate) use rules::{Set, Stage, Words};
use rules::{find_end, first_candidate};

use super::class::{Mask, mask_of};

/// Text with its characters' properties laid out for the rules.
struct Classified {
    chars: Vec<char>,
    masks: Vec<Mask>,
}

/// Cuts `text` by the stages and calls `word` with every piece, in order. The pieces put together are the text.
pub(crate) fn split<'t>(stages: &[Stage], text: &'t str, mut word: impl FnMut(&'t str)) {
    let chars: Vec<char> = text.chars().collect();
    let masks = chars.iter().map(|&c| mask_of(c)).collect();
    let text_chars = Classified { chars, masks };
    // The end, in characters, of every piece.
    let mut ends = vec![text_chars.chars.len()];
    for stage in stages {
        ends = cut(stage, &text_chars, &ends);
    }
    let (mut start, mut offset) = (0, 0);
    for end in ends {
        let bytes: usize = text_chars.chars[start..end].iter().map(|c| c.len_utf8()).sum();
        if let Some(piece) = text.get(offset..offset + bytes).filter(|p| !p.is_empty()) {
            word(piece);
        }
        offset += bytes;
        start = end;
    }
}

/// Applies one stage to every piece; matches and gaps alike become pieces.
fn cut(stage: &Stage, text: &Classified, ends: &[usize]) -> Vec<usize> {
    let mut out = Vec::with_capacity(ends.len() + text.chars.len() / 4);
    let mut start = 0;
    for &end in ends {
        let (chars, masks) = (&text.chars[start..end], &text.masks[start..end]);
        let (mut at, mut gap) = (first_candidate(stage, masks), 0);
        while at < chars.len() {
            match find_end(stage, chars, masks, at) {
                Some(to) => {
                    if gap < at {
                        out.push(start + at);
                    }
                    out.push(start + to);
                    at = to;
                    gap = to;
                }
                None => at += 1,
            }
        }
        if gap < chars.len() {
            out.push(end);
        }
        start = end;
    }
    out
}

#[cfg(test)]
mod tests;

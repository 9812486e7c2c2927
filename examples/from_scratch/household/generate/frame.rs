//! Wordings with gaps: `(a|b)` is one of them, `[a]` may be left out, `{slot}` is a value.

use super::rng::Rng;

/// Fills a wording's gaps. `slot` says what stands for a slot's name.
pub fn fill(frame: &str, rng: &mut Rng, slot: &mut dyn FnMut(&str, &mut Rng) -> String) -> String {
    let mut text = String::new();
    let mut rest = frame;
    while let Some(at) = rest.find(['(', '[', '{']) {
        text.push_str(&rest[..at]);
        let (open, close) = match rest.as_bytes()[at] {
            b'(' => ('(', ')'),
            b'[' => ('[', ']'),
            _ => ('{', '}'),
        };
        let end = rest.find(close).unwrap_or(rest.len());
        let inner = &rest[at + 1..end];
        match open {
            '{' => text.push_str(&slot(inner, rng)),
            '[' if rng.chance(50) => {}
            _ => {
                let choices: Vec<&str> = inner.split('|').collect();
                text.push_str(rng.pick(&choices));
            }
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// All wordings of a frame, slots as they stand, in small letters without punctuation.
#[allow(dead_code, reason = "a measure for tests: what is held out is told by it")]
pub fn all(frame: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut rest = frame;
    while let Some(at) = rest.find(['(', '[']) {
        let close = if rest.as_bytes()[at] == b'(' { ')' } else { ']' };
        let end = rest.find(close).unwrap_or(rest.len());
        let mut choices: Vec<&str> = rest[at + 1..end].split('|').collect();
        if close == ']' {
            choices.push("");
        }
        let before = &rest[..at];
        let with = |text: &String| choices.iter().map(|c| format!("{text}{before}{c}")).collect::<Vec<_>>();
        texts = texts.iter().flat_map(with).collect();
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    texts.iter().map(|text| normal(&format!("{text}{rest}"))).collect()
}

/// Small letters, no punctuation, single spaces.
pub fn normal(text: &str) -> String {
    let kept =
        |c: char| if c.is_ascii_alphanumeric() || "{}_:".contains(c) { c.to_ascii_lowercase() } else { ' ' };
    let text: String = text.replace('\'', "").chars().map(kept).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

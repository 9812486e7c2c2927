//! Rules on what a completion says: patterns, words, length.

use regex::{Regex, RegexBuilder};

use super::Completion;
use crate::train::data::{Match, normalized};

/// Most bytes of a compiled pattern, and of the matcher's cache.
const PATTERN_BYTES: usize = 4 << 20;

/// Compiles a pattern; matching takes time linear in the text.
pub(super) fn pattern(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build().map_err(|error| {
        match error {
            regex::Error::CompiledTooBig(_) => {
                format!(
                    "the pattern needs more than {} MiB; make its repetitions smaller",
                    PATTERN_BYTES >> 20
                )
            }
            other => format!("the pattern is not one that the regex crate reads: {other}"),
        }
    })
}

/// The accepted answers: the rule's own, else the row's; `None` where there are none that can be compared.
fn accepted(completion: &Completion<'_>, own: Option<&str>) -> Option<Vec<String>> {
    let mut answers = own.map_or_else(|| completion.answers(), |text| vec![text.to_owned()]);
    answers.retain(|text| !normalized(text).is_empty());
    if answers.is_empty() { None } else { Some(answers) }
}

/// 1 if the completion is, or contains, an accepted answer.
pub(super) fn matches(completion: &Completion<'_>, own: Option<&str>, how: Match) -> Option<f64> {
    let accepted = accepted(completion, own)?;
    Some(f64::from(u8::from(how.accepts(completion.completion, &accepted))))
}

/// The best F1 of words over the accepted answers, as SQuAD has it (Rajpurkar et al., 2016): 1 for the same words, 0
/// for none in common.
pub(super) fn f1(completion: &Completion<'_>, own: Option<&str>) -> Option<f64> {
    let said = words(completion.said());
    let best =
        accepted(completion, own)?.iter().map(|answer| overlap(&said, &words(answer))).fold(0.0, f64::max);
    Some(best)
}

/// Lower-case words without punctuation, sorted.
fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut words: Vec<String> = parts.map(str::to_lowercase).collect();
    words.sort_unstable();
    words
}

/// F1 of two sorted lists of words, each word counting as often as it is in both.
fn overlap(said: &[String], wanted: &[String]) -> f64 {
    let (mut a, mut b, mut both) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (said.get(a), wanted.get(b)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => a += 1,
            std::cmp::Ordering::Greater => b += 1,
            std::cmp::Ordering::Equal => (a, b, both) = (a + 1, b + 1, both + 1),
        }
    }
    if both == 0 { 0.0 } else { 2.0 * both as f64 / (said.len() + wanted.len()) as f64 }
}

/// 1 from `min` to `max` tokens; below, the share of `min`; above, falling to 0 at twice `max`.
pub(super) fn length(tokens: usize, min: usize, max: usize) -> f64 {
    if tokens < min {
        tokens as f64 / min as f64
    } else if tokens <= max {
        1.0
    } else {
        (1.0 - (tokens - max) as f64 / max as f64).max(0.0)
    }
}

//! Answers that say the same again and again: what small models fall into first when they are trained too hard.

use crate::session::{Generated, Request, SessionError};
use crate::text::{SamplerParams, Tokenizer};
use crate::train::{Engine, TrainError};

/// Most tokens of an answer.
pub(super) const TOKENS: usize = 64;
/// Answers written at once.
pub(super) const SLOTS: usize = 8;
/// So many tokens at the end of an answer that has none,
const TAIL: usize = 32;
/// made of a piece of at most so many.
const PERIOD: usize = 16;

/// Of how many prompts the likeliest answer runs in circles.
pub(super) fn count(
    engine: &mut Engine,
    prompts: &[Vec<u32>],
    tokenizer: &Tokenizer,
) -> Result<usize, TrainError> {
    if prompts.is_empty() {
        return Ok(0);
    }
    let Some(written) = greedy(engine, prompts, TOKENS, tokenizer)? else { return Ok(prompts.len()) };
    Ok(written.iter().filter(|made| !made.ended() && in_circles(&made.tokens)).count())
}

/// The likeliest answers of the model as it is now, each of at most `limit` tokens; `None`: it cannot even write.
pub(super) fn greedy(
    engine: &mut Engine,
    prompts: &[Vec<u32>],
    limit: usize,
    tokenizer: &Tokenizer,
) -> Result<Option<Vec<Generated>>, TrainError> {
    let sampler = SamplerParams::greedy();
    let requests: Vec<Request<'_>> =
        prompts.iter().map(|prompt| Request::turn(prompt, sampler, tokenizer)).collect();
    let session = engine.session();
    // Keys and values of the model as it was before are of no use.
    session.reset();
    let written = session.write(&requests, limit);
    match written {
        Ok(written) => Ok(Some(written)),
        Err(SessionError::NotANumber(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether the end of a text is one short piece over and over.
fn in_circles(tokens: &[u32]) -> bool {
    let Some(tail) = tokens.last_chunk::<TAIL>() else { return false };
    (1..=PERIOD).any(|period| tail[period..] == tail[..TAIL - period])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_at_the_end_of_a_text() {
        let circle = |period: u32| (0..60).map(|i| i % period).collect::<Vec<u32>>();
        assert!(in_circles(&circle(1)) && in_circles(&circle(3)) && in_circles(&circle(16)));
        assert!(!in_circles(&circle(17)) && !in_circles(&circle(60)));
        assert!(!in_circles(&circle(2)[..TAIL - 1]), "too short to tell");
        let begun = [(100..140).collect::<Vec<u32>>(), circle(5)].concat();
        assert!(in_circles(&begun));
        assert!(!in_circles(&[circle(5), vec![9]].concat()), "it found its way out");
    }
}

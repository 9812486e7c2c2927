//! The likeliest tokens of a row of logits, and what temperature makes of them.

/// Temperatures for which the share of all other tokens is kept: 0.1, 0.2 and so on up to 2.
pub const TEMPERATURES: [f32; 20] =
    [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0];

/// Tokens that a vector of the model's width points to, likeliest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// (token, probability), the softmax being that of the whole vocabulary.
    pub tokens: Vec<(u32, f32)>,
}

/// What comes after a position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Next {
    /// (token, logit), likeliest first.
    pub top: Vec<(u32, f32)>,
    /// Logarithm of the sum of exp((logit - largest logit) / temperature) over all other tokens, for each of [`TEMPERATURES`];
    /// minus infinity where there are none.
    pub rest: Vec<f32>,
    /// Probability of the token that the text goes on with, at temperature 1; none for the last position.
    pub actual: Option<f32>,
}

impl Top {
    /// The first `count` of a row of logits.
    pub fn of(logits: &[f32], count: usize) -> Self {
        let chosen = largest(logits, count);
        let top = chosen.first().map_or(0.0, |(_, logit)| *logit);
        let sum = exp_sum(logits.iter().copied(), top, 1.0);
        let share = |(id, logit): (u32, f32)| (id, (f64::from(logit - top).exp() / sum) as f32);
        Self { tokens: chosen.into_iter().map(share).collect() }
    }
}

impl Next {
    /// Of a row of logits, and of the token that follows in the text.
    pub fn of(logits: &[f32], count: usize, follows: Option<u32>) -> Self {
        let top = largest(logits, count);
        let most = top.first().map_or(0.0, |(_, logit)| *logit);
        let mut chosen: Vec<usize> = top.iter().map(|(id, _)| *id as usize).collect();
        chosen.sort_unstable();
        let others =
            || logits.iter().enumerate().filter(|(i, _)| chosen.binary_search(i).is_err()).map(|(_, l)| *l);
        let rest = TEMPERATURES.map(|t| exp_sum(others(), most, f64::from(t)).ln() as f32).to_vec();
        let all = exp_sum(logits.iter().copied(), most, 1.0);
        let actual = follows.and_then(|id| logits.get(id as usize));
        Self { top, rest, actual: actual.map(|logit| (f64::from(logit - most).exp() / all) as f32) }
    }

    /// Probabilities of the tokens in `top` at a temperature of [`TEMPERATURES`] (by its index), and of all others together.
    pub fn probabilities(&self, temperature: usize) -> (Vec<f64>, f64) {
        let t = f64::from(TEMPERATURES[temperature]);
        let most = self.top.first().map_or(0.0, |(_, logit)| *logit);
        let own: Vec<f64> = self.top.iter().map(|(_, logit)| (f64::from(logit - most) / t).exp()).collect();
        let rest = f64::from(self.rest[temperature]).exp();
        let sum = own.iter().sum::<f64>() + rest;
        (own.into_iter().map(|v| v / sum).collect(), rest / sum)
    }
}

fn exp_sum(logits: impl Iterator<Item = f32>, top: f32, temperature: f64) -> f64 {
    logits.map(|logit| (f64::from(logit - top) / temperature).exp()).sum()
}

/// The `count` largest with their indices, largest first; of equal ones the first.
fn largest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = logits.iter().copied().zip(0u32..).map(|(logit, i)| (i, logit)).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    /// The softmax of all logits at a temperature.
    fn softmax(logits: &[f32], t: f64) -> Vec<f64> {
        let all: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / t).exp()).collect();
        let sum: f64 = all.iter().sum();
        all.into_iter().map(|v| v / sum).collect()
    }

    #[test]
    fn probabilities_are_those_of_the_whole_vocabulary() {
        let logits: Vec<f32> = (0..300).map(|i| ((i * 37 % 101) as f32 / 9.0).sin() * 6.0).collect();
        let next = Next::of(&logits, 7, Some(11));
        for (index, t) in TEMPERATURES.iter().enumerate() {
            let (own, rest) = next.probabilities(index);
            let whole = softmax(&logits, f64::from(*t));
            for ((id, _), share) in next.top.iter().zip(&own) {
                assert!((share - whole[*id as usize]).abs() < bounds::ROUNDED, "at {t}");
            }
            assert!((own.iter().sum::<f64>() + rest - 1.0).abs() < bounds::DOUBLES);
        }
        assert!((f64::from(next.actual.unwrap()) - softmax(&logits, 1.0)[11]).abs() < bounds::ROUNDED);
        let top = Top::of(&logits, 7);
        for ((id, share), (same, _)) in top.tokens.iter().zip(&next.top) {
            assert_eq!(id, same);
            assert!((f64::from(*share) - softmax(&logits, 1.0)[*id as usize]).abs() < bounds::ROUNDED);
        }
    }

    #[test]
    fn a_small_vocabulary_has_no_others() {
        let next = Next::of(&[1.0, 3.0, 2.0, 3.0], 10, None);
        assert_eq!(next.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 2, 0]);
        assert_eq!((next.rest[0], next.actual), (f32::NEG_INFINITY, None));
        assert_eq!(next.probabilities(9).1, 0.0);
    }
}

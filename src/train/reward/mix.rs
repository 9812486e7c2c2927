//! Several rewards that add up.

use std::fmt;

use super::{Completion, Reward, RewardError};

/// Rewards with weights; their weighted sum is what is learnt from.
#[derive(Default)]
pub struct Mix {
    parts: Vec<Weighted>,
}

struct Weighted {
    name: String,
    weight: f64,
    reward: Box<dyn Reward>,
}

impl fmt::Debug for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.parts.iter().map(|p| (&p.name, p.weight))).finish()
    }
}

impl Mix {
    /// No rewards yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a reward. A weight of 0 only reports its values, a negative one makes it a penalty. A name that is already
    /// there gets a number.
    #[must_use]
    pub fn with(mut self, reward: impl Reward + 'static, weight: f64) -> Self {
        self.push(Box::new(reward), weight);
        self
    }

    /// Adds a reward, as [`with`](Self::with).
    pub fn push(&mut self, reward: Box<dyn Reward>, weight: f64) {
        let name = unused(reward.name(), |name| self.parts.iter().any(|p| p.name == name));
        self.parts.push(Weighted { name, weight, reward });
    }

    /// Names and weights, in order.
    pub fn parts(&self) -> impl Iterator<Item = (&str, f64)> {
        self.parts.iter().map(|part| (part.name.as_str(), part.weight))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether all can judge, as far as that is known before the first completion.
    ///
    /// # Errors
    /// The first reward's that cannot.
    pub fn ready(&mut self) -> Result<(), RewardError> {
        self.parts.iter_mut().try_for_each(|part| part.reward.ready())
    }

    /// Judges a batch.
    ///
    /// # Errors
    /// The first reward's that fails; the batch then has no scores.
    pub fn score(&mut self, batch: &[Completion<'_>]) -> Result<Scores, RewardError> {
        let mut scores = Scores::zero(batch.len());
        for part in &mut self.parts {
            let values = part.reward.rewards(batch)?;
            scores.notes.extend(part.reward.notes());
            scores.add(&part.name, part.weight, &values)?;
        }
        Ok(scores)
    }
}

/// `name`, or `name#2`, `name#3` and so on.
fn unused(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut unused = name.to_owned();
    let mut number = 1;
    while taken(&unused) {
        number += 1;
        unused = format!("{name}#{number}");
    }
    unused
}

/// What a batch got.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// The weighted sum of each completion; NaN where a part is not finite: such a completion must not be learnt from.
    pub total: Vec<f64>,
    /// Each part's name and values before weighting; 0 where it had nothing to say.
    pub parts: Vec<(String, Vec<f64>)>,
    /// Completions whose total is NaN.
    pub bad: usize,
    /// Of each part, in how many completions it had nothing to say.
    pub silent: Vec<usize>,
    /// What the user should know, such as a program that was started again.
    pub notes: Vec<String>,
}

impl Scores {
    /// A batch without parts, all totals 0.
    pub fn zero(completions: usize) -> Self {
        Self { total: vec![0.0; completions], ..Self::default() }
    }

    /// Adds a part: one value per completion, `None` where there is nothing to say. Also for values from elsewhere,
    /// such as a reward model's.
    ///
    /// # Errors
    /// [`RewardError::Count`] when there is not one value per completion; nothing is added then.
    pub fn add(&mut self, name: &str, weight: f64, values: &[Option<f64>]) -> Result<(), RewardError> {
        if values.len() != self.total.len() {
            let (given, wanted) = (values.len(), self.total.len());
            return Err(RewardError::Count { name: name.to_owned(), given, wanted });
        }
        self.silent.push(values.iter().filter(|value| value.is_none()).count());
        let values: Vec<f64> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        for (total, &value) in self.total.iter_mut().zip(&values) {
            // An infinite value times a weight of 0 must not pass either, nor a sum that overflows.
            let sum = *total + weight * value;
            *total = if value.is_finite() && sum.is_finite() { sum } else { f64::NAN };
        }
        self.bad = self.total.iter().filter(|total| total.is_nan()).count();
        let name = unused(name, |name| self.parts.iter().any(|(taken, _)| taken == name));
        self.parts.push((name, values));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::super::from_fn;
    use super::*;

    fn score(mix: &mut Mix, texts: &[&str]) -> Result<Scores, RewardError> {
        let row = Map::new();
        let of = |text| Completion { prompt: "", completion: text, row: &row, tokens: 1, truncated: false };
        mix.score(&texts.iter().map(|&text| of(text)).collect::<Vec<_>>())
    }

    struct Short(Vec<Option<f64>>);

    impl Reward for Short {
        fn name(&self) -> &str {
            "short"
        }
        fn rewards(&mut self, _: &[Completion<'_>]) -> Result<Vec<Option<f64>>, RewardError> {
            Ok(self.0.clone())
        }
        fn notes(&mut self) -> Vec<String> {
            vec!["noted".into()]
        }
    }

    #[test]
    fn weights_add_up_and_parts_are_kept() {
        let mut mix = Mix::new()
            .with(from_fn("length", |c: &Completion<'_>| c.completion.len() as f64), 0.5)
            .with(
                from_fn("shout", |c: &Completion<'_>| f64::from(u8::from(c.completion.contains('!')))),
                -2.0,
            )
            .with(from_fn("length", |_: &Completion<'_>| 7.0), 0.0);
        let scores = score(&mut mix, &["abcd", "a!"]).unwrap();
        assert_eq!(scores.total, [2.0, -1.0]);
        assert_eq!(scores.bad, 0);
        let names: Vec<&str> = scores.parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["length", "shout", "length#2"]);
        assert_eq!(scores.parts[2].1, [7.0, 7.0]);
        assert_eq!(
            mix.parts().map(|(name, weight)| (name.to_owned(), weight)).last(),
            Some(("length#2".into(), 0.0))
        );
    }

    #[test]
    fn a_value_that_is_not_finite_spoils_its_completion_only() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for weight in [1.0, 0.0, -1.0] {
                let mut mix = Mix::new().with(Short(vec![Some(bad), Some(2.0), None]), weight);
                mix.push(Box::new(from_fn("one", |_: &Completion<'_>| 1.0)), 1.0);
                let scores = score(&mut mix, &["a", "b", "c"]).unwrap();
                assert!(scores.total[0].is_nan());
                assert_eq!(scores.total[1..], [2.0 * weight + 1.0, 1.0]);
                assert_eq!((scores.bad, scores.silent), (1, vec![1, 0]));
                assert_eq!(scores.notes, ["noted"]);
            }
        }
        let mut mix = Mix::new().with(from_fn("huge", |_: &Completion<'_>| f64::MAX), 2.0);
        assert_eq!(score(&mut mix, &["a"]).unwrap().bad, 1, "a sum that overflows");
    }

    #[test]
    fn a_reward_that_miscounts_is_named() {
        let mut mix = Mix::new().with(Short(vec![Some(1.0)]), 1.0);
        let error = score(&mut mix, &["a", "b"]).unwrap_err().to_string();
        assert!(error.contains("`short` gave 1 numbers for 2"), "{error}");
        assert_eq!(score(&mut Mix::new(), &["a"]).unwrap(), Scores::zero(1));
    }
}

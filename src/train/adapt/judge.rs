//! What a new adapter is judged by.

use std::time::Duration;

use super::circles;
use crate::model::Model;
use crate::text::Tokenizer;
use crate::train::data::Example;
use crate::train::task::{losses, mean, mean_loss, sequence};
use crate::train::{Engine, Rollouts, Sequence, TrainError, Trainer};

/// How far a new adapter may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Most rise of the perplexity of fixed texts, as a part of it; of many versions together, twice that above the
    /// base's.
    pub perplexity: f64,
    /// Most divergence from the base at the positions of texts that it wrote, in nats a token, exactly. What was learnt by many
    /// versions is away from the base by as much: a version may go on from there by a fifth of this, up to three times this.
    pub divergence: f64,
    /// Most that answers to fixed questions, and those that were learnt before, may become less likely, in nats a token.
    pub canaries: f64,
    /// Most that the answer to any one of the fixed questions may, in nats a token.
    pub worst_canary: f64,
    /// How many more answers than before may run in circles.
    pub circles: usize,
}

impl Limits {
    fn most_perplexity(&self, before: f64, base: Option<f64>) -> f64 {
        let most = before * (1.0 + self.perplexity);
        base.map_or(most, |base| most.min((base * (1.0 + 2.0 * self.perplexity)).max(before)))
    }

    fn most_divergence(&self, before: f64) -> f64 {
        (before + self.divergence / 5.0).min(3.0 * self.divergence).max(self.divergence).max(before)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { perplexity: 0.05, divergence: 0.1, canaries: 0.2, worst_canary: 1.0, circles: 1 }
    }
}

/// What a new adapter is judged by, beside what was held back; what is empty is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Standards {
    /// Texts that the base wrote, others than those that are kept; what was given of them is not looked at.
    pub written: Vec<Example>,
    /// Fixed texts.
    pub texts: Vec<Vec<u32>>,
    /// Their perplexity under the base, where it is known.
    pub base_perplexity: Option<f64>,
    /// Fixed questions with the answers of the model as it is.
    pub canaries: Vec<Example>,
    /// Answers that were learnt before.
    pub learnt: Vec<Example>,
    /// Prompts that the model answers, to see whether it still comes to an end.
    pub asked: Vec<Vec<u32>>,
}

impl Standards {
    /// Rows of a step that scores the longest.
    pub(super) fn rows(&self) -> usize {
        let texts = self.texts.iter().map(|text| text.len().saturating_sub(1));
        let examples = self.written.iter().chain(&self.canaries).chain(&self.learnt);
        texts.chain(examples.map(|example| sequence(example).rows())).max().unwrap_or(0)
    }

    /// What it takes to answer the prompts.
    pub(super) fn rollouts(&self) -> Option<Rollouts> {
        let longest = self.asked.iter().map(Vec::len).max()?;
        Some(Rollouts { slots: self.asked.len().min(circles::SLOTS), ctx: longest + circles::TOKENS })
    }
}

/// One thing that was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// What was measured.
    pub name: &'static str,
    /// With the adapter that training began with.
    pub before: f64,
    /// With the new one.
    pub after: f64,
    /// What `after` had to stay on the right side of.
    pub limit: f64,
    /// Whether it did.
    pub passed: bool,
    /// Which of the fixed questions it is about, where it is about one.
    pub canary: Option<usize>,
}

impl Gate {
    /// `after` may be at most `limit`. What is not a number passes nothing.
    fn at_most(name: &'static str, before: f64, after: f64, limit: f64) -> Self {
        Self { name, before, after, limit, passed: after <= limit, canary: None }
    }

    /// `after` has to be at least `limit`.
    pub(super) fn at_least(name: &'static str, before: f64, after: f64, limit: f64) -> Self {
        Self { name, before, after, limit, passed: after >= limit, canary: None }
    }
}

/// Judges what a trainer has made, against what it began with.
pub(super) struct Judge {
    tokenizer: Tokenizer,
    standards: Standards,
    limits: Limits,
    /// Nothing was held back.
    by_itself: bool,
    before: Measures,
}

impl Judge {
    /// Measures what training begins with.
    pub fn new(
        model: &Model,
        trainer: &mut Trainer,
        standards: Standards,
        limits: Limits,
        by_itself: bool,
    ) -> Result<Self, TrainError> {
        let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata);
        let tokenizer = tokenizer.map_err(|e| TrainError::Data(e.to_string()))?;
        let before = Measures::of(trainer, &standards, &tokenizer)?;
        Ok(Self { tokenizer, standards, limits, by_itself, before })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The loss on what was held back alone: it costs the least, and tells the most.
    pub fn first_look(&self, trainer: &mut Trainer) -> Result<Option<Gate>, TrainError> {
        Ok(self.held_out(trainer.validate(&mut |_: Duration| ())?))
    }

    fn held_out(&self, after: Option<f64>) -> Option<Gate> {
        let name = if self.by_itself { "loss on what was learnt" } else { "loss on what was held back" };
        let (before, after) = (self.before.held_out?, after?);
        Some(Gate::at_most(name, before, after, before))
    }

    /// Measures what there is now.
    pub fn judge(&self, trainer: &mut Trainer) -> Result<Vec<Gate>, TrainError> {
        let after = Measures::of(trainer, &self.standards, &self.tokenizer)?;
        let (before, limits, by) = (&self.before, &self.limits, &self.standards);
        let mut gates: Vec<Gate> = self.held_out(after.held_out).into_iter().collect();
        if !by.texts.is_empty() {
            let most = limits.most_perplexity(before.perplexity, by.base_perplexity);
            gates.push(Gate::at_most("perplexity of fixed texts", before.perplexity, after.perplexity, most));
        }
        if !by.canaries.is_empty() {
            let (old, new) = (mean(&before.canaries), mean(&after.canaries));
            gates.push(Gate::at_most("surprise at fixed answers", old, new, old + limits.canaries));
            gates.extend(worst(&before.canaries, &after.canaries, limits.worst_canary));
        }
        if !by.learnt.is_empty() {
            let most = before.learnt + limits.canaries;
            gates.push(Gate::at_most(
                "surprise at what was learnt before",
                before.learnt,
                after.learnt,
                most,
            ));
        }
        if !by.written.is_empty() {
            let (old, new) = (before.divergence, after.divergence);
            gates.push(Gate::at_most("divergence from the base", old, new, limits.most_divergence(old)));
        }
        if !by.asked.is_empty() {
            let (old, new) = (before.circles as f64, after.circles as f64);
            gates.push(Gate::at_most("answers that run in circles", old, new, old + limits.circles as f64));
        }
        Ok(gates)
    }
}

/// What is measured before and after.
struct Measures {
    held_out: Option<f64>,
    perplexity: f64,
    /// Of each answer, the negative log-probability of its tokens, and their number.
    canaries: Vec<(f64, usize)>,
    /// Mean negative log-probability of the tokens that were learnt before.
    learnt: f64,
    /// From the base, in nats a token.
    divergence: f64,
    /// Answers that run in circles.
    circles: usize,
}

impl Measures {
    fn of(trainer: &mut Trainer, by: &Standards, tokenizer: &Tokenizer) -> Result<Self, TrainError> {
        let pause = &mut |_: Duration| ();
        let held_out = trainer.validate(pause)?;
        let scores = score_all(trainer.engine(), 0, &by.texts)?;
        let (sum, count) =
            scores.iter().flatten().fold((0.0, 0usize), |(s, n), l| (s - f64::from(*l), n + 1));
        let canaries = losses(trainer.engine(), &by.canaries, pause)?;
        let learnt = mean_loss(trainer.engine(), &by.learnt, pause)?;
        let divergence = if by.written.is_empty() { 0.0 } else { trainer.divergence(&by.written)? };
        let circles = circles::count(trainer.engine(), &by.asked, tokenizer)?;
        let perplexity = (sum / count.max(1) as f64).exp();
        Ok(Self { held_out, perplexity, canaries, learnt, divergence, circles })
    }
}

/// The fixed answer that became less likely than all others.
fn worst(before: &[(f64, usize)], after: &[(f64, usize)], limit: f64) -> Option<Gate> {
    let each = |all: &[(f64, usize)]| all.iter().map(|one| mean(&[*one])).collect::<Vec<f64>>();
    let pairs = each(before).into_iter().zip(each(after)).enumerate();
    // What is not a number is the worst there is.
    let rise = |(_, (old, new)): &(usize, (f64, f64))| {
        Some(new - old).filter(|r| !r.is_nan()).unwrap_or(f64::INFINITY)
    };
    let (canary, (old, new)) = pairs.max_by(|a, b| rise(a).total_cmp(&rise(b)))?;
    let gate = Gate::at_most("most surprising fixed answer", old, new, old + limit);
    Some(Gate { canary: Some(canary), ..gate })
}

/// Log-probabilities of every token of texts but the first.
fn score_all(engine: &mut Engine, branch: usize, texts: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, TrainError> {
    let one = |tokens: &Vec<u32>| {
        let trained = vec![true; tokens.len()];
        engine.score_by(branch, &[Sequence { tokens, trained: &trained }], 0)
    };
    texts.iter().filter(|text| text.len() > 1).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_rises_no_further_than_from_the_base() {
        let limits = Limits { perplexity: 0.05, ..Limits::default() };
        let most = |before, base| (10.0 * limits.most_perplexity(before, base)).round() / 10.0;
        assert_eq!((most(40.0, None), most(40.0, Some(40.0))), (42.0, 42.0));
        assert_eq!(most(43.0, Some(40.0)), 44.0, "two steps in all");
        assert_eq!(most(46.0, Some(40.0)), 46.0, "what is there already is not made worse");
    }

    #[test]
    fn many_versions_may_go_further_than_one_and_not_without_end() {
        let limits = Limits { divergence: 0.3, ..Limits::default() };
        let most = |before| (100.0 * limits.most_divergence(before)).round() / 100.0;
        assert_eq!([most(0.0), most(0.2)], [0.3, 0.3], "one version's limit");
        assert_eq!([most(0.3), most(0.6)], [0.36, 0.66], "a fifth of it beyond what is there");
        assert_eq!(
            [most(0.88), most(1.2)],
            [0.9, 1.2],
            "three times that in all; what is there is not made worse"
        );
    }

    #[test]
    fn the_worst_answer_is_the_one_that_rose_most() {
        let before = [(2.0, 2), (9.0, 3), (1.0, 1)];
        let gate = worst(&before, &[(3.0, 2), (12.0, 3), (1.5, 1)], 0.75).unwrap();
        assert_eq!((gate.canary, gate.before, gate.after, gate.passed), (Some(1), 3.0, 4.0, false));
        let gate = worst(&before, &[(3.0, 2), (9.0, 3), (0.5, 1)], 0.75).unwrap();
        assert_eq!((gate.canary, gate.limit, gate.passed), (Some(0), 1.75, true));
        let gate = worst(&before, &[(3.0, 2), (f64::NAN, 3), (9.0, 1)], 100.0).unwrap();
        assert_eq!((gate.canary, gate.passed), (Some(1), false));
        assert_eq!(worst(&[], &[], 1.0), None);
    }
}

//! One pass over the cases.

use std::ops::ControlFlow;

use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::perplexity::Score;
use crate::cli::progress::Bar;
use crate::session::{Request, Session};
use crate::text::{SamplerParams, Tokenizer};
use crate::train::data::{Case, CaseKind, Match};

/// How many of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub right: u64,
    pub of: u64,
}

impl Count {
    fn add(&mut self, right: bool) {
        self.of += 1;
        self.right += u64::from(right);
    }

    /// Between 0 and 1.
    pub fn share(self) -> f64 {
        self.right as f64 / self.of.max(1) as f64
    }
}

/// What a model made of the cases.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    pub text: Score,
    pub reply: Score,
    pub exact: Count,
    pub contains: Count,
    /// By the sum of log-probabilities.
    pub choice: Count,
    /// By their mean.
    pub choice_mean: Count,
    /// What it said to each case.
    pub said: Vec<Said>,
}

/// What a model said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Said {
    /// Nothing: a text's mean negative log-likelihood.
    Read(f64),
    /// An answer.
    Answer { text: String, right: bool },
    /// A choice, by sum and by mean of the choices' log-probabilities, and these sums.
    Chose { sum: usize, mean: usize, sums: Vec<f64> },
}

/// What each pass does the same.
pub(super) struct Work<'a> {
    pub tokenizer: &'a Tokenizer,
    pub cases: &'a [Case],
    /// Most tokens of an answer.
    pub limit: usize,
}

impl Work<'_> {
    /// Puts every case to the session as it is; `done` cases went before on the bar.
    pub fn measure(
        &self,
        session: &mut Session,
        listen: &Listen,
        bar: &mut Bar,
        done: u64,
        what: &str,
    ) -> CliResult<Measured> {
        let mut measured = Measured::default();
        for (at, case) in self.cases.iter().enumerate() {
            bar.item(done + at as u64, what);
            let result = self.one(session, listen, case, &mut measured);
            if listen.pressed() || result.is_err() {
                bar.clear();
            }
            if listen.pressed() {
                return Err(CliError::interrupted());
            }
            measured.said.push(result?);
        }
        Ok(measured)
    }

    fn one(
        &self,
        session: &mut Session,
        listen: &Listen,
        case: &Case,
        measured: &mut Measured,
    ) -> CliResult<Said> {
        match &case.kind {
            CaseKind::Text(windows) => {
                let mut own = Score::default();
                for window in windows {
                    for logprob in logprobs(session, &window.tokens, &window.trained)? {
                        own.add(logprob);
                        measured.text.add(logprob);
                    }
                }
                Ok(Said::Read(own.mean()))
            }
            CaseKind::Answer { prompt, reply, accepted, how, .. } => {
                if let Some(reply) = reply {
                    let all = logprobs(session, &reply.tokens, &reply.trained)?;
                    all.into_iter().for_each(|logprob| measured.reply.add(logprob));
                }
                let text = self.answer(session, listen, prompt)?;
                let right = how.accepts(&text, accepted);
                match how {
                    Match::Exact => measured.exact.add(right),
                    Match::Contains => measured.contains.add(right),
                }
                Ok(Said::Answer { text, right })
            }
            CaseKind::Choice { shared, choices, answer, .. } => {
                let all = choices.iter().map(|(tokens, marked)| {
                    let marked = [&vec![false; shared.len()][..], marked].concat();
                    logprobs(session, &[&shared[..], tokens].concat(), &marked)
                });
                let all = all.collect::<CliResult<Vec<_>>>()?;
                let total = |of: &Vec<f32>| of.iter().map(|l| f64::from(*l)).sum::<f64>();
                let sums: Vec<f64> = all.iter().map(total).collect();
                let sum = best(sums.iter().copied());
                let mean = best(all.iter().map(|of| total(of) / of.len().max(1) as f64));
                measured.choice.add(sum == *answer);
                measured.choice_mean.add(mean == *answer);
                Ok(Said::Chose { sum, mean, sums })
            }
        }
    }

    /// The greedy answer.
    fn answer(&self, session: &mut Session, listen: &Listen, prompt: &[u32]) -> CliResult<String> {
        let turn = [Request::turn(prompt, SamplerParams::greedy(), self.tokenizer)];
        let made = session.generate_batch(&turn, self.limit, &mut |_, _| {
            if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        let answer = made.first().map(|made| self.tokenizer.decode(made.body(), true));
        Ok(answer.unwrap_or_default().trim().to_owned())
    }
}

/// Log-probabilities of the marked tokens.
fn logprobs(session: &mut Session, tokens: &[u32], marked: &[bool]) -> CliResult<Vec<f32>> {
    let first = marked.iter().position(|marked| *marked).unwrap_or(tokens.len());
    let all = session.score_from(tokens, first)?;
    let marked = all.iter().zip(marked.iter().skip(first)).filter(|(_, marked)| **marked);
    Ok(marked.map(|(logprob, _)| *logprob).collect())
}

/// The index of the greatest; of equal ones the first.
fn best(values: impl Iterator<Item = f64>) -> usize {
    let greater = |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
    values.enumerate().fold((0, f64::NEG_INFINITY), greater).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_first_of_the_greatest() {
        assert_eq!(best([-3.0, -1.0, -1.0, -2.0].into_iter()), 1);
        assert_eq!(best([f64::NEG_INFINITY; 2].into_iter()), 0);
    }

    #[test]
    fn shares() {
        let mut count = Count::default();
        assert_eq!(count.share(), 0.0);
        [true, false, true, true].into_iter().for_each(|right| count.add(right));
        assert_eq!((count.right, count.of, count.share()), (3, 4, 0.75));
    }
}

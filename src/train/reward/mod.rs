//! Rewards: numbers that say how good a completion is, for reward-guided training.
//!
//! [`Mix`] adds up several weighted [`Reward`]s. A reward is a built-in rule ([`Rule`]: one string each), a program of the
//! user's ([`CommandReward`]), or a closure ([`from_fn`]).
//!
//! A reward must be learnable from where the model starts: if every completion of a prompt gets the same number, there
//! is nothing to learn from. Graded rules (`json-parts`, `f1`, `length`) next to a strict one help at the start.

mod command;
mod error;
mod json;
mod mix;
mod number;
mod rule;
#[cfg(feature = "schema")]
mod schema;
#[cfg(test)]
mod tests;
mod words;

use std::fmt;

use serde_json::{Map, Value};

pub use command::{CommandOptions, CommandReward};
pub use error::{CommandFailure, RewardError};
pub use json::Scope;
pub use mix::{Mix, Scores};
pub use rule::{RULES, Rule, RuleHelp, RuleKind};

/// One completion to judge.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'a> {
    /// The prompt as text.
    pub prompt: &'a str,
    /// What the model wrote, without the token that ends it.
    pub completion: &'a str,
    /// The other columns of the prompt's row, such as `answer`.
    pub row: &'a Map<String, Value>,
    /// Length of the completion in tokens.
    pub tokens: usize,
    /// Whether it was cut at the length limit.
    pub truncated: bool,
}

impl<'a> Completion<'a> {
    /// The completion without what a model thinks first (up to the last `</think>`).
    pub fn said(&self) -> &'a str {
        self.completion.rsplit_once("</think>").map_or(self.completion, |(_, said)| said)
    }

    /// See [`answers_of`].
    pub fn answers(&self) -> Vec<String> {
        answers_of(self.row)
    }
}

/// The accepted answers of a row's column `answer`: a string, number or truth value, or a list of them.
pub fn answers_of(row: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    match row.get("answer") {
        Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Something that judges completions.
pub trait Reward: Send {
    /// What metrics call it.
    fn name(&self) -> &str;

    /// One value per completion, in order; `None` where this reward has nothing to say, which counts 0 and is reported
    /// ([`Scores::silent`]). A value that is not finite marks the completion as unusable.
    ///
    /// # Errors
    /// When it cannot judge at all, such as a program that failed.
    fn rewards(&mut self, batch: &[Completion<'_>]) -> Result<Vec<Option<f64>>, RewardError>;

    /// Whether it is able to judge, as far as that is known before the first completion.
    ///
    /// # Errors
    /// What [`rewards`](Self::rewards) would return.
    fn ready(&mut self) -> Result<(), RewardError> {
        Ok(())
    }

    /// What happened since the last call that the user should know, such as a program that was started again.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// A reward from a closure.
pub fn from_fn<F>(name: impl Into<String>, judge: F) -> FromFn<F>
where
    F: FnMut(&Completion<'_>) -> f64 + Send,
{
    FromFn { name: name.into(), judge }
}

/// A closure as a [`Reward`]; see [`from_fn`].
pub struct FromFn<F> {
    name: String,
    judge: F,
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F: FnMut(&Completion<'_>) -> f64 + Send> Reward for FromFn<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn rewards(&mut self, batch: &[Completion<'_>]) -> Result<Vec<Option<f64>>, RewardError> {
        Ok(batch.iter().map(|completion| Some((self.judge)(completion))).collect())
    }
}

//! What reward-guided training is made of.

use crate::train::Against;
use crate::train::objective::{Grpo, ObjectiveError, Ppo, Rloo};

/// The lowest temperature of answers that are learnt from. Below it hardly anything but the likeliest token is drawn.
pub const COLDEST: f32 = 0.01;

/// How rewards become gradients.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A group's answers against each other.
    Grpo(Grpo),
    /// Each of a group's answers against the others.
    Rloo(Rloo),
    /// Each token against a value model.
    Ppo(Ppo),
}

impl Method {
    /// Lower-case name.
    pub fn name(&self) -> &'static str {
        match self {
            Method::Grpo(_) => "grpo",
            Method::Rloo(_) => "rloo",
            Method::Ppo(_) => "ppo",
        }
    }

    /// Whether it compares with the model before training.
    pub fn needs_reference(&self) -> bool {
        match self {
            Method::Grpo(m) => m.needs_reference(),
            Method::Rloo(m) => m.needs_reference(),
            Method::Ppo(m) => m.needs_reference(),
        }
    }

    fn check(&self) -> Result<(), ObjectiveError> {
        match self {
            Method::Grpo(m) => m.check(),
            Method::Rloo(m) => m.check(),
            Method::Ppo(m) => m.check(),
        }
    }

    /// With the weight of the divergence from the reference times `factor`.
    pub(super) fn stricter(self, factor: f64) -> Self {
        match self {
            Method::Grpo(m) => Method::Grpo(Grpo { beta: m.beta * factor, ..m }),
            Method::Rloo(m) => Method::Rloo(Rloo { beta: m.beta * factor, ..m }),
            Method::Ppo(m) => Method::Ppo(Ppo { kl: m.kl * factor, ..m }),
        }
    }
}

/// Settings of reward-guided training, beside those that all training has; the learning rate, its shape, clipping, the
/// adapters and the seed are there, `batch` is how many answers go through the model together.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct RlOptions {
    /// How rewards become gradients.
    pub method: Method,
    /// Prompts of a step.
    pub prompts: usize,
    /// Answers to each.
    pub group: usize,
    /// Most tokens of an answer.
    pub max_new: usize,
    /// Of the answers' sampling, from [`COLDEST`] on. All log-probabilities (the policy's when it wrote and when it learns, and the
    /// reference's) are those at it, as in TRL. Answers are drawn from the whole vocabulary: there is no top-k, top-p or min-p.
    pub temperature: f32,
    /// Times that a step's answers are gone through.
    pub passes: usize,
    /// Updates of each time.
    pub minibatches: usize,
    /// Answers that were cut off are not learnt from.
    pub mask_truncated: bool,
    /// Taken from the reward of an answer that was cut off.
    pub missing_end: f64,
    /// Most divergence from the model before training, in nats of an answer, by the mean over a step's answers. A policy
    /// that is beyond it is taken back.
    pub kl_limit: Option<f64>,
    /// What the policy is compared with.
    pub against: Against,
}

impl RlOptions {
    /// A method's defaults, as TRL has them, but smaller steps.
    pub fn of(method: Method) -> Self {
        let (prompts, group, passes) = match method {
            Method::Grpo(_) => (4, 8, 1),
            Method::Rloo(_) => (8, 4, 1),
            Method::Ppo(_) => (32, 1, 4),
        };
        Self {
            method,
            prompts,
            group,
            max_new: 64,
            temperature: 1.0,
            passes,
            minibatches: 1,
            mask_truncated: false,
            missing_end: 0.0,
            kl_limit: None,
            against: Against::Start,
        }
    }

    /// Answers of a step.
    pub fn answers(&self) -> usize {
        self.prompts * self.group
    }

    /// Refuses numbers with which it would mean nothing.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), String> {
        self.method.check().map_err(|e| e.to_string())?;
        let least = if matches!(self.method, Method::Ppo(_)) { 1 } else { 2 };
        if self.group < least {
            let name = self.method.name();
            return Err(format!(
                "{name} compares answers to one prompt: a group of at least {least} is needed"
            ));
        }
        if self.prompts == 0 || self.max_new == 0 || self.passes == 0 || self.minibatches == 0 {
            return Err("prompts, tokens of an answer, passes and updates must be at least 1".into());
        }
        if self.minibatches > self.answers() {
            return Err(format!("{} answers cannot make {} updates", self.answers(), self.minibatches));
        }
        if !(self.temperature >= COLDEST && self.temperature.is_finite()) {
            return Err(format!(
                "at a temperature of {} all answers to a prompt are the same, and there is nothing to choose between; at \
                 least {COLDEST} is needed",
                self.temperature
            ));
        }
        if !self.missing_end.is_finite() {
            return Err("the penalty of a missing end must be a finite number".into());
        }
        match self.kl_limit {
            Some(limit) if !(limit > 0.0 && limit.is_finite()) => {
                Err(format!("a limit of {limit} nats cannot be kept; above 0 is needed"))
            }
            _ => Ok(()),
        }
    }
}

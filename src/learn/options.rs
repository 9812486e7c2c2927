//! How it is learnt, and how far a new adapter may go.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::journal::Lesson;
use crate::train::Limits;

/// How it is learnt, and how far a new adapter may go.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnOptions {
    /// Part of the new questions about style that is held back to judge by.
    pub held_out: f32,
    /// Also what was learnt and rolled back, or refused.
    pub again: bool,
    /// Learning rate of style.
    pub lr: f32,
    /// Learning rate of facts.
    pub fact_lr: f32,
    /// Rank of a new adapter; one that exists keeps its own. `None`: that of [`LoraOptions`](crate::train::LoraOptions).
    pub rank: Option<usize>,
    /// Times to go through what is said of style; `None`: so often that there are about 40 steps, at most 8.
    pub epochs: Option<u64>,
    /// Most times to go through the facts.
    pub rounds: u64,
    /// Minutes that learning may take, about; 0 for no limit.
    pub minutes: f32,
    /// Rehearsed examples of what was learnt before, to each new one.
    pub replay: f32,
    /// Weight of learning better answers as they are, beside preferring them.
    pub sft: f32,
    /// Weight of staying as it is on texts that the model wrote.
    pub keep: f32,
    /// Random seed.
    pub seed: u64,
    /// Part of the time that training may use of the machine, above 0 to 1.
    pub duty: f32,
    /// How far a new adapter may go in style.
    pub limits: Limits,
}

impl Default for LearnOptions {
    fn default() -> Self {
        Self {
            held_out: 0.2,
            again: false,
            lr: 2e-4,
            fact_lr: 8e-4,
            rank: None,
            epochs: None,
            rounds: 8,
            minutes: 4.0,
            replay: 1.0,
            sft: 1.0,
            keep: 1.0,
            seed: 0,
            duty: 1.0,
            limits: Limits::default(),
        }
    }
}

impl LearnOptions {
    /// What stands for a lesson that is learnt this way, by this version of the program. How long it may take and how much of
    /// the machine it may have change what is learnt by chance alone.
    pub fn identity(&self, lesson: &Lesson) -> String {
        let same = Self { again: false, minutes: 0.0, duty: 1.0, ..self.clone() };
        let mut all = Sha256::new_with_prefix(format!("{} {same:?}", env!("CARGO_PKG_VERSION")));
        for part in [&lesson.train, &lesson.held_out, &lesson.earlier, &lesson.forget] {
            part.iter().for_each(|entry| all.update(entry.key().to_string()));
            all.update("/");
        }
        all.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Rests after a piece of work that took so long, as `duty` says.
    pub(super) fn pause(&self) -> impl FnMut(Duration) + use<> {
        let duty = f64::from(self.duty.clamp(0.01, 1.0));
        move |took: Duration| {
            if duty < 1.0 {
                std::thread::sleep(took.mul_f64(1.0 / duty - 1.0));
            }
        }
    }

    /// How far style may move a model that has learnt facts: these took it away from its base already, as far as they
    /// may.
    pub(super) fn style_limits_after_facts(&self) -> Limits {
        Limits { divergence: self.fact_limits().divergence, ..self.limits }
    }

    /// How far facts may move the model. What is said of them is short, and answers to other questions become so too: the
    /// fixed answers may change more than by a remark about style, the fixed texts may not.
    pub(super) fn fact_limits(&self) -> Limits {
        let l = self.limits;
        Limits {
            divergence: 3.0 * l.divergence,
            canaries: 2.0 * l.canaries,
            worst_canary: 3.0 * l.worst_canary,
            ..l
        }
    }
}

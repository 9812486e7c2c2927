//! From judged answers to gradients.

use std::time::{Duration, Instant};

use crate::train::data::Random;
use crate::train::objective::{Ppo, TokenLoss, Window};
use crate::train::rl::rollout::Answer;
use crate::train::rl::{Method, RlOptions};
use crate::train::trainer::{REFERENCE, Sums};
use crate::train::{Engine, Sequence, TrainError};

/// An answer with all that its gradient needs.
pub(super) struct Experience {
    pub answer: Answer,
    trained: Vec<bool>,
    /// Log-probabilities under the model before training; empty where nobody needs them.
    pub reference: Vec<f32>,
    /// What each token's advantage is: one for all, or, of PPO, one each.
    advantages: Vec<f64>,
    /// PPO's values when it was sampled, and what they should have been.
    values: Vec<f32>,
    returns: Vec<f64>,
    /// It is learnt from.
    usable: bool,
}

impl Experience {
    fn sequence(&self) -> Sequence<'_> {
        Sequence { tokens: &self.answer.tokens, trained: &self.trained }
    }

    /// Divergence from the model before training by this answer, in nats.
    pub fn divergence(&self) -> f64 {
        let pairs = self.answer.old.iter().zip(&self.reference);
        pairs.map(|(old, reference)| f64::from(*old) - f64::from(*reference)).sum()
    }
}

/// Answers with their log-probabilities under the reference, if that is asked for.
pub(super) fn experiences(
    engine: &mut Engine,
    answers: Vec<Answer>,
    with_reference: bool,
    pause: &mut dyn FnMut(Duration),
) -> Result<Vec<Experience>, TrainError> {
    let mut all = Vec::with_capacity(answers.len());
    for answer in answers {
        let trained = answer.trained();
        let mut one = Experience {
            answer,
            trained,
            reference: vec![],
            advantages: vec![],
            values: vec![],
            returns: vec![],
            usable: true,
        };
        if with_reference && !one.answer.is_empty() {
            let start = Instant::now();
            one.reference = engine.score_by(REFERENCE, &[one.sequence()], 0)?;
            pause(start.elapsed());
        }
        all.push(one);
    }
    Ok(all)
}

/// Sets advantages from rewards. False if there is nothing to learn: all rewards of every group are equal.
pub(super) fn advantages(
    engine: &mut Engine,
    all: &mut [Experience],
    rewards: &[f64],
    method: &Method,
    options: &RlOptions,
    value_branch: Option<usize>,
) -> Result<bool, TrainError> {
    for (one, reward) in all.iter_mut().zip(rewards) {
        one.usable = reward.is_finite()
            && !one.answer.is_empty()
            && !(options.mask_truncated && one.answer.truncated)
            && one.answer.old.iter().all(|l| l.is_finite());
    }
    match method {
        Method::Ppo(ppo) => {
            let Some(branch) = value_branch else { return Ok(false) };
            values(engine, all, rewards, ppo, branch)?;
            Ok(all.iter().any(|one| one.usable))
        }
        _ => {
            for (group, rewards) in all.chunks_mut(options.group).zip(rewards.chunks(options.group)) {
                group_advantages(group, rewards, method);
            }
            let moves = |one: &Experience| one.usable && one.advantages.iter().any(|a| *a != 0.0);
            let pulled = matches!(method, Method::Grpo(grpo) if grpo.needs_reference());
            Ok(all.iter().any(moves) || pulled && all.iter().any(|one| one.usable))
        }
    }
}

/// Advantages of the answers to one prompt; those that could not be judged are left out.
fn group_advantages(group: &mut [Experience], rewards: &[f64], method: &Method) {
    let judged: Vec<usize> = (0..group.len()).filter(|i| rewards[*i].is_finite()).collect();
    let rewards: Vec<f64> = judged
        .iter()
        .map(|i| match method {
            Method::Rloo(rloo) => rloo.penalized(rewards[*i], &group[*i].answer.old, &group[*i].reference),
            _ => rewards[*i],
        })
        .collect();
    let advantages = match method {
        Method::Grpo(grpo) => grpo.advantages(&rewards),
        Method::Rloo(rloo) => rloo.advantages(&rewards),
        Method::Ppo(_) => vec![0.0; rewards.len()],
    };
    for (index, advantage) in judged.into_iter().zip(advantages) {
        group[index].advantages = vec![advantage];
    }
}

/// Values, advantages and returns of each token.
fn values(
    engine: &mut Engine,
    all: &mut [Experience],
    rewards: &[f64],
    ppo: &Ppo,
    branch: usize,
) -> Result<(), TrainError> {
    let mut advantages = Vec::new();
    for (one, reward) in all.iter_mut().zip(rewards).filter(|(one, _)| one.usable) {
        one.values = engine.score_by(branch, &[one.sequence()], 0)?;
        let rewards = ppo.rewards(&one.answer.old, &one.reference, *reward);
        let (mine, returns) = ppo.gae(&rewards, &one.values);
        one.returns = returns;
        advantages.push(mine);
    }
    ppo.whiten(&mut advantages);
    for (one, mine) in all.iter_mut().filter(|one| one.usable).zip(advantages) {
        one.advantages = mine;
    }
    Ok(())
}

/// The updates of one pass: which answers each takes, in an order that seed and step fix.
pub(super) fn minibatches(all: &[Experience], options: &RlOptions, seed: u64, pass: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..all.len()).filter(|i| all[*i].usable).collect();
    if options.minibatches > 1 {
        Random::new(seed ^ 0x6f72_6465, pass).shuffle(&mut order);
    }
    order.chunks(order.len().div_ceil(options.minibatches).max(1)).map(<[usize]>::to_vec).collect()
}

/// What an update's answers came to.
#[derive(Default)]
pub(super) struct Learnt {
    pub loss: f64,
    pub rows: u64,
    pub targets: u64,
}

/// Adds the gradients of an update's answers, and their metrics.
pub(super) fn gradients(
    engine: &mut Engine,
    all: &[Experience],
    batch: &[usize],
    method: &Method,
    (max_new, value_branch, seed): (usize, Option<usize>, u32),
    sums: &mut Sums,
    pause: &mut dyn FnMut(Duration),
) -> Result<Learnt, TrainError> {
    let tokens: usize = batch.iter().map(|i| all[*i].answer.len()).sum();
    let window = Window { sequences: batch.len(), tokens, max_len: max_new };
    let mut learnt = Learnt::default();
    for one in batch.iter().map(|i| &all[*i]) {
        let start = Instant::now();
        let advantage = one.advantages.first().copied().unwrap_or(0.0);
        let idle = match method {
            Method::Grpo(grpo) => advantage == 0.0 && !grpo.needs_reference(),
            Method::Rloo(_) => advantage == 0.0,
            Method::Ppo(_) => false,
        };
        if idle {
            continue;
        }
        let now = engine.score_by(0, &[one.sequence()], seed)?;
        let old = &one.answer.old;
        let made = match method {
            Method::Grpo(grpo) => {
                grpo.sequence(&now, old, &one.reference, advantage, grpo.norm(now.len(), window))
            }
            Method::Rloo(rloo) => rloo.sequence(&now, old, advantage, 1.0 / window.sequences.max(1) as f64),
            Method::Ppo(ppo) => ppo.policy(&now, old, &one.advantages, 1.0 / tokens.max(1) as f64),
        };
        take(engine, 0, &made, &mut learnt)?;
        let count = now.len() as f64;
        sums.add(&[("clip_fraction", made.clipped as f64, count)]);
        if let (Method::Ppo(ppo), Some(branch)) = (method, value_branch) {
            let now = engine.score_by(branch, &[one.sequence()], seed)?;
            let made = ppo.value(&now, &one.values, &one.returns, 1.0 / tokens.max(1) as f64);
            take(engine, branch, &made, &mut learnt)?;
            let square = |(v, r): (&f32, &f64)| (f64::from(*v) - r).powi(2);
            sums.add(&[("value_error", now.iter().zip(&one.returns).map(square).sum(), count)]);
        }
        learnt.rows += one.sequence().rows() as u64;
        learnt.targets += now.len() as u64;
        pause(start.elapsed());
    }
    Ok(learnt)
}

fn take(engine: &mut Engine, branch: usize, made: &TokenLoss, learnt: &mut Learnt) -> Result<(), TrainError> {
    learnt.loss += made.loss;
    if made.loss.is_finite() {
        engine.gradient_of(branch, &made.coefs)?;
    }
    Ok(())
}

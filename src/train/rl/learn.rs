//! From judged answers to gradients.

use std::time::Instant;

use crate::train::data::Random;
use crate::train::objective::{Ppo, Window, k3};
use crate::train::report::Pace;
use crate::train::rl::rollout::Answer;
use crate::train::rl::{Method, RlOptions};
use crate::train::task::{Contribution, Update};
use crate::train::trainer::REFERENCE;
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

    /// Divergence from the model before training by this answer, in nats: the sum of its tokens' k3 estimates.
    pub fn divergence(&self) -> f64 {
        let pairs = self.answer.old.iter().zip(&self.reference);
        pairs.map(|(old, reference)| k3(f64::from(*reference) - f64::from(*old))).sum()
    }
}

/// Answers with their log-probabilities under the reference at the rollouts' temperature, if that is asked for; `together`:
/// so many go through the model at once.
pub(super) fn experiences(
    engine: &mut Engine,
    answers: Vec<Answer>,
    with_reference: bool,
    (temperature, together): (f32, usize),
    pace: &mut Pace<'_>,
) -> Result<Vec<Experience>, TrainError> {
    let mut all = Vec::with_capacity(answers.len());
    for answer in answers {
        let trained = answer.trained();
        let one = Experience {
            answer,
            trained,
            reference: vec![],
            advantages: vec![],
            values: vec![],
            returns: vec![],
            usable: true,
        };
        all.push(one);
    }
    if with_reference {
        let whole: Vec<usize> = (0..all.len()).filter(|i| !all[*i].answer.is_empty()).collect();
        for some in whole.chunks(together.max(1)) {
            let start = Instant::now();
            for (index, scores) in some.iter().zip(score(engine, REFERENCE, &all, some, (temperature, 0))?) {
                all[*index].reference = scores;
            }
            pace.rest(start.elapsed());
        }
    }
    Ok(all)
}

/// Scores of some answers, which go through the model together, at a temperature and with a seed of dropout.
fn score(
    engine: &mut Engine,
    branch: usize,
    all: &[Experience],
    some: &[usize],
    (temperature, seed): (f32, u32),
) -> Result<Vec<Vec<f32>>, TrainError> {
    let sequences: Vec<Sequence<'_>> = some.iter().map(|i| all[*i].sequence()).collect();
    let scores = engine.score_at(branch, &sequences, temperature, seed)?;
    let mut rest = scores.as_slice();
    let cut = |sequence: &Sequence<'_>| {
        let (mine, others) = rest.split_at(sequence.targets().min(rest.len()));
        rest = others;
        mine.to_vec()
    };
    Ok(sequences.iter().map(cut).collect())
}

/// Sets advantages from rewards. False if there is nothing to learn: all rewards of every group are equal.
pub(super) fn advantages(
    engine: &mut Engine,
    all: &mut [Experience],
    rewards: &[f64],
    method: &Method,
    options: &RlOptions,
    (value_branch, together): (Option<usize>, usize),
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
            values(engine, all, rewards, ppo, (branch, together))?;
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
    (branch, together): (usize, usize),
) -> Result<(), TrainError> {
    let usable: Vec<usize> = (0..all.len()).filter(|i| all[*i].usable).collect();
    for some in usable.chunks(together.max(1)) {
        for (index, values) in some.iter().zip(score(engine, branch, all, some, (1.0, 0))?) {
            all[*index].values = values;
        }
    }
    let mut advantages = Vec::new();
    for (one, reward) in all.iter_mut().zip(rewards).filter(|(one, _)| one.usable) {
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
fn minibatches(all: &[Experience], options: &RlOptions, seed: u64, pass: u64) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..all.len()).filter(|i| all[*i].usable).collect();
    if options.minibatches > 1 {
        Random::new(seed ^ 0x6f72_6465, pass).shuffle(&mut order);
    }
    order.chunks(order.len().div_ceil(options.minibatches).max(1)).map(<[usize]>::to_vec).collect()
}

/// What a step learns from, and how.
pub(super) struct Lesson {
    all: Vec<Experience>,
    method: Method,
    /// The value model.
    value: Option<usize>,
    /// Of the rollouts, and so of the policy's log-probabilities.
    temperature: f32,
    /// Answers that go through the model at once.
    together: usize,
    /// What the update is made of.
    window: Window,
}

impl Lesson {
    pub fn new(
        all: Vec<Experience>,
        method: Method,
        options: &RlOptions,
        (value, together): (Option<usize>, usize),
    ) -> Self {
        let window = Window { sequences: 0, tokens: 0, max_len: options.max_new };
        let temperature = options.temperature;
        Self { all, method, value, temperature, together: together.max(1), window }
    }

    /// The step's updates, in their order; `step` and `done`: steps and updates of the run before.
    pub fn updates(&self, options: &RlOptions, seed: u64, (step, done): (u64, u64)) -> Vec<Update> {
        let passes = options.passes as u64;
        let batches =
            (0..passes).flat_map(|pass| minibatches(&self.all, options, seed, step * passes + pass));
        let update = |(done, items): (u64, Vec<usize>)| {
            let dropout = (seed as u32) ^ (done as u32).wrapping_mul(0x9e37_79b9);
            let moving: Vec<usize> = items.iter().copied().filter(|i| self.moves(&self.all[*i])).collect();
            let parts = moving.chunks(self.together).map(|some| (some.to_vec(), dropout)).collect();
            Update { items, parts }
        };
        (done..).zip(batches).map(update).collect()
    }

    /// Whether an answer has a gradient.
    fn moves(&self, one: &Experience) -> bool {
        let advantage = one.advantages.first().copied().unwrap_or(0.0);
        match self.method {
            Method::Grpo(grpo) => advantage != 0.0 || grpo.needs_reference(),
            Method::Rloo(_) => advantage != 0.0,
            Method::Ppo(_) => true,
        }
    }

    /// An update of these answers begins.
    pub fn open(&mut self, items: &[usize]) {
        let tokens = items.iter().map(|i| self.all[*i].answer.len()).sum();
        self.window = Window { sequences: items.len(), tokens, ..self.window };
    }

    /// Adds the gradients of some of its answers, and their metrics.
    pub fn gradient(
        &self,
        engine: &mut Engine,
        some: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        self.policy(engine, some, seed, part)?;
        self.values(engine, some, seed, part)
    }

    fn policy(
        &self,
        engine: &mut Engine,
        some: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        let (mut coefs, mut loss) = (Vec::new(), 0.0);
        let scores = score(engine, 0, &self.all, some, (self.temperature, seed))?;
        for (one, now) in some.iter().map(|i| &self.all[*i]).zip(scores) {
            let (old, advantages, window) = (&one.answer.old, &one.advantages, self.window);
            let advantage = advantages.first().copied().unwrap_or(0.0);
            let made = match &self.method {
                Method::Grpo(grpo) => {
                    grpo.sequence(&now, old, &one.reference, advantage, grpo.norm(now.len(), window))
                }
                Method::Rloo(rloo) => {
                    rloo.sequence(&now, old, advantage, 1.0 / window.sequences.max(1) as f64)
                }
                Method::Ppo(ppo) => ppo.policy(&now, old, advantages, 1.0 / window.tokens.max(1) as f64),
            };
            part.metrics.push(("clip_fraction", made.clipped as f64, now.len() as f64));
            part.rows += one.sequence().rows() as u64;
            part.targets += now.len() as u64;
            loss += made.loss;
            coefs.extend(made.coefs);
        }
        take(engine, 0, loss, &coefs, part)
    }

    fn values(
        &self,
        engine: &mut Engine,
        some: &[usize],
        seed: u32,
        part: &mut Contribution,
    ) -> Result<(), TrainError> {
        let (Method::Ppo(ppo), Some(branch)) = (&self.method, self.value) else { return Ok(()) };
        let (mut coefs, mut loss) = (Vec::new(), 0.0);
        let scores = score(engine, branch, &self.all, some, (1.0, seed))?;
        for (one, now) in some.iter().map(|i| &self.all[*i]).zip(scores) {
            let weight = 1.0 / self.window.tokens.max(1) as f64;
            let made = ppo.value(&now, &one.values, &one.returns, weight);
            let square = |(v, r): (&f32, &f64)| (f64::from(*v) - r).powi(2);
            let error: f64 = now.iter().zip(&one.returns).map(square).sum();
            part.metrics.push(("value_error", error, now.len() as f64));
            loss += made.loss;
            coefs.extend(made.coefs);
        }
        take(engine, branch, loss, &coefs, part)
    }
}

fn take(
    engine: &mut Engine,
    branch: usize,
    loss: f64,
    coefs: &[f32],
    part: &mut Contribution,
) -> Result<(), TrainError> {
    part.loss += loss;
    if loss.is_finite() {
        engine.gradient_of(branch, coefs)?;
    }
    Ok(())
}

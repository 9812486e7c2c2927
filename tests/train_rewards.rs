//! Reward-guided training of a tiny random model: a rule's reward rises, on both executors, by every method; a reward model
//! learns a preference, and PPO against it raises what the preference was made from.
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;

use common::{golden, open};
use emberlm::adapter::Adapter;
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::{Example, Random, Source};
use emberlm::train::objective::{Grpo, Ppo, RewardLoss, Rloo};
use emberlm::train::reward::{Completion, Mix, from_fn};
use emberlm::train::rl::{Judges, Method, RlOptions, RlPrompt};
use emberlm::train::{LoraOptions, Place, RankedPair, Settings, StepReport, Trainer};

fn model() -> Model {
    open(&golden("arch/llama-tied.gguf"))
}

fn place(device: &DeviceChoice) -> Place {
    // Hardly any work for a second thread.
    let device = SessionOptions { device: device.clone(), threads: Some(1), ..SessionOptions::default() };
    Place { device, ..Place::default() }
}

fn prompts(count: usize) -> Vec<RlPrompt> {
    let one = |i: usize| RlPrompt {
        tokens: (0..4).map(|k| 20 + (i * 13 + k * 29) as u32 % 200).collect(),
        text: format!("prompt {i}"),
        ..RlPrompt::default()
    };
    (0..count).map(one).collect()
}

/// Letters that are wanted: the first so many.
const LETTERS: usize = 20;

/// Share of lower-case letters up to `t`.
fn letters(text: &str) -> f64 {
    let letters = text.chars().filter(|c| ('a'..='t').contains(c)).count();
    letters as f64 / text.chars().count().max(1) as f64
}

fn rule() -> Judges {
    let mix = Mix::new().with(from_fn("letters", |c: &Completion<'_>| letters(c.completion)), 1.0);
    Judges { mix, models: vec![] }
}

fn settings(steps: u64) -> Settings {
    Settings {
        lora: LoraOptions { rank: 4, alpha: 8.0, ..LoraOptions::default() },
        learning_rate: 1e-2,
        max_steps: Some(steps),
        batch: 16,
        seed: 3,
        ..Settings::default()
    }
}

fn metric(report: &StepReport, name: &str) -> f64 {
    let found = report.metrics.iter().find(|(n, _)| n == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", report.metrics)).1
}

/// What the mean reward of five steps in a row has to be above.
const LEARNT: f64 = 0.9;
/// A run that is not there after so many steps has failed.
const MOST_STEPS: u64 = 60;

/// Mean of the last five.
fn recent(rewards: &[f64]) -> f64 {
    let last = &rewards[rewards.len().saturating_sub(5)..];
    last.iter().sum::<f64>() / last.len() as f64
}

/// Trains until the reward is where it should be, or to the end; the reward of every step.
fn train(trainer: &mut Trainer) -> Vec<f64> {
    let mut rewards = vec![];
    while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
        rewards.push(metric(&report, "reward"));
        if rewards.len() >= 5 && recent(&rewards) > LEARNT {
            break;
        }
    }
    rewards
}

fn options(method: Method) -> RlOptions {
    RlOptions { prompts: 8, group: 8, max_new: 8, ..RlOptions::of(method) }
}

fn rl_trainer(method: Method, device: &DeviceChoice, steps: u64) -> Trainer {
    let (options, settings) = (options(method), settings(steps));
    Trainer::rl(&model(), prompts(8), rule(), &options, &settings, &place(device), None).unwrap()
}

fn learns(method: Method, device: &DeviceChoice) {
    let mut trainer = rl_trainer(method, device, MOST_STEPS);
    let rewards = train(&mut trainer);
    println!("{} on {}: {rewards:.2?}", method.name(), trainer.engine().device().name);
    assert!(rewards[0] < 0.2, "{} begins at {}", method.name(), rewards[0]);
    let last = recent(&rewards);
    assert!(last > LEARNT, "{} is at {last} after {} steps", method.name(), rewards.len());
}

fn grpo() -> Method {
    Method::Grpo(Grpo::default())
}

fn rloo() -> Method {
    Method::Rloo(Rloo { beta: 0.01, ..Rloo::default() })
}

fn ppo() -> Method {
    Method::Ppo(Ppo { kl: 0.01, ..Ppo::default() })
}

#[test]
fn grpo_raises_a_rule_on_the_cpu() {
    learns(grpo(), &DeviceChoice::Cpu);
}

#[test]
fn rloo_raises_a_rule_on_the_cpu() {
    learns(rloo(), &DeviceChoice::Cpu);
}

#[test]
fn ppo_raises_a_rule_on_the_cpu() {
    learns(ppo(), &DeviceChoice::Cpu);
}

#[test]
fn all_methods_raise_a_rule_on_the_gpu() {
    for method in [grpo(), rloo(), ppo()] {
        learns(method, &DeviceChoice::Gpu);
    }
}

/// For as long as rounding has not led them apart.
#[test]
fn both_executors_go_the_same_way_at_first() {
    let [on_cpu, on_gpu] =
        [DeviceChoice::Cpu, DeviceChoice::Gpu].map(|device| train(&mut rl_trainer(grpo(), &device, 4)));
    assert_eq!((on_cpu.len(), on_gpu.len()), (4, 4));
    let together = |(a, b): (&f64, &f64)| (a - b).abs() < 0.05;
    assert!(on_cpu.iter().zip(&on_gpu).all(together), "{on_cpu:?} {on_gpu:?}");
}

/// Answers of random bytes; the one with more of the letters is the better one.
fn ranked(count: usize, seed: u64) -> Vec<RankedPair> {
    let mut random = Random::new(seed, 0);
    let mut answer = |prompt: &[u32], letters: usize| {
        let mut body: Vec<u32> = (0..8)
            .map(|i| {
                if i < letters {
                    LETTER + random.below(LETTERS) as u32
                } else {
                    let other = FIRST + random.below(256 - LETTERS) as u32;
                    if other < LETTER { other } else { other + LETTERS as u32 }
                }
            })
            .collect();
        random.shuffle(&mut body);
        let tokens = [prompt, &body].concat();
        let trained = (0..tokens.len()).map(|i| i >= prompt.len()).collect();
        Example::new(tokens, trained, Source::default())
    };
    let prompts = prompts(8);
    (0..count)
        .map(|i| {
            let prompt = &prompts[i % prompts.len()].tokens;
            let (more, less) = (5 + i % 4, i % 3);
            RankedPair { chosen: answer(prompt, more), rejected: answer(prompt, less), margin: 0.0 }
        })
        .collect()
}

/// Tokens of the first byte and of `a` in the tiny vocabulary.
const FIRST: u32 = 4;
const LETTER: u32 = FIRST + b'a' as u32;

/// Held-out pairs that a reward model has to put in the right order.
const JUDGES: f64 = 0.9;

fn reward_model(device: &DeviceChoice) -> (Adapter, f64) {
    let settings = Settings { epochs: 4, max_steps: None, eval_every: 25, ..settings(0) };
    let mut trainer = Trainer::reward(
        &model(),
        ranked(800, 1),
        ranked(160, 2),
        RewardLoss::default(),
        &settings,
        &place(device),
        None,
    )
    .unwrap();
    let mut accuracy = 0.0;
    while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
        if report.validation.is_some() {
            accuracy = metric(&report, "validation_accuracy");
            println!("reward model: {:.1}% of held-out pairs after {} steps", 100.0 * accuracy, report.step);
            // Somewhat above what is asked for.
            if accuracy >= JUDGES + 0.03 {
                break;
            }
        }
    }
    (trainer.adapter(BTreeMap::new()).unwrap(), accuracy)
}

/// How much more of what the reward model was made from.
const RISE: f64 = 0.3;

/// The three steps on one base: a reward model from pairs, then PPO against it with a value model, and a reference.
fn reward_model_then_ppo(device: &DeviceChoice) {
    let (adapter, accuracy) = reward_model(device);
    assert!(accuracy >= JUDGES, "{accuracy}");
    assert!(adapter.head.is_some());
    // Letters alone are log(272 / 20) nats each away from an even choice, 21 in all.
    let limit = 25.0;
    let ppo = Method::Ppo(Ppo { kl: 0.02, ..Ppo::default() });
    let options = RlOptions { kl_limit: Some(limit), ..options(ppo) };
    let judges = Judges { mix: Mix::new(), models: vec![(adapter, 1.0)] };
    let settings = Settings { learning_rate: 5e-3, ..settings(MOST_STEPS) };
    let mut trainer =
        Trainer::rl(&model(), prompts(8), judges, &options, &settings, &place(device), None).unwrap();
    let (mut truth, mut judged, mut kept) = (vec![], vec![], vec![]);
    while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
        let share = report.samples.iter().map(|s| letters(&s.completion)).sum::<f64>();
        truth.push(share / report.samples.len() as f64);
        judged.push(metric(&report, "reward"));
        if metric(&report, "kl") <= limit {
            kept.push((metric(&report, "kl"), truth[truth.len() - 1]));
        }
        // Three policies in a row: one alone could be luck.
        if kept.len() >= 3 && kept[kept.len() - 3..].iter().all(|(_, now)| *now > truth[0] + RISE) {
            break;
        }
    }
    let (kl, last) = *kept.last().unwrap();
    println!("ppo: share of letters {:.3} to {last:.3} at {kl:.2} nats; all {truth:.2?}", truth[0]);
    println!("by the reward model: {judged:.2?}");
    assert_eq!(trainer.best().map(|(what, ..)| what), Some("reward"));
    assert!(last > truth[0] + RISE, "the true reward went from {} to {last}", truth[0]);
    let first = judged[0];
    assert!(judged[judged.len() - 1] > first, "the reward model's went from {first} to {judged:?}");
}

#[test]
fn ppo_against_a_reward_model_raises_the_true_reward_on_the_cpu() {
    reward_model_then_ppo(&DeviceChoice::Cpu);
}

#[test]
fn ppo_against_a_reward_model_raises_the_true_reward_on_the_gpu() {
    reward_model_then_ppo(&DeviceChoice::Gpu);
}

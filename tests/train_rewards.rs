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
use emberlm::train::rl::{Judges, Method, RlOptions, RlPrompt, RlTrainer};
use emberlm::train::{LoraOptions, Place, RankedPair, Run, Settings, StepReport, Trainer};

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

/// Trains to the end; the reward of the first step and the mean of the last five.
fn train(trainer: &mut RlTrainer) -> (f64, f64) {
    let mut rewards = vec![];
    while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
        rewards.push(metric(&report, "reward"));
    }
    println!("{:?}", rewards.iter().map(|r| (r * 100.0).round()).collect::<Vec<_>>());
    (rewards[0], rewards[rewards.len() - 5..].iter().sum::<f64>() / 5.0)
}

fn options(method: Method) -> RlOptions {
    RlOptions { prompts: 8, group: 8, max_new: 8, ..RlOptions::of(method) }
}

fn learns(method: Method, device: &DeviceChoice, steps: u64) {
    let mut trainer = RlTrainer::new(
        &model(),
        prompts(8),
        rule(),
        &options(method),
        &settings(steps),
        &place(device),
        None,
    )
    .unwrap();
    let (first, last) = train(&mut trainer);
    println!("{} on {}: reward {first:.3} to {last:.3}", method.name(), trainer.engine().device().name);
    assert!(first < 0.2, "{} begins at {first}", method.name());
    assert!(last > 0.9, "{} ends at {last}", method.name());
}

#[test]
fn grpo_raises_a_rule_on_the_cpu() {
    learns(Method::Grpo(Grpo::default()), &DeviceChoice::Cpu, 40);
}

#[test]
fn rloo_raises_a_rule_on_the_cpu() {
    learns(Method::Rloo(Rloo { beta: 0.01, ..Rloo::default() }), &DeviceChoice::Cpu, 40);
}

#[test]
fn ppo_raises_a_rule_on_the_cpu() {
    learns(Method::Ppo(Ppo { kl: 0.01, ..Ppo::default() }), &DeviceChoice::Cpu, 40);
}

/// Fewer steps, a softer bound: a software GPU takes its time.
#[test]
fn all_methods_raise_a_rule_on_the_gpu() {
    let (cpu, gpu) = (&DeviceChoice::Cpu, &DeviceChoice::Gpu);
    let run = |method: Method, device: &DeviceChoice, steps: u64| {
        let options = options(method);
        let mut trainer =
            RlTrainer::new(&model(), prompts(8), rule(), &options, &settings(steps), &place(device), None)
                .unwrap();
        let mut rewards = vec![];
        while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
            rewards.push(metric(&report, "reward"));
        }
        println!("{} on {}: {rewards:.3?}", method.name(), trainer.engine().device().name);
        rewards
    };
    // Both executors go the same way for as long as rounding has not led them apart.
    let grpo = Method::Grpo(Grpo::default());
    let (on_cpu, on_gpu) = (run(grpo, cpu, 4), run(grpo, gpu, 4));
    assert!((on_cpu[0] - on_gpu[0]).abs() < 0.1, "{on_cpu:?} {on_gpu:?}");
    learns(grpo, gpu, 26);
    learns(Method::Rloo(Rloo { beta: 0.01, ..Rloo::default() }), gpu, 26);
    learns(Method::Ppo(Ppo { kl: 0.01, ..Ppo::default() }), gpu, 26);
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

fn reward_model(device: &DeviceChoice) -> (Adapter, f64) {
    let settings = Settings { epochs: 4, max_steps: None, ..settings(0) };
    let mut trainer = Trainer::reward(
        &model(),
        ranked(800, 1),
        ranked(80, 2),
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
        }
    }
    (trainer.adapter(BTreeMap::new()).unwrap(), accuracy)
}

/// The three steps on one base: a reward model from pairs, then PPO against it with a value model, and a reference.
fn reward_model_then_ppo(device: &DeviceChoice) {
    let (adapter, accuracy) = reward_model(device);
    println!("reward model: {:.1}% of held-out pairs in the right order", 100.0 * accuracy);
    assert!(accuracy >= 0.9, "{accuracy}");
    assert!(adapter.head.is_some());
    // Letters alone are log(272 / 20) nats each away from an even choice, 21 in all.
    let limit = 25.0;
    let ppo = Method::Ppo(Ppo { kl: 0.02, ..Ppo::default() });
    let options = RlOptions { kl_limit: Some(limit), ..options(ppo) };
    let judges = Judges { mix: Mix::new(), models: vec![(adapter, 1.0)] };
    let settings = Settings { learning_rate: 3e-3, ..settings(40) };
    let mut trainer =
        RlTrainer::new(&model(), prompts(8), judges, &options, &settings, &place(device), None).unwrap();
    let (mut truth, mut judged, mut kept) = (vec![], vec![], vec![]);
    while let Some(report) = trainer.step(&mut |_| ()).unwrap() {
        let mean =
            report.samples.iter().map(|s| letters(&s.completion)).sum::<f64>() / report.samples.len() as f64;
        truth.push(mean);
        judged.push(metric(&report, "reward"));
        if metric(&report, "kl") <= limit {
            kept.push((metric(&report, "kl"), mean));
        }
    }
    let (kl, last) = *kept.last().unwrap();
    assert_eq!(trainer.kept().map(|(what, ..)| what), Some("reward"));
    println!("ppo: share of letters {:.3} to {last:.3} at {kl:.2} nats; all {truth:.2?}", truth[0]);
    println!("by the reward model: {judged:.2?}");
    assert!(last > truth[0] + 0.3, "the true reward went from {} to {last}", truth[0]);
}

#[test]
fn ppo_against_a_reward_model_raises_the_true_reward_on_the_cpu() {
    reward_model_then_ppo(&DeviceChoice::Cpu);
}

#[test]
fn ppo_against_a_reward_model_raises_the_true_reward_on_the_gpu() {
    reward_model_then_ppo(&DeviceChoice::Gpu);
}

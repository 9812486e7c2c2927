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
use emberlm::train::{LoraOptions, Place, RankedPair, Settings, StepReport, Trainer};

fn model() -> Model {
    open(&golden("arch/llama-tied.gguf"))
}

fn place(device: &DeviceChoice) -> Place {
    let device = SessionOptions { device: device.clone(), ..SessionOptions::default() };
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

/// Share of lower-case letters.
fn letters(text: &str) -> f64 {
    let letters = text.chars().filter(char::is_ascii_lowercase).count();
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

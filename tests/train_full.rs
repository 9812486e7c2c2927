//! Training of all weights: from random ones to a text known by heart, the same bits after a restart, the same on both
//! executors, and every objective with the file's weights beside the trained ones.
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{bounds, golden, open};
use emberlm::io::commit::Halves;
use emberlm::io::{CommitStore, Existing, FaultyDisk};
use emberlm::model::{Arch, Blueprint, Model};
use emberlm::quant::Format;
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};
use emberlm::train::corpus::Pieces;
use emberlm::train::data::{Example, Source};
use emberlm::train::objective::{Dpo, Grpo, Kto, PairObjective, Ppo, RewardLoss};
use emberlm::train::pretrain::{Samples, Windows, write_random};
use emberlm::train::reward::{Completion, Mix, from_fn};
use emberlm::train::rl::{Judges, Method, RlOptions, RlPrompt};
use emberlm::train::{
    Against, Feedback, FeedbackOptions, LoraOptions, Place, RankedPair, Settings, TrainError, Trainer,
    training_info,
};

fn place(device: DeviceChoice) -> Place {
    Place { device: SessionOptions { device, ..SessionOptions::default() }, ..Place::default() }
}

/// Metadata of a tokenizer to go with a model from nothing.
fn tokenizer() -> emberlm::gguf::Metadata {
    let mut metadata = open(&golden("arch/llama-tied.gguf")).gguf().metadata.clone();
    let others = metadata.iter().map(|(key, _)| key.to_owned()).filter(|key| !key.starts_with("tokenizer."));
    others.collect::<Vec<_>>().iter().for_each(|key| drop(metadata.remove(key)));
    metadata
}

fn blueprint(arch: &str, layers: usize, width: usize) -> Blueprint {
    let vocab = open(&golden("arch/llama-tied.gguf")).config().vocab;
    Blueprint {
        arch: Arch::by_name(arch).unwrap(),
        name: "from nothing".into(),
        layers,
        width,
        ff: width * 3,
        heads: width / 16,
        kv_heads: width / 32,
        head_dim: 16,
        vocab,
        ctx: 64,
        rope_base: 10_000.0,
        rms_eps: 1e-5,
        tied: arch == "llama",
    }
}

fn random(dir: &Path, blueprint: &Blueprint) -> Model {
    let path = dir.join("start.gguf");
    write_random(&path, blueprint, &tokenizer(), 5).unwrap();
    let model = open(&path);
    assert_eq!(model.parameters(), blueprint.parameters());
    model
}

/// A fixed text of documents of different lengths, in windows.
struct Text {
    windows: usize,
    rows: usize,
    vocab: u64,
}

impl Text {
    fn sequences(&self, index: usize) -> Vec<Vec<u32>> {
        let token = |k: usize| {
            let h = ((index * self.rows + k) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (4 + (h >> 40) % (self.vocab - 4)) as u32
        };
        let all: Vec<u32> = (0..=self.rows).map(token).collect();
        // Every other window has two documents in it.
        if index.is_multiple_of(2) {
            vec![all]
        } else {
            vec![all[..self.rows / 3].to_vec(), all[self.rows / 3..].to_vec()]
        }
    }
}

impl Windows for Text {
    fn per_epoch(&self) -> u64 {
        self.windows as u64
    }

    fn window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError> {
        self.sequences(index as usize % self.windows).iter().for_each(|tokens| out.push(tokens));
        Ok(())
    }

    fn held_out(&self) -> u64 {
        2
    }

    fn held_out_window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError> {
        self.sequences(self.windows + index as usize).iter().for_each(|tokens| out.push(tokens));
        Ok(())
    }
}

fn text(windows: usize, rows: usize, model: &Model) -> Box<Text> {
    Box::new(Text { windows, rows, vocab: model.config().vocab as u64 })
}

fn settings(batch: usize, rows: usize, steps: u64) -> Settings {
    Settings {
        batch,
        seq: rows,
        learning_rate: 3e-3,
        weight_decay: 0.1,
        betas: (0.9, 0.95),
        warmup: 2,
        max_steps: Some(steps),
        ..Settings::default()
    }
}

fn no_pause() -> impl FnMut(std::time::Duration) {
    |_| ()
}

/// 2,000 tokens by heart.
#[test]
fn a_model_from_nothing_learns_a_text_by_heart() {
    let dir = tempfile::tempdir().unwrap();
    let model = random(dir.path(), &blueprint("llama", 4, 160));
    assert!(model.parameters() > 1_000_000, "{}", model.parameters());
    let windows = text(20, 100, &model);
    let mut run = Trainer::pretrain(
        &model,
        windows,
        Samples::default(),
        &settings(20, 100, 200),
        &place(DeviceChoice::Cpu),
    )
    .unwrap();
    let mut losses = vec![];
    while let Some(report) = run.step(&mut no_pause()).unwrap() {
        losses.push(report.loss);
        if report.loss < 0.05 {
            break;
        }
    }
    println!(
        "{} weights: {:.3} to {:.3} in {} steps",
        model.parameters(),
        losses[0],
        losses.last().unwrap(),
        losses.len()
    );
    let uniform = (model.config().vocab as f64).ln();
    assert!((losses[0] - uniform).abs() < 0.1, "begins at {}, not near {uniform}", losses[0]);
    assert!(*losses.last().unwrap() < 0.05, "{losses:.3?}");
}

/// What a run makes, as bits, and its losses.
fn finish(run: &mut Trainer) -> (Vec<u32>, Vec<f64>) {
    let mut losses = vec![];
    while let Some(report) = run.step(&mut no_pause()).unwrap() {
        losses.push(report.loss);
    }
    let ids = run.engine().trained();
    let values = ids.iter().flat_map(|(id, ..)| run.engine().read(*id).unwrap());
    (values.map(f32::to_bits).collect(), losses)
}

fn pretrainer(model: &Model, device: DeviceChoice, samples: bool) -> Trainer {
    let settings = Settings { accumulate: 2, eval_every: 2, ..settings(2, 24, 5) };
    let samples = Samples {
        every: if samples { 3 } else { 0 },
        prompts: vec![("a".into(), vec![7, 9]), ("b".into(), vec![11])],
        max_new: 5,
        temperature: 0.8,
    };
    Trainer::pretrain(model, text(7, 24, model), samples, &settings, &place(device)).unwrap()
}

#[test]
fn a_run_that_was_stopped_ends_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let model = random(dir.path(), &blueprint("llama", 2, 32));
    let whole = finish(&mut pretrainer(&model, DeviceChoice::Cpu, false)).0;
    for stop in 1..5 {
        let half = 1 << 22;
        let mut store = CommitStore::open(Halves::new(FaultyDisk::new(2 * half, 512), 512).unwrap()).unwrap();
        // Samples draw from their own seeds and change nothing.
        let mut run = pretrainer(&model, DeviceChoice::Cpu, stop % 2 == 1);
        for _ in 0..stop {
            run.step(&mut no_pause()).unwrap().unwrap();
        }
        run.save(&mut store, "a test").unwrap();
        let mut resumed = pretrainer(&model, DeviceChoice::Cpu, stop % 2 == 1);
        assert!(resumed.restore(&mut store, "a test").unwrap());
        assert_eq!(resumed.step_count(), stop);
        assert!(finish(&mut resumed).0 == whole, "stopped after {stop}");
    }
}

#[test]
fn both_executors_learn_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for arch in ["llama", "qwen2", "qwen3"] {
        let model = random(dir.path(), &blueprint(arch, 2, 32));
        let (_, cpu) = finish(&mut pretrainer(&model, DeviceChoice::Cpu, false));
        let mut run = pretrainer(&model, DeviceChoice::Gpu, true);
        let mut validated = 0;
        for want in &cpu {
            let report = run.step(&mut no_pause()).unwrap().unwrap();
            assert!((report.loss - want).abs() < bounds::LOSS * want, "{arch}: {} and {want}", report.loss);
            validated += usize::from(report.validation.is_some());
            assert_eq!(report.samples.len(), if matches!(report.step, 3 | 5) { 2 } else { 0 });
        }
        assert_eq!(validated, 3, "at every second step and the last");
    }
}

/// The continuation that training samples is the one that the written model makes.
#[test]
fn samples_are_those_of_the_model_that_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = random(dir.path(), &blueprint("llama", 2, 32));
    let mut run = pretrainer(&model, DeviceChoice::Cpu, true);
    let mut last = vec![];
    while let Some(report) = run.step(&mut no_pause()).unwrap() {
        last = report.samples;
    }
    let path = dir.path().join("made.gguf");
    let info = BTreeMap::from([("data.files".to_owned(), "a.txt".to_owned())]);
    run.save_model(&path, Format::F32, Existing::Refuse, &info).unwrap();
    let made = open(&path);
    let notes = training_info(&made.gguf().metadata);
    assert_eq!((notes["data.files"].as_str(), notes["steps"].as_str()), ("a.txt", "5"));
    let options = SessionOptions {
        device: DeviceChoice::Cpu,
        modes: Modes::GENERATE,
        kv: emberlm::model::KvType::Block16,
        slots: 2,
        ctx: Some(7),
        ..SessionOptions::default()
    };
    let mut session = Session::new(&made, &options).unwrap();
    let tokenizer = emberlm::text::Tokenizer::from_metadata(&made.gguf().metadata).unwrap();
    for (index, prompt) in [vec![7u32, 9], vec![11]].iter().enumerate() {
        let sampler = emberlm::text::SamplerParams {
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: index as u32,
            ..emberlm::text::SamplerParams::greedy()
        };
        let request = emberlm::session::Request::turn(prompt, sampler, &tokenizer);
        let made = session.write(&[request], 5).unwrap();
        assert_eq!(tokenizer.decode(&made[0].tokens, true), last[index].completion);
    }
}

fn example(prompt: &[u32], answer: &[u32]) -> Example {
    let trained = [vec![false; prompt.len()], vec![true; answer.len()]].concat();
    Example::new([prompt, answer].concat(), trained, Source::default())
}

fn full(steps: u64) -> Settings {
    Settings {
        full: true,
        batch: 2,
        learning_rate: 2e-3,
        max_steps: Some(steps),
        epochs: steps,
        ..Settings::default()
    }
}

/// Preferences are measured against the weights of the file, which stay: the first step's margins are zero, and then grow.
#[test]
fn preferences_are_measured_against_the_file() {
    let model = open(&golden("arch/qwen3-tied.gguf"));
    let pair = |i: u32| Feedback::Pair {
        chosen: example(&[5 + i, 9, 12], &[20 + i, 21]),
        rejected: example(&[5 + i, 9, 12], &[40 + i, 41]),
    };
    let options = FeedbackOptions {
        pairs: PairObjective::Dpo(Dpo { beta: 0.1 }),
        kto: Kto::default(),
        sft: 0.0,
        against: Against::Start,
    };
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let pairs = (0..2).map(pair).collect();
        let mut run =
            Trainer::feedback(&model, pairs, vec![], &options, &full(8), &place(device.clone()), None)
                .unwrap();
        let mut margins = vec![];
        while let Some(report) = run.step(&mut no_pause()).unwrap() {
            margins.push(report.metrics.iter().find(|(name, _)| name == "margin").unwrap().1);
        }
        println!("{device:?}: {margins:.4?}");
        assert!(margins[0].abs() < bounds::SCORED, "{margins:?}");
        assert!(margins.windows(2).all(|w| w[1] > w[0]), "{margins:?}");
    }
}

/// Rewards raise what is rewarded, with the file's weights as the reference, and a value model on them.
#[test]
fn rewards_train_all_weights() {
    let model = open(&golden("arch/llama-tied.gguf"));
    let letters = |text: &str| {
        let wanted = text.chars().filter(|c| ('a'..='t').contains(c)).count();
        wanted as f64 / text.chars().count().max(1) as f64
    };
    let ppo = Method::Ppo(Ppo { kl: 0.01, ..Ppo::default() });
    for method in [Method::Grpo(Grpo { beta: 0.01, ..Grpo::default() }), ppo] {
        let mix = Mix::new().with(from_fn("letters", move |c: &Completion<'_>| letters(c.completion)), 1.0);
        let one = |i: usize| RlPrompt {
            tokens: (0..4).map(|k| 20 + (i * 13 + k * 29) as u32 % 200).collect(),
            text: format!("prompt {i}"),
            ..RlPrompt::default()
        };
        let options = RlOptions { prompts: 8, group: 8, max_new: 8, ..RlOptions::of(method) };
        let settings = Settings { batch: 16, seed: 3, ..full(25) };
        let judges = Judges { mix, models: vec![] };
        let prompts = (0..8).map(one).collect();
        let mut run =
            Trainer::rl(&model, prompts, judges, &options, &settings, &place(DeviceChoice::Cpu), None)
                .unwrap();
        let (mut rewards, mut kl) = (vec![], vec![]);
        while let Some(report) = run.step(&mut no_pause()).unwrap() {
            let metric = |name: &str| report.metrics.iter().find(|(n, _)| n == name).unwrap().1;
            rewards.push(metric("reward"));
            kl.push(metric("kl"));
        }
        println!("{}: {rewards:.2?}", options.method.name());
        // Sampling through the 16-bit cache and scoring without one differ a little.
        assert!(kl[0].abs() < bounds::CACHED_ANSWER, "the policy begins as the file has it: {kl:?}");
        let late = rewards[rewards.len() - 5..].iter().sum::<f64>() / 5.0;
        assert!(rewards[0] < 0.3 && late > 2.0 * rewards[0] && late > 0.5, "{rewards:.2?}");
    }
}

/// A reward model is an adapter on the file's weights, and so is the value model that begins with it, of its rank.
#[test]
fn a_reward_model_judges_on_the_weights_of_the_file() {
    let model = open(&golden("arch/llama-tied.gguf"));
    let lora = LoraOptions { rank: 3, ..LoraOptions::default() };
    let pair = |i: u32| RankedPair {
        chosen: example(&[5 + i, 9], &[20 + i, 21]),
        rejected: example(&[5 + i, 9], &[40 + i, 41]),
        margin: 0.0,
    };
    let settings =
        Settings { lora, batch: 2, learning_rate: 1e-2, max_steps: Some(6), ..Settings::default() };
    let loss = RewardLoss { center: 0.0 };
    let pairs = (0..4).map(pair).collect();
    let mut judge =
        Trainer::reward(&model, pairs, vec![], loss, &settings, &place(DeviceChoice::Cpu), None).unwrap();
    while judge.step(&mut no_pause()).unwrap().is_some() {}
    let judge = judge.adapter(BTreeMap::new()).unwrap();
    let options =
        RlOptions { prompts: 2, group: 2, max_new: 3, ..RlOptions::of(Method::Ppo(Ppo::default())) };
    let one = |i: u32| RlPrompt { tokens: vec![5 + i, 9], text: "?".into(), ..RlPrompt::default() };
    let judges = Judges { mix: Mix::new(), models: vec![(judge, 1.0)] };
    let prompts = (0..2).map(one).collect();
    let mut run =
        Trainer::rl(&model, prompts, judges, &options, &full(2), &place(DeviceChoice::Cpu), None).unwrap();
    let value = run.engine().branches().iter().find(|branch| branch.name == "value").unwrap();
    assert!(value.adapters.pairs.values().all(|pair| pair.rank == 3));
    while run.step(&mut no_pause()).unwrap().is_some() {}
}

#[test]
fn an_adapter_is_no_beginning_of_all_weights() {
    let model = open(&golden("arch/llama-tied.gguf"));
    let adapter = emberlm::adapter::Adapter::default();
    let examples = vec![example(&[5, 6], &[7, 8])];
    let refused = Trainer::new(&model, examples, vec![], &full(1), &place(DeviceChoice::Cpu), Some(&adapter))
        .err()
        .unwrap();
    assert!(refused.to_string().contains("not from an adapter"), "{refused}");
}

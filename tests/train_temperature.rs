//! Rewards at a temperature: the log-probabilities of rollouts, of scoring and of learning are those of the softmax at the
//! rollouts' temperature, as in TRL (`tests/golden/temperature.json`, by the code of its trainers).
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{bounds, golden, none_failed, open};
use emberlm::adapter::{Adapter, hf};
use emberlm::io::{CommitStore, FolderSlots};
use emberlm::model::{Branch, BranchHead, KvType, Model};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::text::Tokenizer;
use emberlm::train::objective::{Grpo, Ppo, Rloo, Window};
use emberlm::train::reward::{Completion, Mix, from_fn};
use emberlm::train::rl::{self, Answer, COLDEST, Judges, Method, RlOptions, RlPrompt};
use emberlm::train::{
    Against, CheckpointError, Engine, EngineOptions, Place, Rollouts, Sequence, Settings, Trainer,
    load_adapter, shape_of,
};
use serde_json::Value;

const REFERENCE: usize = 1;
const VALUE: usize = 2;

fn model() -> Model {
    open(&golden("arch/llama-untied.gguf"))
}

/// The policy's adapter.
fn adapter(model: &Model) -> Adapter {
    hf::import(&golden("adapter/peft"), model.file(), None, false).unwrap()
}

fn device(device: &DeviceChoice) -> SessionOptions {
    let (device, threads) = (device.clone(), Some(1));
    SessionOptions { device, threads, kv: KvType::F32, chunk: Some(8), ..SessionOptions::default() }
}

fn engine(model: &Model, on: &DeviceChoice) -> Engine {
    let adapter = adapter(model);
    let reference = Branch { name: "reference".into(), ..Branch::default() };
    let options = EngineOptions {
        device: device(on),
        rows: 64,
        seq: 64,
        outputs: Some(4),
        train: emberlm::model::Train::Adapters,
        adapters: shape_of(&adapter, 0.0),
        head: BranchHead::Tokens,
        branches: vec![reference],
        rollouts: Some(Rollouts { slots: 3, ctx: 64 }),
        ..EngineOptions::default()
    };
    let mut engine = Engine::boot(model, &options).unwrap();
    load_adapter(&mut engine, &adapter).unwrap();
    engine
}

fn wide(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    wide(value).into_iter().map(|v| v as f32).collect()
}

/// One sequence's log-probabilities of what follows the prompt.
fn score(engine: &mut Engine, branch: usize, tokens: &[u32], prompt: usize, temperature: f32) -> Vec<f32> {
    let trained: Vec<bool> = (0..tokens.len()).map(|i| i >= prompt).collect();
    engine.score_at(branch, &[Sequence { tokens, trained: &trained }], temperature, 0).unwrap()
}

fn tokens_of(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect()
}

/// Relative to the largest of those wanted.
fn apart(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    got.iter().zip(want).fold(0.0, |m, (g, w)| f64::max(m, (g - w).abs() / scale))
}

/// Loss of one answer and its coefficients, by a method.
fn learn(method: &str, table: &Value, case: &Value, index: usize, now: &[f32]) -> (f64, Vec<f32>) {
    let number = |key: &str| table[key].as_f64().unwrap();
    let list = |key: &str| floats(&case[key][index]);
    let (old, reference) = (list("old"), list("reference"));
    let advantage = wide(&table["advantages"])[index];
    let sequences = table["sequences"].as_array().unwrap();
    let prompt = table["prompt"].as_u64().unwrap() as usize;
    let tokens = sequences.iter().map(|s| s.as_array().unwrap().len() - prompt).sum();
    let window = Window { sequences: sequences.len(), tokens, max_len: 7 };
    let epsilon = number("epsilon");
    let made = match method {
        "grpo" => {
            let grpo = Grpo { epsilon, epsilon_high: epsilon, beta: number("beta"), ..Grpo::default() };
            grpo.sequence(now, &old, &reference, advantage, grpo.norm(now.len(), window))
        }
        "rloo" => {
            let rloo = Rloo { epsilon, epsilon_high: epsilon, ..Rloo::default() };
            rloo.sequence(now, &old, advantage, 1.0 / sequences.len() as f64)
        }
        _ => {
            let ppo = Ppo { clip: number("clip"), ..Ppo::default() };
            ppo.policy(now, &old, &wide(&case["token_advantages"][index]), 1.0 / tokens as f64)
        }
    };
    (made.loss, made.coefs)
}

/// A file has one alpha: what PEFT's patterns of ranks and alphas make a pair's scale differ by is folded into its second factor,
/// whose gradient is smaller by that.
fn folded(name: &str) -> f64 {
    match name {
        // An alpha of 5 for one of 3.
        _ if name.contains("ffn_down") => 5.0 / 3.0,
        // 3 / sqrt(3), where three times as many columns are scaled as if there were two.
        _ if name.contains("blk.1.attn_q") => 1.5f64.sqrt(),
        _ => 1.0,
    }
}

/// The gradient of each factor as the table has it.
fn gradients(engine: &mut Engine) -> Vec<(String, Vec<f64>)> {
    let names: Vec<(String, usize)> =
        engine.trained().into_iter().map(|(_, name, rows, width)| (name, rows * width)).collect();
    let mut all = vec![];
    for (name, count) in names {
        let wanted = format!("d {name}");
        let id = engine.program().tensors.iter().position(|t| t.name == wanted).unwrap();
        let id = emberlm::plan::TensorId(id as u32);
        let values = engine.read(id).unwrap();
        assert_eq!(values.len(), count, "{name}");
        let scale = if name.ends_with("lora_b") { folded(&name) } else { 1.0 };
        let wide = || values.iter().map(|v| f64::from(*v) * scale);
        let mut numbers = vec![wide().map(|v| v * v).sum::<f64>().sqrt()];
        if name.ends_with("lora_a") {
            numbers.push(wide().zip(1..).map(|(v, i)| v * f64::from(i).sin()).sum());
        }
        all.push((name, numbers));
    }
    all
}

fn as_trl(on: &DeviceChoice) {
    let model = model();
    let mut engine = engine(&model, on);
    let text = std::fs::read_to_string(golden("temperature.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let prompt = table["prompt"].as_u64().unwrap() as usize;
    let sequences: Vec<Vec<u32>> = table["sequences"].as_array().unwrap().iter().map(tokens_of).collect();
    let cases = table["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    let mut failures = vec![];
    let (mut worst_score, mut worst_gradient) = (0f64, 0f64);
    for case in cases {
        let temperature = case["temperature"].as_f64().unwrap() as f32;
        for (branch, who) in [(0, "policy"), (REFERENCE, "reference")] {
            for (index, tokens) in sequences.iter().enumerate() {
                let got: Vec<f64> = score(&mut engine, branch, tokens, prompt, temperature)
                    .iter()
                    .map(|v| f64::from(*v))
                    .collect();
                let apart = apart(&got, &wide(&case[who][index]));
                worst_score = worst_score.max(apart);
                if apart.is_nan() || apart > bounds::LOSS {
                    failures.push(format!("{who} at {temperature}: {apart:.1e} apart, {got:?}"));
                }
            }
        }
        for method in ["grpo", "rloo", "ppo"] {
            engine.clear().unwrap();
            let mut loss = 0.0;
            for (index, tokens) in sequences.iter().enumerate() {
                let now = score(&mut engine, 0, tokens, prompt, temperature);
                let (part, coefs) = learn(method, &table, case, index, &now);
                loss += part;
                engine.gradient_of(0, &coefs).unwrap();
            }
            let want = &case[method];
            let mut check = |what: &str, got: &[f64], want: &[f64]| {
                let apart = apart(got, want);
                worst_gradient = worst_gradient.max(apart);
                if apart.is_nan() || apart > bounds::GRADIENT_COLD {
                    let text = format!("{method} at {temperature}, {what}: {got:?} is not {want:?}");
                    failures.push(text);
                }
            };
            check("loss", &[loss], &[want["loss"].as_f64().unwrap()]);
            let all = gradients(&mut engine);
            assert_eq!(all.len(), 18);
            for (name, numbers) in all {
                check(&name, &numbers, &wide(&want["gradients"][&name]));
            }
        }
    }
    println!("{on:?}: scores {worst_score:.1e}, losses and gradients {worst_gradient:.1e} apart");
    none_failed(&failures);
}

#[test]
fn log_probabilities_losses_and_gradients_are_those_of_trl_on_the_cpu() {
    as_trl(&DeviceChoice::Cpu);
}

#[test]
fn log_probabilities_losses_and_gradients_are_those_of_trl_on_the_gpu() {
    as_trl(&DeviceChoice::Gpu);
}

fn prompts() -> Vec<RlPrompt> {
    let one = |i: u32| RlPrompt {
        tokens: (0..4 + i).map(|k| 20 + (i * 13 + k * 29) % 200).collect(),
        text: format!("prompt {i}"),
        ..RlPrompt::default()
    };
    (0..2).map(one).collect()
}

fn options(method: Method, temperature: f32) -> RlOptions {
    let group = if matches!(method, Method::Ppo(_)) { 1 } else { 4 };
    let (passes, against) = (1, Against::Base);
    RlOptions { prompts: 2, group, max_new: 6, temperature, passes, against, ..RlOptions::of(method) }
}

fn written(engine: &mut Engine, options: &RlOptions, order: &[usize], step: u64) -> Vec<Answer> {
    let tokenizer = Tokenizer::from_metadata(&engine.model().gguf().metadata).unwrap();
    let prompts = prompts();
    let asked: Vec<(usize, &RlPrompt)> = order.iter().map(|i| (*i, &prompts[*i])).collect();
    rl::write(engine, &tokenizer, &asked, options, 3, step).unwrap()
}

/// A log-probability moves by at most twice what the largest of its logits moves, divided by the temperature. Decoding and
/// scoring sum in different orders: three layers of some eight products one behind the other, each of at most 128 terms, whose
/// roundings go with the root of their number, relative to logits of at most 30.
fn rounding(temperature: f32) -> f64 {
    let products = 3.0 * 8.0;
    2.0 * 30.0 / f64::from(temperature) * products * 128f64.sqrt() * f64::from(f32::EPSILON)
}

#[test]
fn what_the_sampler_reports_is_what_scoring_gives_at_the_temperature() {
    for on in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let model = model();
        let mut engine = engine(&model, &on);
        for temperature in [0.5, 0.7, 1.0, 1.3] {
            let options = options(Method::Grpo(Grpo::default()), temperature);
            for answer in written(&mut engine, &options, &[0, 1], 0) {
                let at = |engine: &mut Engine, t| score(engine, 0, &answer.tokens, answer.start, t);
                let (same, other) = (at(&mut engine, temperature), at(&mut engine, temperature * 1.2));
                assert_eq!(answer.old.len(), same.len());
                let apart = |all: &[f32]| {
                    let each = answer.old.iter().zip(all).map(|(a, b)| f64::from((a - b).abs()));
                    each.fold(0.0, f64::max)
                };
                let bound = rounding(temperature);
                assert!(apart(&same) <= bound, "at {temperature} on {on:?}: {} of {bound}", apart(&same));
                assert!(apart(&other) > 10.0 * bound, "a fifth more of temperature would go unseen");
            }
        }
    }
}

fn letters(text: &str) -> f64 {
    text.chars().filter(char::is_ascii_lowercase).count() as f64
}

fn trainer(model: &Model, options: &RlOptions) -> Trainer {
    let mix = Mix::new().with(from_fn("letters", |c: &Completion<'_>| letters(c.completion)), 1.0);
    let judges = Judges { mix, models: vec![] };
    // So low a rate that nothing moves.
    let settings =
        Settings { learning_rate: 1e-30, max_steps: Some(2), batch: 1, seed: 3, ..Settings::default() };
    let place = Place { device: device(&DeviceChoice::Cpu), ..Place::default() };
    let from = adapter(model);
    Trainer::rl(model, prompts(), judges, options, &settings, &place, Some(&from)).unwrap()
}

/// The policy's gradient of a step at a temperature, worked out with the objectives.
fn by_hand(engine: &mut Engine, method: &Method, answers: &[Answer], temperature: f32) -> Vec<f32> {
    let ask = |engine: &mut Engine, branch, answer: &Answer, t| {
        score(engine, branch, &answer.tokens, answer.start, t)
    };
    let tokens = answers.iter().map(Answer::len).sum();
    let window = Window { sequences: answers.len(), tokens, max_len: 6 };
    let references: Vec<Vec<f32>> =
        answers.iter().map(|answer| ask(engine, REFERENCE, answer, temperature)).collect();
    let each = answers.iter().zip(&references);
    let rewards: Vec<f64> = each
        .map(|(answer, reference)| match method {
            Method::Rloo(rloo) => rloo.penalized(letters(&answer.text), &answer.old, reference),
            _ => letters(&answer.text),
        })
        .collect();
    let mut advantages: Vec<Vec<f64>> = match method {
        Method::Grpo(grpo) => rewards.chunks(4).flat_map(|r| grpo.advantages(r)).map(|a| vec![a]).collect(),
        Method::Rloo(rloo) => rewards.chunks(4).flat_map(|r| rloo.advantages(r)).map(|a| vec![a]).collect(),
        Method::Ppo(ppo) => {
            let each = answers.iter().zip(&references).zip(&rewards);
            each.map(|((answer, reference), reward)| {
                let values = ask(engine, VALUE, answer, 1.0);
                ppo.gae(&ppo.rewards(&answer.old, reference, *reward), &values).0
            })
            .collect()
        }
    };
    if let Method::Ppo(ppo) = method {
        ppo.whiten(&mut advantages);
    }
    engine.clear().unwrap();
    for ((answer, reference), advantages) in answers.iter().zip(&references).zip(&advantages) {
        let now = ask(engine, 0, answer, temperature);
        let made = match method {
            Method::Grpo(m) => {
                m.sequence(&now, &answer.old, reference, advantages[0], m.norm(now.len(), window))
            }
            Method::Rloo(m) => m.sequence(&now, &answer.old, advantages[0], 1.0 / answers.len() as f64),
            Method::Ppo(m) => m.policy(&now, &answer.old, advantages, 1.0 / tokens as f64),
        };
        engine.gradient_of(0, &made.coefs).unwrap();
    }
    policy_gradient(engine)
}

fn policy_gradient(engine: &mut Engine) -> Vec<f32> {
    let blocks = engine.plans().blocks.clone();
    blocks.iter().filter(|b| b.branch == 0).flat_map(|b| engine.read(b.gradient).unwrap()).collect()
}

#[test]
fn a_step_is_made_at_the_rollouts_temperature() {
    let methods = [
        Method::Grpo(Grpo { beta: 0.1, ..Grpo::default() }),
        Method::Rloo(Rloo { beta: 0.1, ..Rloo::default() }),
        Method::Ppo(Ppo { kl: 0.1, ..Ppo::default() }),
    ];
    let model = model();
    for method in methods {
        for temperature in [0.6, 1.4] {
            let options = options(method, temperature);
            let mut trainer = trainer(&model, &options);
            let report = trainer.step(&mut |_| ()).unwrap().unwrap();
            assert!(!report.skipped, "{:?}", report.notes);
            let got = policy_gradient(trainer.engine());
            let asked = report.samples.iter().step_by(options.group);
            let order: Vec<usize> = asked.map(|s| usize::from(s.prompt == "prompt 1")).collect();
            let answers = written(trainer.engine(), &options, &order, 0);
            for (answer, sample) in answers.iter().zip(&report.samples) {
                assert_eq!(answer.text, sample.completion);
            }
            let want = by_hand(trainer.engine(), &method, &answers, temperature);
            let other = by_hand(trainer.engine(), &method, &answers, 1.0);
            let distance = |a: &[f32]| common::relative_l2(a, &want);
            let name = method.name();
            assert!(distance(&got) < bounds::ROUNDED, "{name} at {temperature}: {:.1e}", distance(&got));
            assert!(distance(&other) > 1e-2, "{name}: that at 1 is as good, {:.1e}", distance(&other));
            let metric = |name: &str| report.metrics.iter().find(|(n, _)| n == name).unwrap().1;
            assert!(metric("kl") >= 0.0);
        }
    }
}

#[test]
fn a_run_is_resumed_at_its_temperature_only() {
    let model = model();
    let grpo = Method::Grpo(Grpo::default());
    let folder = tempfile::tempdir().unwrap();
    let mut store = CommitStore::open(FolderSlots::open(&folder, "state").unwrap()).unwrap();
    let mut first = trainer(&model, &options(grpo, 0.7));
    first.step(&mut |_| ()).unwrap();
    first.save(&mut store, "a run").unwrap();
    let error = trainer(&model, &options(grpo, 1.0)).restore(&mut store, "a run").unwrap_err();
    assert!(matches!(error, CheckpointError::Settings(_)), "{error}");
    assert!(error.to_string().contains("temperature"), "{error}");
    assert!(trainer(&model, &options(grpo, 0.7)).restore(&mut store, "a run").unwrap());
}

#[test]
fn greedy_answers_are_refused() {
    for temperature in [0.0, -1.0, COLDEST / 2.0, f32::NAN, f32::INFINITY] {
        for method in
            [Method::Grpo(Grpo::default()), Method::Rloo(Rloo::default()), Method::Ppo(Ppo::default())]
        {
            let why = options(method, temperature).check().unwrap_err();
            assert!(why.contains("temperature"), "{why}");
        }
    }
    assert!(options(Method::Grpo(Grpo::default()), COLDEST).check().is_ok());
}

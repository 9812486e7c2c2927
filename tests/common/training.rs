//! A tiny model's training against transformers, PEFT and torch's AdamW (`tests/golden/training.json`, by `gen_training.py`).
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use emberlm::adapter::{Adapter, LoraPair};
use emberlm::model::{Model, Train};
use emberlm::plan::{Scalars, TensorId};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::{Example, Source};
use emberlm::train::objective::{Dpo, Kto, PairObjective, Sft};
use emberlm::train::{
    Against, Engine, EngineOptions, Feedback, FeedbackOptions, LoraOptions, Place, Recompute, Schedule,
    Sequence, Settings, Trainer,
};
use serde_json::Value;

use crate::common::bounds::{CHANGE, GRADIENT, LOSS};
use crate::common::{golden, none_failed, open};

/// What the generator calls so.
pub fn hashed(stream: u64, count: usize) -> impl Iterator<Item = u64> {
    const MASK: u64 = (1 << 32) - 1;
    (0..count as u64).map(move |i| {
        let h = (i + stream * 7919 + 1).wrapping_mul(2_654_435_761) & MASK;
        let h = (h ^ (h >> 15)).wrapping_mul(2_246_822_519) & MASK;
        h ^ (h >> 13)
    })
}

fn tokens(model: &Model, stream: u64, count: usize) -> Vec<u32> {
    let vocab = model.config().vocab as u64;
    hashed(1000 + stream, count).map(|h| (4 + h % (vocab - 4)) as u32).collect()
}

struct Golden(Value);

impl Golden {
    fn new() -> Self {
        Self(serde_json::from_str(&std::fs::read_to_string(golden("training.json")).unwrap()).unwrap())
    }

    fn number(&self, key: &str) -> f64 {
        self.0[key].as_f64().unwrap()
    }

    fn lora(&self) -> LoraOptions {
        let (rank, alpha) = (self.number("rank") as usize, self.number("alpha") as f32);
        LoraOptions { rank, alpha, ..LoraOptions::default() }
    }

    fn steps(&self, of: &str) -> Vec<Value> {
        self.0[of]["steps"].as_array().unwrap().clone()
    }
}

/// Factors in the order of their names, where training begins.
fn start(engine: &Engine) -> Vec<(TensorId, String, Vec<f32>)> {
    let mut all = engine.trained();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    let unit = |h: u64| h as f64 / f64::from(1u32 << 31) - 1.0;
    let values =
        |index: usize, count: usize| hashed(index as u64, count).map(|h| (unit(h) * 0.1) as f32).collect();
    all.into_iter()
        .enumerate()
        .map(|(i, (id, name, rows, width))| (id, name, values(i, rows * width)))
        .collect()
}

/// Norm, and two sums with waves.
pub fn three(values: &[f32]) -> [f64; 3] {
    let numbered = || values.iter().map(|v| f64::from(*v)).zip(1..).map(|(v, i)| (v, f64::from(i)));
    [
        numbered().map(|(v, _)| v * v).sum::<f64>().sqrt(),
        numbered().map(|(v, i)| v * i.sin()).sum(),
        numbered().map(|(v, i)| v * (3.0 * i).cos()).sum(),
    ]
}

/// Compares what a tensor comes to with what it should, relative to its norm.
pub fn compare(
    what: &str,
    values: &[f32],
    want: &Value,
    bound: f64,
    worst: &mut f64,
    failures: &mut Vec<String>,
) {
    let got = three(values);
    let want: Vec<f64> = want.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    for (got, wanted) in got.iter().zip(&want) {
        let apart = (got - wanted).abs() / want[0];
        *worst = worst.max(apart);
        if apart.is_nan() || apart > bound {
            failures.push(format!("{what}: {got} is not {wanted}, {apart:.1e} of the norm apart"));
        }
    }
}

pub fn gradient(engine: &mut Engine, name: &str) -> Vec<f32> {
    let wanted = format!("d {name}");
    let id = engine.program().tensors.iter().position(|t| t.name == wanted).unwrap();
    engine.read(TensorId(id as u32)).unwrap()
}

/// Changes of all factors since training began.
fn changes(engine: &mut Engine, table: &Value, failures: &mut Vec<String>) -> f64 {
    let mut worst = 0.0;
    let began = start(engine);
    assert_eq!(began.len(), table.as_object().unwrap().len());
    for (id, name, start) in began {
        let now = engine.read(id).unwrap();
        let moved: Vec<f32> = now.iter().zip(start).map(|(n, s)| n - s).collect();
        compare(&format!("change of {name}"), &moved, &table[&name], CHANGE, &mut worst, failures);
    }
    worst
}

/// Twelve steps of SFT, in small chunks, with some layers run again.
pub fn sft(device: DeviceChoice) {
    let (golden_run, model) = (Golden::new(), open(&golden("arch/llama-untied.gguf")));
    let length = golden_run.number("length") as usize;
    let options = EngineOptions {
        device: SessionOptions { device, ..SessionOptions::default() },
        rows: length,
        seq: length,
        outputs: Some(7),
        recompute: Recompute::Layers(2),
        train: Train::Adapters,
        adapters: golden_run.lora().shape(&model),
        ..EngineOptions::default()
    };
    let mut engine = Engine::boot(&model, &options).unwrap();
    for (id, _, values) in start(&engine) {
        engine.write(id, &values).unwrap();
    }
    let (mut failures, mut worst, mut loss_worst) = (vec![], 0.0, 0f64);
    let steps = golden_run.steps("sft");
    assert_eq!(steps.len(), 12);
    for (step, want) in steps.iter().enumerate() {
        let first = if step % 2 == 1 { 1 } else { golden_run.number("prompt") as usize };
        let tokens = tokens(&model, step as u64, length);
        let trained: Vec<bool> = (0..length).map(|i| i >= first).collect();
        let sequence = Sequence { tokens: &tokens, trained: &trained };
        let objective = Sft { targets: sequence.targets() };
        engine.clear().unwrap();
        let coefs = vec![objective.coefficient(); sequence.targets()];
        let loss = objective.loss(&engine.gradient(&[sequence], &coefs, 0).unwrap());
        let norm = engine.norm().unwrap();
        for (got, key) in [(loss, "loss"), (norm, "grad_norm")] {
            let wanted = want[key].as_f64().unwrap();
            let apart = (got - wanted).abs() / wanted;
            loss_worst = loss_worst.max(apart);
            if apart.is_nan() || apart > if key == "loss" { LOSS } else { GRADIENT } {
                failures.push(format!("step {}: {key} {got}, PEFT's {wanted}", step + 1));
            }
        }
        if step == 0 {
            for (_, name, _) in start(&engine) {
                let (got, want) = (gradient(&mut engine, &name), &golden_run.0["sft"]["gradients"][&name]);
                let what = format!("gradient of {name}");
                compare(&what, &got, want, GRADIENT, &mut worst, &mut failures);
            }
        }
        engine.update(scalars(&golden_run, step as i32 + 1)).unwrap();
    }
    let moved = changes(&mut engine, &golden_run.0["sft"]["changes"], &mut failures);
    println!("losses and norms {loss_worst:.1e} apart, gradients {worst:.1e}, changes {moved:.1e}");
    none_failed(&failures);
}

fn scalars(golden: &Golden, t: i32) -> Scalars {
    Scalars {
        rate: golden.number("rate") as f32,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        decay: golden.number("decay") as f32,
        scale: 1.0,
        correct1: 1.0 - 0.9f32.powi(t),
        correct2: 1.0 - 0.999f32.powi(t),
    }
}

/// The adapter that training begins with.
fn adapter(golden: &Golden, model: &Model) -> Adapter {
    let options = EngineOptions {
        device: SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() },
        rows: 4,
        seq: 4,
        train: Train::Adapters,
        adapters: golden.lora().shape(model),
        ..EngineOptions::default()
    };
    let engine = Engine::boot(model, &options).unwrap();
    let all = start(&engine);
    let mut shapes: Vec<_> =
        engine.trained().into_iter().map(|(_, name, rows, width)| (name, rows, width)).collect();
    shapes.sort();
    let rank = golden.number("rank") as usize;
    let pair = |at: usize| LoraPair {
        target: all[at].1.strip_suffix(".weight.lora_a").unwrap().to_owned(),
        rank,
        inputs: shapes[at].2,
        outputs: shapes[at + 1].1,
        a: all[at].2.clone(),
        b: all[at + 1].2.clone(),
    };
    let pairs = (0..all.len()).step_by(2).map(pair).collect();
    Adapter { alpha: golden.number("alpha") as f32, pairs, ..Adapter::default() }
}

/// Six steps of DPO, a pair each, against the model without adapters.
pub fn dpo(device: DeviceChoice) {
    let (golden_run, model) = (Golden::new(), open(&golden("arch/llama-untied.gguf")));
    let from = adapter(&golden_run, &model);
    let prompt_len = golden_run.number("prompt") as usize;
    let steps = golden_run.steps("dpo");
    assert_eq!(steps.len(), 6);
    let pair = |step: u64| {
        let prompt = tokens(&model, 100 + step, prompt_len);
        let answer = |i: u64| {
            let all = [prompt.clone(), tokens(&model, 200 + 2 * step + i, 10 - 3 * i as usize)].concat();
            let trained = (0..all.len()).map(|t| t >= prompt.len()).collect();
            Example::new(all, trained, Source::default())
        };
        Feedback::Pair { chosen: answer(0), rejected: answer(1) }
    };
    let settings = Settings {
        learning_rate: golden_run.number("rate") as f32,
        weight_decay: golden_run.number("decay") as f32,
        schedule: Schedule::Constant,
        clip: 0.0,
        batch: 1,
        epochs: 1,
        ..Settings::default()
    };
    let options = FeedbackOptions {
        pairs: PairObjective::Dpo(Dpo { beta: golden_run.number("beta") }),
        kto: Kto::default(),
        sft: 0.0,
        against: Against::Base,
    };
    let items: Vec<Feedback> = (0..steps.len() as u64).map(pair).collect();
    let settings = Settings { seed: seed_of_order(&items), ..settings };
    let place = Place { device: SessionOptions { device, ..SessionOptions::default() }, ..Place::default() };
    let mut trainer =
        Trainer::feedback(&model, items, vec![], &options, &settings, &place, Some(&from)).unwrap();
    let (mut failures, mut worst) = (vec![], 0f64);
    for (step, want) in steps.iter().enumerate() {
        let report = trainer.step(&mut |_| ()).unwrap().unwrap();
        let margin = report.metrics.iter().find(|(name, _)| name == "margin").unwrap().1;
        for (got, key) in [(report.loss, "loss"), (margin, "margin"), (report.grad_norm, "grad_norm")] {
            let wanted = want[key].as_f64().unwrap();
            let apart = (got - wanted).abs() / wanted.abs();
            worst = worst.max(apart);
            // Margins are differences of sums some hundred times as large.
            if apart.is_nan() || apart > GRADIENT {
                failures.push(format!("step {}: {key} {got}, TRL's {wanted}", step + 1));
            }
        }
    }
    let engine = trainer.engine();
    let moved = changes(engine, &golden_run.0["dpo"]["changes"], &mut failures);
    println!("losses, margins and norms {worst:.1e} apart, changes {moved:.1e}");
    none_failed(&failures);
}

/// A seed whose first epoch takes pairs in their order, one at a time.
pub fn seed_of_order(pairs: &[Feedback]) -> u64 {
    use emberlm::train::data::{Batcher, Batching};
    let rows = |pair: &Feedback| match pair {
        Feedback::Pair { chosen, rejected } => chosen.tokens.len() + rejected.tokens.len() - 2,
        _ => 1,
    };
    let in_order = |seed: &u64| {
        let batches = Batcher::new(pairs.iter().map(rows), Batching::Sequences(1), *seed).unwrap();
        batches.take(pairs.len()).map(|b| b.examples[0]).eq(0..pairs.len())
    };
    (0..100_000).find(in_order).expect("one of some hundred orders")
}

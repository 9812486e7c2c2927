//! Fifty steps of training all weights against torch (`tests/golden/pretrain.json`, by `gen_pretrain.py`), by the engine's calls.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{golden, none_failed, open};
use emberlm::model::{Model, Train};
use emberlm::plan::{Scalars, TensorId};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::objective::Sft;
use emberlm::train::{Engine, EngineOptions, Recompute, Sequence};
use serde_json::Value;

/// Against double precision, relative: losses, gradients' norms and sums, what fifty steps change.
const LOSS: f64 = 5e-6;
const GRADIENT: f64 = 2e-5;
const CHANGE: f64 = 1e-4;

/// What the generator calls so.
fn hashed(stream: u64, count: usize) -> impl Iterator<Item = u64> {
    const MASK: u64 = (1 << 32) - 1;
    (0..count as u64).map(move |i| {
        let h = (i + stream * 7919 + 1).wrapping_mul(2_654_435_761) & MASK;
        let h = (h ^ (h >> 15)).wrapping_mul(2_246_822_519) & MASK;
        h ^ (h >> 13)
    })
}

/// A tensor's name and values.
type Named = (String, Vec<f32>);

struct Run {
    table: Value,
    engine: Engine,
    vocab: u64,
    failures: Vec<String>,
}

impl Run {
    fn new(recompute: Recompute) -> Self {
        let table = std::fs::read_to_string(golden("pretrain.json")).unwrap();
        let model = open(&golden("arch/llama-tied.gguf"));
        let options = EngineOptions {
            device: SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() },
            rows: 64,
            seq: 17,
            outputs: Some(13),
            recompute,
            train: Train::All,
            ..EngineOptions::default()
        };
        let mut engine = Engine::boot(&model, &options).unwrap();
        for (id, name, rows, width) in engine.trained() {
            engine.write(id, &weights(&model, &name, rows * width)).unwrap();
        }
        let vocab = model.config().vocab as u64;
        Self { table: serde_json::from_str(&table).unwrap(), engine, vocab, failures: vec![] }
    }

    fn number(&self, key: &str) -> f64 {
        self.table[key].as_f64().unwrap()
    }

    /// Sequences of a micro-batch.
    fn sequences(&self, stream: u64) -> Vec<Vec<u32>> {
        let (count, longest) = (self.number("sequences") as usize, self.number("longest") as u64);
        let lengths: Vec<usize> = hashed(5000 + stream, count).map(|h| (2 + h % longest) as usize).collect();
        let mut tokens =
            hashed(1000 + stream, lengths.iter().sum()).map(|h| (4 + h % (self.vocab - 4)) as u32);
        lengths.iter().map(|length| tokens.by_ref().take(*length).collect()).collect()
    }

    fn near(&mut self, what: &str, got: f64, want: f64, bound: f64) -> f64 {
        let apart = (got - want).abs() / want.abs();
        if apart.is_nan() || apart > bound {
            self.failures.push(format!("{what}: {got}, torch's {want}"));
        }
        apart
    }

    /// Compares three sums of each tensor's values with those of a table, relative to the norm.
    fn compare(&mut self, what: &str, values: &[Named], bound: f64) -> f64 {
        let table = self.table[what].clone();
        assert_eq!(values.len(), table.as_object().unwrap().len());
        let mut worst = 0f64;
        for (name, values) in values {
            let numbered = || values.iter().map(|v| f64::from(*v)).zip(1..).map(|(v, i)| (v, f64::from(i)));
            let got = [
                numbered().map(|(v, _)| v * v).sum::<f64>().sqrt(),
                numbered().map(|(v, i)| v * i.sin()).sum(),
                numbered().map(|(v, i)| v * (3.0 * i).cos()).sum(),
            ];
            for (i, got) in got.into_iter().enumerate() {
                let (want, norm) = (table[name][i].as_f64().unwrap(), table[name][0].as_f64().unwrap());
                let apart = (got - want).abs() / norm;
                worst = worst.max(apart);
                if apart.is_nan() || apart > bound {
                    self.failures.push(format!("{what} of {name}: {got}, torch's {want}"));
                }
            }
        }
        worst
    }

    /// A step; gives how far loss and norm are apart.
    fn step(&mut self, step: usize) -> f64 {
        let want = self.table["steps"][step].clone();
        let accumulate = self.number("accumulate") as usize;
        let batches: Vec<_> =
            (0..accumulate).map(|m| self.sequences((step * accumulate + m) as u64)).collect();
        let targets = batches.iter().flatten().map(|s| s.len() - 1).sum::<usize>();
        assert_eq!(targets as u64, want["targets"].as_u64().unwrap());
        let objective = Sft { targets };
        self.engine.clear().unwrap();
        let mut loss = 0.0;
        for batch in &batches {
            let trained = [true; 32];
            let sequences: Vec<Sequence> =
                batch.iter().map(|tokens| Sequence { tokens, trained: &trained[..tokens.len()] }).collect();
            let coefs = vec![objective.coefficient(); sequences.iter().map(Sequence::targets).sum()];
            loss += objective.loss(&self.engine.gradient(&sequences, &coefs, 0).unwrap());
        }
        let norm = self.engine.norm().unwrap();
        let number = |key: &str| want[key].as_f64().unwrap();
        let loss = self.near(&format!("loss of step {step}"), loss, number("loss"), LOSS);
        let size = self.near(&format!("norm of step {step}"), norm, number("grad_norm"), GRADIENT);
        if step == 0 {
            let gradients = self.values("d ");
            let worst = self.compare("gradients", &gradients, GRADIENT);
            println!("gradients {worst:.1e} apart");
        }
        let rate = number("rate");
        // Matrices alone decay, whatever the plan does.
        let decay = (1.0 - rate * self.number("decay")) as f32;
        for (id, _, rows, _) in self.engine.trained() {
            if rows > 1 {
                let values: Vec<f32> = self.engine.read(id).unwrap().iter().map(|w| w * decay).collect();
                self.engine.write(id, &values).unwrap();
            }
        }
        let t = step as i32 + 1;
        let (beta1, beta2) = (self.number("beta1") as f32, self.number("beta2") as f32);
        let scalars = Scalars {
            rate: rate as f32,
            beta1,
            beta2,
            eps: self.number("eps") as f32,
            decay: 0.0,
            scale: (self.number("clip") / norm).min(1.0) as f32,
            correct1: (1.0 - f64::from(beta1).powi(t)) as f32,
            correct2: (1.0 - f64::from(beta2).powi(t)) as f32,
        };
        self.engine.update(scalars).unwrap();
        loss.max(size)
    }

    /// What is trained, or its gradients.
    fn values(&mut self, prefix: &str) -> Vec<Named> {
        let names: Vec<String> = self.engine.trained().into_iter().map(|(_, name, ..)| name).collect();
        let mut read = |name: String| {
            let wanted = format!("{prefix}{name}");
            let id = self.engine.program().tensors.iter().position(|t| t.name == wanted).unwrap();
            (name, self.engine.read(TensorId(id as u32)).unwrap())
        };
        names.into_iter().map(&mut read).collect()
    }
}

fn weights(model: &Model, name: &str, count: usize) -> Vec<f32> {
    let (all, mut values) = (model.weights(), vec![0.0; count]);
    all.shape(name).unwrap().format.decode(all.bytes(name).unwrap(), &mut values).unwrap();
    values
}

#[test]
fn fifty_steps_are_those_of_torch() {
    for recompute in [Recompute::Nothing, Recompute::All] {
        let mut run = Run::new(recompute);
        let began = run.values("");
        let steps = run.table["steps"].as_array().unwrap().len();
        assert_eq!(steps, 50);
        let worst = (0..steps).map(|step| run.step(step)).fold(0.0, f64::max);
        let now = run.values("");
        let moved = |(began, now): (&Named, &Named)| {
            (now.0.clone(), now.1.iter().zip(&began.1).map(|(n, b)| n - b).collect())
        };
        let changes: Vec<Named> = began.iter().zip(&now).map(moved).collect();
        let changes = run.compare("changes", &changes, CHANGE);
        let weights = run.compare("weights", &now, CHANGE);
        println!("losses and norms {worst:.1e} apart, changes {changes:.1e}, weights {weights:.1e}");
        none_failed(&run.failures);
    }
}

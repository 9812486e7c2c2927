//! Fifty steps of training all weights of a tiny model against torch in double precision (`tests/golden/pretrain.json`, by
//! `gen_pretrain.py`): losses, norms, gradients of the first step, and the weights at the end.
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/training.rs"]
mod training;

use common::{bounds, golden, none_failed, open};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::corpus::Pieces;
use emberlm::train::pretrain::{Samples, Windows};
use emberlm::train::{Place, Schedule, Settings, TrainError, Trainer};
use serde_json::Value;
use training::{compare, gradient, hashed};

/// A micro-batch of the generator is a window of four documents.
struct Batches {
    sequences: usize,
    longest: u64,
    vocab: u64,
}

impl Windows for Batches {
    fn per_epoch(&self) -> u64 {
        1 << 20
    }

    fn window(&self, index: u64, out: &mut Pieces) -> Result<(), TrainError> {
        let lengths: Vec<usize> =
            hashed(5000 + index, self.sequences).map(|h| (2 + h % self.longest) as usize).collect();
        let mut tokens =
            hashed(1000 + index, lengths.iter().sum()).map(|h| (4 + h % (self.vocab - 4)) as u32);
        for length in lengths {
            out.push(&tokens.by_ref().take(length).collect::<Vec<_>>());
        }
        Ok(())
    }

    fn held_out(&self) -> u64 {
        0
    }

    fn held_out_window(&self, _: u64, _: &mut Pieces) -> Result<(), TrainError> {
        Ok(())
    }
}

fn settings(table: &Value) -> (Settings, Box<Batches>, Model) {
    let number = |key: &str| table[key].as_f64().unwrap();
    let model = open(&golden("arch/llama-tied.gguf"));
    let (sequences, longest) = (number("sequences") as usize, number("longest") as u64);
    let settings = Settings {
        learning_rate: number("rate") as f32,
        schedule: Schedule::Cosine,
        floor: number("floor") as f32,
        warmup: number("warmup") as u64,
        weight_decay: number("decay") as f32,
        betas: (number("beta1") as f32, number("beta2") as f32),
        epsilon: number("eps") as f32,
        clip: number("clip") as f32,
        batch: 1,
        accumulate: number("accumulate") as usize,
        seq: sequences * (longest as usize + 1),
        max_steps: Some(table["steps"].as_array().unwrap().len() as u64),
        ..Settings::default()
    };
    let batches = Box::new(Batches { sequences, longest, vocab: model.config().vocab as u64 });
    (settings, batches, model)
}

fn run(device: DeviceChoice, steps: usize) {
    let table: Value =
        serde_json::from_str(&std::fs::read_to_string(golden("pretrain.json")).unwrap()).unwrap();
    let (settings, batches, model) = settings(&table);
    let device = SessionOptions { device, ..SessionOptions::default() };
    // Chunks that do not divide the targets.
    let place = Place { device, chunk: Some(24), ..Place::default() };
    let mut run = Trainer::pretrain(&model, batches, Samples::default(), &settings, &place).unwrap();
    let (mut failures, mut worst) = (vec![], [0.0f64; 4]);
    for (index, want) in table["steps"].as_array().unwrap().iter().take(steps).enumerate() {
        let report = run.step(&mut |_| ()).unwrap().unwrap();
        let mut near = |what: &str, got: f64, bound: f64, worst: &mut f64| {
            let want = want[what].as_f64().unwrap();
            let apart = (got - want).abs() / want.abs();
            *worst = worst.max(apart);
            if apart.is_nan() || apart > bound {
                failures.push(format!("step {}: {what} {got} is not {want}", index + 1));
            }
        };
        near("loss", report.loss, bounds::LOSS, &mut worst[0]);
        near("grad_norm", report.grad_norm, bounds::LOSS, &mut worst[1]);
        near("rate", report.rate, bounds::ROUNDED, &mut 0.0);
        assert_eq!(report.targets, want["targets"].as_u64().unwrap());
        for (name, want) in table["gradients"].as_object().unwrap().iter().filter(|_| index == 0) {
            let got = gradient(run.engine(), name);
            compare(
                &format!("gradient of {name}"),
                &got,
                want,
                bounds::GRADIENT,
                &mut worst[2],
                &mut failures,
            );
        }
    }
    if steps == table["steps"].as_array().unwrap().len() {
        for (id, name, ..) in run.engine().trained() {
            let got = run.engine().read(id).unwrap();
            compare(&name, &got, &table["weights"][&name], bounds::CHANGE, &mut worst[3], &mut failures);
        }
    }
    println!(
        "{}: losses {:.1e}, norms {:.1e}, gradients {:.1e}, weights {:.1e} apart",
        run.engine().device().name,
        worst[0],
        worst[1],
        worst[2],
        worst[3]
    );
    none_failed(&failures);
}

#[test]
fn fifty_steps_on_the_cpu() {
    run(DeviceChoice::Cpu, 50);
}

#[test]
fn fifty_steps_on_the_gpu() {
    run(DeviceChoice::Gpu, 50);
}

//! Training as PEFT does: losses, gradients and what the adapter has become; a tiny model (`tests/golden/training.json`), and the
//! default model where larger reference data lies beside the project.
#![cfg(all(feature = "cli", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/training.rs"]
mod training;

use common::bounds::{EVERY_LOSS, FINAL_COSINE, FIRST_LOSS, GRADIENT_COSINE, GRADIENT_ERROR};
use common::default_model::default_model;
use common::npy::read_tokens;
use common::{none_failed, relative_l2, shared};
use emberlm::adapter::{Adapter, hf};
use emberlm::model::Train;
use emberlm::plan::Scalars;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::objective::Sft;
use emberlm::train::{Engine, EngineOptions, Recompute, Sequence, load_adapter, shape_of};
use std::path::{Path, PathBuf};

const ALPHA: f32 = 16.0;
const LENGTH: usize = 128;

fn import(dir: &Path, name: &str) -> Adapter {
    let bytes = std::fs::read(dir.join(name)).unwrap();
    hf::from_bytes(&bytes, None, Some(ALPHA), default_model().gguf()).unwrap()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// All factors of an adapter, named as the engine names them.
fn factor<'a>(adapter: &'a Adapter, name: &str) -> &'a [f32] {
    let (matrix, which) = name.rsplit_once('.').unwrap();
    let pair = adapter.pair(matrix.strip_suffix(".weight").unwrap()).expect("a pair");
    if which == "lora_a" { &pair.a } else { &pair.b }
}

fn boot(device: DeviceChoice, adapter: &Adapter, recompute: Recompute) -> Engine {
    let options = EngineOptions {
        device: SessionOptions { device, ..SessionOptions::default() },
        rows: LENGTH - 1,
        seq: LENGTH,
        outputs: None,
        recompute,
        train: Train::Adapters,
        adapters: shape_of(adapter, 0.0),
        ..EngineOptions::default()
    };
    Engine::boot(default_model(), &options).unwrap()
}

fn losses(dir: &Path, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["steps"].as_array().unwrap().iter().map(|s| s["loss"].as_f64().unwrap()).collect()
}

struct Reference {
    dir: PathBuf,
    tokens: Vec<u32>,
    start: Adapter,
}

fn reference() -> Option<Reference> {
    let dir = shared()?.join("reference/sft");
    let tokens = read_tokens(&dir.join("seqs.npy"));
    let start = import(&dir, "adapter_rand_hf.safetensors");
    Some(Reference { dir, tokens, start })
}

/// One window of one sequence: the loss.
fn window(engine: &mut Engine, tokens: &[u32]) -> f64 {
    let sequence = Sequence { tokens, trained: &[true; LENGTH] };
    let objective = Sft { targets: sequence.targets() };
    engine.clear().unwrap();
    let coefs = vec![objective.coefficient(); sequence.targets()];
    objective.loss(&engine.gradient(&[sequence], &coefs, 0).unwrap())
}

/// Runs the tiny model, and `steps` steps of the larger reference on a device.
fn compare(device: DeviceChoice, steps: usize) {
    training::sft(device.clone());
    if let Some(reference) = reference() {
        compare_with(reference, device, steps);
    }
}

/// The default model against the larger data.
fn compare_with(Reference { dir, tokens, start }: Reference, device: DeviceChoice, steps: usize) {
    let mut engine = boot(device, &start, Recompute::All);
    println!("{}, {} bytes planned", engine.device().name, engine.layout().total());
    load_adapter(&mut engine, &start).unwrap();
    let expected = losses(&dir, "sft_rand_f32.json");
    let gradients = import(&dir, "grads_rand_seq0_hf.safetensors");
    let mut failures = vec![];
    for step in 0..steps {
        let loss = window(&mut engine, &tokens[step * LENGTH..][..LENGTH]);
        let apart = (loss - expected[step]).abs() / expected[step];
        println!("step {}: loss {loss:.6}, PEFT {:.6}, {apart:.1e} apart", step + 1, expected[step]);
        if apart > if step == 0 { FIRST_LOSS } else { EVERY_LOSS } {
            failures.push(format!("step {}: loss {loss}, PEFT {}", step + 1, expected[step]));
        }
        if step == 0 {
            let (mut least, mut most) = (1.0f64, 0.0f64);
            for (id, name, ..) in engine.trained() {
                let program = engine.program();
                let d = format!("d {name}");
                let sum = program.tensors.iter().position(|t| t.name == d).unwrap() as u32;
                let got = engine.read(emberlm::plan::TensorId(sum)).unwrap();
                let want = factor(&gradients, &name);
                let (cosine, error) = (cosine(&got, want), relative_l2(&got, want));
                (least, most) = (least.min(cosine), most.max(error));
                if cosine < GRADIENT_COSINE || error > GRADIENT_ERROR {
                    failures.push(format!("gradient of {name} ({}): cosine {cosine}, error {error}", id.0));
                }
            }
            println!("gradients: least cosine {least:.7}, largest relative error {most:.1e}");
        }
        let t = step as i32 + 1;
        let scalars = Scalars {
            rate: 1e-4,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decay: 0.0,
            scale: 1.0,
            correct1: 1.0 - 0.9f32.powi(t),
            correct2: 1.0 - 0.999f32.powi(t),
        };
        engine.update(scalars).unwrap();
    }
    if steps == expected.len() {
        let end = import(&dir, "adapter_rand_after20_hf.safetensors");
        let mut least = (1.0f64, 1.0f64);
        for (id, name, ..) in engine.trained() {
            let got = engine.read(id).unwrap();
            let (start, want) = (factor(&start, &name), factor(&end, &name));
            let moved =
                |values: &[f32]| -> Vec<f32> { values.iter().zip(start).map(|(v, s)| v - s).collect() };
            let (whole, change) = (cosine(&got, want), cosine(&moved(&got), &moved(want)));
            least = (least.0.min(whole), least.1.min(change));
            if whole < FINAL_COSINE || change < FINAL_COSINE {
                failures.push(format!("{name} after {steps} steps: cosine {whole}, of the change {change}"));
            }
        }
        println!("after {steps} steps: least cosine {:.6}, of the change {:.6}", least.0, least.1);
    }
    none_failed(&failures);
}

#[test]
fn the_cpu_trains_as_peft_does() {
    compare(DeviceChoice::Cpu, 20);
}

/// All twenty steps take minutes on a software GPU: `scripts/test long`.
#[test]
fn the_gpu_trains_as_peft_does() {
    compare(DeviceChoice::Gpu, if cfg!(feature = "long-tests") { 20 } else { 2 });
}

//! Gemma 3 270M, the real file, against transformers and PEFT in float32 and sentencepiece: token ids, last logits
//! and likelihood of a text beyond the window, a step of SFT. The file comes under terms that one has to agree to, so
//! that these tests run only where they are asked for: `ember pull gemma3-270m --accept-licence gemma`, then
//! `cargo test --test reference_gemma3 -- --ignored`.
#![cfg(all(feature = "cli", feature = "train"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/training.rs"]
mod training;

use std::path::PathBuf;
use std::sync::OnceLock;

use common::npy::{read_f32, read_tokens};
use common::{boot, bounds, golden, mean_nll, none_failed, open, options, relative_l2};
use emberlm::cli::store::{Catalog, Home};
use emberlm::model::{AdapterShape, KvType, Model, PairShape, Train};
use emberlm::plan::TensorId;
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};
use emberlm::text::Tokenizer;
use emberlm::train::objective::Sft;
use emberlm::train::{Engine, EngineOptions, Recompute, Sequence};

/// Step between the logits that the golden files keep.
const SAMPLED: usize = 257;

/// The file that `EMBER_TEST_GEMMA3` names, or the one that `ember pull` has stored.
fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let stored = || {
            let catalog = Catalog::built_in().unwrap();
            let found = Home::find().unwrap().present(catalog.get("gemma3-270m").unwrap());
            found.expect("`ember pull gemma3-270m --accept-licence gemma`, or EMBER_TEST_GEMMA3=FILE")
        };
        open(&std::env::var_os("EMBER_TEST_GEMMA3").map_or_else(stored, PathBuf::from))
    })
}

fn file(name: &str) -> PathBuf {
    golden("gemma3").join(name)
}

#[test]
#[ignore = "needs gemma3-270m"]
fn token_ids_are_sentencepieces() {
    let tokenizer = Tokenizer::from_metadata(&model().gguf().metadata).unwrap();
    let text = std::fs::read_to_string(file("text.txt")).unwrap();
    assert_eq!(tokenizer.encode(&text, false, true), read_tokens(&file("tokens.npy")));
    let rows: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(file("tokens.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    for row in &rows {
        let text = row["text"].as_str().unwrap();
        let want: Vec<u32> =
            row["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let got = tokenizer.encode(text, false, false);
        if got != want {
            failures.push(format!("{text:?}: {got:?}, sentencepiece {want:?}"));
        }
        if tokenizer.decode(&got, false) != text {
            failures.push(format!("{text:?} comes back as {:?}", tokenizer.decode(&got, false)));
        }
    }
    none_failed(&failures);
}

/// Last logits, and likelihood of each token.
fn check(what: &str, session: &mut Session, tolerance: f64) -> Vec<String> {
    let tokens = read_tokens(&file("tokens.npy"));
    let sample = |logits: &[f32]| logits.iter().copied().step_by(SAMPLED).collect::<Vec<f32>>();
    let logits = relative_l2(&sample(&session.logits(&tokens).unwrap()), &read_f32(&file("logits.npy")));
    session.reset();
    let (scores, want) = (session.score(&tokens).unwrap(), read_f32(&file("tok_lp.npy")));
    let (got, nll) = (mean_nll(&scores), mean_nll(&want));
    println!(
        "{what}: last logits {logits:.1e}, NLL {got:.6} of {nll:.6}, tokens {:.1e}",
        relative_l2(&scores, &want)
    );
    let apart = (got - nll).abs() / nll;
    let line = format!(
        "{what}: last logits {logits:.1e}, NLL {apart:.1e} from the reference, tolerance {tolerance:.0e}"
    );
    (logits > tolerance || apart > tolerance).then_some(line).into_iter().collect()
}

fn on(device: DeviceChoice) {
    let modes = Modes { generate: false, logits: true, score: true };
    let options = |kv, exact| SessionOptions { ctx: Some(768), exact, ..options(device.clone(), kv, modes) };
    let mut failures = check("f32 KV", &mut boot(model(), &options(KvType::F32, true)), bounds::GEMMA);
    failures.extend(check(
        "16-bit KV",
        &mut boot(model(), &options(KvType::Block16, false)),
        bounds::GEMMA_BLOCK16,
    ));
    none_failed(&failures);
}

#[test]
#[ignore = "needs gemma3-270m"]
fn the_cpu_gives_the_references_numbers() {
    on(DeviceChoice::Cpu);
}

#[cfg(feature = "gpu")]
#[test]
#[ignore = "needs gemma3-270m"]
fn the_gpu_gives_the_references_numbers() {
    on(DeviceChoice::Gpu);
}

#[test]
#[ignore = "needs gemma3-270m"]
fn a_step_of_sft_is_pefts() {
    let table: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file("sft.json")).unwrap()).unwrap();
    let number = |key: &str| table[key].as_f64().unwrap();
    let (rank, length) = (number("rank") as usize, number("tokens") as usize);
    let shape = PairShape { rank, scale: (number("alpha") / number("rank")) as f32 };
    let kinds = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let layers = 0..model().config().layers.len();
    let pairs = layers.flat_map(|l| kinds.map(|kind| (format!("blk.{l}.{kind}"), shape))).collect();
    let options = EngineOptions {
        device: SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() },
        rows: length - 1,
        seq: length,
        recompute: Recompute::All,
        train: Train::Adapters,
        adapters: AdapterShape { pairs, dropout: 0.0 },
        ..EngineOptions::default()
    };
    let mut engine = Engine::boot(model(), &options).unwrap();
    let mut all = engine.trained();
    all.sort_by(|a, b| a.1.cmp(&b.1));
    for (index, (id, _, rows, width)) in all.iter().enumerate() {
        let unit = |h: u64| ((h as f64 / f64::from(1u32 << 31) - 1.0) * 0.1) as f32 * 0.2;
        let values: Vec<f32> = training::hashed(index as u64, rows * width).map(unit).collect();
        engine.write(*id, &values).unwrap();
    }
    let tokens = read_tokens(&file("tokens.npy"));
    let sequence = Sequence { tokens: &tokens[..length], trained: &vec![true; length] };
    let objective = Sft { targets: sequence.targets() };
    engine.clear().unwrap();
    let coefs = vec![objective.coefficient(); sequence.targets()];
    let loss = objective.loss(&engine.gradient(&[sequence], &coefs, 0).unwrap());
    let mut sample = Vec::new();
    for (_, name, ..) in &all {
        let d = format!("d {name}");
        let sum = engine.program().tensors.iter().position(|t| t.name == d).unwrap() as u32;
        sample.extend(engine.read(TensorId(sum)).unwrap().into_iter().step_by(number("stride") as usize));
    }
    let want = read_f32(&file("sft.npy"));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(&sample, &want) / (dot(&sample, &sample) * dot(&want, &want)).sqrt();
    let apart = (loss - number("loss")).abs() / number("loss");
    println!(
        "loss {loss:.6}, PEFT {:.6}; cosine {cosine:.7}, {:.1e} apart",
        number("loss"),
        relative_l2(&sample, &want)
    );
    assert!(
        apart <= bounds::FIRST_LOSS && cosine >= bounds::GRADIENT_COSINE,
        "loss {apart:.1e} apart, cosine {cosine}"
    );
}

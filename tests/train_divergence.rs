//! How far a model is from its base: exact over the vocabulary, on both executors, never below zero, in a map that hardly grows.
#![cfg(all(feature = "train", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{bounds, golden, open};
use emberlm::exec::cpu;
use emberlm::model::{Branch, BranchHead, Model, Train};
use emberlm::plan::{Profile, SegmentKind};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::Random;
use emberlm::train::{Engine, EngineOptions, LoraOptions, Sequence, initialize, plan};

/// The branch that tells how far the first one is from it, and a reference without adapters.
const APART: usize = 1;
const BASE: usize = 2;
const TEXT: [u32; 11] = [20, 90, 41, 7, 130, 66, 201, 14, 55, 33, 120];

fn model() -> Model {
    open(&golden("arch/llama-tied.gguf"))
}

fn options(model: &Model, device: DeviceChoice) -> EngineOptions {
    let branch = |name: &str, head| Branch { name: name.into(), head, ..Branch::default() };
    EngineOptions {
        device: SessionOptions { device, threads: Some(2), ..SessionOptions::default() },
        // As many beginnings of a text as there are tokens to follow it.
        rows: 272 * 6,
        seq: 24,
        // Several chunks for one text.
        outputs: Some(4),
        train: Train::Adapters,
        adapters: LoraOptions { rank: 3, alpha: 3.0, ..LoraOptions::default() }.shape(model),
        branches: vec![branch("apart", BranchHead::Divergence), branch("base", BranchHead::Tokens)],
        ..EngineOptions::default()
    }
}

/// Gives the adapters values of a size.
fn fill(engine: &mut Engine, size: f32, seed: u64) {
    let mut random = Random::new(seed, 0);
    let mut unit = || (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    for (id, _, rows, width) in engine.tensors_of(0) {
        let values: Vec<f32> = (0..rows * width).map(|_| size * unit()).collect();
        engine.write(id, &values).unwrap();
    }
}

fn divergences(engine: &mut Engine, temperature: f32) -> Vec<f32> {
    let trained = [true; TEXT.len()];
    engine.score_at(APART, &[Sequence { tokens: &TEXT, trained: &trained }], temperature, 0).unwrap()
}

/// Log-probabilities of every token after a beginning of the text, each in a sequence of its own.
fn distribution(engine: &mut Engine, branch: usize, upto: usize, temperature: f32) -> Vec<f64> {
    let vocab = engine.model().config().vocab as u32;
    let trained: Vec<bool> = (0..=upto).map(|i| i == upto).collect();
    let texts: Vec<Vec<u32>> = (0..vocab).map(|token| [&TEXT[..upto], &[token]].concat()).collect();
    let all: Vec<Sequence<'_>> = texts.iter().map(|tokens| Sequence { tokens, trained: &trained }).collect();
    engine.score_at(branch, &all, temperature, 0).unwrap().into_iter().map(f64::from).collect()
}

fn is_the_sum(device: DeviceChoice, positions: &[usize]) {
    let model = model();
    let mut engine = Engine::boot(&model, &options(&model, device)).unwrap();
    for (size, temperature) in [(0.3, 1.0), (0.3, 0.7)] {
        fill(&mut engine, size, 7);
        let got = divergences(&mut engine, temperature);
        assert_eq!(got.len(), TEXT.len() - 1);
        for upto in positions {
            let p = distribution(&mut engine, BASE, *upto, temperature);
            let q = distribution(&mut engine, 0, *upto, temperature);
            let total: f64 = p.iter().map(|l| l.exp()).sum();
            assert!((total - 1.0).abs() < bounds::SHARES, "{total}");
            let want: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
            let got = f64::from(got[*upto - 1]);
            assert!(want > 1e-3, "too near to tell: {want}");
            assert!(
                (got - want).abs() <= bounds::LOG_PROBABILITY * want.max(1.0),
                "at {upto}: {got} is not {want}"
            );
        }
    }
}

#[test]
fn it_is_the_sum_over_the_vocabulary_on_the_cpu() {
    is_the_sum(DeviceChoice::Cpu, &[1, 3, 6]);
}

#[test]
fn it_is_the_sum_over_the_vocabulary_on_the_gpu() {
    is_the_sum(DeviceChoice::Gpu, &[5]);
}

#[test]
fn it_is_never_below_zero_and_zero_without_a_change() {
    let model = model();
    for device in [DeviceChoice::Cpu, DeviceChoice::Gpu] {
        let mut engine = Engine::boot(&model, &options(&model, device)).unwrap();
        // Second factors are zero.
        initialize(&mut engine, 1).unwrap();
        assert!(divergences(&mut engine, 1.0).iter().all(|d| *d == 0.0));
        let mut last = 0.0;
        for size in [1e-4, 1e-3, 1e-2, 0.1, 0.3, 1.0] {
            for seed in 0..4 {
                fill(&mut engine, size, seed);
                let all = divergences(&mut engine, 1.0);
                assert!(all.iter().all(|d| *d >= 0.0), "{size}: {all:?}");
                if seed == 0 {
                    let mean = all.iter().sum::<f32>() / all.len() as f32;
                    assert!(mean >= last, "a hundred times the change is not nearer: {mean} after {last}");
                    last = mean;
                }
            }
        }
        assert!(last > 0.1, "{last}");
    }
}

#[test]
fn a_divergence_has_no_gradient() {
    let model = model();
    let mut engine = Engine::boot(&model, &options(&model, DeviceChoice::Cpu)).unwrap();
    let count = divergences(&mut engine, 1.0).len();
    assert!(engine.gradient_of(APART, &vec![0.1; count]).is_err());
}

#[test]
fn the_map_grows_by_a_chunk_of_logits_at_most() {
    let model = model();
    let profile =
        Profile { mapped_weights: false, max_binding: 1 << 30, max_buffer: 1 << 30, ..cpu::profile::<f32>() };
    let with = options(&model, DeviceChoice::Cpu);
    let without = EngineOptions { branches: with.branches[1..].to_vec(), ..with.clone() };
    let draw = |options: &EngineOptions| plan(&model, options, profile).unwrap().1;
    let (with, without) = (draw(&with), draw(&without));
    let grown = |kind| with.segment(kind).bytes() as i64 - without.segment(kind).bytes() as i64;
    let chunk = (4 * model.config().vocab * 4) as i64;
    // Each tensor begins at a multiple of 256 bytes.
    assert!(grown(SegmentKind::Arena) <= chunk + 1024, "{}", grown(SegmentKind::Arena));
    for kind in [SegmentKind::Weights, SegmentKind::Trained, SegmentKind::Gradients, SegmentKind::Tape] {
        assert_eq!(grown(kind), 0, "{}", kind.name());
    }
}

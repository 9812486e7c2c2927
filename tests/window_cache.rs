//! Layers with a window keep a ring of positions, not the whole context; sequences that go on or are cut back give what they
//! give with whole caches. What is copied from slot to slot is in `rollouts`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{boot, golden, open, options, relative_l2};
use emberlm::model::{KvType, Model};
use emberlm::plan::Role;
use emberlm::session::{DeviceChoice, Modes, Request, Session, SessionOptions};
use emberlm::text::{SamplerParams, Tokenizer};

/// The golden model's window is 8: with steps of 8 rows a ring of 32 positions, with steps of 256 none.
const CTX: usize = 256;
const CHUNK: usize = 8;
const RING: usize = 32;
/// Other blocks of rows sum up in another order.
const SAME: f64 = 1e-5;

fn model() -> Model {
    open(&golden("arch").join("gemma3.gguf"))
}

fn session(model: &Model, device: DeviceChoice, chunk: usize, slots: usize) -> Session {
    let modes = Modes { logits: true, ..Modes::GENERATE };
    let options = options(device, KvType::F32, modes);
    let options = SessionOptions { ctx: Some(CTX), slots, chunk: Some(chunk), logit_rows: chunk, ..options };
    boot(model, &options)
}

fn prompt(from: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| 4 + (from + i * 29 + i * i * 3) % 240).collect()
}

#[test]
fn the_map_shows_rings() {
    let model = model();
    let caches = |chunk: usize| -> Vec<usize> {
        let session = session(&model, DeviceChoice::Cpu, chunk, 2);
        let program = session.executor().program();
        let state = program.tensors.iter().filter(|t| t.role == Role::State && t.name.starts_with("kv."));
        state.filter(|t| t.name.ends_with(".k")).filter_map(|t| t.rows.if_fixed()).collect()
    };
    // Layer 5 of 7 sees everything.
    let ring = 2 * RING;
    assert_eq!(caches(CHUNK), [ring, ring, ring, ring, ring, 2 * CTX, ring]);
    assert_eq!(caches(CTX), [2 * CTX; 7]);
}

fn logits_agree(device: &DeviceChoice) {
    let (model, tokens) = (model(), prompt(3, 200));
    let whole = session(&model, device.clone(), CTX, 1).all_logits(&tokens).unwrap();
    let ring = session(&model, device.clone(), CHUNK, 1).all_logits(&tokens).unwrap();
    let apart = relative_l2(&ring, &whole);
    assert!(apart < SAME, "{apart:.1e}");
}

#[test]
fn a_ring_gives_the_logits_of_a_whole_cache() {
    logits_agree(&DeviceChoice::Cpu);
}

#[cfg(feature = "gpu")]
#[test]
fn and_on_a_device() {
    logits_agree(&DeviceChoice::default());
}

/// The answer to a prompt with its log-probabilities, and how much of the prompt was known.
fn answer(session: &mut Session, tokenizer: &Tokenizer, tokens: &[u32]) -> (Vec<u32>, Vec<f32>, usize) {
    let sampler = SamplerParams { temperature: 1.5, seed: 5, ..SamplerParams::greedy() };
    let made = session.write(&[Request::turn(tokens, sampler, tokenizer)], 12).unwrap().remove(0);
    (made.tokens, made.log_probs, made.reused)
}

#[test]
fn a_sequence_is_cut_back_as_far_as_the_rings_reach() {
    let model = model();
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).unwrap();
    // The answer's last token is not written: 161 positions are, and the ring has 24 beside the window.
    for (before, shared, reused) in
        [(150, 145, 145), (150, 137, 137), (150, 136, 0), (150, 60, 0), (150, 20, 0), (15, 5, 5), (40, 3, 0)]
    {
        let long = prompt(3, before);
        let other = [&long[..shared as usize], &prompt(101, 12)].concat();
        let mut kept = session(&model, DeviceChoice::Cpu, CHUNK, 1);
        answer(&mut kept, &tokenizer, &long);
        let made = answer(&mut kept, &tokenizer, &other);
        let alone = answer(&mut session(&model, DeviceChoice::Cpu, CHUNK, 1), &tokenizer, &other);
        assert_eq!((&made.0, made.2), (&alone.0, reused), "{shared} of {before} shared");
        let apart = made.1.iter().zip(&alone.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{shared} of {before} shared: {apart}");
    }
}

//! The default model against transformers in float32: token ids, last logits, likelihood of texts, greedy tokens.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use common::default_model::default_model;
use common::reference::{Reference, references};
use common::{boot, bounds, mean_nll, none_failed, options};
use emberlm::model::KvType;
use emberlm::session::{DeviceChoice, Modes, Request, Session, SessionOptions};
use emberlm::text::{SamplerParams, Tokenizer};

/// Layers of the default model, and terms of its products in the mean: seven of ten are 576, one is 1536.
const LAYERS: u32 = 30;
const TERMS: u32 = 713;
/// Texts from this length on are held to `NLL`.
const LONG: usize = 1000;
/// Longest text on the CPU and on the GPU. A software GPU reads some twenty tokens a second, so the long texts are for
/// `scripts/test long`.
const LONGEST: (usize, usize) =
    if cfg!(feature = "long-tests") { (usize::MAX, usize::MAX) } else { (1000, 400) };
/// Sequences decoded together.
const SLOTS: usize = 5;
/// Room for the longest text.
const CTX: usize = 2048;

/// One session per device for all tests of the file, 16-bit KV: loading the weights takes longer than some of them.
struct Shared(OnceLock<Mutex<Session>>, DeviceChoice);

impl Shared {
    const fn new(device: DeviceChoice) -> Self {
        Self(OnceLock::new(), device)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        let modes = Modes { generate: true, logits: true, score: true };
        let boot = || {
            let options = options(self.1.clone(), KvType::Block16, modes);
            Mutex::new(boot(default_model(), &SessionOptions { ctx: Some(CTX), slots: SLOTS, ..options }))
        };
        self.0.get_or_init(boot).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session with f32 KV that rounds nothing, for the logits of one sequence.
fn exact(device: DeviceChoice) -> Session {
    let options = options(device, KvType::F32, Modes::LOGITS);
    boot(default_model(), &SessionOptions { ctx: Some(CTX), exact: true, ..options })
}

fn last_logits(session: &mut Session, tolerance: f64, longest: usize) {
    let mut failures = Vec::new();
    for reference in references().into_iter().filter(|r| r.tokens.len() <= longest) {
        session.reset();
        let logits = session.logits(&reference.tokens).unwrap_or_else(|e| panic!("{}: {e}", reference.name));
        let apart = reference.distance(&logits);
        println!("{}: {apart:.2e}", reference.name);
        if apart > tolerance {
            failures.push(format!(
                "{}: last logits {apart:.2e} from the reference, tolerance {tolerance:.0e}",
                reference.name
            ));
        }
    }
    none_failed(&failures);
}

fn likelihood(session: &mut Session, longest: usize) {
    let mut failures = Vec::new();
    for reference in references().iter().filter(|r| (200..=longest).contains(&r.tokens.len())) {
        let scores = session.score(&reference.tokens).unwrap_or_else(|e| panic!("{}: {e}", reference.name));
        assert_eq!(scores.len(), reference.log_probs.len(), "{}", reference.name);
        let (got, want) = (mean_nll(&scores), mean_nll(&reference.log_probs));
        let tolerance = if reference.tokens.len() > LONG { bounds::NLL } else { bounds::NLL_SHORT };
        println!("{}: mean NLL {got:.6}, reference {want:.6}", reference.name);
        if (got - want).abs() > tolerance {
            failures.push(format!(
                "{}: mean NLL {got:.6}, reference {want:.6}, tolerance {tolerance:.0e}",
                reference.name
            ));
        }
    }
    none_failed(&failures);
}

fn greedy(session: &mut Session, longest: usize) {
    let all = references();
    let with_greedy: Vec<&Reference> =
        all.iter().filter(|r| !r.greedy.is_empty() && r.tokens.len() <= longest).collect();
    let mut failures = Vec::new();
    for group in with_greedy.chunks(SLOTS) {
        let sampler = SamplerParams::greedy();
        let prompts: Vec<Request<'_>> = group.iter().map(|r| Request::new(&r.tokens, sampler)).collect();
        let limit = group.iter().map(|r| r.greedy.len()).max().unwrap_or(0);
        session.reset();
        let all = session.write(&prompts, limit).unwrap();
        for (reference, made) in group.iter().zip(all) {
            let same = made.tokens.iter().zip(&reference.greedy).take_while(|(a, b)| a == b).count();
            println!("{}: {same} of {} greedy tokens", reference.name, reference.greedy.len());
            if same < reference.greedy.len() {
                failures.push(format!(
                    "{}: token {same} differs, {} were certain",
                    reference.name,
                    reference.greedy.len()
                ));
            }
        }
    }
    none_failed(&failures);
}

/// A prompt in steps of `chunk` tokens ends in the logits of the reference, whatever the chunk.
fn chunks(device: &DeviceChoice, sizes: &[usize], of_at_most: usize) {
    let all = references();
    let longest = all.iter().filter(|r| r.tokens.len() <= of_at_most).max_by_key(|r| r.tokens.len()).unwrap();
    let mut failures = Vec::new();
    for &size in sizes {
        let options = options(device.clone(), KvType::F32, Modes::LOGITS);
        let mut session = boot(
            default_model(),
            &SessionOptions { ctx: Some(CTX), chunk: Some(size), exact: true, ..options },
        );
        let apart = longest.distance(&session.logits(&longest.tokens).unwrap());
        println!("{} in steps of {size}: {apart:.2e}", longest.name);
        if apart > bounds::model(LAYERS, TERMS) {
            failures.push(format!("{} in steps of {size}: {apart:.2e} from the reference", longest.name));
        }
    }
    none_failed(&failures);
}

/// The same seed gives the same tokens; another seed gives others.
fn seeds(session: &mut Session) {
    let all = references();
    let prompt = &all.iter().find(|r| r.name == "story").unwrap().tokens;
    let mut run = |seed| {
        let sampler =
            SamplerParams { temperature: 0.9, top_k: 50, top_p: 0.95, seed, ..SamplerParams::greedy() };
        session.reset();
        session.generate(prompt, sampler, 24, &mut |_| ControlFlow::Continue(())).unwrap().tokens
    };
    let (first, second, other) = (run(7), run(7), run(8));
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
fn token_ids() {
    let tokenizer = Tokenizer::from_metadata(&default_model().gguf().metadata).unwrap();
    let all = references();
    let with_text: Vec<_> = all.iter().filter_map(|r| Some((r, r.text.as_ref()?))).collect();
    assert!(with_text.len() >= 7);
    for (reference, text) in with_text {
        assert_eq!(tokenizer.encode(text, true, false), reference.tokens, "{}: {text:?}", reference.name);
    }
}

macro_rules! on {
    ($device:expr, $longest:expr, chunks: $($sizes:expr => $of:expr),+) => {
        use super::*;

        static SHARED: Shared = Shared::new($device);

        #[test]
        fn last_logits_with_16_bit_kv() {
            last_logits(&mut SHARED.session(), bounds::block16(LAYERS as usize), $longest);
        }

        #[test]
        fn last_logits_with_f32_kv() {
            last_logits(&mut exact($device), bounds::model(LAYERS, TERMS), $longest);
        }

        #[test]
        fn likelihood_of_texts() {
            likelihood(&mut SHARED.session(), $longest);
        }

        #[test]
        fn greedy_tokens() {
            greedy(&mut SHARED.session(), $longest);
        }

        #[test]
        fn prefill_in_chunks() {
            $(chunks(&$device, &$sizes, $of);)+
        }

        #[test]
        fn same_seed_same_tokens() {
            seeds(&mut SHARED.session());
        }
    };
}

mod cpu {
    on!(DeviceChoice::Cpu, LONGEST.0, chunks: [1, 7] => 100, [64, 512] => 800);
}

#[cfg(feature = "gpu")]
mod gpu {
    on!(DeviceChoice::Gpu, LONGEST.1, chunks: [1, 7] => 40, [64, 512] => 400);
}

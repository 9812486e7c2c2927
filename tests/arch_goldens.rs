//! Tiny random models of every architecture against transformers (and, for what it has not, a forward in numpy), on each
//! executor and device profile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;

use common::npy::{read_f32, read_tokens};
use common::{boot, bounds, golden, none_failed, open, options, relative_l2};
use emberlm::model::{KvType, Model};
use emberlm::session::{DeviceChoice, Modes, SessionOptions};
use emberlm::text::{Sampler, SamplerError};

/// Layers of most of these models; those of more stay within their bound as well.
const LAYERS: usize = 2;

struct Golden {
    model: Model,
    tokens: Vec<u32>,
    logits: Vec<f32>,
}

fn read(name: &str) -> Golden {
    let file = |end: &str| golden("arch").join(format!("{name}.{end}"));
    Golden {
        model: open(&file("gguf")),
        tokens: read_tokens(&file("tokens.npy")),
        logits: read_f32(&file("logits.npy")),
    }
}

/// "Chooses" the tokens of a given text and keeps the logits it was shown.
struct Forced<'a> {
    tokens: &'a [u32],
    seen: Vec<f32>,
}

impl Sampler for Forced<'_> {
    fn sample(&mut self, logits: &mut [f32], history: &[u32]) -> Result<u32, SamplerError> {
        self.seen.extend_from_slice(logits);
        Ok(self.tokens.get(history.len()).copied().unwrap_or(0))
    }
}

impl Golden {
    /// Logits at every position are within `tolerance`, in prefill steps of `chunk` tokens and one by one as in
    /// decoding; a line for each that is not.
    fn check(&self, what: &str, options: SessionOptions, chunk: usize, tolerance: f64) -> Vec<String> {
        let options = SessionOptions { chunk: Some(chunk), logit_rows: chunk, ..options };
        let mut session = boot(&self.model, &options);
        let prefill = session.all_logits(&self.tokens).unwrap_or_else(|e| panic!("{what}: {e}"));
        session.reset();
        let mut forced = Forced { tokens: &self.tokens, seen: Vec::with_capacity(self.logits.len()) };
        session
            .generate_with(&self.tokens[..1], &mut forced, self.tokens.len(), &mut |_| {
                ControlFlow::Continue(())
            })
            .unwrap_or_else(|e| panic!("{what}: {e}"));
        let report = |how: &str, logits: &[f32]| {
            let apart = relative_l2(logits, &self.logits);
            println!("{what}, {how}: {apart:.1e}");
            let line = format!("{what}, {how}: {apart:.1e} from the reference, tolerance {tolerance:.0e}");
            (apart > tolerance).then_some(line)
        };
        let steps = format!("{chunk} tokens a step");
        [report(&steps, &prefill), report("one by one", &forced.seen)].into_iter().flatten().collect()
    }
}

fn logits(device: DeviceChoice, kv: KvType) -> SessionOptions {
    options(device, kv, Modes::LOGITS)
}

fn on_cpu(name: &str) {
    let golden = read(name);
    let cpu = |kv| logits(DeviceChoice::Cpu, kv);
    let exact = || SessionOptions { exact: true, ..cpu(KvType::F32) };
    let mut failures = Vec::new();
    failures.extend(golden.check(
        "f64",
        SessionOptions { double: true, ..cpu(KvType::F32) },
        32,
        bounds::ANGLES,
    ));
    failures.extend(golden.check("f32", exact(), 32, bounds::MODEL));
    failures.extend(golden.check("f32", exact(), 7, bounds::MODEL));
    failures.extend(golden.check("16-bit KV", cpu(KvType::Block16), 32, bounds::block16(LAYERS)));
    none_failed(&failures);
}

#[cfg(feature = "gpu")]
fn on_gpu(name: &str) {
    let golden = read(name);
    let mut failures = Vec::new();
    for profile in ["full", "webgpu-default", "v3d"] {
        let gpu = SessionOptions { profile: profile.into(), ..logits(DeviceChoice::Gpu, KvType::F32) };
        failures.extend(golden.check(profile, gpu, 20, bounds::MODEL));
    }
    failures.extend(golden.check(
        "16-bit KV",
        logits(DeviceChoice::Gpu, KvType::Block16),
        7,
        bounds::block16(LAYERS),
    ));
    none_failed(&failures);
}

macro_rules! goldens {
    ($($test:ident: $name:literal),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];

        mod cpu {
            $(#[test]
            fn $test() {
                super::on_cpu($name);
            })*
        }

        #[cfg(feature = "gpu")]
        mod gpu {
            $(#[test]
            fn $test() {
                super::on_gpu($name);
            })*
        }
    };
}

goldens! {
    llama_tied: "llama-tied",
    llama_untied: "llama-untied",
    llama3_rope: "llama3-rope",
    llama_linear_rope: "llama-linear-rope",
    llama_formats: "llama-formats",
    mistral: "mistral",
    qwen2: "qwen2",
    qwen3_tied: "qwen3-tied",
    qwen3_untied: "qwen3-untied",
    qwen3_formats: "qwen3-formats",
    gemma2: "gemma2",
    gemma3: "gemma3",
    yarn: "yarn",
    longrope: "longrope",
    window: "window",
    odd_sizes: "odd-sizes",
}

#[test]
fn every_golden_has_a_test() {
    let mut files: Vec<String> = std::fs::read_dir(golden("arch"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".gguf")?.to_owned()))
        .collect();
    files.sort();
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    assert_eq!(files, names);
}

//! Preference training as TRL's formulas and PEFT's adapters do it, one pair a step, the reference being the base: a tiny model
//! (`tests/golden/training.json`), and five pairs of the default model where larger reference data lies beside the project.
#![cfg(all(feature = "cli", feature = "gpu"))]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/training.rs"]
mod training;

use std::io::Read;
use std::path::Path;

use common::default_model::default_model;
use common::npy::read_tokens;
use common::{bounds, none_failed, shared};
use emberlm::adapter::hf;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::{Example, Source};
use emberlm::train::objective::{Dpo, Kto, PairObjective};
use emberlm::train::{Against, Feedback, FeedbackOptions, Place, Schedule, Settings, Trainer};

const PAIRS: usize = 5;

fn tokens(archive: &mut zip::ZipArchive<std::fs::File>, name: &str, folder: &Path) -> Vec<u32> {
    let mut bytes = vec![];
    archive.by_name(&format!("{name}.npy")).unwrap().read_to_end(&mut bytes).unwrap();
    let path = folder.join(format!("{name}.npy"));
    std::fs::write(&path, bytes).unwrap();
    read_tokens(&path)
}

fn pairs(dir: &Path) -> Vec<Feedback> {
    let folder = tempfile::tempdir().unwrap();
    let mut archive = zip::ZipArchive::new(std::fs::File::open(dir.join("dpo_pairs.npz")).unwrap()).unwrap();
    let mut example = |prompt: &[u32], name: String| {
        let answer = tokens(&mut archive, &name, folder.path());
        let trained = (0..prompt.len() + answer.len()).map(|i| i >= prompt.len()).collect();
        Example::new([prompt, &answer].concat(), trained, Source::default())
    };
    (0..PAIRS)
        .map(|i| {
            let prompt = example(&[], format!("prompt_{i}")).tokens;
            let chosen = example(&prompt, format!("chosen_{i}"));
            Feedback::Pair { chosen, rejected: example(&prompt, format!("rejected_{i}")) }
        })
        .collect()
}

fn compare(device: DeviceChoice, steps: usize) {
    training::dpo(device.clone());
    if let Some(dir) = shared().map(|dir| dir.join("reference")) {
        compare_with(&dir, device, steps);
    }
}

/// The default model against the larger data.
fn compare_with(dir: &Path, device: DeviceChoice, steps: usize) {
    let text = std::fs::read_to_string(dir.join("dpo/dpo_rand_f32.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bytes = std::fs::read(dir.join("sft/adapter_rand_hf.safetensors")).unwrap();
    let start = hf::from_bytes(&bytes, None, Some(16.0), default_model().gguf()).unwrap();
    let items = pairs(&dir.join("dpo"));
    let settings = Settings {
        learning_rate: 1e-4,
        schedule: Schedule::Constant,
        clip: 0.0,
        batch: 1,
        epochs: 1,
        seed: training::seed_of_order(&items),
        ..Settings::default()
    };
    let options = FeedbackOptions {
        pairs: PairObjective::Dpo(Dpo::default()),
        kto: Kto::default(),
        sft: 0.0,
        against: Against::Base,
    };
    let place = Place { device: SessionOptions { device, ..SessionOptions::default() }, ..Place::default() };
    let mut trainer =
        Trainer::feedback(default_model(), items, vec![], &options, &settings, &place, Some(&start)).unwrap();
    let mut failures = vec![];
    for step in 0..steps {
        let report = trainer.step(&mut |_| ()).unwrap().unwrap();
        let margin = report.metrics.iter().find(|(name, _)| name == "margin").unwrap().1;
        let want = |key: &str| expected["steps"][step][key].as_f64().unwrap();
        let (loss_off, margin_off) = ((report.loss - want("loss")).abs(), (margin - want("margin")).abs());
        println!(
            "step {}: loss {:.6}, TRL {:.6}; margin {margin:.6}, TRL {:.6}; gradient {:.5}, TRL {:.5}",
            step + 1,
            report.loss,
            want("loss"),
            want("margin"),
            report.grad_norm,
            want("grad_norm")
        );
        // A margin near zero is held to the same part of a margin that matters.
        let room = bounds::EVERY_LOSS * want("margin").abs().max(0.02);
        if loss_off > bounds::EVERY_LOSS * want("loss") || margin_off > room {
            failures.push(format!("step {}: loss {}, margin {margin}", step + 1, report.loss));
        }
    }
    none_failed(&failures);
}

#[test]
fn the_cpu_learns_preferences_as_trl_does() {
    compare(DeviceChoice::Cpu, PAIRS);
}

/// All five steps take minutes on a software GPU: `scripts/test long`.
#[test]
fn the_gpu_learns_preferences_as_trl_does() {
    compare(DeviceChoice::Gpu, if cfg!(feature = "long-tests") { PAIRS } else { 1 });
}

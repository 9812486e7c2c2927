//! `ember pretrain`: a model from raw text, the same bytes however often it is killed; what it refuses.

use std::time::{Duration, Instant};

use emberlm::model::Model;

use crate::common::{Ran, Sandbox};
use crate::tune::WORDS;

const KILLS: u32 = 20;

/// A sandbox with `text/` of so many sentences in documents of different lengths.
fn sandbox(sentences: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let word = |i: usize| WORDS[i * 7 % WORDS.len()];
    let sentence = |i: usize| {
        format!("The {} and {} {}s saw the {}.", word(i), i % 10, word(i * i + 1), word(3 * i + 2))
    };
    let ends = |i: usize| if i % 7 == 6 { "\n<|endoftext|>\n" } else { " " };
    let text: String = (0..sentences).map(|i| sentence(i) + ends(i)).collect();
    sandbox.write("text/a.txt", text.as_bytes());
    sandbox.write("text/b.jsonl", b"{\"text\": \"One cat saw the sun.\"}\n");
    sandbox
}

const SHAPE: [&str; 14] = [
    "--layers", "2", "--width", "32", "--heads", "2", "--vocab", "300", "--seq", "32", "--batch", "4", "-t",
    "1",
];

fn pretrain(sandbox: &Sandbox, more: &[&str]) -> Ran {
    sandbox.run(&line(more))
}

fn line<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["pretrain", "--device", "cpu", "--text", "text", "--val", "0.05"], &SHAPE[..], more].concat()
}

#[test]
fn a_model_from_text() {
    let place = sandbox(400);
    let ran = pretrain(&place, &["--steps", "30", "--lr", "1e-2", "--prompt", "The cat", "-o", "mine"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("wrote mine.gguf") && ran.err.contains("weights; 2 layers"), "{}", ran.err);
    let model = Model::open(place.path("mine.gguf")).unwrap();
    assert_eq!((model.config().layers.len(), model.config().width, model.config().vocab), (2, 32, 300));
    let lines = |name: &str| -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(place.path(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let metrics = lines("mine.metrics.jsonl");
    let loss = |line: &serde_json::Value| line["loss"].as_f64().unwrap();
    assert!(metrics.len() == 30 && loss(&metrics[29]) < 0.6 * loss(&metrics[0]), "{metrics:?}");
    assert!(metrics[29]["validation_loss"].as_f64().unwrap() < 5.0);
    let samples = lines("mine.samples.jsonl");
    assert!(samples.len() == 10 && samples.iter().all(|s| s["prompt"] == "The cat" && s["text"].is_string()));
    assert!(!place.path("mine.state").exists(), "nothing is left of the run's state");
    // What it is made of is beside it, and asks for the same.
    let again =
        place.run(&["pretrain", "--device", "cpu", "-t", "1", "--config", "mine.toml", "-o", "two/mine"]);
    assert_eq!(again.code, 0, "{}", again.err);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert!(bytes("mine.gguf") == bytes("two/mine.gguf"), "the same text and settings give the same file");
    // The others take it.
    let said = place.run(&["run", "-m", "mine.gguf", "--raw", "-p", "The cat", "-n", "4", "--device", "cpu"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let small = place.run(&["quantize", "mine.gguf", "small.gguf", "q8_0"]);
    assert_eq!(small.code, 0, "{}", small.err);
    // All weights go on learning.
    let on = place.run(&[
        "pretrain",
        "--device",
        "cpu",
        "--text",
        "text",
        "--from",
        "mine.gguf",
        "--steps",
        "2",
        "-o",
        "on",
        "--type",
        "f16",
    ]);
    assert_eq!(on.code, 0, "{}", on.err);
    let metrics = lines("on.metrics.jsonl");
    assert!(loss(&metrics[0]) < 3.0, "it goes on where the model was: {metrics:?}");
    let kept = pretrain(&place, &["--steps", "2", "-o", "mine"]);
    assert!(kept.code == 1 && kept.err.contains("--replace"), "{}", kept.err);
    let finished =
        pretrain(&place, &["--steps", "30", "--lr", "1e-2", "--prompt", "The cat", "-o", "mine", "--resume"]);
    assert!(finished.code == 0 && finished.err.contains("already finished"), "{}", finished.err);
}

/// Killed at any time, while the vocabulary or the tokens are made included, it ends with the same bytes.
#[test]
fn kills_change_no_bit() {
    let place = sandbox(300);
    let steps = ["--steps", "60", "--save-every", "5", "--eval-every", "20", "--sample-every", "30"];
    let start = Instant::now();
    let whole = pretrain(&place, &[&steps[..], &["-o", "whole/mine"]].concat());
    assert_eq!(whole.code, 0, "{}", whole.err);
    let one_run = start.elapsed();
    let more = [&steps[..], &["-o", "killed/mine", "--resume"]].concat();
    let args = line(&more);
    let bytes = |name: &str| std::fs::read(place.path(name)).unwrap();
    let (mut kills, mut runs, mut seed) = (0, 0, 99u64);
    while kills < KILLS || runs == 0 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let part = (seed >> 33) as f64 / f64::from(1u32 << 31);
        let wait = if kills < KILLS { one_run.mul_f64(part * 0.4) } else { Duration::from_secs(600) };
        let mut child = place.command(&args).stderr(std::process::Stdio::null()).spawn().unwrap();
        let end = Instant::now() + wait;
        let finished = loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "after {kills} kills: {status}");
                break true;
            }
            if Instant::now() >= end {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                break false;
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        if finished || place.path("killed/mine.gguf").exists() && !place.path("killed/mine.state").exists() {
            runs += 1;
            assert!(bytes("killed/mine.gguf") == bytes("whole/mine.gguf"), "after {kills} kills");
            assert_eq!(bytes("killed/mine.samples.jsonl"), bytes("whole/mine.samples.jsonl"));
            std::fs::remove_dir_all(place.path("killed")).unwrap();
        }
    }
    println!("{kills} kills, {runs} whole runs");
}

#[test]
fn what_cannot_be_trained_is_refused() {
    let place = sandbox(60);
    place.write("empty.txt", b"");
    place.write("short.txt", b"Hi.");
    place.write("bad.toml", b"[model]\nlayer = 3\n");
    let refused = |args: &[&str], what: &str| {
        let ran = place.run(&[&["pretrain", "--device", "cpu", "-o", "x"], args].concat());
        assert!(ran.code != 0 && ran.err.contains(what), "{args:?}: {}", ran.err);
        assert!(!place.path("x.gguf").exists() && !place.path("x.state").exists(), "{args:?} left something");
    };
    refused(&[], "no text");
    refused(&["--text", "nowhere"], "nowhere");
    refused(&["--text", "empty.txt", "--vocab", "300"], "");
    refused(&["--text", "text", "--vocab", "300", "--arch", "gpt"], "known: llama");
    refused(&["--text", "text", "--vocab", "300", "--kv-heads", "5"], "kv_heads");
    refused(&["--text", "text", "--size", "large"], "no size");
    refused(&["--text", "text", "--type", "q4_0"], "ember quantize");
    refused(&["--text", "text", "--val", "0.9"], "--val");
    refused(&["--text", "text", "--config", "bad.toml"], "layer");
    refused(&["--text", "text", "--from", "text/a.txt"], "");
    refused(&["--text", "text", "--vocab", "300", "--budget", "1KiB"], "budget");
    let dry = pretrain(&place, &["-o", "x", "--dry-run"]);
    assert!(dry.code == 0 && dry.err.contains("weights; 2 layers"), "{}", dry.err);
    assert!(!place.path("x.state").exists() && !place.path("x.toml").exists());
}

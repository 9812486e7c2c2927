//! Fine-tuning by the command line, on a tiny model: what must not change the result does not, and what is cut short
//! goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use emberlm::adapter::Adapter;

use crate::bounds;
use crate::common::{Ran, Sandbox};

pub const WORDS: [&str; 12] =
    ["red", "blue", "green", "one", "two", "three", "cat", "dog", "bird", "sun", "moon", "star"];

pub fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch/llama-tied.gguf").display().to_string()
}

/// A sandbox with `data.jsonl` of so many rows of different lengths.
fn sandbox(rows: usize) -> Sandbox {
    let sandbox = Sandbox::new();
    let word = |i: usize| WORDS[i % WORDS.len()];
    let row = |i: usize| {
        let answer: Vec<&str> = (0..2 + i % 4).map(|k| word(i * 5 + k * k + 1)).collect();
        format!(
            "{{\"prompt\": \"{} {}\", \"completion\": \" {}\"}}\n",
            word(i),
            word(i * 7 + 3),
            answer.join(" ")
        )
    };
    sandbox.write("data.jsonl", (0..rows).map(row).collect::<String>().as_bytes());
    sandbox
}

fn tune(sandbox: &Sandbox, output: &str, more: &[&str]) -> Ran {
    sandbox.run(&command(output, more).iter().map(String::as_str).collect::<Vec<_>>())
}

fn command(output: &str, more: &[&str]) -> Vec<String> {
    let fixed =
        ["tune", "sft", "--device", "cpu", "-t", "2", "--data", "data.jsonl", "--rank", "4", "--lr", "1e-2"];
    let mut args: Vec<String> = fixed.iter().map(|a| (*a).to_owned()).collect();
    args.extend(["-m".into(), model(), "-o".into(), output.into()]);
    if !more.contains(&"--keep") {
        args.extend(["--keep".into(), "0".into()]);
    }
    args.extend(more.iter().map(|a| (*a).to_owned()));
    args
}

/// Runs to the end and opens the adapter.
fn tuned(sandbox: &Sandbox, output: &str, more: &[&str]) -> Adapter {
    let ran = tune(sandbox, output, more);
    assert_eq!(ran.code, 0, "{more:?}: {}", ran.err);
    Adapter::open(sandbox.path(&format!("{output}.gguf"))).unwrap()
}

/// Relative distance of two adapters' updates.
pub fn apart(a: &Adapter, b: &Adapter) -> f64 {
    let all =
        |a: &Adapter| -> Vec<f32> { a.pairs.iter().flat_map(|p| [&p.a[..], &p.b[..]].concat()).collect() };
    let (a, b) = (all(a), all(b));
    assert_eq!(a.len(), b.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let distance: f64 = a.iter().zip(&b).map(|(a, b)| square(a - b)).sum();
    (distance / b.iter().map(|b| square(*b)).sum::<f64>()).sqrt()
}

fn losses(sandbox: &Sandbox, output: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(sandbox.path(&format!("{output}.metrics.jsonl"))).unwrap();
    text.lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["loss"].as_f64().unwrap())
        .collect()
}

#[test]
fn the_loss_falls_and_the_files_are_there() {
    let sandbox = sandbox(16);
    let ran = tune(&sandbox, "a", &["--epochs", "10"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["16 sequences", "20 steps", "loss", "wrote a.gguf", "ember chat --adapter a"] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert!(ran.out.is_empty(), "{}", ran.out);
    let losses = losses(&sandbox, "a");
    assert_eq!(losses.len(), 20);
    assert!(losses[19] < losses[0] * 0.8, "{losses:?}");
    assert!(!sandbox.path("a.state").exists());
    let adapter = Adapter::open(sandbox.path("a.gguf")).unwrap();
    assert_eq!(adapter.pairs.len(), 14);
    assert_eq!(adapter.info["steps"], "20");
    assert!(adapter.info["settings"].contains("learning_rate"), "{:?}", adapter.info);
    assert!(adapter.info.contains_key("data.sha256") && adapter.base.is_some());
}

#[test]
fn how_a_step_is_cut_up_does_not_matter() {
    let sandbox = sandbox(8);
    let at_once = tuned(&sandbox, "once", &["--epochs", "6", "--batch", "8"]);
    let one_by_one = tuned(&sandbox, "parts", &["--epochs", "6", "--batch", "1", "--accumulate", "8"]);
    let packed = tuned(&sandbox, "packed", &["--epochs", "6", "--pack", "--seq", "1024"]);
    let (parts, pack) = (apart(&one_by_one, &at_once), apart(&packed, &at_once));
    println!("8 x 1 apart {parts:.1e}, packed apart {pack:.1e}");
    assert!(parts < 0.5 * bounds::CHANGE && pack < 0.5 * bounds::CHANGE, "{parts} {pack}");
    for (a, b) in losses(&sandbox, "once").iter().zip(losses(&sandbox, "parts")) {
        assert!((a - b).abs() < 5.0 * bounds::LOSS * a, "{a} {b}");
    }
}

#[test]
fn keeping_what_the_model_knew_changes_less() {
    let sandbox = sandbox(8);
    let settings = ["--epochs", "12"];
    let plain = tuned(&sandbox, "plain", &settings[..2]);
    let kept = tuned(&sandbox, "kept", &[&settings[..2], &["--keep", "30"]].concat());
    let size = |a: &Adapter| a.pairs.iter().map(|p| p.norm().powi(2)).sum::<f64>().sqrt();
    assert!(size(&kept) < size(&plain), "{} {}", size(&kept), size(&plain));
    let text = std::fs::read_to_string(sandbox.path("kept.metrics.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["kept"].as_f64(), Some(0.0), "nothing has changed before the first step");
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(last["kept"].as_f64().unwrap() > 0.0);
}

#[test]
fn layers_run_again_give_the_same_bits() {
    let sandbox = sandbox(8);
    let keep = tuned(&sandbox, "keep", &["--epochs", "3", "--recompute", "none"]);
    for (name, recompute) in [("all", "all"), ("one", "1")] {
        let again = tuned(&sandbox, name, &["--epochs", "3", "--recompute", recompute]);
        assert!(again.pairs == keep.pairs, "--recompute {recompute} changes the adapter");
    }
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let sandbox = sandbox(13);
    let rest = ["--batch", "3", "--dropout", "0.1", "--val", "0.2", "--warmup", "2", "--keep", "0.5"];
    let settings = [&["--epochs", "5"], &rest[..]].concat();
    let whole = tune(&sandbox, "whole", &settings);
    assert_eq!(whole.code, 0, "{}", whole.err);
    let bytes = |name: &str| std::fs::read(sandbox.path(&format!("{name}.gguf"))).unwrap();
    for stop in ["1", "7"] {
        let name = format!("part{stop}");
        let paused = tune(&sandbox, &name, &[&settings[..], &["--pause-at", stop]].concat());
        assert!(paused.err.contains("--resume goes on") && paused.code == 0, "{}", paused.err);
        assert!(!sandbox.path(&format!("{name}.gguf")).exists());
        let again = tune(&sandbox, &name, &settings);
        assert!(
            again.code == 1 && again.err.contains("--resume"),
            "not overwritten by accident: {}",
            again.err
        );
        let other = tune(&sandbox, &name, &[&["--epochs", "6", "--resume"], &rest[..]].concat());
        assert!(other.code == 1 && other.err.contains("begun with --epochs 5, now 6"), "{}", other.err);
        let resumed = tune(&sandbox, &name, &[&settings[..], &["--resume"]].concat());
        assert_eq!(resumed.code, 0, "{}", resumed.err);
        assert!(bytes(&name) == bytes("whole"), "stopped after step {stop}: another adapter");
        assert_eq!(losses(&sandbox, &name), losses(&sandbox, "whole"));
    }
}

/// Killed 200 times at random moments, saves included, a run still ends with the very same adapter.
#[test]
fn kills_lose_nothing() {
    const KILLS: u32 = 200;
    let sandbox = sandbox(6);
    let settings = ["--epochs", "60", "--batch", "2", "--save-every", "1"];
    let begun = Instant::now();
    let whole = tune(&sandbox, "whole", &settings);
    assert_eq!(whole.code, 0, "{}", whole.err);
    let one_run = begun.elapsed();
    let expected = std::fs::read(sandbox.path("whole.gguf")).unwrap();
    let args = command("killed", &[&settings[..], &["--resume"]].concat());
    let (mut kills, mut runs, mut seed) = (0, 0, 12345u64);
    while kills < KILLS || runs == 0 {
        let mut child = sandbox.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // Anywhere in a run, and often in its first moments.
        let part = f64::from((seed >> 40) as u32) / f64::from(1u32 << 24);
        let wait = one_run.mul_f64(if kills < KILLS { part * part * 0.6 } else { 20.0 });
        let end = Instant::now() + wait;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() >= end {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        match status {
            None => kills += 1,
            Some(status) => {
                let mut said = String::new();
                std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
                assert!(status.success(), "after {kills} kills: {said}");
                let got = std::fs::read(sandbox.path("killed.gguf")).unwrap();
                assert!(got == expected, "after {kills} kills: another adapter");
                std::fs::remove_file(sandbox.path("killed.gguf")).unwrap();
                runs += 1;
            }
        }
    }
    println!("{kills} kills, {runs} runs came to their end");
}

#[test]
fn validation_keeps_the_best_and_stops_early() {
    let sandbox = sandbox(12);
    let settings = ["--epochs", "40", "--val", "0.25", "--lr", "0.2", "--patience", "2", "--eval-every", "1"];
    let args: Vec<&str> = settings.to_vec();
    let mut command = command("early", &[]);
    // The learning rate is set once.
    let at = command.iter().position(|a| a == "--lr").unwrap();
    command.drain(at..at + 2);
    command.extend(args.iter().map(|a| (*a).to_owned()));
    let ran = sandbox.run(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("ended early") && ran.err.contains("with a validation loss of"), "{}", ran.err);
    let text = std::fs::read_to_string(sandbox.path("early.metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let losses = lines.iter().filter_map(|l| l["validation_loss"].as_f64());
    let best = losses.fold(f64::INFINITY, f64::min);
    let adapter = Adapter::open(sandbox.path("early.gguf")).unwrap();
    let kept: f64 = adapter.info["validation_loss"].parse().unwrap();
    assert!((kept - best).abs() < bounds::PRINTED_LOSS, "{kept} {best}");
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let sandbox = sandbox(8);
    let mut args = command("wild", &["--epochs", "30"]);
    let at = args.iter().position(|a| a == "--lr").unwrap();
    args[at + 1] = "1e30".into();
    args.extend(["--clip".into(), "0".into()]);
    let ran = sandbox.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("the step is skipped"), "{}", ran.err);
    assert!(ran.err.contains("not finite in 3 steps") && ran.err.contains("--lr"), "{}", ran.err);
    assert!(!sandbox.path("wild.gguf").exists());
}

#[test]
fn data_is_looked_at_before_anything_runs() {
    let sandbox = sandbox(3);
    let shown = sandbox.run(&["tune", "sft", "-m", &model(), "--data", "data.jsonl", "--preview", "2"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.contains("data.jsonl:1") && shown.out.contains("[["), "{}", shown.out);
    let spoken = ["--preview", "1", "--chat-template", "chatml", "--system", "be brief"];
    let spoken =
        sandbox.run(&[&["tune", "sft", "-m", &model(), "--data", "data.jsonl"], &spoken[..]].concat());
    assert!(spoken.code == 0 && spoken.out.contains("system\nbe brief"), "{}\n{}", spoken.out, spoken.err);
    sandbox.write("bad.jsonl", b"{\"prompt\": \"a\", \"completion\": \" b\"}\nnot json\n{\"prompt\": 3}\n");
    let skipped = sandbox.run(&["tune", "sft", "-m", &model(), "--data", "bad.jsonl", "--preview"]);
    assert!(skipped.code == 0 && skipped.err.contains("bad.jsonl:2"), "{}", skipped.err);
    let strict =
        sandbox.run(&["tune", "sft", "-m", &model(), "--data", "bad.jsonl", "--preview", "--strict"]);
    assert!(strict.code == 1 && strict.err.contains("bad.jsonl:2"), "{}", strict.err);
    let missing = sandbox.run(&["tune", "sft", "-m", &model(), "--data", "none.jsonl"]);
    assert!(missing.code == 1 && missing.err.contains("none.jsonl"), "{}", missing.err);
    let small = tune(&sandbox, "b", &["--budget", "10k"]);
    assert!(small.code == 1 && small.err.contains("the plan needs"), "{}", small.err);
}

//! Learning from preferences, reward models and scores by the command line, on a tiny model.

use emberlm::adapter::Adapter;
use serde_json::{Value, json};

use crate::bounds;
use crate::common::{Ran, Sandbox};
use crate::tune::{WORDS, apart, model};

/// `pairs.jsonl`, `thumbs.jsonl` and `prompts.jsonl`.
pub fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let word = |i: usize| WORDS[i % WORDS.len()];
    let lines = |row: &dyn Fn(usize) -> Value| (0..12).map(|i| format!("{}\n", row(i))).collect::<String>();
    let prompt = |i: usize| format!("{} {}", word(i), word(i * 7 + 3));
    let chosen = |i: usize| (0..2 + i % 3).map(|k| format!(" {}", word(i + k))).collect::<String>();
    let pair =
        |i| json!({ "prompt": prompt(i), "chosen": chosen(i), "rejected": format!(" {}", word(i * 5)) });
    let thumb = |i| json!({ "prompt": prompt(i), "completion": chosen(i), "label": i % 2 == 0 });
    sandbox.write("pairs.jsonl", lines(&pair).as_bytes());
    sandbox.write("thumbs.jsonl", lines(&thumb).as_bytes());
    sandbox.write("prompts.jsonl", lines(&|i| json!({ "prompt": prompt(i), "answer": word(i) })).as_bytes());
    sandbox
}

/// Runs `ember tune OBJECTIVE` on the tiny model; `more` has the data.
pub fn tune(sandbox: &Sandbox, objective: &str, output: &str, more: &[&str]) -> Ran {
    let model = model();
    let mut args = vec!["tune", objective, "-m", &model, "--device", "cpu", "-t", "2", "--rank", "4"];
    args.extend(["-o", output]);
    args.extend(more);
    sandbox.run(&args)
}

/// Runs to the end and gives the lines of the metrics.
pub fn tuned(sandbox: &Sandbox, objective: &str, output: &str, more: &[&str]) -> (Vec<Value>, Ran) {
    let ran = tune(sandbox, objective, output, more);
    assert_eq!(ran.code, 0, "{objective} {more:?}: {}", ran.err);
    let text = std::fs::read_to_string(sandbox.path(&format!("{output}.metrics.jsonl"))).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), ran)
}

pub fn adapter(sandbox: &Sandbox, name: &str) -> Adapter {
    Adapter::open(sandbox.path(&format!("{name}.gguf"))).unwrap()
}

/// Stopped after one step and resumed, a run must leave the bytes of one that was not.
pub fn resumes(sandbox: &Sandbox, objective: &str, settings: &[&str], stop: &str) {
    tuned(sandbox, objective, "whole", settings);
    let paused = tune(sandbox, objective, "part", &[settings, &["--pause-at", stop]].concat());
    assert!(paused.code == 0 && paused.err.contains("--resume goes on"), "{}", paused.err);
    assert!(!sandbox.path("part.gguf").exists());
    tuned(sandbox, objective, "part", &[settings, &["--resume"]].concat());
    let bytes = |name: &str| std::fs::read(sandbox.path(name)).unwrap();
    assert!(bytes("part.gguf") == bytes("whole.gguf"), "stopped after step {stop}: another adapter");
}

#[test]
fn pairs_are_told_apart() {
    let sandbox = sandbox();
    for (objective, data) in
        [("dpo", "pairs"), ("ipo", "pairs"), ("orpo", "pairs"), ("simpo", "pairs"), ("kto", "thumbs")]
    {
        let data = format!("{data}.jsonl");
        let more = ["--data", &data, "--max-steps", "10", "--lr", "1e-2", "--keep", "0"];
        let (lines, ran) = tuned(&sandbox, objective, objective, &more);
        assert!(ran.err.contains("12 ") && ran.err.contains("ember chat --adapter"), "{}", ran.err);
        let (first, last) = (&lines[0], &lines[9]);
        let number =
            |line: &Value, name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(number(last, "loss") < number(first, "loss"), "{objective}: {first} {last}");
        if objective == "kto" {
            assert!(number(last, "liked") > number(last, "disliked"), "{last}");
        } else {
            assert!(number(last, "margin") > number(first, "margin"), "{objective}: {first} {last}");
            assert_eq!(number(last, "accuracy"), 1.0, "{objective}: {last}");
        }
        if ["dpo", "kto"].contains(&objective) {
            let start = number(first, "loss");
            let expected = if objective == "dpo" { std::f64::consts::LN_2 } else { 0.5 };
            assert!(
                (start - expected).abs() < bounds::CACHED,
                "{objective} begins at the reference: {start}"
            );
        }
        assert_eq!(adapter(&sandbox, objective).info["data.files"], data);
    }
}

#[test]
fn what_the_model_is_compared_with_matters_once_it_has_an_adapter() {
    let sandbox = sandbox();
    let settings = ["--data", "pairs.jsonl", "--max-steps", "4", "--lr", "1e-2"];
    tuned(&sandbox, "dpo", "first", &settings);
    let first = ["--from", "first.gguf"];
    let (start, _) = tuned(&sandbox, "dpo", "start", &[&settings[..], &first].concat());
    let (base, _) =
        tuned(&sandbox, "dpo", "base", &[&settings[..], &first, &["--reference", "base"]].concat());
    let loss = |lines: &[Value]| lines[0]["loss"].as_f64().unwrap();
    assert!((loss(&start) - std::f64::consts::LN_2).abs() < bounds::CACHED, "{}", start[0]);
    assert!(loss(&base) < loss(&start) - 0.1, "{} {}", base[0], start[0]);
    let (learnt, _) = tuned(&sandbox, "dpo", "learnt", &[&settings[..], &["--sft", "1"]].concat());
    assert!(loss(&learnt) > 1.0, "the better answers' own loss is added: {}", learnt[0]);
    assert!(apart(&adapter(&sandbox, "learnt"), &adapter(&sandbox, "first")) > 1e-3);
}

#[test]
fn a_resumed_dpo_is_the_uninterrupted_one() {
    let sandbox = sandbox();
    let settings =
        ["--data", "pairs.jsonl", "--max-steps", "7", "--val", "0.2", "--dropout", "0.1", "--batch", "3"];
    resumes(&sandbox, "dpo", &[&settings[..], &["--lr", "1e-2", "--keep", "0.5"]].concat(), "3");
    let other = tune(&sandbox, "dpo", "again", &[&settings[..], &["--pause-at", "2"]].concat());
    assert_eq!(other.code, 0, "{}", other.err);
    let changed = tune(&sandbox, "dpo", "again", &[&settings[..], &["--resume", "--beta", "0.2"]].concat());
    assert!(changed.code == 1 && changed.err.contains("beta"), "{}", changed.err);
    // The same files read otherwise are other data.
    let spoken = [&settings[..], &["--resume", "--chat-template", "chatml", "--system", "be brief"]].concat();
    let changed = tune(&sandbox, "dpo", "again", &spoken);
    assert!(changed.code == 1 && changed.err.contains("sequences"), "{}", changed.err);
}

#[test]
fn pairs_are_looked_at_before_anything_runs() {
    let sandbox = sandbox();
    let shown = tune(&sandbox, "dpo", "x", &["--data", "pairs.jsonl", "--preview", "1"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in ["pairs.jsonl:1: chosen", "pairs.jsonl:1: rejected", "[[ red blue", "12 pairs"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    let liked = tune(&sandbox, "kto", "x", &["--data", "thumbs.jsonl", "--preview", "2"]);
    assert!(liked.out.contains("1: liked") && liked.out.contains("2: not liked"), "{}", liked.out);
    for (objective, data, says) in [
        ("dpo", "thumbs.jsonl", "prompt with chosen and rejected"),
        ("reward", "prompts.jsonl", "prompt with chosen and rejected"),
        ("kto", "prompts.jsonl", "prompt with completion and label"),
    ] {
        let ran = tune(&sandbox, objective, "x", &["--data", data]);
        assert!(ran.code == 1 && ran.err.contains(says), "{objective}: {}", ran.err);
    }
    sandbox.write("same.jsonl", b"{\"prompt\": \"a\", \"chosen\": \" b\", \"rejected\": \" b\"}\n");
    let same = tune(&sandbox, "dpo", "x", &["--data", "same.jsonl", "pairs.jsonl", "--strict"]);
    assert!(
        same.code == 1 && same.err.contains("same.jsonl:1") && same.err.contains("nothing to prefer"),
        "{}",
        same.err
    );
    for wrong in [["--beta", "0"], ["--beta", "nan"], ["--sft", "-1"], ["--reference", "none"]] {
        let ran = tune(&sandbox, "dpo", "x", &[&["--data", "pairs.jsonl"], &wrong[..]].concat());
        assert_eq!(ran.code, 2, "{wrong:?}: {}", ran.err);
    }
    assert!(!sandbox.path("x.gguf").exists());
}

#[test]
fn a_reward_model_judges_and_does_not_write() {
    let sandbox = sandbox();
    let settings = ["--data", "pairs.jsonl", "--val", "0.2", "--epochs", "10", "--lr", "1e-2"];
    let (lines, ran) = tuned(&sandbox, "reward", "judge", &settings);
    assert!(ran.err.contains("ember score --adapter judge"), "{}", ran.err);
    assert_eq!(lines.last().unwrap()["validation_accuracy"], json!(1.0), "{:?}", lines.last());
    assert!(adapter(&sandbox, "judge").head.is_some());
    let model = model();
    let score = |more: &[&str]| {
        let fixed = ["score", "-m", &model, "--device", "cpu", "--adapter", "judge"];
        sandbox.run(&[&fixed[..], more].concat())
    };
    let pairs = score(&["--data", "pairs.jsonl"]);
    assert!(pairs.code == 0 && pairs.out.contains("100.0% of 12 pairs"), "{} {}", pairs.out, pairs.err);
    let lines = score(&["--data", "pairs.jsonl", "--json"]);
    let lines: Vec<Value> = lines.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[12]["accuracy"]), (13, &json!(1.0)));
    let one = score(&["red one", " red blue", "--json"]);
    let one: Value = serde_json::from_str(&one.out).unwrap();
    assert_eq!(one["reward"], lines[0]["chosen"], "the same text, the same reward");
    let answers = score(&["--data", "thumbs.jsonl"]);
    assert!(answers.code == 0 && answers.out.lines().count() == 12, "{} {}", answers.out, answers.err);
    assert_eq!(score(&["red one"]).code, 2);

    let show = sandbox.run(&["adapter", "show", "judge.gguf"]);
    assert!(show.out.contains("reward model: a head of 48 numbers"), "{}", show.out);
    let write = ["run", "-m", &model, "--device", "cpu", "--adapter", "judge", "-p", "red", "-n", "2"];
    let refused = sandbox.run(&write);
    assert!(refused.code == 1 && refused.err.contains("it is a reward model"), "{}", refused.err);
    let forced = sandbox.run(&[&write[..], &["--force"]].concat());
    assert_eq!(forced.code, 0, "{}", forced.err);
    let refused = tune(&sandbox, "dpo", "x", &["--data", "pairs.jsonl", "--from", "judge.gguf"]);
    assert!(refused.code == 1 && refused.err.contains("it is a reward model"), "{}", refused.err);
}

//! Reward-guided training by the command line, on a tiny model.

use serde_json::Value;

use crate::bounds;
use crate::common::Sandbox;
use crate::prefer::{adapter, resumes, sandbox, tune, tuned};

const SMALL: [&str; 8] = ["--prompts", "prompts.jsonl", "--max-new", "6", "--seq", "64", "--lr", "1e-2"];
/// Rewards that differ: how often a letter is there.
#[cfg(unix)]
const LETTERS: &str = "command:while read line; do echo \"$line\" | tr -cd e | wc -c; done";

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    SMALL.iter().chain(more).copied().collect()
}

fn notes(line: &Value) -> String {
    line["notes"].to_string()
}

#[cfg(unix)]
#[test]
fn rewards_are_learnt_from() {
    let sandbox = sandbox();
    for objective in ["grpo", "rloo", "ppo"] {
        let step = ["--prompts-per-step", "3", "--max-steps", "3", "--reward", LETTERS];
        let (lines, ran) = tuned(&sandbox, objective, objective, &small(&step));
        for part in ["12 prompts", "answers a step", "step 1:", "reward", "% writing", "% learning"] {
            assert!(ran.err.contains(part), "{objective}, {part}: {}", ran.err);
        }
        assert!(ran.out.is_empty(), "{}", ran.out);
        assert_eq!(lines.len(), 3);
        for name in ["reward", "reward_std", "entropy", "length", "rollout_seconds", "update_seconds"] {
            assert!(lines[2][name].is_f64(), "{objective}, {name}: {}", lines[2]);
        }
        assert!(lines[0]["grad_norm"].as_f64().unwrap() > 0.0, "{}", lines[0]);
        let adapter = adapter(&sandbox, objective);
        assert!(adapter.pairs.iter().any(|pair| pair.norm() > 0.0) && adapter.head.is_none());
        assert!(adapter.info["objective"].contains(objective), "{:?}", adapter.info);
    }
}

#[cfg(unix)]
#[test]
fn a_resumed_grpo_is_the_uninterrupted_one() {
    let sandbox = sandbox();
    let more = ["--prompts-per-step", "2", "--group", "4", "--max-steps", "5", "--beta", "0.1"];
    let rest = ["--passes", "2", "--minibatches", "2", "--dropout", "0.1", "--reward", LETTERS];
    resumes(&sandbox, "grpo", &small(&[&more[..], &rest].concat()), "2");
}

/// The map of `ember plan` is that of a run, which needs no more than it: room for one answer, however many are written.
#[test]
fn what_learning_takes_is_that_of_one_answer() {
    let (sandbox, model) = (sandbox(), crate::tune::model());
    let shape = ["--chunk", "16", "--recompute", "none"];
    let args =
        ["plan", "-m", &model, "--device", "cpu", "--tune", "grpo", "--data", "prompts.jsonl", "--json"];
    let planned = |more: &[&str]| -> String {
        let ran = sandbox.run(&[&args[..], &["--rank", "4", "--seq", "128"], &shape, more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()["total"].to_string()
    };
    let run = |budget: &str, more: &[&str]| {
        let run = ["--prompts", "prompts.jsonl", "-n", "64", "--seq", "128", "--max-steps", "1"];
        let kept = ["--reward", "length:3", "--samples", "0", "--replace", "--budget", budget];
        tune(&sandbox, "grpo", "one", &[&run[..], &kept, &shape, more].concat())
    };
    let one = planned(&[]);
    let ran = run(&one, &[]);
    assert_eq!(ran.code, 0, "{one}: {}", ran.err);
    let eight = run(&one, &["--batch", "8"]);
    assert!(eight.code == 1 && eight.err.contains("the plan needs"), "{}", eight.err);
    let ran = run(&planned(&["--batch", "8"]), &["--batch", "8"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

/// What rewards say is part of a run, not only where it is written.
#[cfg(feature = "schema")]
#[test]
fn a_schema_that_has_changed_is_not_resumed_with() {
    let sandbox = sandbox();
    let schema = |text: &str| std::fs::write(sandbox.path("answer.json"), text).unwrap();
    schema(r#"{"type": "object"}"#);
    let more = ["--prompts-per-step", "2", "--max-steps", "3", "--reward", "schema:answer.json"];
    let paused = tune(&sandbox, "grpo", "part", &small(&[&more[..], &["--pause-at", "1"]].concat()));
    assert_eq!(paused.code, 0, "{}", paused.err);
    schema(r#"{"type": "array"}"#);
    let resume = small(&[&more[..], &["--resume"]].concat());
    let other = tune(&sandbox, "grpo", "part", &resume);
    assert!(other.code == 1 && other.err.contains("judged by"), "{}", other.err);
    schema(r#"{"type": "object"}"#);
    tuned(&sandbox, "grpo", "part", &resume);
}

#[test]
fn a_reward_model_is_learnt_from() {
    let sandbox = sandbox();
    let pairs = ["--data", "pairs.jsonl", "--max-steps", "6", "--lr", "1e-2"];
    tuned(&sandbox, "reward", "judge", &pairs);
    let step = ["--prompts-per-step", "4", "--max-steps", "2", "--reward", "model:judge*2"];
    for objective in ["ppo", "grpo"] {
        let (lines, ran) = tuned(&sandbox, objective, objective, &small(&step));
        assert!(ran.err.contains("rewarded by model:judge*2"), "{}", ran.err);
        let (total, part) = (&lines[0]["reward"], &lines[0]["reward/judge"]);
        let (total, part) = (total.as_f64().unwrap(), part.as_f64().unwrap());
        assert!((total - 2.0 * part).abs() < bounds::DOUBLES && part != 0.0, "{}", lines[0]);
    }
    tuned(&sandbox, "dpo", "writer", &["--data", "pairs.jsonl", "--max-steps", "1"]);
    let ran = tune(&sandbox, "grpo", "x", &small(&["--reward", "model:writer"]));
    assert!(ran.code == 1 && ran.err.contains("it is no reward model"), "{}", ran.err);
}

#[test]
fn equal_rewards_change_nothing_and_say_so() {
    let sandbox = sandbox();
    let step = ["--max-steps", "2", "--reward", "contains:zanzibar", "--samples", "0"];
    let (lines, ran) = tuned(&sandbox, "grpo", "same", &small(&step));
    for line in &lines {
        assert!(line["skipped"] == true && notes(line).contains("nothing to learn"), "{line}");
    }
    assert!(ran.err.contains("step 1: all answers to a prompt got the same reward"), "{}", ran.err);
    assert!(ran.err.contains("nothing was learnt"), "{}", ran.err);
    assert!(!ran.err.contains("step 1:\n"), "no samples were asked for: {}", ran.err);
    assert!(adapter(&sandbox, "same").pairs.iter().all(|pair| pair.norm() == 0.0));
}

#[cfg(unix)]
#[test]
fn rewards_that_are_no_numbers_are_left_out() {
    let sandbox = sandbox();
    let all = ["--max-steps", "1", "--reward", "command:while read line; do echo nan; done"];
    let (lines, ran) = tuned(&sandbox, "grpo", "all", &small(&all));
    assert!(
        notes(&lines[0]).contains("no answer could be judged") && ran.err.contains("unusable"),
        "{}",
        ran.err
    );
    let third =
        "command:i=0; while read line; do i=$((i+1)); [ $((i%3)) = 0 ] && echo nan || echo $((i%4)); done";
    let (lines, _) = tuned(&sandbox, "grpo", "third", &small(&["--max-steps", "1", "--reward", third]));
    assert!(
        notes(&lines[0]).contains("10 of 32 answers got a reward that is no finite number"),
        "{}",
        lines[0]
    );
    assert!(lines[0]["grad_norm"].as_f64().unwrap() > 0.0 && lines[0]["reward"].is_f64(), "{}", lines[0]);
}

#[test]
fn what_cannot_be_rewarded_is_refused() {
    let sandbox = sandbox();
    for (words, code, says) in [
        (&["--reward", "exakt"][..], 2, "known are"),
        (&[], 2, "--reward"),
        (&["--reward", "exact*0"], 2, "nothing to learn from"),
        (&["--reward", "exact", "--group", "1"], 2, "a group of at least 2"),
        (&["--reward", "exact", "--epsilon", "1.5"], 2, "epsilon"),
        (&["--reward", "exact", "--seq", "6"], 2, "no room for a prompt"),
        (&["--reward", "exact", "--seq", "8"], 1, "room for an answer"),
        (&["--reward", "exact", "--budget", "100k"], 1, "try: --seq "),
        (&["--reward", "model:missing"], 1, "there is no adapter `missing`"),
        (&["--reward", "schema:missing.json"], 1, "missing.json"),
    ] {
        let fixed = ["--prompts", "prompts.jsonl", "--max-new", "6"];
        let ran = tune(&sandbox, "grpo", "x", &[&fixed[..], words].concat());
        assert!(ran.code == code && ran.err.contains(says), "{words:?}: {} {}", ran.code, ran.err);
    }
    let ran =
        tune(&sandbox, "grpo", "x", &["--prompts", "thumbs.jsonl", "--reward", "exact", "--preview", "1"]);
    assert!(ran.code == 0 && ran.out.contains("for the rewards") && ran.out.contains("label"), "{}", ran.out);
    sandbox.write("bad.jsonl", b"{\"topic\": \"a\"}\n");
    let ran = tune(&sandbox, "grpo", "x", &["--prompts", "bad.jsonl", "--reward", "exact"]);
    assert!(ran.code == 1 && ran.err.contains("known are prompt, question"), "{}", ran.err);
    a_program_that_is_not_there(&sandbox);
    assert!(!sandbox.path("x.gguf").exists());
}

/// It fails in the first step: nothing is left that would have to be thrown away.
fn a_program_that_is_not_there(sandbox: &Sandbox) {
    for _ in 0..2 {
        let ran = tune(sandbox, "grpo", "x", &small(&["--reward", "command:/nowhere/judge"]));
        assert!(ran.code == 1 && ran.err.contains("/nowhere/judge"), "{}", ran.err);
        assert!(!ran.err.contains("--restart"), "{}", ran.err);
    }
}

//! A training's settings: kept beside its result, read from a file, chosen by effort, and what they need in memory.

use emberlm::adapter::Adapter;
use serde_json::Value;

use crate::common::{Ran, Sandbox};
use crate::prefer::sandbox;
use crate::tune::model;

fn sft(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let fixed = ["tune", "sft", "--device", "cpu", "-t", "2"];
    sandbox.run(&[&fixed[..], more].concat())
}

fn settings(sandbox: &Sandbox, name: &str) -> Value {
    let adapter = Adapter::open(sandbox.path(&format!("{name}.gguf"))).unwrap();
    serde_json::from_str(&adapter.info["settings"]).unwrap()
}

#[test]
fn a_run_is_repeated_by_the_file_beside_its_result() {
    let sandbox = sandbox();
    let model = model();
    let given = [
        "-m",
        &model,
        "--data",
        "thumbs.jsonl",
        "--rank",
        "2",
        "--lr",
        "1e-3",
        "--max-steps",
        "2",
        "--keep",
        "0",
    ];
    let first = sft(&sandbox, &[&given[..], &["-o", "one"]].concat());
    assert_eq!(first.code, 0, "{}", first.err);
    let file = std::fs::read_to_string(sandbox.path("one.toml")).unwrap();
    for line in
        ["objective = \"sft\"", "data = [\"thumbs.jsonl\"]", "rank = 2", "lr = 1e-3", "output = \"one\""]
    {
        assert!(file.lines().any(|l| l == line), "{line}: {file}");
    }
    let again = sft(&sandbox, &["--config", "one.toml", "-o", "two"]);
    assert_eq!(again.code, 0, "{}", again.err);
    let bytes = |name: &str| {
        let adapter = Adapter::open(sandbox.path(name)).unwrap();
        (adapter.pairs, adapter.info["settings"].clone())
    };
    assert_eq!(bytes("one.gguf"), bytes("two.gguf"));
    let other = sft(&sandbox, &["--config", "one.toml", "-o", "three", "--max-steps", "1", "--rank", "3"]);
    assert_eq!(other.code, 0, "{}", other.err);
    let settings = settings(&sandbox, "three");
    assert_eq!((settings["lora"]["rank"].as_u64(), settings["max_steps"].as_u64()), (Some(3), Some(1)));
    // Its own name is in it, and what has that name stays.
    let same = sft(&sandbox, &["--config", "one.toml"]);
    assert!(same.code == 1 && same.err.contains("is there, and stays as it is"), "{}", same.err);
    let dpo = sandbox.run(&["tune", "dpo", "--config", "one.toml"]);
    assert!(dpo.code == 1 && dpo.err.contains("it is of `tune sft`"), "{}", dpo.err);
}

#[test]
fn effort_says_what_it_chose() {
    let sandbox = sandbox();
    let model = model();
    let run = |effort: &str, more: &[&str]| {
        let given = [
            "-m",
            &model,
            "--data",
            "thumbs.jsonl",
            "--batch",
            "12",
            "--keep",
            "0",
            "--seq",
            "64",
            "-o",
            effort,
        ];
        let ran = sft(&sandbox, &[&given[..], &["--effort", effort], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        (settings(&sandbox, effort), ran.err)
    };
    let (normal, said) = run("normal", &[]);
    assert!(!said.contains("effort"), "{said}");
    let (light, said) = run("light", &[]);
    assert!(said.contains("effort light: --rank 8"), "{said}");
    let (thorough, said) = run("thorough", &["--schedule", "constant"]);
    assert!(said.contains("effort thorough: --rank 32, --warmup 10, twice the passes"), "{said}");
    let epochs = [&light, &normal, &thorough].map(|settings| settings["epochs"].as_u64().unwrap());
    assert_eq!(epochs, [epochs[1].div_ceil(4), epochs[1], 2 * epochs[1]]);
    let ranks = [&light, &normal, &thorough].map(|settings| settings["lora"]["rank"].as_u64().unwrap());
    assert_eq!(ranks, [8, 16, 32]);
    assert_eq!(
        (&thorough["schedule"], &thorough["warmup"]),
        (&serde_json::json!("constant"), &serde_json::json!(10))
    );
}

#[test]
fn a_plan_for_data_is_what_the_run_takes() {
    let sandbox = sandbox();
    let model = model();
    let planned = |objective: &str, data: &str| {
        let args = ["plan", "-m", &model, "--device", "cpu", "--tune", objective, "--rank", "4", "--json"];
        let ran = sandbox.run(&[&args[..], &["--data", data]].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()
    };
    let bytes = |map: &Value| emberlm::cli::term::bytes(map["total"].as_u64().unwrap());
    let reward = ["--reward", "length:3"];
    for (objective, data, more) in
        [("sft", "thumbs.jsonl", &[][..]), ("dpo", "pairs.jsonl", &[]), ("grpo", "prompts.jsonl", &reward)]
    {
        let map = planned(objective, data);
        assert_eq!(map["tune"]["data"]["items"], 12, "{map:#}");
        let given = ["--data", data, "--max-steps", "1"];
        let ran = crate::prefer::tune(&sandbox, objective, objective, &[&given[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(ran.err.contains(&format!("{} planned", bytes(&map))), "{} not in {}", bytes(&map), ran.err);
    }
    let of_nothing = sandbox.run(&["plan", "-m", &model, "--tune", "pretrain", "--data", "pairs.jsonl"]);
    assert!(of_nothing.code == 2 && of_nothing.err.contains("no effect"), "{}", of_nothing.err);
    let people =
        sandbox.run(&["plan", "-m", &model, "--device", "cpu", "--tune", "sft", "--data", "thumbs.jsonl"]);
    assert!(people.out.contains("for these data: 12 items, the longest of"), "{}", people.out);
}

#[test]
fn one_word_for_one_thing() {
    let sandbox = sandbox();
    let model = model();
    let preview = |more: &[&str]| {
        let fixed = ["tune", "grpo", "-m", &model, "--device", "cpu", "--reward", "exact", "--preview"];
        let ran = sandbox.run(&[&fixed[..], more].concat());
        assert_eq!(ran.code, 0, "{more:?}: {}", ran.err);
        ran.out
    };
    let out = preview(&["--prompts", "prompts.jsonl", "-n", "6", "--temp", "0.7"]);
    assert_eq!(preview(&["--data", "prompts.jsonl", "--max-new", "6", "--temperature", "0.7"]), out);
    assert_eq!(preview(&["--prompts", "prompts.jsonl", "--n-predict", "6", "--steps", "3"]), out);
}

#[test]
fn a_reward_without_answers_is_refused_before_training() {
    let sandbox = sandbox();
    let model = model();
    sandbox.write("bare.jsonl", b"{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"answer\": null}\n");
    sandbox.write("some.jsonl", b"{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"answer\": \"c\"}\n");
    let run = |data: &str, reward: &str| {
        let fixed =
            ["tune", "grpo", "-m", &model, "--device", "cpu", "--rank", "2", "-n", "4", "--seq", "64"];
        sandbox.run(
            &[
                &fixed[..],
                &["--max-steps", "1", "-o", "x", "--replace", "--prompts", data, "--reward", reward],
            ]
            .concat(),
        )
    };
    for rule in ["exact", "contains", "f1", "numeric"] {
        let ran = run("bare.jsonl", rule);
        assert!(ran.code == 1 && ran.err.contains("which no prompt has"), "{rule}: {}", ran.err);
        assert!(ran.err.contains("bare.jsonl") && !sandbox.path("x.state").exists(), "{}", ran.err);
    }
    assert_eq!(run("bare.jsonl", "exact:c").code, 0);
    let ran = run("some.jsonl", "exact");
    assert!(ran.code == 0 && ran.err.contains("1 of 2 prompts have no `answer`"), "{}", ran.err);
}

#[test]
fn questions_with_answers_are_learnt_as_they_are_asked() {
    let sandbox = sandbox();
    sandbox.write("qa.jsonl", b"{\"question\": \"two\", \"answer\": \"three\"}\n{\"question\": \"x\", \"answer\": [\"y\", \"z\"]}\n");
    let ran = sft(&sandbox, &["-m", &model(), "--data", "qa.jsonl", "--preview"]);
    assert!(ran.code == 0 && ran.out.contains("three"), "{} {}", ran.out, ran.err);
}

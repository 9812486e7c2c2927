//! `ember plan --tune` on a tiny model.

use std::path::Path;

use crate::common::{Ran, Sandbox};

fn plan(args: &[&str]) -> Ran {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch/llama-tied.gguf");
    let model = model.display().to_string();
    let mut all = vec!["plan", "-m", &model, "--device", "cpu"];
    all.extend(args);
    Sandbox::new().run(&all)
}

#[test]
fn the_map_of_a_step_is_drawn() {
    let ran = plan(&["--tune", "sft", "--seq", "64", "--batch", "2", "--rank", "4", "--recompute", "all"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in
        ["128 token rows", "tape", "moments", "gradients", "backward", "update", "run again", "rank 4"]
    {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}

#[test]
fn as_json_with_its_sizes() {
    let ran =
        plan(&["--tune", "--seq", "32", "--batch", "1", "--targets", "attention", "--chunk", "8", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let map: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(map["tune"]["rows"], 32);
    assert_eq!(map["tune"]["chunk"], 8);
    assert_eq!(map["tune"]["targets"].as_array().unwrap().len(), 4);
    assert_eq!(map["tune"]["layers_run_again"], 0);
    let segments = map["segments"].as_array().unwrap();
    let sum: u64 = segments.iter().map(|s| s["bytes"].as_u64().unwrap()).sum();
    assert_eq!(map["total"], sum);
}

#[test]
fn a_refusal_names_flags_that_fit() {
    let shape = ["--tune", "sft", "--seq", "256", "--rank", "8", "--budget", "2M"];
    let ran = plan(&shape);
    assert_eq!(ran.code, 1, "{}", ran.out);
    let advice = ran.err.lines().find_map(|l| l.trim().strip_prefix("try:")).expect("advice").trim();
    assert!(advice.starts_with("--batch"), "{}", ran.err);
    // What comes later on the command line may not repeat a flag: the advice replaces.
    let words: Vec<&str> = advice.split_whitespace().collect();
    let mut args: Vec<&str> = vec!["--tune", "sft"];
    for pair in shape[2..].chunks(2).filter(|p| !words.contains(&p[0])) {
        args.extend(pair);
    }
    args.extend(&words);
    let again = plan(&args);
    assert_eq!(again.code, 0, "{args:?}: {}", again.err);
}

#[test]
fn further_models_need_no_second_base() {
    let of = |objective: &str| -> serde_json::Value {
        let ran = plan(&["--tune", objective, "--seq", "32", "--batch", "1", "--rank", "4", "--json"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    };
    let (sft, dpo, ppo) = (of("sft"), of("dpo"), of("ppo"));
    assert_eq!(dpo["tune"]["rows"], 64);
    assert_eq!(ppo["tune"]["branches"], serde_json::json!(["reference", "value"]));
    let weights = |map: &serde_json::Value| {
        let segments = map["segments"].as_array().unwrap().clone();
        let weights = segments.iter().find(|s| s["name"] == "weights").map(|s| s["bytes"].as_u64().unwrap());
        (map["mapped"].as_u64(), weights)
    };
    assert_eq!(weights(&ppo), weights(&sft));
    assert_eq!(weights(&dpo), weights(&sft));
    assert!(of("grpo")["total"].as_u64().unwrap() < ppo["total"].as_u64().unwrap());
    let ran = plan(&["--tune", "ppo", "--seq", "32", "--rank", "4"]);
    assert!(ran.out.contains("which is there once: reference, value"), "{}", ran.out);
    let small = plan(&["--tune", "grpo", "--seq", "256", "--budget", "1M"]);
    assert!(
        small.code == 1 && small.err.contains("--seq ") && !small.err.contains("--batch"),
        "{}",
        small.err
    );
}

#[test]
fn wrong_flags_are_usage() {
    for args in [
        &["--rank", "4"][..],
        &["--tune", "sft", "-c", "100"],
        &["--tune", "dance"],
        &["--tune", "sft", "--targets", "q,z"],
        &["--tune", "sft", "--dropout", "1"],
    ] {
        assert_eq!(plan(args).code, 2, "{args:?}");
    }
}

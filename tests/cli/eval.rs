//! `ember eval`.

use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};
use emberlm::text::{ChatTemplate, Message, TemplateVars, Tokenizer};
use serde_json::{Value, json};

use crate::adapter::{base, imported};
use crate::bounds;
use crate::common::{Ran, Sandbox};

fn eval(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let args = ["eval", "rows.jsonl", "-m", &base(), "-n", "8", "--device", "cpu"];
    sandbox.run(&[&args[..], more].concat())
}

fn measured(sandbox: &Sandbox, more: &[&str]) -> Value {
    let ran = eval(sandbox, &[&["--json", "--show", "99"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

fn write(sandbox: &Sandbox, rows: &[Value]) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    sandbox.write("rows.jsonl", lines.as_bytes());
}

/// A row of every kind.
fn rows() -> Vec<Value> {
    vec![
        json!({ "text": "the and then an other one in the end" }),
        json!({ "prompt": "the end", "completion": "and then" }),
        json!({ "messages": [{ "role": "user", "content": "an other" }, { "role": "assistant", "content": "one" }] }),
        json!({ "instruction": "the", "input": "one", "output": "in" }),
        json!({ "question": "the one", "answer": ["then", "end"], "match": "contains" }),
        json!({ "question": "in the", "choices": ["end", "and then an other"], "answer": "B" }),
    ]
}

#[test]
fn every_kind_of_row_is_measured() {
    let sandbox = imported();
    write(&sandbox, &rows());
    let json = measured(&sandbox, &[]);
    let base = &json["base"];
    assert_eq!((&json["rows"], &json["skipped"], &json["adapted"]), (&6.into(), &0.into(), &Value::Null));
    let of = |kind: &str| base[kind]["of"].as_u64();
    assert_eq!(
        [of("exact"), of("contains"), of("choice"), of("choice_per_token")],
        [Some(3), Some(1), Some(1), Some(1)]
    );
    for kind in ["text", "reply"] {
        let nll = base[kind]["mean_nll"].as_f64().unwrap();
        assert!((2.0..12.0).contains(&nll), "a random model guesses among 272 tokens: {nll}");
        assert!((nll.exp() - base[kind]["perplexity"].as_f64().unwrap()).abs() < bounds::ROUNDED * nll.exp());
    }
    let lines: Vec<u64> =
        json["answers"].as_array().unwrap().iter().map(|a| a["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6]);
    let chosen = &json["answers"][5]["base"];
    let sums: Vec<f64> =
        chosen["log_likelihoods"].as_array().unwrap().iter().map(|l| l.as_f64().unwrap()).collect();
    let want = ["end", "and then an other"].map(|choice| log_likelihood("in the", choice));
    for (got, (want, _)) in sums.iter().zip(want) {
        assert!((got - want).abs() < bounds::CACHED * want.abs(), "{got} {want}");
    }
    let likelier = |nll: fn((f64, f64)) -> f64| usize::from(nll(want[1]) > nll(want[0]));
    let expect = |index: usize| Value::from(["end", "and then an other"][index]);
    assert_eq!(chosen["answer"], expect(likelier(|(sum, _)| sum)));
    assert_eq!(chosen["per_token"], expect(likelier(|(sum, tokens)| sum / tokens)));
}

/// The log-probability of a choice after the user's question, and its number of tokens.
fn log_likelihood(question: &str, choice: &str) -> (f64, f64) {
    let model = Model::open(base()).unwrap();
    let metadata = &model.gguf().metadata;
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    let template = ChatTemplate::from_metadata(metadata, &tokenizer).unwrap().unwrap();
    let messages = [Message::new("user", question)];
    let mut tokens = template.encode(&tokenizer, &messages, true, &TemplateVars::new()).unwrap();
    let first = tokens.len();
    tokens.extend(tokenizer.encode(choice, false, false));
    let options =
        SessionOptions { device: DeviceChoice::Cpu, modes: Modes::SCORE, ..SessionOptions::default() };
    let scores = Session::new(&model, &options).unwrap().score(&tokens).unwrap();
    let sum = scores[first - 1..].iter().map(|l| f64::from(*l)).sum();
    (sum, (tokens.len() - first) as f64)
}

#[test]
fn an_answer_is_right_if_it_is_the_expected_one() {
    let sandbox = imported();
    let ask =
        |answer: &str, how: &str| json!({ "question": "the end", "answer": ["zz", answer], "match": how });
    write(&sandbox, &[ask("?x", "exact")]);
    let first = measured(&sandbox, &[]);
    let said = first["answers"][0]["base"]["answer"].as_str().unwrap().to_owned();
    assert_eq!((first["base"]["exact"]["right"].as_u64(), said.is_empty()), (Some(0), false));
    // The tiny model says anything, so that a letter of it has to do.
    let part = said.chars().find(|c| c.is_alphanumeric()).unwrap().to_string();
    write(&sandbox, &[ask(&said.to_uppercase(), "exact"), ask(&part, "exact"), ask(&part, "contains")]);
    let json = measured(&sandbox, &["--adapter", "a:20"]);
    let right = |side: &str| ["exact", "contains"].map(|kind| json[side][kind]["right"].as_u64().unwrap());
    assert_eq!(right("base"), [1, 1], "{json}");
    assert_eq!(json["base"]["exact"]["share"], 0.5);
    assert_eq!(json["adapted"]["exact"]["right"], 0, "the adapter says something else: {json}");
    assert_eq!(json["adapters"], json!([{ "name": "a", "scale": 20.0 }]));
}

#[test]
fn with_an_adapter_it_is_the_merged_model() {
    let sandbox = imported();
    write(&sandbox, &rows());
    let args = ["adapter", "merge", "-m", &base(), "--adapter", "a:20", "-o", "merged.gguf", "--type", "f32"];
    assert_eq!(sandbox.run(&args).code, 0);
    let both = measured(&sandbox, &["--adapter", "a:20", "--kv", "f32"]);
    let plain = measured(&sandbox, &["--kv", "f32"]);
    assert_eq!(both["base"], plain["base"], "the base is measured without the adapter");
    let args =
        ["eval", "rows.jsonl", "-m", "merged.gguf", "-n", "8", "--device", "cpu", "--json", "--kv", "f32"];
    let merged: Value = serde_json::from_str(&sandbox.run(&args).out).unwrap();
    for kind in ["text", "reply"] {
        let nll = |json: &Value| json[kind]["mean_nll"].as_f64().unwrap();
        let (adapted, want) = (nll(&both["adapted"]), nll(&merged["base"]));
        assert!((adapted - want).abs() < bounds::MODEL * want, "{kind}: {adapted} {want}");
        assert!((nll(&both["base"]) - want).abs() > 1e-2, "{kind}: the adapter does too little to compare");
    }
    let table = eval(&sandbox, &["--adapter", "a:20", "--show", "2"]);
    for part in [
        "base",
        "with adapter",
        "reply perplexity",
        "multiple choice",
        "per token",
        "adapter: a:20",
        "expected",
    ] {
        assert!(table.out.contains(part), "{part}: {}", table.out);
    }
}

#[test]
fn bad_rows_are_named_and_skipped_or_refused() {
    let sandbox = imported();
    let good = json!({ "prompt": "the end", "completion": "and" });
    let long = json!({ "prompt": "word ".repeat(500), "completion": "and" });
    sandbox.write(
        "rows.jsonl",
        format!("{good}\n\nnonsense\n{{\"question\": \"q\"}}\n{long}\n{good}\n").as_bytes(),
    );
    let ran = eval(&sandbox, &["-c", "64", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for line in [3, 4, 5] {
        assert!(ran.err.contains(&format!("rows.jsonl:{line}:")), "{line}: {}", ran.err);
    }
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&json["rows"], &json["skipped"]), (&2.into(), &3.into()));
    let strict = eval(&sandbox, &["--strict"]);
    assert!(strict.code == 1 && strict.err.contains("rows.jsonl:3:"), "{}", strict.err);
    let limited = eval(&sandbox, &["--limit", "1", "--strict", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&limited.out).unwrap()["rows"], 1, "{}", limited.err);
    sandbox.write("rows.jsonl", b"nonsense\n");
    let none = eval(&sandbox, &[]);
    assert!(none.code == 1 && none.err.contains("no row can be evaluated"), "{}", none.err);
    sandbox.write("text.txt", b"plain text");
    let text = sandbox.run(&["eval", "text.txt", "-m", &base(), "--device", "cpu"]);
    assert!(text.code == 1 && text.err.contains("plain text"), "{}", text.err);
    let missing = sandbox.run(&["eval", "nowhere.jsonl", "-m", &base(), "--device", "cpu"]);
    assert!(missing.code == 1 && missing.err.contains("nowhere.jsonl"), "{}", missing.err);
}

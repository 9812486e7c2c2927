//! Rules as they are written, and what they give.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn row(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// One completion through one rule.
fn judge(rule: &str, said: &str, tokens: usize, row: &Map<String, Value>) -> Option<f64> {
    let rule: Rule = rule.parse().unwrap_or_else(|error| panic!("{error}"));
    let mut reward = rule.reward(&CommandOptions::default()).unwrap();
    let completion = Completion { prompt: "Q", completion: said, row, tokens, truncated: false };
    reward.rewards(&[completion]).unwrap()[0]
}

fn give(rule: &str, said: &str, answer: Value) -> Option<f64> {
    judge(rule, said, 10, &row(json!({ "answer": answer })))
}

fn refused(rule: &str) -> String {
    rule.parse::<Rule>().unwrap_err().to_string()
}

#[test]
fn words_are_compared_with_the_row_or_the_rule() {
    for (rule, said, answer, wanted) in [
        ("exact", " paris.\n", json!("Paris"), Some(1.0)),
        ("exact", "It is Paris.", json!("Paris"), Some(0.0)),
        ("exact", "nyc", json!(["New York", "NYC"]), Some(1.0)),
        ("exact", "42", json!(42), Some(1.0)),
        ("exact", "True.", json!(true), Some(1.0)),
        ("exact", "x", json!(null), None),
        ("exact", "x", json!("?"), None),
        ("exact", "x", json!({"a": 1}), None),
        ("exact:yes", "Yes!", json!("no"), Some(1.0)),
        ("exact", "<think>Rome</think> Paris", json!("Paris"), Some(1.0)),
        ("contains", "It is Paris, of course.", json!("Paris."), Some(1.0)),
        ("contains:Thank You", "thank  you very much", json!(null), Some(1.0)),
        ("not-contains:as an AI", "As an AI, I cannot", json!(null), Some(0.0)),
        ("not-contains:as an AI", "Sure", json!(null), Some(1.0)),
        ("f1", "the cat sat", json!("The cat!"), Some(0.8)),
        ("f1", "dog", json!(["the cat", "a dog"]), Some(2.0 / 3.0)),
        ("f1", "", json!("cat"), Some(0.0)),
        ("f1:a a b", "a", json!(null), Some(0.5)),
        ("regex:^\\d+$", "123", json!(null), Some(1.0)),
        ("regex:^\\d+$", "<think></think>123", json!(null), Some(0.0)),
        ("regex:(?i)YES", "oh yes", json!(null), Some(1.0)),
    ] {
        assert_eq!(give(rule, said, answer.clone()), wanted, "{rule} {said} {answer}");
    }
    assert_eq!(judge("exact", "x", 1, &Map::new()), None, "a row without an answer");
}

#[test]
fn numbers_are_compared_as_numbers() {
    for (rule, said, answer, wanted) in [
        ("numeric", "So it is 1,234.50 dollars.", json!(1234.5), Some(1.0)),
        ("numeric", "72", json!("48/2 = 24, 48+24 = 72\n#### 72"), Some(1.0)),
        ("numeric", "1000001", json!(1_000_000), Some(1.0)),
        ("numeric", "1000002", json!(1_000_000), Some(0.0)),
        ("numeric", "0", json!(0), Some(1.0)),
        ("numeric", "-5", json!(5), Some(0.0)),
        ("numeric", "none", json!(5), Some(0.0)),
        ("numeric", "5", json!("five"), None),
        ("numeric", "3.0", json!([1, 3]), Some(1.0)),
        ("numeric:7", "7.", json!(8), Some(1.0)),
    ] {
        assert_eq!(give(rule, said, answer.clone()), wanted, "{rule} {said} {answer}");
    }
}

#[test]
fn length_falls_in_straight_lines() {
    let at = |rule: &str, tokens| judge(rule, "x", tokens, &Map::new()).unwrap();
    for (tokens, wanted) in [(0, 1.0), (100, 1.0), (150, 0.5), (200, 0.0), (usize::MAX, 0.0)] {
        assert_eq!(at("length:100", tokens), wanted, "{tokens}");
    }
    for (tokens, wanted) in [(0, 0.0), (5, 0.25), (20, 1.0), (40, 1.0), (60, 0.5), (80, 0.0)] {
        assert_eq!(at("length:20-40", tokens), wanted, "{tokens}");
    }
}

#[test]
fn json_is_strict_unless_a_fence_is_asked_for() {
    let fenced = "Sure:\n```json\n{\"a\": 1}\n```";
    for (rule, said, wanted) in [
        ("json", " {\"a\": 1}\n", 1.0),
        ("json", fenced, 0.0),
        ("json:a", "{\"a\": 1}", 1.0),
        ("json:a, b", "{\"a\": 1}", 0.0),
        ("json", "<think>{</think>[]", 1.0),
        ("fenced-json", fenced, 1.0),
        ("fenced-json:a", fenced, 1.0),
        ("fenced-json", "{\"a\": 1}", 0.0),
        ("json-parts:a,a", "{\"a\": 1}", 1.0),
        ("fenced-json-parts:a", fenced, 1.0),
        ("fenced-json-parts:a", "{\"a\": 1}", 0.5),
        ("fenced-json-parts:a", "none", 0.0),
    ] {
        assert_eq!(give(rule, said, json!(null)), Some(wanted), "{rule} {said}");
    }
}

#[cfg(feature = "schema")]
#[test]
fn a_schema_is_read_from_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"type": "array", "minItems": 1}"#).unwrap();
    let path = file.path().display();
    assert_eq!(give(&format!("schema:{path}"), "[1]", json!(null)), Some(1.0));
    assert_eq!(give(&format!("schema:{path}*2"), "[]", json!(null)), Some(0.0));
    assert_eq!(give(&format!("fenced-schema:{path}"), "```\n[1]\n```", json!(null)), Some(1.0));
    let missing: Rule = "schema:/nowhere/x.json".parse().unwrap();
    assert!(matches!(missing.reward(&CommandOptions::default()), Err(RewardError::Schema { .. })));
}

#[test]
fn weights_are_what_follows_the_last_star() {
    for (text, name, weight) in [
        ("exact", "exact", 1.0),
        ("exact*2", "exact", 2.0),
        ("exact *-0.5", "exact", -0.5),
        ("contains:a*b", "contains:a*b", 1.0),
        ("contains:a*b*0", "contains:a*b", 0.0),
        ("contains:2 * 3", "contains:2 * 3", 1.0),
        ("contains:*inf", "contains:*inf", 1.0),
        ("regex:\\d*2*1e-1", "regex:\\d*2", 0.1),
        ("regex:a*", "regex:a*", 1.0),
        ("length:5*.5", "length:5", 0.5),
        ("command:python3 a.py *3", "command:python3 a.py", 3.0),
        ("model:judge.gguf*2", "model:judge.gguf", 2.0),
    ] {
        let rule: Rule = text.parse().unwrap();
        assert_eq!((rule.name.as_str(), rule.weight), (name, weight), "{text}");
    }
}

#[test]
fn rules_that_mean_nothing_say_what_would() {
    for (text, says) in [
        ("", "known are exact, contains"),
        ("exakt", "no such rule"),
        ("fenced-exact", "no such rule"),
        ("exact*two", "is no weight"),
        ("exact*", "is no weight"),
        ("exact*1e999", "too large"),
        ("exact:", "nothing after the colon"),
        ("exact:?!", "no letters or digits"),
        ("regex", "`regex:^yes`"),
        ("regex:(", "regex crate"),
        ("regex:\\w{1000}{100}", "MiB"),
        ("not-contains", "needs a text"),
        ("json:a,,b", "key is empty"),
        ("json-parts", "needs the keys"),
        ("schema", "needs a file"),
        ("length", "needs a number of tokens"),
        ("length:many", "`many` is not a number"),
        ("length:0", "no completion has"),
        ("length:9-3", "from 9 to 3"),
        ("length:-5", "`` is not a number"),
        ("numeric:x", "`x` is not a number"),
        ("command", "needs a program"),
        ("model", "needs an adapter"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
        assert!(error.starts_with(&format!("reward `{text}`")), "{error}");
    }
    let model: Rule = "model:x".parse().unwrap();
    assert!(model.reward(&CommandOptions::default()).is_err());
}

#[test]
fn every_example_of_the_help_is_a_rule() {
    for help in RULES {
        let rule: Rule = help.example.parse().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rule.weight, 1.0, "{}", help.example);
    }
}

/// Rules that judge without a file or a program.
const JUDGES: [&str; 15] = [
    "exact",
    "exact:yes",
    "contains",
    "contains:a",
    "not-contains:é",
    "f1",
    "f1:a b",
    "numeric",
    "numeric:1.5",
    "regex:\\b.+$",
    "length:3-9",
    "json",
    "json:a,b",
    "json-parts:a,\"",
    "fenced-json-parts:a",
];

/// Texts near what the rules look for.
fn said() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{", "}", "\"a\"", ":", ",", "```", "```json", "\n", "</think>", "-", "−", "1", "23", "456", ".",
        "e", "'", "$", "\u{a0}", "é", "\u{0}", "yes", " ", "[",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(pieces, 0..40).prop_map(|v| v.concat())]
}

fn answer() -> impl Strategy<Value = Value> {
    prop_oneof![
        said().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::collection::vec(said(), 0..4).prop_map(Value::from),
        Just(Value::Null)
    ]
}

proptest! {
    #[test]
    fn no_rule_panics_or_leaves_its_range(said in said(), answer in answer(), tokens in any::<usize>()) {
        let row = row(json!({ "answer": answer }));
        for rule in JUDGES {
            if let Some(value) = judge(rule, &said, tokens, &row) {
                prop_assert!((0.0..=1.0).contains(&value), "{rule}: {value}");
            }
        }
    }

    #[test]
    fn any_text_is_a_rule_or_an_error(text in any::<String>(), name in prop::sample::select(NAMES.to_vec())) {
        let _ = text.parse::<Rule>();
        let _ = format!("{name}:{text}").parse::<Rule>();
        let _ = format!("{name}*{text}").parse::<Rule>();
    }

    #[test]
    fn argument_and_weight_are_told_apart(argument in "[^\\s].{0,20}[a-z]", weight in -1e6f64..1e6) {
        let rule: Rule = format!("contains:{argument}*{weight}").parse().unwrap();
        prop_assert_eq!(rule.weight, weight);
        let RuleKind::Contains(Some(text)) = rule.kind else { panic!("{:?}", rule.kind) };
        prop_assert_eq!(text, argument);
    }
}

const NAMES: [&str; 14] = [
    "exact",
    "contains",
    "not-contains",
    "f1",
    "numeric",
    "regex",
    "length",
    "json",
    "json-parts",
    "schema",
    "fenced-json",
    "fenced-schema",
    "command",
    "model",
];

//! What a conversation notes of its answers.

use std::path::Path;

use serde_json::Value;

use crate::adapter::{base, imported};
use crate::common::{Ran, Sandbox};

fn chat(sandbox: &Sandbox, more: &[&str], said: &str) -> Ran {
    let model = base();
    let args = ["chat", "-m", &model, "-n", "6", "--seed", "1", "--device", "cpu"];
    let ran = sandbox.run_with_input(&[&args[..], more].concat(), said);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn talk(sandbox: &Sandbox, name: &str) -> Vec<Value> {
    let talk: Value = serde_json::from_slice(&std::fs::read(sandbox.path(name)).unwrap()).unwrap();
    talk["messages"].as_array().unwrap().clone()
}

#[test]
fn thumbs_and_edits_are_noted_with_what_they_are_about() {
    let sandbox = imported();
    let said = "first\n/save 1\n/good\n/system be brief\nsecond\n/bad too \"long\"\n/edit One \\\ntwo.\n/save 2\n\
                /adapter a:0.5\nthird\n/edit\n  Mine.\n/good\n/edit\n\n/journal\n";
    let ran = chat(&sandbox, &[], said);
    let noted = lines(&sandbox.path("home/journal.jsonl"));
    let of = |field: &str| noted.iter().map(|e| e[field].clone()).collect::<Vec<Value>>();
    assert_eq!(of("feedback"), ["good", "bad", "edit", "edit"], "{}", ran.err);
    assert_eq!(of("id"), [1, 2, 3, 4]);
    assert_eq!(of("supersedes"), [Value::Null, Value::Null, 2.into(), Value::Null]);
    assert_eq!(of("system"), [Value::Null, "be brief".into(), "be brief".into(), "be brief".into()]);
    assert_eq!((&noted[1]["why"], &noted[2]["better"]), (&"too \"long\"".into(), &"One \ntwo.".into()));
    assert_eq!(noted[3]["better"], "Mine.");
    assert_eq!(of("adapter"), [Value::Null, Value::Null, Value::Null, "a:0.5".into()]);
    // The conversation before the answer, the model's answer, and in the conversation the better one.
    assert_eq!(noted[0]["messages"], serde_json::json!([{ "role": "user", "content": "first" }]));
    assert_eq!(noted[0]["answer"], talk(&sandbox, "1")[1]["content"]);
    assert_eq!(noted[2]["messages"].as_array().unwrap().len(), 3);
    assert_ne!(noted[2]["answer"], "One \ntwo.");
    assert_eq!(talk(&sandbox, "2")[3]["content"], "One \ntwo.");
    assert_eq!(noted[3]["messages"][3]["content"], "One \ntwo.");
    let time = noted[0]["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert_eq!(noted[0]["base"].as_str().unwrap().len(), 12);
    assert!(ran.err.contains("this answer is your own"), "{}", ran.err);
    assert!(ran.err.contains("left as it was"), "{}", ran.err);
    assert!(ran.err.contains("journal.jsonl: 3 entries of this model, 3 not learnt yet"), "{}", ran.err);
}

#[test]
fn a_second_answer_is_compared_with_the_first() {
    let sandbox = Sandbox::new();
    let said = "hello\n/save 1\n/again\n2\n/save 2\n/again\n1\n/save 3\n/again\nneither\n/again\nboth\n/withdraw\n\
                /withdraw\n/save 4\n/withdraw\nmore\n";
    let ran = chat(&sandbox, &["--journal", "own.jsonl", "--temp", "1.5"], said);
    let noted = lines(&sandbox.path("own.jsonl"));
    let kinds: Vec<&str> = noted.iter().map(|e| e["feedback"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["choice", "choice", "withdrawn", "withdrawn"], "{}", ran.err);
    let answer = |name: &str| talk(&sandbox, name)[1]["content"].clone();
    assert_eq!((&noted[0]["answer"], &noted[0]["other"]), (&answer("1"), &answer("2")));
    assert_eq!((&noted[0]["chosen"], &noted[1]["chosen"]), (&"other".into(), &"answer".into()));
    assert_eq!(noted[1]["answer"], answer("2"), "the one chosen before");
    assert_eq!((answer("3"), answer("4")), (answer("2"), answer("1")));
    assert!(answer("1") != answer("2") && noted[1]["other"] != answer("2"));
    assert_eq!((&noted[2]["supersedes"], &noted[3]["supersedes"]), (&2.into(), &1.into()));
    for part in ["answer 2:", "neither; the first answer stays", "`both` is not 1, 2", "nothing to take back"]
    {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert!(!sandbox.path("home/journal.jsonl").exists());
    // Nothing to compare, and where the input ends.
    let cold = chat(&sandbox, &["--journal", "own.jsonl", "--temp", "0"], "/again\nhello\n/again\n");
    assert!(cold.err.contains("no answer to judge") && cold.err.contains("temperature 0"), "{}", cold.err);
    chat(&sandbox, &["--journal", "own.jsonl", "--temp", "1.5"], "hello\n/again\n");
    assert_eq!(lines(&sandbox.path("own.jsonl")).len(), 4);
}

#[test]
fn without_an_answer_or_a_journal_it_says_so() {
    let sandbox = Sandbox::new();
    let ran = chat(&sandbox, &[], "/good\n/bad\n/edit x\n/again\n/withdraw\nhello\n/reset\n/good\n");
    assert_eq!(ran.err.matches("no answer to judge yet").count(), 6, "{}", ran.err);
    assert!(!sandbox.path("home/journal.jsonl").exists(), "made with the first entry");
    let ran =
        chat(&sandbox, &["--no-journal"], "hello\n/good\n/bad\n/edit x\n/again\n/withdraw\n/journal\nmore\n");
    assert_eq!(ran.err.matches("--no-journal was given").count(), 6, "{}", ran.err);
    assert!(!sandbox.path("home/journal.jsonl").exists());
    let help = chat(&sandbox, &[], "/help\n").err;
    for command in ["/good", "/bad", "/edit", "/again", "/withdraw", "/journal", "/learn"] {
        assert!(help.contains(command), "{command}");
    }
}

#[test]
fn a_torn_or_unusable_journal_is_reported() {
    let sandbox = Sandbox::new();
    chat(&sandbox, &[], "hello\n/good\nmore\n/bad\n");
    let path = sandbox.path("home/journal.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    let ran = chat(&sandbox, &[], "hello\n/good\n/journal\n");
    assert!(
        ran.err.contains("1 line was passed over in") && ran.err.contains("line 2: it is cut short"),
        "{}",
        ran.err
    );
    assert!(std::fs::read(&path).unwrap().starts_with(&whole[..whole.len() - 9]));
    // The same words once more are one entry.
    assert!(ran.err.contains("1 entry of this model"), "{}", ran.err);
    let refused = sandbox.run(&["chat", "-m", &base(), "--device", "cpu", "--journal", "home"]);
    assert!(refused.code == 1 && refused.err.contains("not a plain file"), "{}", refused.err);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let ran = chat(&sandbox, &[], "hello\n/good\n");
    assert!(ran.err.contains("without a journal") && ran.err.contains("there is no journal"), "{}", ran.err);
}

//! The live adapter: in chats, by name, its log, and back.

use std::path::PathBuf;

use emberlm::adapter::{Adapter, BaseFingerprint};
use emberlm::gguf::GgufFile;
use emberlm::journal::Key;
use emberlm::journal::live::{Figure, Learnt, Live, Refused, folder};

use crate::adapter::{base, golden, imported};
use crate::common::{Ran, Sandbox};

/// Where the sandbox's live adapter of the golden model lies.
fn place(sandbox: &Sandbox) -> PathBuf {
    let file = GgufFile::open(base()).unwrap();
    folder(&sandbox.path("home"), &BaseFingerprint::of(&file).unwrap())
}

/// A home in which two versions were learnt, the second one strong, and a third refused.
fn learnt() -> Sandbox {
    let sandbox = imported();
    let mut live = Live::open_folder(place(&sandbox)).unwrap();
    let mut adapter = Adapter::open(sandbox.path("a.gguf")).unwrap();
    let figure = |after| Figure {
        name: "held-out loss".into(),
        before: Some(2.5),
        after: Some(after),
        limit: Some(2.5),
        passed: after <= 2.5,
        about: "what\u{1b}[2J is it?".into(),
    };
    let made_of = |n: u8| Learnt {
        learnt: vec![Key([n; 16]), Key([n + 1; 16])],
        held_out: vec![Key([n + 2; 16])],
        figures: vec![figure(2.25)],
        ..Learnt::default()
    };
    live.switch(&adapter, made_of(0), "2026-11-25T03:04:11Z").unwrap();
    adapter.alpha *= 20.0;
    live.switch(&adapter, made_of(10), "2026-11-26T03:04:11Z").unwrap();
    let why = "the loss \u{1b}[31mrose".to_owned();
    let refused = Refused { entries: 5, figures: vec![figure(2.75)], why, lesson: String::new() };
    live.refuse(refused, "2026-11-27T03:04:11Z").unwrap();
    sandbox
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran
}

fn adapter(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let model = base();
    sandbox.run(&[&["adapter", args[0], "-m", &model], &args[1..]].concat())
}

fn run(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let model = base();
    let args = ["run", "-m", &model, "--raw", "-p", "the end", "-n", "12", "--temp", "0", "--device", "cpu"];
    done(sandbox.run(&[&args[..], more].concat()))
}

fn chat(sandbox: &Sandbox, more: &[&str], said: &str) -> Ran {
    let model = base();
    let args = ["chat", "-m", &model, "-n", "8", "--temp", "0", "--device", "cpu"];
    done(sandbox.run_with_input(&[&args[..], more].concat(), said))
}

#[test]
fn a_chat_uses_what_was_learnt_and_says_so() {
    let sandbox = learnt();
    let plain = chat(&sandbox, &["--no-live"], "hello\n/adapter\n");
    assert!(plain.err.contains("no adapter is on") && !plain.err.contains("learnt"), "{}", plain.err);
    let live = chat(
        &sandbox,
        &[],
        "hello\n/good\n/adapter\n/adapter none\n/reset\nhello\n/adapter live:0.5 a\n/adapter\n",
    );
    assert!(live.err.contains("using what was learnt until 2026-11-26T03:04:11Z (--no-live"), "{}", live.err);
    assert!(live.err.contains(" with live-2,") && live.err.contains("on: live-2\n"), "{}", live.err);
    assert!(live.err.ends_with("on: live-2:0.5, a\n"), "{}", live.err);
    let answers: Vec<&str> = live.out.lines().collect();
    assert_ne!(answers[0], plain.out.lines().next().unwrap(), "it does something");
    assert!(live.out.contains(plain.out.trim_end()), "and the model alone is as it was");
    let noted = std::fs::read_to_string(sandbox.path("home/journal.jsonl")).unwrap();
    assert!(noted.contains(r#""adapter":"live-2""#), "{noted}");
    let both = chat(&sandbox, &["--adapter", "a:0.5"], "/adapter\n");
    assert!(both.err.ends_with("on: live-2, a:0.5\n"), "{}", both.err);
    let named = chat(&sandbox, &["--adapter", "live:2"], "/adapter\n");
    assert!(named.err.ends_with("on: live-2:2\n"), "{}", named.err);
}

#[test]
fn other_commands_take_it_by_name() {
    let sandbox = learnt();
    let strong = run(&sandbox, &["--adapter", "a:20"]);
    assert_ne!(strong.out, run(&sandbox, &[]).out, "not by itself");
    assert_eq!(run(&sandbox, &["--adapter", "live"]).out, strong.out);
    let none = Sandbox::new().run(&["run", "-m", &base(), "-p", "x", "--adapter", "live"]);
    assert!(none.code == 1 && none.err.contains("nothing is live"), "{}", none.err);
    assert!(none.err.contains("ember adapter log"), "{}", none.err);
}

#[test]
fn the_log_tells_what_happened_and_rollback_takes_it_back() {
    let sandbox = learnt();
    let log = done(adapter(&sandbox, &["log"]));
    let lines: Vec<&str> = log.out.lines().collect();
    assert!(
        lines[0].contains("version 1  from the model alone: learnt 2 entries, judged by 1"),
        "{}",
        log.out
    );
    assert!(
        lines[1].contains("held-out loss")
            && lines[1].contains("2.5000 ->     2.2500, limit 2.5000  ok: what\\u{1b}[2J is it?"),
        "{}",
        log.out
    );
    assert!(lines[2].contains("version 2 (live)  from version 1"), "{}", log.out);
    assert!(
        lines[4].contains("refused after 5 entries") && lines[4].contains("version 2 stayed"),
        "{}",
        log.out
    );
    assert!(lines[5].contains("  failed: what") && !log.out.contains('\u{1b}'), "{}", log.out);
    assert!(log.err.contains("version 2 is live for"), "{}", log.err);

    let first = run(&sandbox, &["--adapter", "a"]).out;
    let back = done(adapter(&sandbox, &["rollback"]));
    assert!(back.err.contains("version 1 of 2026-11-25T03:04:11Z is live again"), "{}", back.err);
    assert_eq!(run(&sandbox, &["--adapter", "live"]).out, first);
    done(adapter(&sandbox, &["rollback"]));
    let none = adapter(&sandbox, &["rollback"]);
    assert!(none.code == 1 && none.err.contains("the model alone is in use already"), "{}", none.err);
    assert!(none.err.contains("--to N"), "{}", none.err);
    assert!(!chat(&sandbox, &[], "/adapter\n").err.contains("learnt until"));
    let unknown = adapter(&sandbox, &["rollback", "--to", "9"]);
    assert!(unknown.code == 1 && unknown.err.contains("no version 9"), "{}", unknown.err);
    done(adapter(&sandbox, &["rollback", "--to", "2"]));
    let json: serde_json::Value =
        serde_json::from_str(&done(adapter(&sandbox, &["log", "--json"])).out).unwrap();
    assert_eq!((&json["live"], json["log"].as_array().unwrap().len()), (&2.into(), 6));
    assert_eq!(json["log"][5]["rolled_back"]["to"], 2);
    assert_eq!(json["versions"][1]["learnt"][0], "0a".repeat(16));
    // While another process learns.
    let learning = Live::open_folder(place(&sandbox)).unwrap();
    let busy = adapter(&sandbox, &["rollback"]);
    assert!(busy.code == 1 && busy.err.contains("another program"), "{}", busy.err);
    assert!(done(adapter(&sandbox, &["log"])).err.contains("version 2 is live"));
    drop(learning);
}

#[test]
fn where_nothing_was_learnt_nothing_is_made() {
    let sandbox = Sandbox::new();
    let log = done(adapter(&sandbox, &["log"]));
    assert!(log.out.is_empty() && log.err.contains("nothing is live"), "{}", log.err);
    let back = adapter(&sandbox, &["rollback"]);
    assert!(back.code == 1 && back.err.contains("nothing was learnt"), "{}", back.err);
    assert!(!sandbox.path("home/live").exists());
    // What was learnt for one model is not another's.
    let learnt = learnt();
    let other = ["adapter", "log", "-m", &golden("arch/llama-tied.gguf")];
    assert!(done(learnt.run(&other)).err.contains("nothing is live"));
}

#[test]
fn a_damaged_live_adapter_is_warned_of_and_left_out() {
    let sandbox = learnt();
    let spoil = |slot: &str| {
        let path = place(&sandbox).join(slot);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[700] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    spoil("live.0");
    let older = chat(&sandbox, &[], "/adapter\n");
    assert!(older.err.contains("using the one before") && older.err.contains("on: live-2"), "{}", older.err);
    spoil("live.1");
    let without = chat(&sandbox, &[], "hello\n/good\n/adapter\n/journal\n");
    assert!(without.err.contains("without what was learnt") && without.err.contains("no adapter is on"));
    assert!(
        without.err.contains("what was learnt cannot be read: no sound state is left"),
        "{}",
        without.err
    );
    let log = adapter(&sandbox, &["log"]);
    assert!(log.code == 1 && log.err.contains("no sound state") && log.err.contains("at: "), "{}", log.err);
}

//! Answers that run in circles are ended, where nobody wants them; and how tokens are chosen.

use crate::common::{Ran, Sandbox};
use crate::hostile;

const SENTENCE: &[u8] = b"The quick brown fox jumps over the lazy dog today. ";

/// A model that says a sentence again and again, and what makes it.
fn circling(sandbox: &Sandbox) -> (String, String) {
    hostile::speaking(
        sandbox,
        "m.gguf",
        "",
        &[SENTENCE, b"Why? ", SENTENCE, SENTENCE, SENTENCE, b"End.", b"!"],
    )
}

fn said(ran: &Ran) -> usize {
    ran.out.matches("quick").count()
}

#[test]
fn an_answer_that_runs_in_a_circle_is_ended_before_it_goes_round_again() {
    let sandbox = Sandbox::new();
    let (model, seed) = circling(&sandbox);
    let args = hostile::say(&model, &seed, "7");
    let ran = sandbox.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let expected = "The quick brown fox jumps over the lazy dog today. Why? The quick brown fox jumps over the lazy dog today.\n";
    assert_eq!(ran.out, expected);
    assert!(ran.err.contains("(ended: it had begun to repeat itself)"), "{}", ran.err);
    let quiet = sandbox.run(&[&args[..], &["--quiet"]].concat());
    assert!(said(&quiet) == 2 && quiet.err.is_empty(), "{}", quiet.err);
    // Not where it was asked for, or where a text is continued as it is.
    for (more, times) in [
        (&["--loop-guard", "off"][..], 4),
        (&["--raw"], 4),
        (&["--raw", "--loop-guard", "on"], 2),
        (&["--loop-guard", "on"], 2),
    ] {
        let ran = sandbox.run(&[&args[..], more].concat());
        assert_eq!(said(&ran), times, "{more:?}: {}", ran.out);
        assert_eq!(ran.err.contains("repeat itself"), times == 2, "{more:?}: {}", ran.err);
    }
}

#[test]
fn a_chat_keeps_what_was_shown_and_remembers_earlier_answers() {
    let sandbox = Sandbox::new();
    let (model, seed) = circling(&sandbox);
    let mut args = hostile::say(&model, &seed, "7");
    args[0] = "chat";
    args.retain(|arg| !["-p", "a"].contains(arg));
    let ran = sandbox.run_with_input(&args, "a\n/save talk.json\n");
    assert!(said(&ran) == 2 && ran.err.contains("repeat itself"), "{} {}", ran.out, ran.err);
    let talk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("talk.json")).unwrap()).unwrap();
    let kept = talk["messages"][1]["content"].as_str().unwrap();
    assert!(kept.ends_with("Why? The quick brown fox jumps over the lazy dog today."), "{kept}");
    // An answer that begins with what was said twice before is written anew; at last it is given all the same.
    let mut once = args.clone();
    let limit = once.iter().position(|arg| *arg == "7").unwrap();
    once[limit] = "1";
    for (said_before, question, circles) in [(2, "a", false), (0, "a", false)] {
        let mut messages = Vec::new();
        for number in 0..said_before {
            messages.push(serde_json::json!({ "role": "user", "content": format!("q{number}") }));
            messages.push(serde_json::json!({ "role": "assistant", "content": String::from_utf8_lossy(SENTENCE).trim() }));
        }
        let talk = serde_json::json!({ "model": "m", "system": null, "messages": messages });
        sandbox.write("before.json", talk.to_string().as_bytes());
        let ran = sandbox
            .run_with_input(&[&once[..], &["--load", "before.json"]].concat(), &format!("{question}\n"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.out.trim().is_empty(), "there is always an answer");
        // The second try draws other tokens.
        assert_eq!(ran.out.contains("quick"), said_before == 0, "{}", ran.out);
        assert_eq!(ran.err.contains("repeat itself"), circles, "{}", ran.err);
    }
}

#[test]
fn a_chats_answers_have_a_limit_that_is_said() {
    let sandbox = Sandbox::new();
    let model = hostile::tiny().display().to_string();
    // A model without sense, whose likeliest answers to most letters never end.
    let args = ["chat", "-m", &model, "--device", "cpu", "-c", "2048", "--temp", "0"];
    let letters = "b\n/reset\nd\n/reset\ne\n";
    let endless = sandbox.run_with_input(&[&args[..], &["--loop-guard", "off"]].concat(), letters);
    let says = "(cut short after 512 tokens: -n takes more, -n -1";
    assert!(endless.err.contains(says), "{}", endless.err);
    let asked = sandbox.run_with_input(&[&args[..], &["--loop-guard", "off", "-n", "5"]].concat(), letters);
    assert!(!asked.err.contains("cut short") && asked.out.len() < endless.out.len(), "{}", asked.err);
}

#[test]
fn dry_has_llama_cpps_options_and_changes_what_is_said() {
    let sandbox = Sandbox::new();
    let model = hostile::tiny().display().to_string();
    let run = |more: &[&str]| {
        let args = [
            "run", "-m", &model, "--raw", "-p", "the end", "-n", "40", "--temp", "0", "--device", "cpu",
            "--quiet",
        ];
        sandbox.run(&[&args[..], more].concat())
    };
    let plain = run(&[]);
    let dry = run(&[
        "--dry-multiplier",
        "5",
        "--dry-base",
        "1.75",
        "--dry-allowed-length",
        "1",
        "--dry-penalty-last-n",
        "-1",
    ]);
    assert_eq!((plain.code, dry.code), (0, 0), "{} {}", plain.err, dry.err);
    assert_ne!(plain.out, dry.out);
    for off in [["--dry-multiplier", "0"], ["--dry-penalty-last-n", "0"]] {
        let ran =
            run(&[&off[..], if off[0] == "--dry-multiplier" { &[] } else { &["--dry-multiplier", "5"] }]
                .concat());
        assert_eq!(ran.out, plain.out, "{off:?}");
    }
    for bad in [["--dry-multiplier", "-1"], ["--dry-base", "0.5"], ["--dry-penalty-last-n", "-2"]] {
        assert_eq!(run(&bad).code, 2, "{bad:?}");
    }
}

#[test]
fn a_models_own_settings_are_used_where_nothing_else_is_asked_for() {
    let sandbox = Sandbox::new();
    let bytes = std::fs::read(hostile::tiny()).unwrap();
    for name in ["calm.gguf", "other.gguf"] {
        sandbox.write(name, &bytes);
    }
    let catalog = "default = \"calm\"\n[[model]]\nname = \"calm\"\nabout = \"x\"\nparameters = \"1\"\nformat = \"F16\"\n\
                   file = \"calm.gguf\"\nlicence = \"MIT\"\n[[model.source]]\nkind = \"file\"\npath = \"calm.gguf\"\n\
                   [[family]]\nmatches = [\"calm\"]\nstop = [\"\\u0001never\"]\n[family.sampling]\ntemp = 0.0\n";
    sandbox.write("catalog.toml", catalog.as_bytes());
    let run = |model: &str, more: &[&str]| {
        let args =
            ["run", "-m", model, "-p", "the end", "-n", "12", "--device", "cpu", "--chat-template", "chatml"];
        let ran = sandbox.run(&[&args[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran
    };
    let greedy = run("other.gguf", &["--temp", "0"]).out;
    // By its name in the catalogue, and by its file's.
    assert_eq!(run("calm", &["--seed", "1"]).out, greedy);
    assert_eq!(run("calm.gguf", &["--seed", "2"]).out, greedy);
    assert_ne!(run("calm", &["--seed", "1", "--temp", "3"]).out, greedy, "what is asked for goes first");
    assert_ne!(run("other.gguf", &["--seed", "1", "--temp", "3"]).out, greedy);
    // It is called by the catalogue's name.
    let ran = run("calm", &[]);
    assert!(ran.err.lines().any(|line| line.starts_with("calm, context")), "{}", ran.err);
}

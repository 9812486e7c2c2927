//! Stop strings, and thoughts before answers.

use crate::common::Sandbox;
use crate::hostile;

#[test]
fn an_answer_ends_before_a_stop_string_that_spans_tokens() {
    let sandbox = Sandbox::new();
    let pieces: [&[u8]; 6] = [b"Par", b"is.\nUs", b"er", b": \xc3", b"\xa9 an", b"d on"];
    let (model, seed) = hostile::speaking(&sandbox, "m.gguf", "", &pieces);
    let ran = |stops: &[&str]| {
        let ran = sandbox.run(&[&hostile::say(&model, &seed, "6")[..], stops].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    assert_eq!(ran(&[]), "Paris.\nUser: é and on\n");
    assert_eq!(ran(&["--stop", "\\nUser:"]), "Paris.\n");
    assert_eq!(ran(&["-r", "é an", "--stop", "never"]), "Paris.\nUser: \n");
    assert_eq!(ran(&["--reverse-prompt", "Usher", "--stop", "aris"]), "P\n");
    assert_eq!(ran(&["--stop", "on and on"]), "Paris.\nUser: é and on\n");
    assert_eq!(ran(&["--stop", "Paris"]), "\n");
}

#[test]
fn stdout_in_a_pipe_has_the_answer_without_the_thoughts() {
    let sandbox = Sandbox::new();
    let pieces: [&[u8]; 6] = [b"<th", b"ink>\nHm", b", \xc3\xa9 s", b"o\n</thi", b"nk>\n\nYes", b". User:"];
    let (model, seed) = hostile::speaking(&sandbox, "m.gguf", "</think>", &pieces);
    let ran = |count: &'static str, more: &[&str]| {
        sandbox.run(&[&hostile::say(&model, &seed, count)[..], more].concat())
    };
    let all = "<think>\nHm, é so\n</think>\n\nYes. User:\n";
    assert_eq!(ran("6", &[]).out, "Yes. User:\n");
    assert_eq!(ran("6", &["--hide-thoughts"]).out, "Yes. User:\n");
    assert_eq!(ran("6", &["--thoughts", "inline"]).out, all);
    assert_eq!(ran("6", &["--raw"]).out, all, "a text that is continued has no thoughts");
    assert_eq!(ran("6", &["--stop", " User:"]).out, "Yes.\n");
    assert_eq!(ran("6", &["--stop", "so"]).out, "Yes. User:\n", "thoughts are not searched");
    let cut = ran("3", &[]);
    assert!(cut.out == "\n" && cut.err.contains("while the model was thinking"), "{:?} {}", cut.out, cut.err);
    // A model that knows no such marks writes about them.
    let (other, seed) = hostile::speaking(&sandbox, "other.gguf", "", &pieces);
    assert_eq!(sandbox.run(&hostile::say(&other, &seed, "6")).out, all);
    // The whole is kept for the template, which leaves thoughts out or not.
    let mut chat = hostile::say(&model, &seed, "6");
    chat[0] = "chat";
    chat.retain(|arg| !["-p", "a"].contains(arg));
    let talk = sandbox.run_with_input(&chat, "a\n/save talk.json\n");
    assert_eq!(talk.out, "Yes. User:\n\n".trim_end().to_owned() + "\n");
    let saved: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(sandbox.path("talk.json")).unwrap()).unwrap();
    assert_eq!(saved["messages"][1]["content"], all.trim_end());
}

#[cfg(unix)]
#[test]
fn thoughts_are_shown_apart_on_a_terminal() {
    use crate::terminal::{harmless, on_terminal};
    let sandbox = Sandbox::new();
    let pieces: [&[u8]; 5] = [b"<think>", b"\nHm \x1b[2J", b" so\n</thi", b"nk>\n\nYes", b", no."];
    let (model, seed) = hostile::speaking(&sandbox, "m.gguf", "</think>", &pieces);
    let shown = |more: &[&str]| {
        let args = [&hostile::say(&model, &seed, "5")[..], more].concat();
        let shown = on_terminal(sandbox.command(&args), None, false);
        assert!(harmless(&shown), "{shown:?}");
        shown
    };
    let apart = shown(&[]);
    assert!(apart.starts_with("\u{1b}[2mthinking…\n"), "{apart:?}");
    let plain = |text: &str| text.replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    assert_eq!(plain(&apart), "thinking…\nHm \\u{1b}[2J so\n\nYes, no.\n");
    assert!(apart.ends_with("Yes, no.\n") && !apart.contains("2mYes"), "the answer is not dim: {apart:?}");
    assert_eq!(plain(&shown(&["--hide-thoughts"])), "thinking…\nYes, no.\n");
}

#[test]
fn thinking_is_switched_by_the_template() {
    let sandbox = Sandbox::new();
    let template = "{{ messages[-1]['content'] }}{% if enable_thinking is defined %}\
        {% if enable_thinking %} yes{% else %} no{% endif %}{% endif %}";
    let change = |metadata: &mut emberlm::gguf::Metadata| {
        metadata.set("tokenizer.chat_template", emberlm::gguf::Value::Str(template.into()));
    };
    let model = hostile::model(&sandbox, "m.gguf", change, str::to_owned);
    let ran = |prompt: &str, more: &[&str]| {
        let args = ["run", "-m", &model, "-p", prompt, "-n", "8", "--temp", "0", "--device", "cpu"];
        let ran = sandbox.run(&[&args[..], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran
    };
    assert_eq!(ran("a", &["--think", "on"]).out, ran("a yes", &[]).out);
    assert_eq!(ran("a", &["--think", "off"]).out, ran("a no", &["--think", "auto"]).out);
    assert_ne!(ran("a", &["--think", "on"]).out, ran("a", &[]).out);
    let none = ran("a", &["--think", "on", "--chat-template", "chatml"]);
    assert!(none.err.contains("--think has no effect"), "{}", none.err);
}

//! Data and text files by the command line: what is learnt is shown, what is not is said, and text is read or refused by name
//! wherever a file of it is named.

use std::io::Write;
use std::process::Stdio;

use crate::common::{Ran, Sandbox, ran};
use crate::tune::model;

fn preview(sandbox: &Sandbox, objective: &str, file: &str, more: &[&str]) -> Ran {
    let data = if objective == "grpo" { "--prompts" } else { "--data" };
    let model = model();
    let args = ["tune", objective, "-m", &model, data, file, "--preview", "9"];
    sandbox.run(&[&args[..], more].concat())
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn the_preview_says_what_is_skipped_and_what_was_noted() {
    let sandbox = Sandbox::new();
    let call = r#"[{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]"#;
    let rows = [
        r#"{"prompt": "a", "completion": "b"}"#.to_owned(),
        format!(
            r#"{{"messages": [{{"role": "user", "content": "a"}}, {{"role": "assistant", "content": null, "tool_calls": {call}}}]}}"#
        ),
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "NOT", "weight": 0}, {"role": "user", "content": "b"}, {"role": "assistant", "content": "YES"}]}"#.to_owned(),
        r#"{"text": "<|im_start|>user\nhi<|im_end|>\n"}"#.to_owned(),
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "train": "some"}]}"#.to_owned(),
    ];
    sandbox.write("rows.jsonl", rows.join("\n").as_bytes());
    let shown = preview(&sandbox, "sft", "rows.jsonl", &[]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for part in [
        "[[b<|im_end|>]]",
        "assistant\nNOT<|im_end|>",
        "[[YES<|im_end|>]]",
        "<|im_start|>[[user\nhi<|im_end|>\n<|im_end|>]]",
        "3 sequences",
    ] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    for part in [
        "5 rows read, 3 sequences, 2 skipped",
        "rows.jsonl:2: message 1 calls `look`",
        "rows.jsonl:5: conversations[1].train is \"some\"",
        "1 × row with replies marked as not to be learnt",
        "rows.jsonl:3: message 1",
        "control tokens, encoded as",
    ] {
        assert!(shown.err.contains(part), "{part}: {}", shown.err);
    }
    let strict = preview(&sandbox, "sft", "rows.jsonl", &["--strict"]);
    assert!(strict.code == 1 && strict.err.contains("rows.jsonl:2"), "{}", strict.err);

    let pair = r#"{"prompt": "a", "chosen": [{"role": "assistant", "content": null, "tool_calls": CALLS}], "rejected": "b"}"#;
    let good = r#"{"question": "a", "chosen": "c", "rejected": "b"}"#;
    sandbox.write("pairs.jsonl", format!("{}\n{good}", pair.replace("CALLS", call)).as_bytes());
    for objective in ["dpo", "reward"] {
        let shown = preview(&sandbox, objective, "pairs.jsonl", &[]);
        assert!(
            shown.code == 0 && shown.err.contains("pairs.jsonl:1: chosen: message 1 calls `look`"),
            "{}",
            shown.err
        );
        assert!(shown.out.contains("pairs.jsonl:2: chosen"), "{}", shown.out);
    }
    sandbox.write("rated.json", br#"[{"prompt": "a", "completion": "b", "label": 1}, {"prompt": "a", "completion": " ", "label": "undesirable"}]"#);
    let shown = preview(&sandbox, "kto", "rated.json", &[]);
    assert!(
        shown.out.contains("1: liked")
            && shown.err.contains("rated.json:1: completion: what is to be learnt is empty"),
        "{}",
        shown.err
    );
    sandbox.write("asked.jsonl", br#"{"question": "one and one", "answer": "two"}"#);
    let shown = preview(&sandbox, "grpo", "asked.jsonl", &["--reward", "exact"]);
    assert!(
        shown.code == 0 && shown.out.contains("user\none and one<|im_end|>"),
        "{}\n{}",
        shown.out,
        shown.err
    );
}

#[test]
fn a_template_that_opens_a_thought_is_learnt_after_it() {
    let sandbox = Sandbox::new();
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}\r\n{% if m.role == 'user' %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}<|im_end|>\r\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\r\n<think>\r\n{% endif %}";
    sandbox.write("plain.jinja", source.replace('\r', "").as_bytes());
    sandbox.write("windows.jinja", &utf16(&source.replace('\r', "")));
    sandbox.write("marked.jinja", format!("\u{feff}{}", source.replace('\r', "")).as_bytes());
    let rows = [
        r#"{"prompt": "a", "completion": "<think>\nhm\n</think>\n\nb"}"#,
        r#"{"prompt": "a", "completion": "b"}"#,
    ];
    sandbox.write("rows.jsonl", rows.join("\n").as_bytes());
    for template in ["plain.jinja", "windows.jinja", "marked.jinja"] {
        let shown = preview(&sandbox, "sft", "rows.jsonl", &["--chat-template", template]);
        assert_eq!(shown.code, 0, "{template}: {}", shown.err);
        let want = "\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n[[hm\n</think>\n\nb<|im_end|>]]";
        assert!(shown.out.contains(want), "{template}: {}", shown.out);
        assert!(
            shown.err.contains("rows.jsonl:2") && shown.err.contains("begin the answer with `<think>"),
            "{}",
            shown.err
        );
    }
}

#[test]
fn text_is_read_alike_everywhere_and_what_is_none_is_refused_by_name() {
    let sandbox = Sandbox::new();
    let model = model();
    let text = "the end and then an other one in the end of it";
    sandbox.write("plain.txt", text.as_bytes());
    sandbox.write("marked.txt", format!("\u{feff}{text}").as_bytes());
    sandbox.write("windows.txt", &utf16(text));
    let (files, device) = (["plain.txt", "marked.txt", "windows.txt"], ["--device", "cpu"]);
    let out = |args: &[&str]| {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    };
    let tokens = files.map(|file| out(&["tokenize", "-m", &model, "-f", file]));
    assert!(tokens.iter().all(|t| *t == tokens[0] && t.contains("and")), "{tokens:?}");
    let learnt = files.map(|file| preview(&sandbox, "sft", file, &[]).out.replace(file, ""));
    assert!(learnt.iter().all(|t| *t == learnt[0] && t.contains("e end and then")), "{learnt:?}");
    let measured = files.map(|file| {
        let args = ["perplexity", "-m", &model, "-f", file, "-c", "16", "--json"];
        let shown: serde_json::Value = serde_json::from_str(&out(&[&args[..], &device].concat())).unwrap();
        shown["mean_nll"].as_f64().unwrap()
    });
    assert!(measured.iter().all(|nll| *nll == measured[0]), "{measured:?}");
    let rows = "{\"question\": \"the\", \"answer\": \"end\"}\r\n{\"text\": \"an other one\"}\r\n";
    sandbox.write("rows.jsonl", &utf16(rows));
    let args = ["eval", "rows.jsonl", "-m", &model, "-n", "2", "--json"];
    let shown: serde_json::Value = serde_json::from_str(&out(&[&args[..], &device].concat())).unwrap();
    assert_eq!((&shown["rows"], &shown["skipped"]), (&2.into(), &0.into()));

    sandbox.write("latin.txt", b"caf\xe9 \x93quoted\x94");
    sandbox.write("zeros.txt", b"text\0text");
    sandbox.write("some.pdf", b"%PDF-1.7 text");
    sandbox.write("packed.txt", b"\x1f\x8b\x08\x00");
    for (file, says) in
        [("latin.txt", "UTF-8"), ("zeros.txt", "zero bytes"), ("some.pdf", "PDF"), ("packed.txt", "gzip")]
    {
        for args in [
            &["tokenize", "-m", &model, "-f", file][..],
            &["perplexity", "-m", &model, "-f", file, "--device", "cpu"],
            &["run", "-m", &model, "-f", file, "--device", "cpu"],
            &["run", "-m", &model, "-p", "a", "--chat-template", file, "--device", "cpu"],
            &["tune", "sft", "-m", &model, "--data", file, "--preview"],
            &["chat", "-m", &model, "--load", file, "--device", "cpu"],
        ] {
            let ran = sandbox.run(args);
            assert_eq!(ran.code, 1, "{args:?}: {}{}", ran.out, ran.err);
            assert!(
                ran.err.contains(says) && ran.err.contains(file) && ran.err.contains("convert"),
                "{args:?}: {}",
                ran.err
            );
        }
    }
    sandbox.write("table.csv", b"prompt,completion\na,b\n");
    let table = preview(&sandbox, "sft", "table.csv", &[]);
    assert!(
        table.code == 1 && table.err.contains("table (CSV)") && table.err.contains("JSON lines"),
        "{}",
        table.err
    );
}

#[test]
fn a_piped_line_that_is_no_text_does_not_end_the_chat() {
    let sandbox = Sandbox::new();
    let saved =
        r#"{"messages": [{"role": "user", "content": "the"}, {"role": "assistant", "content": "end"}]}"#;
    sandbox.write("saved.json", &utf16(saved));
    let chat = |input: &[u8]| {
        let args = ["chat", "-m", &model(), "--device", "cpu", "-n", "2", "--no-live"];
        let mut command = sandbox.command(&args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let ran = ran(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.err
    };
    let err = chat(b"\xef\xbb\xbf/load saved.json\ncaf\xe9\n/save after.json\n");
    assert!(err.contains("line 2 of the messages is not UTF-8 at byte 4"), "{err}");
    assert!(err.contains("saved 2 messages"), "{err}");
    assert!(
        chat(&utf16("/load saved.json\r\n/save other.json\r\n")).contains("saved 2 messages to other.json")
    );
}

#[test]
fn a_journal_in_another_encoding_is_refused_by_name() {
    let sandbox = Sandbox::new();
    for (bytes, says) in [(utf16("{\"id\": 1}\n"), "UTF-16"), (b"\x1f\x8b\x08".to_vec(), "gzip")] {
        sandbox.write("journal.jsonl", &bytes);
        let ran = sandbox.run(&["adapt", "-m", &model(), "--journal", "journal.jsonl", "--device", "cpu"]);
        assert!(ran.code == 1 && ran.err.contains(says) && ran.err.contains("journal.jsonl"), "{}", ran.err);
        assert_eq!(std::fs::read(sandbox.path("journal.jsonl")).unwrap(), bytes);
    }
}

//! Rows as other tools write them, and files as they come.

use super::*;

fn turn(user: &str, reply: &str) -> String {
    format!("<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n[[{reply}<|im_end|>]]\n")
}

#[test]
fn rows_of_many_shapes_are_read() {
    let system = "<|im_start|>system\ns<|im_end|>\n";
    for (row, want) in [
        (
            r#"{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
            turn("q", "a"),
        ),
        (
            r#"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
            system.to_owned() + &turn("q", "a"),
        ),
        (
            r#"{"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}"#,
            system.to_owned() + &turn("q", "a"),
        ),
        (
            r#"{"messages": "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]"}"#,
            turn("q", "a"),
        ),
        (r#"{"question": "q", "answer": "a"}"#, turn("q", "a")),
        (r#"{"question": "q", "answer": ["a", "b"]}"#, turn("q", "a")),
        (r#"{"question": "q", "choices": ["x", "a"], "answer": 1}"#, turn("q", "a")),
        (r#"{"question": "q", "choices": ["a", "x"], "answer": "A"}"#, turn("q", "a")),
        (r#"{"query": "q", "response": "a"}"#, turn("q", "a")),
        (r#"{"input": "q", "output": "a"}"#, turn("q", "a")),
        (r#"{"prompt": "q", "response": "a"}"#, turn("q", "a")),
        (r#"{"problem": "q", "solution": "a"}"#, turn("q", "a")),
        (r#"{"instruction": "q", "context": "c", "response": "a"}"#, turn("q\nc", "a")),
        (r#"{"instruction": "q", "input": "c", "output": "a", "text": "Below is …"}"#, turn("q\nc", "a")),
        (
            r#"{"system": "s", "instruction": "q", "input": null, "output": "a"}"#,
            system.to_owned() + &turn("q", "a"),
        ),
        (r#"{"instruction": "q", "output": "a", "history": [["p", "o"]]}"#, turn("p", "o") + &turn("q", "a")),
        (
            r#"{"prompt": [{"role": "user", "content": "q"}], "completion": {"role": "assistant", "content": "a"}}"#,
            turn("q", "a"),
        ),
    ] {
        let (texts, report) = marks(EncodeOptions::default(), row);
        assert_eq!(texts, [want], "{row}: {report}");
    }
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let (dataset, _) = read(&encoder, "a.jsonl", r#"{"question": "q", "answer": "a"}"#).unwrap();
    assert_eq!(marked(&dataset.items[0], &t), "q\n[[a</s>]]");
}

#[test]
fn roles_have_the_names_of_the_template() {
    let row = |user: &str, reply: &str| {
        format!(
            r#"{{"messages": [{{"role": "{user}", "content": "q"}}, {{"role": "{reply}", "content": "a"}}]}}"#
        )
    };
    for (user, reply) in [
        ("User", "Assistant"),
        ("human", "gpt"),
        ("USER", "model"),
        ("Human", "bot"),
        ("user", "ai"),
        ("prompter", "assistant"),
    ] {
        assert_eq!(marks(EncodeOptions::default(), &row(user, reply)).0, [turn("q", "a")], "{user} {reply}");
    }
    let (texts, _) = marks(
        EncodeOptions::default(),
        r#"{"messages": [{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}, {"role": "function", "name": "f", "content": "r"}, {"role": "assistant", "content": "a"}]}"#,
    );
    assert!(
        texts[0].starts_with("<|im_start|>system\ns") && texts[0].contains("<|im_start|>tool\nr"),
        "{texts:?}"
    );
    let (texts, report) = marks(EncodeOptions::default(), &row("critic", "assistant"));
    let problem = &report.skipped[&Reason::WrongType].first[0].detail;
    assert!(
        texts.is_empty() && problem.contains("`critic`") && problem.contains("assistant (gpt, model, bot)"),
        "{problem}"
    );
    // Roles that the template names are its own.
    let t = tokenizer();
    let source = "{% for m in messages %}{% if m.role in ['critic', 'developer'] %}<|im_start|>{{ m.role }}!{{ m.content }}{% else %}<|im_start|>{{ m.role }}:{{ m.content }}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    for role in ["critic", "developer"] {
        let (dataset, report) = read(&encoder, "a.jsonl", row(role, "assistant")).unwrap();
        assert!(
            report.skipped.is_empty()
                && marked(&dataset.items[0], &t).starts_with(&format!("<|im_start|>{role}!q"))
        );
    }
}

#[test]
fn preferences_of_other_tools() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let gpt = |text: &str| format!(r#"{{"from": "gpt", "value": "{text}"}}"#);
    let human = r#"{"from": "human", "value": "q"}"#;
    for row in [
        r#"{"question": "q", "chosen": "a", "rejected": "b"}"#.to_owned(),
        r#"{"instruction": "q", "chosen": "a", "rejected": "b"}"#.to_owned(),
        format!(r#"{{"conversations": [{human}], "chosen": {}, "rejected": {}}}"#, gpt("a"), gpt("b")),
        format!(r#"{{"chosen": [{human}, {}], "rejected": [{human}, {}]}}"#, gpt("a"), gpt("b")),
        format!(
            r#"{{"prompt": "q", "chosen": [{human}, {}], "rejected": [{human}, {}]}}"#,
            gpt("a"),
            gpt("b")
        ),
    ] {
        let (pairs, report) = items::<Pair>(&encoder, &row).unwrap();
        assert_eq!(pairs.items.len(), 1, "{row}: {report}");
        assert_eq!(
            [marked(&pairs.items[0].chosen, &t), marked(&pairs.items[0].rejected, &t)],
            [turn("q", "a"), turn("q", "b")],
            "{row}"
        );
    }
    let (pairs, _) =
        items::<Pair>(&encoder, r#"{"system": "s", "question": "q", "chosen": "a", "rejected": "b"}"#)
            .unwrap();
    assert!(
        marked(&pairs.items[0].chosen, &t)
            .starts_with("<|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq")
    );

    let rated = |label: &str| format!(r#"{{"prompt": "q", "completion": "a", "label": {label}}}"#);
    for (label, good) in [
        ("true", true),
        ("1", true),
        ("1.0", true),
        ("\"True\"", true),
        ("\"desirable\"", true),
        ("\"1\"", true),
        ("false", false),
        ("0", false),
        ("\"false\"", false),
        ("\"undesirable\"", false),
        ("-1", false),
    ] {
        let (thumbs, report) = items::<Thumb>(&encoder, &rated(label)).unwrap();
        assert_eq!(thumbs.items.iter().map(|t| t.desirable).collect::<Vec<_>>(), [good], "{label}: {report}");
        assert_eq!(marked(&thumbs.items[0].example, &t), turn("q", "a"));
    }
    for row in [
        format!(r#"{{"conversations": [{human}, {}], "kto_tag": true}}"#, gpt("a")),
        format!(r#"{{"messages": [{human}, {}], "label": 1}}"#, gpt("a")),
        r#"{"instruction": "q", "response": "a", "label": true}"#.to_owned(),
    ] {
        let (thumbs, report) = items::<Thumb>(&encoder, &row).unwrap();
        assert_eq!((thumbs.items.len(), report.skipped_count()), (1, 0), "{row}: {report}");
        assert_eq!(marked(&thumbs.items[0].example, &t), turn("q", "a"));
    }
    let unrated = format!(r#"{{"messages": [{human}], "label": true}}"#);
    assert!(items::<Thumb>(&encoder, &unrated).unwrap().1.to_string().contains("does not end with a reply"));

    for row in [
        r#"{"question": "q", "answer": 4}"#,
        r#"{"problem": "q"}"#,
        r#"{"conversations": [{"from": "human", "value": "q"}]}"#,
    ] {
        let (prompts, report) = items::<Prompt>(&encoder, row).unwrap();
        assert_eq!(prompts.items.len(), 1, "{row}: {report}");
        assert_eq!(t.decode(&prompts.items[0].tokens, false), turn("q", "a").split("[[").next().unwrap());
    }
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn files_of_windows_are_read_and_what_is_no_text_is_refused() {
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let texts = |name: &str, bytes: &[u8]| {
        let (dataset, report) = read(&encoder, name, bytes).unwrap();
        assert_eq!(report.skipped_count(), 0, "{name}: {report}");
        dataset.items.iter().map(|e| (e.source.line, t.decode(&e.tokens, false))).collect::<Vec<_>>()
    };
    let prose = "First é line.\r\nSecond.\r\n";
    let want = vec![(1, "First é line.\nSecond.\n</s>".to_owned())];
    assert_eq!(texts("a.txt", prose.as_bytes()), want);
    assert_eq!(texts("a.txt", &utf16(prose)), want);
    assert_eq!(texts("notes", format!("\u{feff}{prose}").as_bytes()), want);
    let rows = "{\"text\": \"ab\"}\r\n{\"text\": \"cdé\"}";
    let want = vec![(1, "ab</s>".to_owned()), (2, "cdé</s>".to_owned())];
    for bytes in [rows.as_bytes().to_vec(), utf16(rows), format!("\u{feff}{rows}").into_bytes()] {
        assert_eq!(texts("a.jsonl", &bytes), want);
    }
    let array = "[{\"text\": \"ab\"},\r\n{\"text\": \"cdé\"}]";
    for name in ["a.json", "a.jsonl", "a"] {
        assert_eq!(texts(name, array.as_bytes()), want, "{name}");
        assert_eq!(texts(name, &utf16(array)), want, "{name}");
    }
    let (dataset, _) = read(&encoder, "a.txt", utf16(prose)).unwrap();
    assert_eq!(dataset.files[0].bytes, utf16(prose).len() as u64, "the file's own bytes are hashed");

    let refused = |name: &str, bytes: &[u8]| read(&encoder, name, bytes).unwrap_err().to_string();
    for (name, bytes, says) in [
        ("a.csv", &b"q,a\n1,2\n"[..], "table (CSV)"),
        ("a.TSV", b"q\ta\n", "table (TSV)"),
        ("a.html", b"<p>", "HTML"),
        ("a.xlsx", b"", "spreadsheet"),
        ("a.txt", b"%PDF-1.4 ...", "PDF"),
        ("a.txt", b"PK\x03\x04....", "ZIP"),
        ("a.txt", b"abc\0def", "zero bytes"),
        ("a.jsonl", b"\xff\xfe\0\0{\0\0\0", "UTF-32"),
    ] {
        let error = refused(name, bytes);
        assert!(error.contains(says) && error.contains("convert it to JSON lines"), "{name}: {error}");
    }
    let latin = refused("a.txt", b"one\ncaf\xe9\n");
    assert!(
        latin.contains("a.txt:2:")
            && latin.contains("bytes from 4 on are no UTF-8")
            && latin.contains("iconv"),
        "{latin}"
    );
    let torn = refused("a.txt", &utf16(prose)[..9]);
    assert!(torn.contains("UTF-16 that is broken"), "{torn}");
}

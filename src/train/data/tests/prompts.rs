use serde_json::json;

use super::*;

const PROMPT: &str = r#"{"prompt": "2+2", "answer": 4}"#;

fn prompts(lines: &str) -> (Prompts, Vec<String>, Report) {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let (prompts, report) = items::<Prompt>(&encoder, lines).unwrap();
    let texts = prompts.items.iter().map(|p| t.decode(&p.tokens, false)).collect();
    (prompts, texts, report)
}

#[test]
fn prompts_end_where_the_model_speaks_and_keep_their_columns() {
    let user = r#"{"role": "user", "content": "2+2"}"#;
    let rows = [
        PROMPT.to_owned(),
        format!(r#"{{"prompt": [{user}], "answer": 4}}"#),
        format!(r#"{{"messages": [{user}], "answer": 4}}"#),
        format!(r#"{{"messages": [{user}, {{"role": "assistant", "content": "5"}}], "answer": 4}}"#),
    ];
    let (read, texts, report) = prompts(&rows.join("\n"));
    assert_eq!(report.rows, 4);
    for (prompt, text) in read.items.iter().zip(&texts) {
        assert_eq!(text, "<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!((prompt.text.as_str(), prompt.key), ("2+2", read.items[0].key));
        assert_eq!(serde_json::Value::from(prompt.row()), json!({"answer": 4}));
    }
    assert_eq!(read.counts(), TokenCounts { trained: 0, total: read.lengths().iter().sum::<usize>() as u64 });

    let (read, texts, _) = prompts(
        r#"{"prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "tests": ["x", {"y": [1, null]}], "messages": "kept"}"#,
    );
    assert_eq!(
        texts[0],
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n\
         <|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"
    );
    let prompt = &read.items[0];
    assert_eq!(prompt.text, "c");
    assert_eq!(
        serde_json::Value::from(prompt.row()),
        json!({"tests": ["x", {"y": [1, null]}], "messages": "kept"})
    );
    let own = Prompt::new(vec![1, 2], "a", &prompt.row());
    assert_eq!((own.row(), own.text.as_str()), (prompt.row(), "a"));
}

/// The ids are those that an answer is trained after.
#[test]
fn prompts_have_the_tokens_of_training() {
    let t = tokenizer();
    let template = chatml(&t);
    for template in [Some(&template), None] {
        let encoder = Encoder::new(&t, template, EncodeOptions::default());
        let (prompts, _) = items::<Prompt>(&encoder, r#"{"prompt": "<|im_end|>a\n\n"}"#).unwrap();
        let (dataset, _) =
            read(&encoder, "a.jsonl", r#"{"prompt": "<|im_end|>a\n\n", "completion": "\n\nb"}"#).unwrap();
        assert_eq!(prompts.items[0].tokens, dataset.items[0].prompt());
    }
}

#[test]
fn prompts_without_a_question_are_refused() {
    let long = format!(r#"{{"prompt": "{}"}}"#, "a".repeat(200));
    let values = format!(r#"{{"prompt": "p", "x": [{}0]}}"#, "0,".repeat(60_000));
    assert_refused::<Prompt>(
        PROMPT,
        &[
            (r#"{"prompt": " "}"#, Reason::NothingToTrain, "empty"),
            (r#"{"prompt": []}"#, Reason::NothingToTrain, "empty"),
            (r#"{"topic": "p"}"#, Reason::UnknownShape, "it has `topic`"),
            (r#"{"prompt": {}}"#, Reason::WrongType, "prompt is an object"),
            (r#"{"messages": "a"}"#, Reason::WrongType, "messages is a string"),
            (
                r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
                Reason::NothingToTrain,
                "replies alone",
            ),
            (r#"{"messages": [{"role": "system", "content": "a"}]}"#, Reason::WrongType, "turn of `system`"),
            (
                r#"{"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]}"#,
                Reason::WrongType,
                "turn of `assistant`",
            ),
            (r#"{"prompt": "p", "tools": [{"name": "<|im_end|>"}]}"#, Reason::UnsafeTools, "<|im_end|>"),
            (&long, Reason::Overlong, "at most 99 leave room"),
            (&values, Reason::RowTooLong, "50000 values"),
        ],
    );
}

#[test]
fn items_are_loaded_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["a.jsonl", "b.json"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], format!("{PROMPT}\n{{}}\n")).unwrap();
    std::fs::write(&paths[1], format!("[{PROMPT},\n {PROMPT}]")).unwrap();
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let (prompts, report) = Prompts::load(&paths, &encoder).unwrap();
    let sources: Vec<(usize, u64)> = prompts.items.iter().map(|p| (p.source.file, p.source.line)).collect();
    assert_eq!((sources.as_slice(), report.skipped_count()), (&[(0, 1), (1, 1), (1, 2)][..], 1));
    assert_eq!(prompts.files.len(), 2);
    assert!(matches!(Prompts::load::<&Path>(&[], &encoder), Err(DataError::NoFiles)));
    assert!(matches!(Pairs::load(&paths, &encoder), Err(DataError::NothingLeft(report)) if report.rows == 4));
    let text = folder.path().join("c.txt");
    std::fs::write(&text, "plain").unwrap();
    assert!(matches!(Prompts::load(&[&text], &encoder), Err(DataError::NotRows { .. })));
    let missing = Thumbs::load(&[folder.path().join("none.jsonl")], &encoder).unwrap_err();
    assert!(missing.to_string().contains("none.jsonl"), "{missing}");
}

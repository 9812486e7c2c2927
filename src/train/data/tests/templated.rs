//! Rows that went through a template before they came here.

use super::*;

const WHOLE: &str = "<|im_start|>user\\na<|im_end|>\\n<|im_start|>assistant\\nb<|im_end|>\\n";
const PROMPT: &str = "<|im_start|>user\\na<|im_end|>\\n<|im_start|>assistant\\n";

fn texts(template: Option<&ChatTemplate>, lines: &str) -> (Vec<(String, usize)>, Report) {
    let t = tokenizer();
    let (dataset, report) =
        read(&Encoder::new(&t, template, EncodeOptions::default()), "a.jsonl", lines).unwrap();
    (dataset.items.iter().map(|e| (marked(e, &t), e.tokens.len())).collect(), report)
}

fn controls(example: &str) -> usize {
    CONTROLS.iter().map(|c| example.matches(c).count()).sum()
}

#[test]
fn control_tokens_of_a_text_are_encoded_as_such() {
    let t = tokenizer();
    let template = chatml(&t);
    for template in [Some(&template), None] {
        let (found, report) = texts(
            template,
            &format!("{{\"text\": \"{WHOLE}\"}}\n{{\"text\": \"<s>plain</s>\"}}\n{{\"text\": \"a < b\"}}"),
        );
        // 4 control tokens, "user\na", "\n", "assistant\nb", "\n", and the end.
        assert_eq!(found[0].1, 4 + 6 + 1 + 11 + 1 + 1, "{found:?}");
        assert!(
            found[0].0.starts_with("<|im_start|>[[user\na<|im_end|>")
                && found[0].0.ends_with("b<|im_end|>\n</s>]]")
        );
        // Neither its beginning nor its end is doubled.
        assert_eq!(found[1], ("<s>[[plain</s>]]".to_owned(), 7));
        assert_eq!(found[2].0, "a[[ < b</s>]]");
        assert_eq!((report.notes[&Note::ControlTokens].count, report.notes.len()), (2, 1));
        assert!(report.to_string().contains("a.jsonl:1: `<|im_start|>`"), "{report}");
    }
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let plain = "<|im_start|>user\na<|im_end|>\n\nmore</s>";
    let (dataset, report) = read(&encoder, "a.txt", plain).unwrap();
    assert_eq!(
        (dataset.items[0].tokens.len(), report.notes[&Note::ControlTokens].count),
        (1 + 6 + 1 + 1 + 4 + 1, 1)
    );
    assert_eq!(*dataset.items[0].tokens.last().unwrap(), 259);
}

#[test]
fn a_beginning_is_not_doubled_where_the_model_wants_one() {
    let mut config = TokenizerConfig::new(
        TokenizerModel::Gpt2,
        (0..=255).map(|b| stand_in(b).into_bytes()).chain(CONTROLS.map(|c| c.as_bytes().to_vec())).collect(),
    );
    config.pre = Some("gpt-2".into());
    config.kinds = vec![TokenKind::Normal; 260];
    config.kinds[256..].fill(TokenKind::Control);
    config.special = SpecialIds { bos: Some(258), eos: Some(259), ..SpecialIds::default() };
    config.add_bos = Some(true);
    let t = Tokenizer::new(config).unwrap();
    let source = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}";
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    for encoder in [
        Encoder::new(&t, Some(&template), EncodeOptions::default()),
        Encoder::new(&t, None, EncodeOptions::default()),
    ] {
        for row in [
            r#"{"text": "<s>[INST] a [/INST] b</s>"}"#,
            r#"{"text": "[INST] a [/INST] b</s>"}"#,
            r#"{"prompt": "<s>[INST] a [/INST]", "completion": " b</s>"}"#,
            r#"{"prompt": "<s>[INST] a [/INST]", "completion": " b"}"#,
            r#"{"prompt": "[INST] a [/INST]", "completion": " b"}"#,
        ] {
            let (dataset, report) = read(&encoder, "a.jsonl", row).unwrap();
            assert_eq!(report.skipped_count(), 0, "{row}: {report}");
            assert_eq!(t.decode(&dataset.items[0].tokens, false), "<s>[INST] a [/INST] b</s>", "{row}");
            assert_eq!(dataset.items[0].tokens[0], 258, "{row}");
            assert_eq!(dataset.items[0].tokens.last(), Some(&259), "{row}");
        }
    }
}

#[test]
fn prompts_that_begin_as_the_template_does_are_taken_for_what_they_are() {
    let t = tokenizer();
    let template = chatml(&t);
    let want = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]";
    for (completion, tail) in [("b", ""), ("b<|im_end|>", ""), ("b<|im_end|>\\n", "\n")] {
        let row = format!(r#"{{"prompt": "{PROMPT}", "completion": "{completion}"}}"#);
        let (found, report) = texts(Some(&template), &row);
        assert_eq!(found[0].0, [want, tail].concat(), "{report}");
        assert_eq!((controls(&found[0].0), report.notes[&Note::ControlTokens].count), (4, 1));
    }
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let (pairs, _) = items::<Pair>(
        &encoder,
        &format!(r#"{{"prompt": "{PROMPT}", "chosen": "b<|im_end|>", "rejected": "c"}}"#),
    )
    .unwrap();
    assert_eq!(marked(&pairs.items[0].chosen, &t), want);
    assert_eq!(marked(&pairs.items[0].rejected, &t), want.replace("[[b", "[[c"));
    let (prompts, report) = items::<Prompt>(&encoder, &format!(r#"{{"prompt": "{PROMPT}"}}"#)).unwrap();
    assert_eq!(prompts.items[0].tokens, pairs.items[0].chosen.prompt());
    assert_eq!(report.notes[&Note::ControlTokens].count, 1);
    // A template whose marks are no control tokens.
    let plain = ChatTemplate::new("{% for m in messages %}{{ m.role | upper }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}").unwrap();
    let (found, _) = texts(Some(&plain), r#"{"prompt": "USER: a\nASSISTANT: ", "completion": "b"}"#);
    assert_eq!(found[0].0, "USER: a\nASSISTANT: [[b</s>]]");
    let (found, _) = texts(Some(&plain), r#"{"prompt": "USER: who is that?", "completion": "b"}"#);
    assert!(found[0].0.starts_with("USER: USER: who"), "{found:?}");
}

#[test]
fn contents_of_messages_stay_text_and_it_is_said() {
    let t = tokenizer();
    let template = chatml(&t);
    // A whole conversation within a turn is refused, with what to do.
    for row in [
        format!(
            r#"{{"messages": [{{"role": "user", "content": "{PROMPT}"}}, {{"role": "assistant", "content": "b"}}]}}"#
        ),
        r#"{"prompt": "a", "completion": "<|im_start|>assistant\nb<|im_end|>"}"#.to_owned(),
    ] {
        let (found, report) = texts(Some(&template), &row);
        assert!(found.is_empty());
        let problem = &report.skipped[&Reason::Templated].first[0];
        assert!(
            problem.detail.contains("`messages`") && problem.detail.contains("`<|im_start|>`"),
            "{problem}"
        );
    }
    let said = r#"{"prompt": "what is <|im_end|>?", "completion": "the text <|im_end|> ends"}"#;
    let (found, report) = texts(Some(&template), &format!("{said}\n{said}"));
    assert_eq!((found.len(), report.notes[&Note::ControlTexts].count), (2, 2));
    assert_eq!(report.notes[&Note::ControlTexts].first, "a.jsonl:1: `<|im_end|>` in message 0");
    // An end written by hand is not written twice, nor learnt letter by letter.
    for end in ["</s>", "<|im_end|>", " <|im_end|>\\n"] {
        let (found, report) =
            texts(Some(&template), &format!(r#"{{"prompt": "a", "completion": "b{end}"}}"#));
        assert!(found[0].0.ends_with("assistant\n[[b<|im_end|>]]\n"), "{found:?}");
        assert_eq!(report.notes[&Note::EndTaken].count, 1);
    }
}

#[test]
fn texts_of_ends_alone_are_not_learnt() {
    let t = tokenizer();
    for row in
        [r#"{"text": "<|im_end|>"}"#, r#"{"text": "</s>\n"}"#, r#"{"prompt": "<s>a", "completion": "</s>"}"#]
    {
        let (found, report) = texts(None, row);
        assert!(found.is_empty() && report.skipped.contains_key(&Reason::NothingToTrain), "{row}: {report}");
    }
    let template = chatml(&t);
    let row = format!(r#"{{"prompt": "{PROMPT}", "completion": "<|im_end|>"}}"#);
    assert!(texts(Some(&template), &row).0.is_empty());
}

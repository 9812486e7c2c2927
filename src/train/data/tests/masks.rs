use super::*;

#[test]
fn replies_with_their_end_are_learnt() {
    let (texts, report) = marks(
        EncodeOptions::default(),
        r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "\n\nd é"}, {"role": "user", "content": "left out"}], "id": 7}"#,
    );
    assert_eq!(
        texts,
        ["<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]\n\
          <|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[[\n\nd é<|im_end|>]]"
            .to_owned()
            + "\n"]
    );
    assert_eq!((report.rows, report.examples, report.skipped_count()), (1, 1, 0));
}

#[test]
fn pairs_and_instructions_are_two_turns() {
    let (texts, _) = marks(
        EncodeOptions::default(),
        "{\"prompt\": \"p\", \"completion\": \"c\"}\n{\"instruction\": \"i\", \"input\": \"x\", \"output\": \"o\"}\n\
         {\"instruction\": \"i\", \"input\": \"\", \"output\": \"o\"}\n{\"text\": \"<|im_end|>t\"}\n\
         {\"prompt\": [{\"role\": \"user\", \"content\": \"u\"}, {\"role\": \"assistant\", \"content\": \"no\"}, \
         {\"role\": \"user\", \"content\": \"v\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"yes\"}]}",
    );
    let turn = |user: &str, reply: &str| {
        format!("<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{reply}\n")
    };
    assert_eq!(texts[0], turn("p", "[[c<|im_end|>]]"));
    assert_eq!(texts[1], turn("i\nx", "[[o<|im_end|>]]"));
    assert_eq!(texts[2], turn("i", "[[o<|im_end|>]]"));
    // The text's own `<|im_end|>` is a control token: it went through a template before.
    assert_eq!(texts[3], "<|im_end|>[[t</s>]]");
    assert_eq!(texts[4], turn("u", "no<|im_end|>") + &turn("v", "[[yes<|im_end|>]]"));
    let all = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
    let (texts, _) = marks(all, r#"{"prompt": "p", "completion": "c"}"#);
    assert_eq!(texts, ["<|im_start|>[[".to_owned() + &turn("p", "c<|im_end|>")[12..] + "]]"]);
}

#[test]
fn without_a_template_texts_are_put_together() {
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let lines = "{\"prompt\": \"p \", \"completion\": \"c\"}\n{\"instruction\": \"i\", \"input\": \"x\", \"output\": \"o\"}\n\
                 {\"messages\": []}";
    let (dataset, report) = read(&encoder, "a.jsonl", lines).unwrap();
    let texts: Vec<String> = dataset.items.iter().map(|e| marked(e, &t)).collect();
    assert_eq!(texts, ["p [[c</s>]]", "i\nx\n[[o</s>]]"]);
    assert_eq!(report.skipped[&Reason::NoTemplate].first[0].line, 3);
}

#[test]
fn a_system_prompt_goes_where_there_is_none() {
    let t = tokenizer();
    let template = chatml(&t);
    let plain = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let encoder = plain.clone().with_system(Some("S"));
    let own = r#"{"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]}"#;
    // The prompt's reply is not learnt, however many messages come before it.
    let turns = r#"{"prompt": [{"role": "assistant", "content": "no"}, {"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]}"#;
    let lines = [r#"{"prompt": "p", "completion": "c"}"#, own, turns, r#"{"text": "t t"}"#].join("\n");
    let of = |encoder: &Encoder| -> Vec<String> {
        read(encoder, "a.jsonl", &lines).unwrap().0.items.iter().map(|e| marked(e, &t)).collect()
    };
    let (without, with) = (of(&plain), of(&encoder));
    let system = "<|im_start|>system\nS<|im_end|>\n";
    assert_eq!(with[0], system.to_owned() + &without[0]);
    assert_eq!(with[1], without[1]);
    assert_eq!(with[2], system.to_owned() + &without[2]);
    assert_eq!(with[3], without[3]);
    let prompts = |encoder| items::<Prompt>(encoder, r#"{"prompt": "p"}"#).unwrap().0.items.remove(0).tokens;
    assert_eq!(t.decode(&prompts(&encoder), false), system.to_owned() + &t.decode(&prompts(&plain), false));
    let pairs = r#"{"prompt": "p", "chosen": "c", "rejected": "d"}"#;
    let pair = items::<Pair>(&encoder, pairs).unwrap().0.items.remove(0);
    assert_eq!(marked(&pair.chosen, &t), with[0]);
}

#[test]
fn contents_make_no_control_tokens() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let (dataset, _) =
        read(&encoder, "a.jsonl", r#"{"prompt": "<|im_end|>\n<|im_start|>x", "completion": "<|im_end|>y"}"#)
            .unwrap();
    let example = &dataset.items[0];
    assert_eq!(example.tokens.iter().filter(|&&id| id == END).count(), 2, "a user's turn and a reply");
    let trained: Vec<u32> =
        example.tokens.iter().zip(&example.trained).filter(|(_, t)| **t).map(|(&id, _)| id).collect();
    assert_eq!(trained.last(), Some(&END));
    assert_eq!(t.decode(&trained, false), "<|im_end|>y<|im_end|>");
    assert_eq!(trained.iter().filter(|&&id| id == END).count(), 1);
}

fn with_template(source: &str, lines: &str) -> (Vec<String>, Report) {
    let t = tokenizer();
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    let (dataset, report) =
        read(&Encoder::new(&t, Some(&template), EncodeOptions::default()), "a.jsonl", lines).unwrap();
    (dataset.items.iter().map(|e| marked(e, &t)).collect(), report)
}

const TWO_REPLIES: &str = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>h</think>b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#;

#[test]
fn every_builtin_template_tells_replies_from_prompts() {
    let t = tokenizer();
    for name in crate::text::builtin_names() {
        let template = ChatTemplate::builtin(name).unwrap().with_tokens_of(&t);
        let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
        let (dataset, report) = read(&encoder, "a.jsonl", TWO_REPLIES).unwrap();
        assert_eq!(report.skipped_count(), 0, "{name}: {report}");
        let runs = spans(&dataset.items[0], &t);
        let trained: Vec<&str> = runs.iter().filter(|s| s.trained).map(|s| s.text.trim()).collect();
        assert_eq!(trained.len(), 2, "{name}");
        assert!(
            trained[0].starts_with("<think>h</think>b") && trained[1].starts_with('d'),
            "{name}: {trained:?}"
        );
    }
}

/// Thoughts are taken out of all replies but the last, as Qwen's templates do.
#[test]
fn templates_that_rewrite_earlier_turns_make_a_sequence_per_reply() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}:\
                  {{ m.content if loop.last else m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    let (texts, report) = with_template(source, TWO_REPLIES);
    assert_eq!(
        texts,
        [
            "<|im_start|>user:a<|im_end|><|im_start|>assistant:[[<think>h</think>b<|im_end|>]]",
            "<|im_start|>user:a<|im_end|><|im_start|>assistant:b<|im_end|><|im_start|>user:c<|im_end|>\
             <|im_start|>assistant:[[d<|im_end|>]]"
        ]
    );
    assert_eq!((report.rows, report.examples, report.unrolled), (1, 2, 1));
}

/// DeepSeek's and others' generation prompts open a thought that the conversation does not have.
#[test]
fn a_generation_prompt_that_is_no_prefix_is_refused() {
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant:<think>{% endif %}";
    let row = r#"{"prompt": "a", "completion": "reply"}"#;
    let (texts, report) = with_template(source, row);
    assert!(texts.is_empty());
    let problem = &report.skipped[&Reason::PrefixBroken].first[0];
    let text = problem.to_string();
    assert!(
        text.starts_with("a.jsonl:1: ") && text.contains("`<think>`") && text.contains("`reply<|im_end|>`"),
        "{text}"
    );
}

#[test]
fn a_template_without_an_end_is_counted() {
    let source = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}\
                  {% if add_generation_prompt %}assistant: {% endif %}";
    let (texts, report) = with_template(source, r#"{"prompt": "a", "completion": "b"}"#);
    assert_eq!((texts[0].as_str(), report.without_end), ("user: a\nassistant: [[b\n]]", 1));
}

#[test]
fn tools_reach_the_template() {
    let source = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}\
                  {% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|im_end|>{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    let row = |word: &str| {
        format!(
            r#"{{"tools": [{{"name": "add"}}], "messages": [{{"role": "user", "content": [{{"type": "text", "text": "1+"}}, {{"type": "text", "text": "1"}}]}}, {{"role": "assistant", "content": null, "tool_calls": [{{"function": {{"name": "add", "arguments": "{{\"a\": \"{word}\"}}"}}}}]}}, {{"role": "tool", "content": "2", "tool_call_id": "x"}}, {{"role": "assistant", "content": "2"}}]}}"#
        )
    };
    let (texts, report) = with_template(source, &format!("{}\n{}", row("one"), row("<|im_end|>")));
    assert_eq!(texts.len(), 1, "{report}");
    assert_eq!(
        texts,
        ["[{\"name\": \"add\"}]<|im_start|>user:1+1<|im_end|><|im_start|>assistant:\
          [[{\"name\": \"add\", \"arguments\": {\"a\": \"one\"}}<|im_end|>]]<|im_start|>tool:2<|im_end|>\
          <|im_start|>assistant:[[2<|im_end|>]]"]
    );
    let problem = &report.skipped[&Reason::UnsafeTools].first[0];
    assert!(problem.line == 2 && problem.detail.contains("<|im_end|>"), "{problem}");
}

#[test]
fn overlong_rows_are_skipped_or_cut() {
    let row = r#"{"prompt": "aaaa", "completion": "bbbb"}"#;
    let long = format!("{row}\n{{\"prompt\": \"{}\", \"completion\": \"b\"}}", "a".repeat(200));
    let all = |max_len, overlong| EncodeOptions { max_len, overlong, ..EncodeOptions::default() };
    // `<|im_start|>user\naaaa<|im_end|>\n<|im_start|>assistant\n` is 23 tokens, the reply 5, and a line feed.
    let (texts, _) = marks(all(29, Overlong::Skip), row);
    assert!(texts[0].ends_with("assistant\n[[bbbb<|im_end|>]]\n"));
    let (texts, report) = marks(all(28, Overlong::Skip), &long);
    assert!(texts.is_empty());
    assert_eq!(report.skipped[&Reason::Overlong].count, 2);
    let (texts, report) = marks(all(25, Overlong::Truncate), &long);
    assert!(texts.len() == 1 && texts[0].ends_with("assistant\n[[bb]]"), "{texts:?}");
    assert_eq!((report.truncated, report.skipped[&Reason::NothingToTrain].count), (1, 1));
    // Longer than any that could fit: not even rendered, or cut, with the same result.
    let endless = format!("{{\"prompt\": \"p\", \"completion\": \"{}\"}}", "b".repeat(5000));
    let (_, report) = marks(all(25, Overlong::Skip), &endless);
    assert_eq!(report.skipped[&Reason::Overlong].count, 1);
    let (texts, _) = marks(all(25, Overlong::Truncate), &endless);
    assert!(texts[0].ends_with("assistant\n[[bbbbb]]"), "{texts:?}");
}

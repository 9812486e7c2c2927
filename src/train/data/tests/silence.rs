//! What the template does not write must not be learnt as silence.

use super::*;

/// Writes contents alone.
const NO_TOOLS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}\
                        {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
/// Writes tools, calls and their results.
const TOOLS: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}\
                     {% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments | tojson }})\
                     {% endfor %}<|im_end|>{% endfor %}\
                     {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";

const USER: &str = r#"{"role": "user", "content": "rain?"}"#;
const CALL: &str = r#""tool_calls": [{"id": "1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": \"sky\"}"}}]"#;

/// One conversation, with a call in every way there is to write one.
fn calls() -> Vec<String> {
    let bare = r#"{\"name\": \"look\", \"arguments\": {\"at\": \"sky\"}}"#;
    let listed = r#"[{\"function\": {\"name\": \"look\", \"arguments\": {\"at\": \"sky\"}}}]"#;
    vec![
        format!(r#"{{"messages": [{USER}, {{"role": "assistant", "content": null, {CALL}}}]}}"#),
        format!(r#"{{"messages": [{USER}, {{"role": "assistant", {CALL}}}]}}"#),
        format!(
            r#"{{"messages": [{USER}, {{"role": "assistant", "content": "", "tool_calls": "{listed}"}}]}}"#
        ),
        format!(
            r#"{{"messages": [{USER}, {{"role": "assistant", "content": null, "function_call": {{"name": "look", "arguments": "{{\"at\": \"sky\"}}"}}}}]}}"#
        ),
        format!(
            r#"{{"conversations": [{{"from": "human", "value": "rain?"}}, {{"from": "function_call", "value": "{bare}"}}]}}"#
        ),
        format!(
            r#"{{"prompt": [{USER}], "completion": [{{"role": "assistant", "content": null, {CALL}}}]}}"#
        ),
    ]
}

fn with(source: &str, lines: &str) -> (Vec<String>, Report) {
    let t = tokenizer();
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let (dataset, report) = read(&encoder, "a.jsonl", lines).unwrap();
    (dataset.items.iter().map(|e| marked(e, &t)).collect(), report)
}

#[test]
fn calls_are_written_where_the_template_can_and_else_the_row_is_skipped() {
    let rows = calls();
    let (texts, report) = with(TOOLS, &rows.join("\n"));
    let want = r#"<|im_start|>user:rain?<|im_end|><|im_start|>assistant:[[look({"at": "sky"})<|im_end|>]]"#;
    assert_eq!(texts, vec![want; rows.len()], "{report}");

    for (i, row) in rows.iter().enumerate() {
        let (texts, report) = with(NO_TOOLS, &format!("{{\"text\": \"ok\"}}\n{row}"));
        assert_eq!((texts.len(), report.skipped_count()), (1, 1), "{i}: {report}");
        let problem = &report.skipped[&Reason::CallsNotWritten].first[0];
        assert!(problem.line == 2 && problem.detail.contains("`look`"), "{problem}");
        assert!(
            report.to_string().contains("a.jsonl:2: message 1 calls `look`, of which nothing is written")
        );
    }
    // An introduction alone, without the call that it announces, is no better.
    let row = format!(
        r#"{{"messages": [{USER}, {{"role": "assistant", "content": "I look.", {CALL}}}, {{"role": "tool", "content": "blue"}}, {{"role": "assistant", "content": "No."}}]}}"#
    );
    assert_eq!(with(NO_TOOLS, &row).1.skipped[&Reason::CallsNotWritten].count, 1);
    assert!(with(TOOLS, &row).0[0].ends_with("tool:blue<|im_end|><|im_start|>assistant:[[No.<|im_end|>]]"));
    let all = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
    let (texts, report) = marks(all, &row);
    assert!(texts.is_empty() && report.skipped.contains_key(&Reason::CallsNotWritten), "{report}");
}

#[test]
fn preferences_and_prompts_with_calls_are_treated_alike() {
    let t = tokenizer();
    let plain = ChatTemplate::new(NO_TOOLS).unwrap().with_tokens_of(&t);
    let able = ChatTemplate::new(TOOLS).unwrap().with_tokens_of(&t);
    let encoder = |template| Encoder::new(&t, Some(template), EncodeOptions::default());
    let call = format!(r#"[{{"role": "assistant", "content": null, {CALL}}}]"#);
    let pairs = format!(
        "{{\"prompt\": [{USER}], \"chosen\": {call}, \"rejected\": \"b\"}}\n{{\"prompt\": [{USER}], \"chosen\": \"a\", \"rejected\": {call}}}"
    );
    let (read, report) = items::<Pair>(&encoder(&plain), &pairs).unwrap();
    assert_eq!((read.items.len(), report.skipped[&Reason::CallsNotWritten].count), (0, 2));
    assert!(report.skipped[&Reason::CallsNotWritten].first[0].detail.starts_with("chosen: message 1 calls"));
    assert_eq!(items::<Pair>(&encoder(&able), &pairs).unwrap().0.items.len(), 2);
    let rated = format!(r#"{{"prompt": [{USER}], "completion": {call}, "label": true}}"#);
    assert!(items::<Thumb>(&encoder(&plain), &rated).unwrap().0.items.is_empty());
    assert_eq!(items::<Thumb>(&encoder(&able), &rated).unwrap().0.items.len(), 1);
    let prompt = format!(
        r#"{{"prompt": [{USER}, {{"role": "assistant", "content": null, {CALL}}}, {{"role": "tool", "content": "blue"}}]}}"#
    );
    let (read, report) = items::<Prompt>(&encoder(&plain), &prompt).unwrap();
    assert_eq!((read.items.len(), report.skipped[&Reason::CallsNotWritten].count), (0, 1));
    assert_eq!(items::<Prompt>(&encoder(&able), &prompt).unwrap().0.items.len(), 1);
}

#[test]
fn tools_are_lists_or_strings_of_json_and_are_said_where_nobody_writes_them() {
    let row = |tools: &str| {
        format!(r#"{{"messages": [{USER}, {{"role": "assistant", "content": "No."}}], {tools}}}"#)
    };
    let string = r#""tools": "[{\"type\": \"function\", \"function\": {\"name\": \"look\"}}]""#;
    let list = r#""tools": [{"type": "function", "function": {"name": "look"}}]"#;
    let older = r#""functions": [{"name": "look"}]"#;
    for tools in [string, list, older] {
        let (texts, report) = with(TOOLS, &row(tools));
        assert!(
            texts[0].starts_with(r#"[{"type": "function", "function": {"name": "look"}}]<|im_start|>"#),
            "{texts:?}"
        );
        assert_eq!(report.notes, Default::default());
        let (texts, report) = with(NO_TOOLS, &row(tools));
        assert_eq!((texts.len(), report.notes[&Note::ToolsNotWritten].count), (1, 1));
        assert!(report.to_string().contains("tools that the chat template does not write"), "{report}");
    }
    for none in [r#""tools": """#, r#""tools": []"#, r#""tools": "[]""#, r#""tools": null"#] {
        assert_eq!(with(NO_TOOLS, &row(none)).1.notes, Default::default(), "{none}");
    }
    assert!(
        with(TOOLS, &row(r#""tools": "[{""#)).1.skipped[&Reason::BadJson].first[0]
            .detail
            .contains("tools is a string")
    );
}

#[test]
fn empty_answers_are_never_learnt_and_said() {
    let turn = |role: &str, rest: &str| format!(r#"{{"role": "{role}", {rest}}}"#);
    for empty in [
        r#""content": """#,
        r#""content": " \n""#,
        r#""content": "", "refusal": "no""#,
        r#""content": [], "tool_calls": []"#,
    ] {
        let rows = format!(
            r#"{{"messages": [{}, {}, {}, {}]}}"#,
            turn("user", r#""content": "a""#),
            turn("assistant", empty),
            turn("user", r#""content": "b""#),
            turn("assistant", r#""content": "c""#)
        );
        let (texts, report) = marks(EncodeOptions::default(), &rows);
        assert!(texts[0].contains("[[c<|im_end|>]]") && texts[0].matches("[[").count() == 1, "{texts:?}");
        assert_eq!(report.notes[&Note::EmptyReply].first, "a.jsonl:1: message 1");
        let all = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
        let (texts, _) = marks(all, &rows);
        assert!(texts[0].contains("a<|im_end|>\n]]<|im_start|>assistant\n"), "{texts:?}");
    }
    for silence in ["<|im_end|>", "</s>", "<think>\\nhm\\n</think>\\n\\n"] {
        let (texts, report) =
            marks(EncodeOptions::default(), &format!(r#"{{"prompt": "a", "completion": "{silence}"}}"#));
        assert!(
            texts.is_empty() && report.skipped.contains_key(&Reason::NothingToTrain),
            "{silence}: {report}"
        );
    }
    let alone = format!(r#"{{"messages": [{USER}, {{"role": "assistant", "content": "", "audio": 1}}]}}"#);
    assert_eq!(marks(EncodeOptions::default(), &alone).1.skipped[&Reason::NothingToTrain].count, 1);
    let nothing =
        format!(r#"{{"messages": [{USER}, {{"role": "assistant", "content": null, "audio": 1}}]}}"#);
    let (_, report) = marks(EncodeOptions::default(), &nothing);
    assert!(
        report.skipped[&Reason::WrongType].first[0]
            .detail
            .contains("no content; it has `role`, `content`, `audio`"),
        "{report}"
    );
    // A template that drops what it is given.
    let (texts, report) = with(
        "{% for m in messages %}<|im_start|>{{ m.role }}:{% if m.role == 'user' %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}",
        r#"{"prompt": "a", "completion": "b"}"#,
    );
    assert!(texts.is_empty() && report.to_string().contains("writes nothing but its end"), "{report}");
}

#[test]
fn thoughts_that_are_not_written_are_said() {
    let row = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning": "because"}]}"#;
    let (texts, report) = with(NO_TOOLS, row);
    assert_eq!((texts.len(), report.notes[&Note::ThoughtsNotWritten].count), (1, 1));
    let writes = NO_TOOLS.replace(
        "{{ m.content }}",
        "{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}",
    );
    let (texts, report) = with(&writes, row);
    assert!(texts[0].ends_with("assistant:[[(because)b<|im_end|>]]"), "{texts:?}");
    assert!(report.notes.is_empty());
}

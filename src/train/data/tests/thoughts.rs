//! Templates of models that think before they answer.

use super::*;

/// As R1's and QwQ's: the prompt opens a thought, and the conversation has answers alone.
const OPENS_AND_DROPS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{{ m.content.split('</think>')[-1].lstrip() }}\
    {% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
/// The prompt opens a thought, and the conversation is written as it is.
const OPENS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
/// As Qwen3's of thinking models: the last reply's thought, be it empty, is written, from a field or from its text.
const WRITES_LAST: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}\
    {% set r = m.reasoning_content or '' %}{% set c = m.content %}\
    {% if '</think>' in c %}{% set r = c.split('</think>')[0].split('<think>')[-1].strip() %}\
    {% set c = c.split('</think>')[-1].lstrip() %}{% endif %}\
    {% if loop.last %}<think>\n{{ r }}\n</think>\n\n{% endif %}{{ c }}\
    {% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";
/// The prompt has an empty thought, which the conversation has not.
const CLOSES: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip() }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n\n{% endif %}";
/// R1's first: thoughts are dropped, and the model opens them itself.
const DROPS: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1].lstrip() }}<|im_end|>\n{% endfor %}\
    {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn chat(replies: &[&str]) -> String {
    let turns: Vec<String> = replies
        .iter()
        .enumerate()
        .map(|(i, reply)| {
            format!(r#"{{"role": "user", "content": "Q{i}"}}, {{"role": "assistant", {reply}}}"#)
        })
        .collect();
    format!(r#"{{"messages": [{}]}}"#, turns.join(", "))
}

fn learnt(source: &str, lines: &str) -> (Vec<String>, Report) {
    let t = tokenizer();
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let (dataset, report) = read(&encoder, "a.jsonl", lines).unwrap();
    // What comes before a reply is the prompt that the model gets.
    for example in &dataset.items {
        let (questions, text) = (example.prompt(), t.decode(example.prompt(), false));
        let asked = template
            .encode(&t, &[crate::text::Message::new("user", "Q0")], true, &Default::default())
            .unwrap();
        assert!(text.matches("<|im_start|>user").count() > 1 || questions == asked, "{text}");
    }
    (dataset.items.iter().map(|e| marked(e, &t)).collect(), report)
}

const USER: &str = "<|im_start|>user\nQ0<|im_end|>\n<|im_start|>assistant\n";

#[test]
fn a_reply_goes_on_where_the_prompt_opened_a_thought() {
    let want = [USER, "<think>\n[[hm\n</think>\n\nA1<|im_end|>]]\n"].concat();
    for source in [OPENS_AND_DROPS, OPENS, WRITES_LAST] {
        for reply in
            [r#""content": "<think>\nhm\n</think>\n\nA1""#, r#""content": "A1", "reasoning_content": "hm""#]
        {
            let (texts, report) = learnt(source, &chat(&[reply]));
            assert_eq!(texts, [want.as_str()], "{source}\n{reply}: {report}");
        }
    }
    let tight = chat(&[r#""content": "<think>hm</think>A1""#]);
    for source in [OPENS_AND_DROPS, OPENS] {
        assert_eq!(learnt(source, &tight).0, [[USER, "<think>\n[[hm</think>A1<|im_end|>]]\n"].concat()]);
    }
    // An answer without a thought: what the template makes of it, or what to do.
    let plain = chat(&[r#""content": "A1""#]);
    assert_eq!(learnt(WRITES_LAST, &plain).0, [[USER, "<think>\n[[\n</think>\n\nA1<|im_end|>]]\n"].concat()]);
    for source in [OPENS_AND_DROPS, OPENS] {
        let (texts, report) = learnt(source, &plain);
        let problem = report.skipped[&Reason::PrefixBroken].first[0].to_string();
        assert!(texts.is_empty());
        assert!(
            problem.contains("begin the answer with `<think>…</think>`")
                && problem.contains("reasoning_content"),
            "{problem}"
        );
    }
}

#[test]
fn every_reply_of_a_conversation_is_learnt_with_its_own_thought() {
    let row =
        chat(&[r#""content": "<think>\nh0\n</think>\n\nA0""#, r#""content": "<think>\nh1\n</think>\n\nA1""#]);
    for source in [OPENS_AND_DROPS, WRITES_LAST] {
        let (texts, report) = learnt(source, &row);
        assert_eq!(texts.len(), 2, "{report}");
        assert_eq!(texts[0], [USER, "<think>\n[[h0\n</think>\n\nA0<|im_end|>]]\n"].concat());
        let second = "A0<|im_end|>\n<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n<think>\n[[h1\n</think>\n\nA1<|im_end|>]]\n";
        assert_eq!(texts[1], [USER, second].concat());
        assert_eq!(report.unrolled, 1);
    }
    // Of replies of which one cannot be learnt, the row is named.
    let mixed = chat(&[r#""content": "A0""#, r#""content": "<think>h</think>A1""#]);
    assert_eq!(learnt(OPENS_AND_DROPS, &mixed).1.skipped[&Reason::PrefixBroken].count, 1);
}

#[test]
fn prompts_that_close_their_thought_and_templates_that_drop_it() {
    let (texts, report) = learnt(CLOSES, &chat(&[r#""content": "A1""#]));
    assert_eq!(texts, [[USER, "<think>\n\n</think>\n\n[[A1<|im_end|>]]\n"].concat()], "{report}");
    // What the row says is learnt, though the template would drop it.
    let (texts, report) = learnt(DROPS, &chat(&[r#""content": "<think>\nhm\n</think>\n\nA1""#]));
    assert_eq!(texts, [[USER, "[[<think>\nhm\n</think>\n\nA1<|im_end|>]]\n"].concat()], "{report}");
    assert_eq!(learnt(DROPS, &chat(&[r#""content": "A1""#])).0, [[USER, "[[A1<|im_end|>]]\n"].concat()]);
    // An answer that only looks like one.
    let (texts, _) = learnt(DROPS, &chat(&[r#""content": "<b>bold</b> A1""#]));
    assert_eq!(texts, [[USER, "[[<b>bold</b> A1<|im_end|>]]\n"].concat()]);
}

#[test]
fn contents_stay_text_and_preferences_keep_their_prompt() {
    let t = tokenizer();
    let template = ChatTemplate::new(OPENS_AND_DROPS).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let row = r#"{"prompt": "Q0 <|im_end|>", "chosen": "<think>a <|im_end|></think>b", "rejected": "<think>c</think>d"}"#;
    let (pairs, report) = items::<Pair>(&encoder, row).unwrap();
    assert_eq!(pairs.items.len(), 1, "{report}");
    let pair = &pairs.items[0];
    assert_eq!(pair.chosen.prompt(), pair.rejected.prompt());
    assert_eq!(pair.chosen.tokens.iter().filter(|&&id| id == END).count(), 2, "a user's turn and a reply");
    assert!(marked(&pair.chosen, &t).ends_with("<think>\n[[a <|im_end|></think>b<|im_end|>]]\n"));
    // All is learnt, thoughts too.
    let all = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
    let (dataset, _) = read(
        &Encoder::new(&t, Some(&template), all),
        "a.jsonl",
        r#"{"prompt": "Q0", "completion": "<think>a</think>b"}"#,
    )
    .unwrap();
    assert!(marked(&dataset.items[0], &t).contains("<think>\na</think>b<|im_end|>"));
}

#[test]
fn questions_are_asked_where_the_prompt_opens_a_thought() {
    let t = tokenizer();
    let template = ChatTemplate::new(OPENS_AND_DROPS).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let file = tempfile::NamedTempFile::with_suffix(".jsonl").unwrap();
    let rows = [
        r#"{"question": "Q0", "answer": "A1"}"#,
        r#"{"prompt": "Q0", "completion": "<think>hm</think>A1"}"#,
        r#"{"prompt": "<|im_start|>user\nQ0<|im_end|>\n<|im_start|>assistant\n<think>\n", "completion": "hm</think>A1"}"#,
    ];
    std::fs::write(file.path(), rows.join("\n")).unwrap();
    let (cases, report) = read_cases(file.path(), &encoder, 9).unwrap();
    assert_eq!((cases.len(), report.skipped_count()), (3, 0), "{report}");
    for (case, whole) in cases.iter().zip([false, true, true]) {
        let CaseKind::Answer { prompt, reply, .. } = &case.kind else { panic!("{case:?}") };
        assert_eq!(t.decode(prompt, false), [USER, "<think>\n"].concat());
        assert_eq!(reply.is_some(), whole);
        let marked = reply
            .as_ref()
            .map_or_else(|| "hm</think>A1<|im_end|>".to_owned(), |r| t.decode(r.answer(), false));
        assert_eq!(marked.trim_end(), "hm</think>A1<|im_end|>");
    }
}

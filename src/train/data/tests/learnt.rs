//! What is marked as not to be learnt is not.

use super::*;

fn chat(first: &str, second: &str) -> String {
    format!(
        r#"{{"messages": [{{"role": "user", "content": "a"}}, {{"role": "assistant", "content": "WRONG"{first}}}, {{"role": "user", "content": "b"}}, {{"role": "assistant", "content": "RIGHT"{second}}}]}}"#
    )
}

#[test]
fn marked_replies_are_not_learnt() {
    for mark in [
        r#", "weight": 0"#,
        r#", "weight": 0.0"#,
        r#", "weight": "0""#,
        r#", "train": false"#,
        r#", "trainable": false"#,
        r#", "training": "false""#,
        r#", "learn": false"#,
        r#", "loss": false"#,
        r#", "loss_mask": 0"#,
        r#", "train_on_turn": false"#,
        r#", "mask": true"#,
        r#", "weight": 1, "train": false"#,
    ] {
        let (texts, report) = marks(EncodeOptions::default(), &chat(mark, ""));
        assert!(texts[0].contains("WRONG<|im_end|>") && !texts[0].contains("[[WRONG"), "{mark}: {texts:?}");
        assert!(texts[0].contains("[[RIGHT<|im_end|>]]"), "{mark}: {texts:?}");
        assert_eq!(report.notes[&Note::MarkedOff].first, "a.jsonl:1: message 1", "{mark}");
        let all = EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() };
        let (texts, _) = marks(all, &chat(mark, ""));
        assert!(texts[0].contains("]]<|im_start|>assistant\nWRONG<|im_end|>\n[["), "{mark}: {texts:?}");
        // The last one: what follows what is learnt is left out.
        let (texts, _) = marks(EncodeOptions::default(), &chat("", mark));
        assert!(texts[0].ends_with("[[WRONG<|im_end|>]]\n"), "{mark}: {texts:?}");
        let (texts, report) = marks(EncodeOptions::default(), &chat(mark, mark));
        assert!(texts.is_empty() && report.skipped.contains_key(&Reason::NotToLearn), "{mark}: {report}");
    }
    for mark in [
        "",
        r#", "weight": 1"#,
        r#", "weight": 1.0"#,
        r#", "train": true"#,
        r#", "mask": false"#,
        r#", "weight": null"#,
    ] {
        let (texts, report) = marks(EncodeOptions::default(), &chat(mark, mark));
        assert!(
            texts[0].contains("[[WRONG") && texts[0].contains("[[RIGHT") && report.notes.is_empty(),
            "{mark}"
        );
    }
    let shared = r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "WRONG", "weight": 0}, {"from": "human", "value": "b"}, {"from": "gpt", "value": "RIGHT", "weight": 1}]}"#;
    let (texts, _) = marks(EncodeOptions::default(), shared);
    assert!(!texts[0].contains("[[WRONG") && texts[0].contains("[[RIGHT"), "{texts:?}");
}

#[test]
fn marks_that_say_something_else_are_errors() {
    for (mark, says) in [
        (r#", "weight": 0.5"#, "messages[1].weight is 0.5"),
        (r#", "train": "maybe""#, "messages[1].train is \"maybe\""),
        (r#", "trainable": []"#, "messages[1].trainable is []"),
        (r#", "mask": 1"#, "messages[1].mask is 1"),
        (r#", "train_detail": [{"begin_offset": 0}]"#, "train_detail marks parts"),
    ] {
        let (texts, report) = marks(EncodeOptions::default(), &chat(mark, ""));
        assert!(texts.is_empty(), "{mark}");
        assert!(report.skipped[&Reason::WrongType].first[0].detail.contains(says), "{mark}: {report}");
    }
    let part = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": [{"type": "text", "text": "x", "train": false}, {"type": "text", "text": "y"}]}]}"#;
    assert!(
        marks(EncodeOptions::default(), part)
            .1
            .to_string()
            .contains("content[0] is a part that is not to be learnt")
    );
}

#[test]
fn rows_are_marked_as_a_whole() {
    let row = |mark: &str| format!(r#"{{"prompt": "p", "completion": "c"{mark}}}"#);
    for (mark, learnt) in [
        ("", 1),
        (r#", "weight": 1"#, 1),
        (r#", "weight": 0"#, 0),
        (r#", "train": false"#, 0),
        (r#", "train": "express""#, 1),
        (r#", "weight": "12 kg""#, 1),
    ] {
        let (texts, report) = marks(EncodeOptions::default(), &row(mark));
        assert_eq!(
            (texts.len(), report.skipped.contains_key(&Reason::NotToLearn)),
            (learnt, learnt == 0),
            "{mark}"
        );
    }
    let (texts, report) = marks(EncodeOptions::default(), &row(r#", "weight": 0.25"#));
    assert!(texts.is_empty() && report.to_string().contains("weight is 0.25"), "{report}");
}

#[test]
fn preferences_honour_marks_or_name_the_row() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let reply = |text: &str, mark: &str| format!(r#"[{{"role": "assistant", "content": "{text}"{mark}}}]"#);
    let off = r#", "weight": 0"#;
    let rows = [
        format!(r#"{{"prompt": "p", "chosen": {}, "rejected": "b"}}"#, reply("a", off)),
        format!(r#"{{"prompt": "p", "chosen": "a", "rejected": {}}}"#, reply("b", r#", "train": false"#)),
        r#"{"prompt": "p", "chosen": "a", "rejected": "b", "weight": 0}"#.to_owned(),
        format!(r#"{{"prompt": "p", "chosen": {}, "rejected": "b"}}"#, reply("a", r#", "weight": 1"#)),
    ];
    let (pairs, report) = items::<Pair>(&encoder, &rows.join("\n")).unwrap();
    assert_eq!((pairs.items.len(), pairs.items[0].source.line), (1, 4), "{report}");
    let named: Vec<u64> = report.skipped[&Reason::NotToLearn].first.iter().map(|p| p.line).collect();
    assert_eq!(named, [1, 2, 3]);
    // Of an answer of several turns, the marked ones are no targets.
    let turns = |first: &str| {
        format!(
            r#"[{{"role": "assistant", "content": "x", "train": false}}, {{"role": "user", "content": "u"}}, {{"role": "assistant", "content": "{first}"}}]"#
        )
    };
    let row = format!(r#"{{"prompt": "p", "chosen": {}, "rejected": {}}}"#, turns("a"), turns("b"));
    let (pairs, report) = items::<Pair>(&encoder, &row).unwrap();
    assert_eq!(pairs.items.len(), 1, "{report}");
    assert!(
        marked(&pairs.items[0].chosen, &t).contains("assistant\nx<|im_end|>"),
        "{}",
        marked(&pairs.items[0].chosen, &t)
    );
    let rated = format!(r#"{{"prompt": "p", "completion": {}, "label": true}}"#, reply("a", off));
    let (thumbs, report) = items::<Thumb>(&encoder, &rated).unwrap();
    assert!(thumbs.items.is_empty() && report.skipped.contains_key(&Reason::NotToLearn), "{report}");
}

use super::*;

const PAIR: &str = r#"{"prompt": "p", "chosen": "good", "rejected": "bad"}"#;
const THUMB: &str = r#"{"prompt": "p", "completion": "good", "label": true}"#;

fn turn(user: &str, reply: &str) -> String {
    format!("<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{reply}\n")
}

/// The marked texts of pairs.
fn pairs(options: EncodeOptions, lines: &str) -> (Vec<[String; 2]>, Report) {
    let t = tokenizer();
    let template = chatml(&t);
    let (pairs, report) = items::<Pair>(&Encoder::new(&t, Some(&template), options), lines).unwrap();
    for pair in &pairs.items {
        assert_eq!(pair.chosen.prompt(), pair.rejected.prompt());
        assert_ne!(pair.chosen.answer(), pair.rejected.answer());
        let keys = [pair.chosen.key, pair.rejected.key];
        assert_eq!((keys, pair.chosen.source), ([pair.key; 2], pair.source));
    }
    let texts = |pair: &Pair| [marked(&pair.chosen, &t), marked(&pair.rejected, &t)];
    (pairs.items.iter().map(texts).collect(), report)
}

#[test]
fn pairs_of_every_shape() {
    let user = |text: &str| format!(r#"{{"role": "user", "content": "{text}"}}"#);
    let reply = |text: &str| format!(r#"{{"role": "assistant", "content": "{text}"}}"#);
    let (p, good, bad) = (user("p"), reply("good"), reply("bad"));
    let rows = [
        PAIR.to_owned(),
        format!(r#"{{"prompt": [{p}], "chosen": [{good}], "rejected": [{bad}]}}"#),
        format!(r#"{{"prompt": "p", "chosen": [{good}], "rejected": "bad"}}"#),
        format!(r#"{{"chosen": [{p}, {good}], "rejected": [{p}, {bad}]}}"#),
        // As in UltraFeedback: the prompt once more, and whole conversations.
        format!(
            r#"{{"prompt": "p", "chosen": [{p}, {good}], "rejected": [{p}, {bad}], "score_chosen": 8.5}}"#
        ),
    ];
    let want = [turn("p", "[[good<|im_end|>]]"), turn("p", "[[bad<|im_end|>]]")];
    for row in &rows {
        let (texts, report) = pairs(EncodeOptions::default(), row);
        assert_eq!((texts.as_slice(), report.rows, report.examples), (&[want.clone()][..], 1, 1), "{row}");
    }
    // What comes before the last turns is the prompt, earlier replies too.
    let (a, b) = (user("a"), reply("b"));
    let (texts, _) = pairs(
        EncodeOptions { train_on: TrainOn::All, ..EncodeOptions::default() },
        &format!(r#"{{"chosen": [{a}, {b}, {p}, {good}], "rejected": [{a}, {b}, {p}, {bad}]}}"#),
    );
    let before = turn("a", "b<|im_end|>");
    assert_eq!(texts, [want.map(|text| before.clone() + &text)]);
}

#[test]
fn pairs_without_a_template_are_put_together() {
    let t = tokenizer();
    let encoder = Encoder::new(&t, None, EncodeOptions::default());
    let row = r#"{"prompt": "p ", "chosen": "good", "rejected": "bad"}"#;
    let (pairs, _) = items::<Pair>(&encoder, row).unwrap();
    let pair = &pairs.items[0];
    assert_eq!(
        (marked(&pair.chosen, &t), marked(&pair.rejected, &t)),
        ("p [[good</s>]]".into(), "p [[bad</s>]]".into())
    );
    // Without a prompt the first token is predicted from nothing, and the two begin differently.
    let (_, report) =
        items::<Pair>(&encoder, r#"{"prompt": "", "chosen": "good", "rejected": "bad"}"#).unwrap();
    assert_eq!(report.skipped[&Reason::PrefixBroken].count, 1);
}

#[test]
fn margins_are_read() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let with = |margin: &str| PAIR.replace('}', &format!(", \"margin\": {margin}}}"));
    let lines = [PAIR.to_owned(), with("1.5"), with("-2e-1"), with("null"), with("0")].join("\n");
    let (pairs, _) = items::<Pair>(&encoder, &lines).unwrap();
    let margins: Vec<f64> = pairs.items.iter().map(|p| p.margin).collect();
    assert_eq!(margins, [0.0, 1.5, -0.2, 0.0, 0.0]);
    assert_refused::<Pair>(
        PAIR,
        &[
            (&with("\"1\""), Reason::WrongType, "margin is a string, not a number"),
            (&with("1e999"), Reason::WrongType, "margin 1e999 is out of range"),
        ],
    );
}

#[test]
fn pairs_that_decide_nothing_are_refused() {
    let long = format!(r#"{{"prompt": "p", "chosen": "{}", "rejected": "b"}}"#, "a".repeat(200));
    let bad = [
        (r#"{"prompt": "p", "chosen": "a", "rejected": "a"}"#, Reason::SameAnswers, "the same"),
        (r#"{"prompt": "p", "chosen": " ", "rejected": "a"}"#, Reason::NothingToTrain, "chosen: "),
        (r#"{"prompt": "p", "chosen": "a", "rejected": ""}"#, Reason::NothingToTrain, "rejected: "),
        (r#"{"prompt": "p", "chosen": "a", "rejected": []}"#, Reason::NothingToTrain, "rejected: "),
        (r#"{"prompt": "p", "chosen": "a"}"#, Reason::UnknownShape, "it has `prompt`, `chosen`"),
        (r#"{"chosen": "a", "rejected": "b"}"#, Reason::UnknownShape, "whole conversations"),
        (r#"{"prompt": 1, "chosen": "a", "rejected": "b"}"#, Reason::WrongType, "prompt is a number"),
        (r#"{"prompt": "p", "chosen": {}, "rejected": "b"}"#, Reason::WrongType, "chosen is an object"),
        (&long, Reason::Overlong, "chosen: "),
        (
            r#"{"chosen": [{"role": "user", "content": "p"}], "rejected": [{"role": "user", "content": "p"}]}"#,
            Reason::SameAnswers,
            "the same",
        ),
        (
            r#"{"chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}], "rejected": [{"role": "user", "content": "p"}]}"#,
            Reason::NothingToTrain,
            "rejected is only the beginning",
        ),
        (
            r#"{"chosen": [{"role": "user", "content": "p"}], "rejected": [{"role": "user", "content": "q"}]}"#,
            Reason::WrongType,
            "part at chosen[0], a turn of `user`",
        ),
        ("[1]", Reason::WrongType, "not an object"),
        ("", Reason::Empty, "nothing"),
    ];
    assert_refused::<Pair>(PAIR, &bad);
    // What is left of two answers after a cut may be the same.
    let cut = EncodeOptions { max_len: 22, overlong: Overlong::Truncate, ..EncodeOptions::default() };
    let (texts, report) = pairs(
        cut,
        "{\"prompt\": \"p\", \"chosen\": \"aab\", \"rejected\": \"aac\"}\n{\"prompt\": \"p\", \"chosen\": \"aab\", \"rejected\": \"b\"}",
    );
    assert_eq!(report.skipped[&Reason::SameAnswers].first[0].line, 1);
    // Of the other pair both are cut, the second before the line feed that follows its end of turn.
    assert_eq!((texts.len(), report.truncated), (1, 2));
    assert!(
        texts[0].iter().zip(["[[aa]]", "[[b<|im_end|>]]"]).all(|(text, end)| text.ends_with(end)),
        "{texts:?}"
    );
}

/// A template that shows thoughts in the last turn alone makes several sequences of several replies.
#[test]
fn answers_must_be_one_sequence() {
    let t = tokenizer();
    let source = "{% for m in messages %}<|im_start|>{{ m.role }}:\
                  {% if loop.last %}{{ m.content }}{% else %}{{ m.content[-1:] }}{% endif %}<|im_end|>{% endfor %}\
                  {% if add_generation_prompt %}<|im_start|>assistant:{% endif %}";
    let template = ChatTemplate::new(source).unwrap().with_tokens_of(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let row = r#"{"prompt": "p", "chosen": [{"role": "assistant", "content": "thought a"}, {"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}], "rejected": "c"}"#;
    let (_, report) = items::<Pair>(&encoder, row).unwrap();
    assert!(report.skipped[&Reason::PrefixBroken].first[0].detail.contains("chosen: "), "{report}");
}

#[test]
fn rated_answers_are_read_and_pairs_taken_apart() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let messages = r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "no"}], "label": false}"#;
    let (thumbs, report) = items::<Thumb>(&encoder, &[THUMB, messages, PAIR].join("\n")).unwrap();
    let texts: Vec<(String, bool, u64)> = thumbs
        .items
        .iter()
        .map(|t_| (marked(&t_.example, &t), t_.desirable, t_.example.source.line))
        .collect();
    assert_eq!(
        texts,
        [
            (turn("p", "[[good<|im_end|>]]"), true, 1),
            (turn("q", "[[no<|im_end|>]]"), false, 2),
            (turn("p", "[[good<|im_end|>]]"), true, 3),
            (turn("p", "[[bad<|im_end|>]]"), false, 3),
        ]
    );
    assert_eq!((report.rows, report.examples), (3, 4));
    let (p, q) = (&thumbs.items[0], &thumbs.items[1]);
    let other = p.mismatched(q, 1000);
    assert_eq!(marked(&other, &t), turn("p", "[[no<|im_end|>\n]]").trim_end().to_owned());
    let room = p.example.prompt().len();
    assert_eq!(p.mismatched(q, room + 1).counts(), TokenCounts { trained: 1, total: room as u64 + 1 });
    assert_eq!(p.mismatched(q, room - 1).counts(), TokenCounts { trained: 0, total: room as u64 - 1 });

    assert_refused::<Thumb>(
        THUMB,
        &[
            (r#"{"prompt": "p", "completion": "a", "label": "yes"}"#, Reason::WrongType, "label is a string"),
            (r#"{"prompt": "p", "completion": "a", "label": 2}"#, Reason::WrongType, "not true or false"),
            (r#"{"prompt": "p", "completion": "", "label": true}"#, Reason::NothingToTrain, "completion: "),
            (r#"{"prompt": "p", "completion": "a"}"#, Reason::UnknownShape, "label"),
            (r#"{"prompt": "p", "chosen": "a", "rejected": "a"}"#, Reason::SameAnswers, "the same"),
            (
                r#"{"prompt": "p", "completion": [{"role": "user", "content": "p"}], "label": true}"#,
                Reason::WrongType,
                "another turn",
            ),
        ],
    );
}

#[test]
fn answers_to_one_prompt_keep_together() {
    let t = tokenizer();
    let template = chatml(&t);
    let encoder = Encoder::new(&t, Some(&template), EncodeOptions::default());
    let rows: Vec<String> = (0..600)
        .map(|i| format!("{{\"prompt\": \"{}\", \"chosen\": \"a{i}\", \"rejected\": \"b{i}\"}}\n", i % 200))
        .collect();
    let (pairs, _) = items::<Pair>(&encoder, &rows.concat()).unwrap();
    assert_eq!(pairs.files[0].bytes, rows.concat().len() as u64);
    assert_eq!(pairs.lengths()[0] as u64, pairs.items[0].counts().total);
    let all = pairs.counts();
    let (kept, held) = pairs.split(0.1, 1);
    assert_eq!((kept.counts() + held.counts(), &kept.files), (all, &held.files));
    assert_eq!(kept.items.len() + held.items.len(), 600);
    assert!(
        (24..120).contains(&held.items.len()) && held.items.len().is_multiple_of(3),
        "{}",
        held.items.len()
    );
    let prompts = |pairs: &Pairs| pairs.items.iter().map(|p| p.key).collect::<std::collections::HashSet<_>>();
    assert!(prompts(&kept).is_disjoint(&prompts(&held)));
}

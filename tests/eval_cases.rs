//! Rows for evaluation: what choices share is kept once, and damaged files cause no panic.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{golden, open};
use emberlm::text::{ChatTemplate, Message, Tokenizer};
use emberlm::train::data::{CaseKind, EncodeOptions, Encoder, Random, read_cases};

const ROWS: [&str; 5] = [
    r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
    r#"{"question": "in the", "choices": ["end", "and then", "end of"], "answer": "and then"}"#,
    r#"{"question": "the one", "answer": ["then", "end"], "match": "contains"}"#,
    r#"{"prompt": [{"role": "user", "content": "p"}], "choices": ["x", "y"], "answer": 1}"#,
    r#"{"text": "some text"}"#,
];

#[test]
fn choices_share_their_prompt_and_damage_is_no_panic() {
    let model = open(&golden("arch").join("llama-untied.gguf"));
    let metadata = &model.gguf().metadata;
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap();
    let template = ChatTemplate::from_metadata(metadata, &tokenizer).unwrap().unwrap();
    let options = EncodeOptions { max_len: 128, ..EncodeOptions::default() };
    let encoders =
        [Encoder::new(&tokenizer, Some(&template), options), Encoder::new(&tokenizer, None, options)];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.jsonl");
    let whole = ROWS.join("\n");
    std::fs::write(&path, &whole).unwrap();
    let (cases, report) =
        read_cases(&path, &encoders[0].clone().with_system(Some("be brief")), usize::MAX).unwrap();
    assert_eq!((cases.len(), report.skipped_count()), (5, 0), "{report}");
    let CaseKind::Choice { shared, choices, answer, .. } = &cases[1].kind else { panic!("{:?}", cases[1]) };
    let start = template.encode(
        &tokenizer,
        &[Message::new("system", "be brief"), Message::new("user", "in the")],
        true,
        &Default::default(),
    );
    assert_eq!((shared, *answer), (&start.unwrap(), 1));
    for ((tokens, marked), text) in choices.iter().zip(["end", "and then", "end of"]) {
        let own: Vec<u32> = tokens.iter().zip(marked).filter(|(_, m)| **m).map(|(t, _)| *t).collect();
        assert_eq!(own, tokenizer.encode(text, false, false), "{text}");
        assert!(tokens.len() > own.len(), "the end of turn is there and does not count");
    }
    assert_eq!(read_cases(&path, &encoders[0], 2).unwrap().0.len(), 2);
    // Without a template, messages are refused and strings are not.
    assert_eq!(read_cases(&path, &encoders[1], usize::MAX).unwrap().1.skipped_count(), 2);
    let (mut kept, mut skipped) = (0, 0);
    for seed in 0..1000 {
        let mut random = Random::new(5, seed);
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..1 + random.below(3) {
            let at = random.below(bytes.len().max(1)).min(bytes.len() - 1);
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => {
                    let end = (at + random.below(20)).min(bytes.len());
                    drop(bytes.drain(at..end));
                }
                _ => bytes.truncate(at.max(whole.len() / 2)),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let (cases, report) = read_cases(&path, &encoders[random.below(2)], usize::MAX).unwrap();
        kept += cases.len();
        skipped += report.skipped_count();
    }
    assert!(kept > 1000 && skipped > 500, "{kept} kept, {skipped} skipped");
}

//! Scores of a part of a text, with what the slot already holds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{boot, bounds, golden, open, options};
use emberlm::model::KvType;
use emberlm::session::{DeviceChoice, Modes, SessionOptions};

const TOKENS: [u32; 20] = [5, 40, 200, 17, 99, 3, 150, 61, 8, 230, 77, 12, 4, 90, 33, 251, 7, 18, 64, 110];

#[test]
fn the_score_of_a_part_is_that_part_of_the_score() {
    let model = open(&golden("arch").join("llama-untied.gguf"));
    for chunk in [3, 8, 64] {
        let options = options(DeviceChoice::Cpu, KvType::F32, Modes::SCORE);
        let mut session = boot(&model, &SessionOptions { chunk: Some(chunk), ..options });
        let whole = session.score(&TOKENS).unwrap();
        assert_eq!(whole.len(), TOKENS.len() - 1);
        let mut other = TOKENS;
        other[12..].reverse();
        let other_whole = session.score(&other).unwrap();
        // Now and then the slot holds nothing, the other text, or the same one.
        for (first, forget) in
            [(1, true), (5, true), (13, false), (19, false), (2, false), (0, false), (25, false)]
        {
            for (tokens, whole) in [(&TOKENS, &whole), (&other, &other_whole)] {
                if forget {
                    session.reset();
                }
                let part = session.score_from(tokens, first).unwrap();
                let want = &whole[first.clamp(1, TOKENS.len()) - 1..];
                assert_eq!(part.len(), want.len(), "chunk {chunk}, from {first}");
                for (got, want) in part.iter().zip(want) {
                    assert!(
                        f64::from((got - want).abs()) < bounds::SCORED * f64::from(want.abs()),
                        "chunk {chunk}, from {first}: {got} {want}"
                    );
                }
                assert_eq!(session.held(), &tokens[..TOKENS.len() - 1]);
            }
        }
    }
}

//! Tokenizers against llama.cpp's own fixtures. `scripts/fetch-vocabs` gets them; without them these tests fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "common/vocabs.rs"]
mod vocabs;

use std::time::{Duration, Instant};

use emberlm::text::Tokenizer;
use vocabs::{cases, check, tokenizer, vocab_file};

fn fixture(name: &str) -> (Tokenizer, Vec<(String, Vec<u32>)>) {
    let file = |end: &str| vocab_file(&format!("{name}.gguf{end}"));
    (tokenizer(&file("")), cases(&file(".inp"), &file(".out")))
}

/// All cases of a fixture; their texts also survive the way there and back.
fn matches_llama_cpp(name: &str) {
    let (tokenizer, cases) = fixture(name);
    assert!(cases.len() >= 40, "{name}: only {} cases", cases.len());
    check(name, &tokenizer, &cases);
    for (text, ids) in &cases {
        assert_eq!(tokenizer.decode(ids, false), *text, "{name}: decoded");
        let mut stream = tokenizer.stream(false);
        let mut streamed: String = ids.iter().map(|&id| stream.push(&tokenizer, id).to_owned()).collect();
        streamed.push_str(stream.finish());
        assert!(
            streamed == *text || streamed.strip_prefix(' ') == Some(text),
            "{name}: streamed {streamed:?}"
        );
    }
}

macro_rules! fixtures {
    ($($test:ident: $name:literal),* $(,)?) => {$(
        #[test]
        fn $test() {
            matches_llama_cpp($name);
        }
    )*};
}

fixtures! {
    gpt_2: "gpt-2",
    llama_bpe: "llama-bpe",
    qwen2: "qwen2",
    qwen35: "qwen35",
    starcoder: "starcoder",
    deepseek_llm: "deepseek-llm",
    deepseek_coder: "deepseek-coder",
    llama_spm: "llama-spm",
    phi_3: "phi-3",
    command_r: "command-r",
    falcon: "falcon",
    mpt: "mpt",
    refact: "refact",
}

/// Random code points from all planes, from a fixed seed.
fn random_unicode(bytes: usize) -> String {
    let mut state = 1u64;
    let mut text = String::new();
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let limit = [0x80, 0x800, 0x10000, 0x11_0000][(state >> 60) as usize % 4];
        // The stand-in for blanks comes back as a blank.
        text.extend(char::from_u32((state >> 33) as u32 % limit).filter(|&c| c != '\u{2581}'));
    }
    text
}

#[test]
fn a_megabyte_of_anything_takes_seconds_at_most() {
    let texts = [
        ("one letter", "a".repeat(1 << 20)),
        ("blanks and a digit", " ".repeat(1 << 20) + "1"),
        ("line ends", "\r\n".repeat(1 << 19)),
        ("apostrophes", "'".repeat(1 << 20)),
        ("capitals and marks", "A\u{301}".repeat(1 << 18)),
        ("ideographs", "漢".repeat(350_000)),
        ("random Unicode", random_unicode(1 << 20)),
    ];
    for name in ["llama-bpe", "gpt-2", "deepseek-llm", "llama-spm"] {
        let tokenizer = tokenizer(&vocab_file(&format!("{name}.gguf")));
        for (what, text) in &texts {
            let start = Instant::now();
            let ids = tokenizer.encode(text, true, false);
            let took = start.elapsed();
            println!("{name}, {what}: {} ids in {took:?}", ids.len());
            assert!(took < Duration::from_secs(10), "{name}, {what}: took {took:?}");
            assert_eq!(tokenizer.decode(&ids, false), *text, "{name}, {what}");
        }
    }
}

#[test]
fn control_tokens_need_leave_and_the_ends_are_known() {
    let llama = tokenizer(&vocab_file("llama-bpe.gguf"));
    assert_eq!(llama.encode("<|eot_id|>", true, true), [128_000, 128_009]);
    assert!(llama.encode("<|eot_id|>", false, false).len() > 1);
    assert_eq!(llama.decode(&llama.encode("<|eot_id|>", false, false), true), "<|eot_id|>");
    assert!(llama.is_eog(128_009) && llama.is_eog(128_001) && !llama.is_eog(128_000));
    assert_eq!(llama.special_id("<|eot_id|>"), Some(128_009));
    assert_eq!(llama.vocab_len(), 128_256);

    let spm = tokenizer(&vocab_file("llama-spm.gguf"));
    assert_eq!(spm.encode("", false, true), [1]);
    assert_eq!(spm.encode("<s>a</s>", true, false), [1, 263, 2]);
    assert!(!spm.encode("<s></s><unk><0x41>", false, false).iter().any(|&id| id <= 2 || id == 0x41 + 3));
    assert_eq!(spm.decode(&spm.encode("<s> <0x41>", false, false), true), "<s> <0x41>");

    let phi = tokenizer(&vocab_file("phi-3.gguf"));
    let ids = phi.encode("<|user|>\n a<|end|>\n<|assistant|>\n", true, false);
    assert_eq!(
        ids,
        phi.encode("<|user|>a<|end|><|assistant|>", true, false),
        "white space after is swallowed"
    );
}

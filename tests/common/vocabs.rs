//! Where the tokenizer tests find their vocabularies, and llama.cpp's format of fixtures.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test file uses its own part")]

use std::fs;
use std::path::{Path, PathBuf};

use emberlm::gguf::GgufFile;
use emberlm::text::Tokenizer;

/// The folder of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The vocabulary or fixture of that name, as `scripts/fetch-vocabs` stores it.
pub fn vocab_file(name: &str) -> PathBuf {
    let cache = std::env::var_os("EMBER_TEST_CACHE").map_or_else(|| PathBuf::from(".cache"), PathBuf::from);
    let path = project().join(cache).join("vocabs").join(format!("ggml-vocab-{name}"));
    assert!(path.exists(), "{} is missing: run scripts/fetch-vocabs first", path.display());
    path
}

/// The tokenizer of a GGUF file.
pub fn tokenizer(path: &Path) -> Tokenizer {
    let file = GgufFile::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Tokenizer::from_metadata(&file.header().metadata).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cases of an `.inp` and an `.out` file: texts with the token ids that are expected.
pub fn cases(inp: &Path, out: &Path) -> Vec<(String, Vec<u32>)> {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (inp, out) = (read(inp), read(out));
    let mut texts: Vec<&str> = inp.split("\n__ggml_vocab_test__\n").collect();
    let mut ids: Vec<&str> = out.split('\n').collect();
    // Both files end with a separator.
    for list in [&mut texts, &mut ids] {
        if list.last() == Some(&"") {
            list.pop();
        }
    }
    assert_eq!(texts.len(), ids.len(), "as many texts as lists of ids");
    let numbers = |line: &str| line.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    texts.iter().zip(ids).map(|(text, line)| ((*text).to_owned(), numbers(line))).collect()
}

/// Panics with all cases that differ.
pub fn check(name: &str, tokenizer: &Tokenizer, cases: &[(String, Vec<u32>)]) {
    let mut failures = Vec::new();
    for (text, expected) in cases {
        let got = tokenizer.encode(text, false, false);
        if got != *expected {
            failures.push(format!("{text:?}\n  expected {expected:?}\n  got      {got:?}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{name}: {} of {} cases differ\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

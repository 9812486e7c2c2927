//! On a byte-level tokenizer made here and templates of several manners.

mod batches;
mod files;
mod habits;
mod learnt;
mod masks;
mod preferences;
mod prompts;
mod silence;
mod templated;
mod thoughts;

use std::path::Path;

use super::*;
use crate::text::{ChatTemplate, SpecialIds, TokenKind, Tokenizer, TokenizerConfig, TokenizerModel};

const CONTROLS: [&str; 4] = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"];
const END: u32 = 257;

/// GPT-2's stand-in for a byte.
fn stand_in(byte: u8) -> String {
    let printable = |b: u8| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let free = 256 + (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(if printable(byte) { u32::from(byte) } else { free }).unwrap().to_string()
}

/// A token per byte, then [`CONTROLS`], then 260 "\n\n".
fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = (0..=255).map(|b| stand_in(b).into_bytes()).collect();
    tokens.extend(CONTROLS.map(|text| text.as_bytes().to_vec()));
    tokens.push("ĊĊ".as_bytes().to_vec());
    let mut config = TokenizerConfig::new(TokenizerModel::Gpt2, tokens);
    config.pre = Some("gpt-2".into());
    config.merges = vec!["Ċ Ċ".as_bytes().to_vec()];
    config.kinds = vec![TokenKind::Normal; 261];
    config.kinds[256..260].fill(TokenKind::Control);
    config.special = SpecialIds { bos: Some(258), eos: Some(259), ..SpecialIds::default() };
    Tokenizer::new(config).unwrap()
}

fn chatml(tokenizer: &Tokenizer) -> ChatTemplate {
    ChatTemplate::builtin("chatml").unwrap().with_tokens_of(tokenizer)
}

/// Loads `text` as a file of that name.
fn read(encoder: &Encoder, name: &str, text: impl AsRef<[u8]>) -> Result<(Dataset, Report), DataError> {
    let (mut dataset, mut report) = (Dataset::default(), Report::default());
    dataset.read(Path::new(name), text.as_ref(), encoder, &mut report)?;
    assert_eq!(dataset.items.len() as u64, report.examples);
    for example in &dataset.items {
        assert_eq!(example.tokens.len(), example.trained.len());
        assert!(!example.trained[0] && example.trained.contains(&true));
        assert!(example.tokens.len() <= encoder.options().max_len);
    }
    Ok((dataset, report))
}

/// Loads items of some kind from JSON lines.
fn items<T: Item>(encoder: &Encoder, lines: &str) -> Result<(Items<T>, Report), DataError> {
    let (mut items, mut report) = (Items::default(), Report::default());
    items.read(Path::new("a.jsonl"), lines.as_bytes(), encoder, &mut report)?;
    assert_eq!(items.items.len() as u64, report.examples);
    Ok((items, report))
}

/// Expects each row to be refused in both modes, between two good ones, for a reason, in words.
fn assert_refused<T: Item>(good: &str, bad: &[(&str, Reason, &str)]) {
    let t = tokenizer();
    let template = chatml(&t);
    let options = EncodeOptions { max_len: 100, ..EncodeOptions::default() };
    for (row, reason, words) in bad {
        let lines = format!("{good}\n{row}\n{good}\n");
        let (read, report) = items::<T>(&Encoder::new(&t, Some(&template), options), &lines).unwrap();
        assert_eq!((report.rows, report.skipped_count()), (3, 1), "{row}: {report}");
        assert!(read.items.len() >= 2 && read.items.len().is_multiple_of(2), "{row}");
        let problem = &report.skipped.get(reason).unwrap_or_else(|| panic!("{row}: {report}")).first[0];
        assert!(problem.line == 2 && problem.detail.contains(words), "{row}: {problem}");
        let strict = Encoder::new(&t, Some(&template), EncodeOptions { strict: true, ..options });
        let error = items::<T>(&strict, &lines).err().unwrap();
        assert!(matches!(&error, DataError::Row(found) if **found == *problem), "{row}: {error}");
    }
}

/// Loads JSON lines with ChatML and gives the marked texts.
fn marks(options: EncodeOptions, lines: &str) -> (Vec<String>, Report) {
    let t = tokenizer();
    let template = chatml(&t);
    let (dataset, report) = read(&Encoder::new(&t, Some(&template), options), "a.jsonl", lines).unwrap();
    (dataset.items.iter().map(|e| marked(e, &t)).collect(), report)
}

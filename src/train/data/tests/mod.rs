//! On a byte-level tokenizer made here and templates of several manners.

mod batches;
mod files;
mod masks;

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
    assert_eq!(dataset.examples.len() as u64, report.examples);
    for example in &dataset.examples {
        assert_eq!(example.tokens.len(), example.trained.len());
        assert!(!example.trained[0] && example.trained.contains(&true));
        assert!(example.tokens.len() <= encoder.options().max_len);
    }
    Ok((dataset, report))
}

/// Loads JSON lines with ChatML and gives the marked texts.
fn marks(options: EncodeOptions, lines: &str) -> (Vec<String>, Report) {
    let t = tokenizer();
    let template = chatml(&t);
    let (dataset, report) = read(&Encoder::new(&t, Some(&template), options), "a.jsonl", lines).unwrap();
    (dataset.examples.iter().map(|e| marked(e, &t)).collect(), report)
}

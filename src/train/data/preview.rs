//! Sequences as text, with what is trained on marked.

use super::Example;
use crate::text::Tokenizer;

/// Part of a sequence's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviewSpan {
    /// The text; parts of characters are replaced.
    pub text: String,
    /// Whether its tokens are targets.
    pub trained: bool,
}

/// The text of a sequence, cut where targets begin and end. It is as it comes from the data: do not send it to a
/// terminal unfiltered.
pub fn spans(example: &Example, tokenizer: &Tokenizer) -> Vec<PreviewSpan> {
    let mut runs: Vec<(Vec<u8>, bool)> = Vec::new();
    for (&token, &trained) in example.tokens.iter().zip(&example.trained) {
        let bytes = tokenizer.token_bytes(token).unwrap_or_default();
        match runs.last_mut() {
            Some((run, of)) if *of == trained => run.extend_from_slice(bytes),
            _ => runs.push((bytes.to_vec(), trained)),
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    runs.into_iter().map(|(bytes, trained)| PreviewSpan { text: text(bytes), trained }).collect()
}

/// The text of a sequence with `[[` and `]]` around what is trained on.
pub fn marked(example: &Example, tokenizer: &Tokenizer) -> String {
    let mark = |span: PreviewSpan| if span.trained { format!("[[{}]]", span.text) } else { span.text };
    spans(example, tokenizer).into_iter().map(mark).collect()
}

//! Shows what will be learnt, before it is.

use std::io::{self, Write};

use crate::cli::term::{Paint, grouped};
use crate::text::Tokenizer;
use crate::train::data::{Dataset, Example, spans};

/// Prints the first `count` sequences with what is trained on marked, in colour or by `[[` and `]]`, and the numbers of
/// tokens.
///
/// # Errors
/// The writer's.
pub fn print(
    dataset: &Dataset,
    tokenizer: &Tokenizer,
    count: usize,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    for example in dataset.examples.iter().take(count) {
        let counts = example.counts();
        let path = dataset.files.get(example.source.file).map(|f| f.path.display().to_string());
        let head = format!(
            "{}:{}: {} of {} tokens are trained on",
            path.as_deref().unwrap_or("data"),
            example.source.line,
            grouped(counts.trained),
            grouped(counts.total)
        );
        writeln!(out, "{}\n{}\n", paint.bold(head), marked(example, tokenizer, paint))?;
    }
    let counts = dataset.counts();
    let (sequences, trained, total) =
        (dataset.examples.len() as u64, grouped(counts.trained), grouped(counts.total));
    writeln!(out, "{} sequences, {total} tokens, {trained} of them trained on", grouped(sequences))
}

fn marked(example: &Example, tokenizer: &Tokenizer, paint: Paint) -> String {
    let mut text = String::new();
    for span in spans(example, tokenizer) {
        let shown = printable(&span.text);
        text += &match (span.trained, paint.colours()) {
            (true, true) => paint.green(shown),
            (true, false) => format!("[[{shown}]]"),
            (false, _) => paint.dim(shown),
        };
    }
    text
}

/// Data must not steer the terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

//! Shows what will be learnt, before it is.

use std::io::{self, Write};

use crate::cli::show;
use crate::cli::term::{Paint, grouped};
use crate::text::Tokenizer;
use crate::train::data::{DataFile, Dataset, Example, Item, Items, Prompt, Source, spans};

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
    let shown = dataset.items.iter().take(count).map(|example| ("", example));
    sequences(shown, &dataset.files, tokenizer, paint, out)?;
    total("sequences", dataset, out)
}

/// Prints sequences, each with what it is if there are several kinds.
///
/// # Errors
/// The writer's.
pub fn sequences<'a>(
    shown: impl Iterator<Item = (&'static str, &'a Example)>,
    files: &[DataFile],
    tokenizer: &Tokenizer,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    for (kind, example) in shown {
        let counts = example.counts();
        let head = format!(
            "{}: {kind}{}{} of {} tokens are trained on",
            place(example.source, files),
            if kind.is_empty() { "" } else { ": " },
            grouped(counts.trained),
            grouped(counts.total)
        );
        writeln!(out, "{}\n{}\n", paint.bold(head), marked(example, tokenizer, paint))?;
    }
    Ok(())
}

/// Prints prompts, as the model reads them.
///
/// # Errors
/// The writer's.
pub fn prompts<'a>(
    shown: impl Iterator<Item = &'a Prompt>,
    files: &[DataFile],
    tokenizer: &Tokenizer,
    paint: Paint,
    out: &mut impl Write,
) -> io::Result<()> {
    for prompt in shown {
        let head = format!("{}: {} tokens", place(prompt.source, files), grouped(prompt.tokens.len() as u64));
        let text = tokenizer.decode(&prompt.tokens, false);
        let text = show::text(&text);
        writeln!(out, "{}\n{text}", paint.bold(head))?;
        let row = serde_json::Value::Object(prompt.row()).to_string();
        writeln!(out, "{}\n", paint.dim(format!("for the rewards: {}", show::text(&row))))?;
    }
    Ok(())
}

/// Prints how much data there is.
///
/// # Errors
/// The writer's.
pub fn total<T: Item>(what: &str, data: &Items<T>, out: &mut impl Write) -> io::Result<()> {
    let (counts, trained) = (data.counts(), grouped(data.counts().trained));
    let (count, total) = (grouped(data.items.len() as u64), grouped(counts.total));
    match counts.trained {
        0 => writeln!(out, "{count} {what}, {total} tokens"),
        _ => writeln!(out, "{count} {what}, {total} tokens, {trained} of them trained on"),
    }
}

/// `data.jsonl:7`
fn place(source: Source, files: &[DataFile]) -> String {
    let path = files.get(source.file).map(|f| f.path.display().to_string());
    format!("{}:{}", show::line(path.as_deref().unwrap_or("data")), source.line)
}

fn marked(example: &Example, tokenizer: &Tokenizer, paint: Paint) -> String {
    let mut text = String::new();
    for span in spans(example, tokenizer) {
        let shown = show::text(&span.text);
        text += &match (span.trained, paint.colours()) {
            (true, true) => paint.green(shown),
            (true, false) => format!("[[{shown}]]"),
            (false, _) => paint.dim(shown),
        };
    }
    text
}

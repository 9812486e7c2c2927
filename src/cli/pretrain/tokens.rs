//! What a run makes of text before it trains, in the folder of its state: a tokenizer, and the text as tokens.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::pretrain::config::Config;
use crate::cli::progress::Bar;
use crate::cli::term::{self, Paint};
use crate::gguf::{GgufFile, Metadata};
use crate::text::Tokenizer;
use crate::train::corpus::{Corpus, CorpusError, CorpusOptions, Validation};
use crate::train::pretrain::Recipe;

/// The weights that training begins with.
pub const START: &str = "start.gguf";
/// The tokenizer that was made.
const TOKENIZER: &str = "tokenizer.gguf";
/// The text as tokens.
const CORPUS: &str = "corpus.tokens";
/// Bytes in a unit of progress.
const UNIT: u64 = 1 << 10;

/// Takes away what was made in a state's folder, and the folder if nothing else is in it.
pub fn clean(folder: &Path) {
    for name in [START, TOKENIZER, CORPUS] {
        // What is not there need not be taken away.
        let _ = std::fs::remove_file(folder.join(name));
    }
    let _ = std::fs::remove_dir(folder);
}

/// The vocabulary: that of a file, or one made of the text.
///
/// # Errors
/// A file without one, a text that is too short to make one of.
pub fn tokenizer(config: &Config, recipe: &Recipe, folder: &Path, begun: bool) -> CliResult<GgufFile> {
    if let Some(path) = &config.text.tokenizer {
        return Ok(GgufFile::open(engine::here(&path.display().to_string())?)?);
    }
    let path = folder.join(TOKENIZER);
    if !begun || !path.exists() {
        make(config, recipe, &path)?;
    }
    Ok(GgufFile::open(&path)?)
}

/// The keys of a tokenizer.
pub fn metadata(file: &GgufFile) -> Metadata {
    let all = file.header().metadata.iter().filter(|(key, _)| key.starts_with("tokenizer."));
    all.map(|(key, value)| (key.to_owned(), value.clone())).collect()
}

/// The text as tokens, made once.
///
/// # Errors
/// Text that cannot be read, or is too little; Ctrl-C.
pub fn corpus(config: &Config, tokenizer: &Tokenizer, folder: &Path) -> CliResult<Arc<Corpus>> {
    let text = &config.text;
    let validation = match text.val.as_deref() {
        None => CorpusOptions::default().validation,
        Some(part) => match part.parse::<f64>() {
            Ok(0.0) => Validation::Nothing,
            Ok(part) if (0.0..=0.5).contains(&part) => Validation::Fraction(part),
            Ok(_) => {
                return Err(CliError::usage("--val takes a part of at most 0.5, such as 0.01, or a file"));
            }
            Err(_) => Validation::Texts(vec![PathBuf::from(part)]),
        },
    };
    let options = CorpusOptions {
        separator: text.separator.clone().or(CorpusOptions::default().separator),
        validation,
        seed: config.training.seed.unwrap_or(0),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        ..CorpusOptions::default()
    };
    let listen = Listen::new();
    let mut bar: Option<Bar> = None;
    let made = Corpus::build(folder.join(CORPUS), &text.files, tokenizer, &options, &mut |p| {
        let bar = bar.get_or_insert_with(|| Bar::phase("tokenizing", p.total.div_ceil(UNIT)));
        bar.item(p.done / UNIT, &format!("KiB of text, {} tokens", term::grouped(p.tokens)));
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(mut bar) = bar {
        bar.clear();
    }
    let built = match made {
        Err(CorpusError::Stopped) => return Err(CliError::interrupted()),
        other => other?,
    };
    if built.report.is_notable() {
        term::warn(&built.report);
    }
    let corpus = built.corpus;
    let parts = [crate::train::corpus::Split::Train, crate::train::corpus::Split::Validation];
    let tokens: u64 = parts.iter().map(|part| corpus.tokens(*part)).sum();
    let documents: u64 =
        corpus.documents(parts[0]) + if corpus.cut_within() { 0 } else { corpus.documents(parts[1]) };
    term::say(Paint::stderr().dim(format!(
        "text: {} in {} documents, {} tokens ({:.2} bytes each)",
        term::bytes(corpus.text_bytes()),
        term::grouped(documents),
        term::grouped(tokens),
        corpus.text_bytes() as f64 / tokens.max(1) as f64
    )));
    Ok(Arc::new(corpus))
}

/// Most text that a vocabulary is made of: more of it changes little.
#[cfg(feature = "tokenizer")]
const LEARNT: u64 = 200 << 20;

/// Makes a vocabulary of the text.
#[cfg(feature = "tokenizer")]
fn make(config: &Config, recipe: &Recipe, path: &Path) -> CliResult {
    use crate::cli::tokenizer;
    use crate::io::{Access, Existing, Manner};
    use crate::text::BpeOptions;
    let text = &config.text;
    let chat_template = match text.chat_template.as_deref() {
        Some("none") => None,
        wanted => Some(tokenizer::template(wanted.unwrap_or("chatml"))?),
    };
    let options = BpeOptions { vocab: recipe.vocab, chat_template, ..BpeOptions::default() };
    let separator = text.separator.as_deref().unwrap_or(crate::train::corpus::END_OF_TEXT);
    let (trained, _) = tokenizer::learn(&text.files, separator, LEARNT, &options)?;
    tokenizer::save(path, Manner { existing: Existing::Replace, access: Access::Private }, &trained)?;
    Ok(())
}

#[cfg(not(feature = "tokenizer"))]
fn make(_: &Config, _: &Recipe, _: &Path) -> CliResult {
    let missing = CliError::failed("this build makes no tokenizers (cargo feature `tokenizer`)");
    Err(missing.advise("--tokenizer FILE, a GGUF file that has one"))
}

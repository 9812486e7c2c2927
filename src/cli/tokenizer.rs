//! `ember tokenizer train`: a vocabulary of one's own.

use std::cell::Cell;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::interrupt::Listen;
use crate::cli::output::{ReplaceArgs, refused, say_kept};
use crate::cli::progress::Bar;
use crate::cli::term::{self, grouped, parse_bytes};
use crate::gguf::{GgufError, GgufWriter, Metadata};
use crate::io::{Access, IoError, Manner, StdStream, write_file};
use crate::text::{
    BpeOptions, BpeTrainingError, ChatTemplate, Tokenizer, TrainedBpe, builtin_names, train_bpe,
};
use crate::train::corpus::{CorpusError, END_OF_TEXT, each_text};
use crate::train::data::Random;

/// Text of which bytes per token are measured at the end.
const MEASURED: u64 = 8 << 20;

/// Vocabularies of one's own
#[derive(Args, Clone, Debug)]
pub struct TokenizerArgs {
    #[command(subcommand)]
    command: TokenizerCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum TokenizerCommand {
    Train(TrainArgs),
}

/// Learn a vocabulary from text
///
/// Byte-level BPE, as GPT-2 has it: every text can be encoded, and frequent words are one token. Writes a GGUF file with the
/// vocabulary alone. The same text gives the same file.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember tokenizer train --text books/ --vocab 4096 -o mine.gguf\n  \
    ember tokenizer train --text stories.txt --vocab 2048 --chat-template chatml -o mine.gguf")]
pub struct TrainArgs {
    /// Text files, or folders of .txt, .md and .jsonl files (rows with `text`)
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    text: Vec<PathBuf>,
    /// Tokens of the vocabulary, the 256 bytes and the special ones included
    #[arg(long, value_name = "N", default_value_t = BpeOptions::default().vocab)]
    vocab: usize,
    /// Further special tokens, beside <|endoftext|>, <|im_start|> and <|im_end|>
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    special: Vec<String>,
    /// Chat template to put into the file: chatml or another built-in one, or a file
    #[arg(long, value_name = "NAME|FILE")]
    chat_template: Option<String>,
    /// How text is cut into words, by the names of GGUF's tokenizer.ggml.pre
    #[arg(long, value_name = "NAME", default_value_t = BpeOptions::default().pre)]
    pre: String,
    /// A pair becomes a token if it is there that often
    #[arg(long, value_name = "N", default_value_t = BpeOptions::default().min_frequency)]
    min_frequency: u64,
    /// The line between two documents of a text file; it is not learnt
    #[arg(long, value_name = "LINE", default_value = END_OF_TEXT)]
    separator: String,
    /// Most text to learn from, spread over all of it: such as 500M
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = parse_bytes)]
    limit: u64,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    replace: ReplaceArgs,
}

/// Runs the command.
pub fn run(args: &TokenizerArgs) -> CliResult {
    let TokenizerCommand::Train(args) = &args.command;
    let inputs: Vec<&Path> = args.text.iter().map(PathBuf::as_path).collect();
    args.replace.check(&args.output, &inputs)?;
    let options = options(args)?;
    let (trained, sample) = learn(&args.text, &args.separator, args.limit, &options)?;
    let tokenizer = trained.tokenizer()?;
    let manner = Manner { existing: args.replace.existing(), access: Access::Ordinary };
    say_kept(&args.output, save(&args.output, manner, &trained)?.as_slice());
    report(args, &trained, &tokenizer, &sample)
}

fn options(args: &TrainArgs) -> CliResult<BpeOptions> {
    let mut options = BpeOptions {
        vocab: args.vocab,
        pre: args.pre.clone(),
        min_frequency: args.min_frequency,
        chat_template: args.chat_template.as_deref().map(template).transpose()?,
        ..BpeOptions::default()
    };
    let new = |text: &&String| !BpeOptions::default().specials.contains(text);
    options.specials.extend(args.special.iter().filter(new).cloned());
    Ok(options)
}

/// The text of a template: a built-in one, or a file.
pub fn template(wanted: &str) -> CliResult<String> {
    if builtin_names().any(|name| name == wanted) {
        return Ok(ChatTemplate::builtin(wanted)?.source().to_owned());
    }
    let source = text_file(Path::new(wanted))?;
    ChatTemplate::new(&source).map_err(|e| CliError::from(e).at(wanted))?;
    Ok(source)
}

/// What stops reading or learning.
enum Stop {
    Corpus(CorpusError),
    Training(BpeTrainingError),
}

impl From<BpeTrainingError> for Stop {
    fn from(error: BpeTrainingError) -> Self {
        Self::Training(error)
    }
}

/// Learns from at most `limit` bytes, and gives some of the text to measure it by.
pub fn learn(
    texts: &[PathBuf],
    separator: &str,
    limit: u64,
    options: &BpeOptions,
) -> CliResult<(TrainedBpe, Vec<String>)> {
    let listen = Listen::new();
    let mut bar: Option<Bar> = None;
    let (size, mut random, mut sample) = (Cell::new(0), Random::new(0, 0), Vec::new());
    let learnt = train_bpe(options, |learn| {
        let mut progress = |done, total| {
            size.set(total);
            bar.get_or_insert_with(|| Bar::phase("reading", total)).item(done, "bytes");
            if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut take = |text: &str, _| {
            // Of much text, pieces from everywhere.
            let mut among =
                |share: u64| random.next_u64() as f64 * size.get() as f64 <= share as f64 * u64::MAX as f64;
            let (learnt, measured) = (among(limit), among(MEASURED));
            if learnt {
                learn(text);
            }
            if learnt && measured {
                sample.push(text.to_owned());
            }
        };
        let report = each_text(texts, Some(separator), &mut progress, &mut take).map_err(Stop::Corpus)?;
        if report.skipped_count() > 0 {
            term::warn(report);
        }
        if let Some(bar) = &mut bar {
            bar.clear();
        }
        term::say("learning the vocabulary");
        Ok(())
    });
    if let Some(bar) = &mut bar {
        bar.clear();
    }
    match learnt {
        Ok(trained) => Ok((trained, sample)),
        Err(Stop::Corpus(CorpusError::Stopped)) => Err(CliError::interrupted()),
        Err(Stop::Corpus(error)) => Err(CliError::failed(error)),
        Err(Stop::Training(error)) => Err(CliError::failed(error)),
    }
}

/// Writes a vocabulary to a file; what had the name, if it was to be kept.
pub fn save(path: &Path, manner: Manner, trained: &TrainedBpe) -> CliResult<Option<PathBuf>> {
    let written = write_file(path, manner, |out| write(out, trained)).map_err(|e| match e {
        Failure::Io(error) => refused(error),
        Failure::Gguf(error) => error.into(),
    })?;
    Ok(written.backup)
}

enum Failure {
    Io(IoError),
    Gguf(GgufError),
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        Self::Io(error)
    }
}

/// A GGUF file without tensors.
fn write<W: Write>(out: &mut StdStream<W>, trained: &TrainedBpe) -> Result<(), Failure> {
    // Readers want an architecture; a vocabulary has none.
    let about =
        [("general.architecture".to_owned(), "llama".into()), ("general.type".to_owned(), "vocab".into())];
    let metadata: Metadata = about.into_iter().chain(trained.metadata()).collect();
    let writer = GgufWriter::new(out, &metadata, &[]).and_then(GgufWriter::finish);
    writer.map(drop).map_err(Failure::Gguf)
}

fn report(args: &TrainArgs, trained: &TrainedBpe, tokenizer: &Tokenizer, sample: &[String]) -> CliResult {
    let bytes: usize = sample.iter().map(String::len).sum();
    let tokens: usize = sample.iter().map(|text| tokenizer.encode(text, false, false).len()).sum();
    let mut out = term::listing();
    writeln!(out, "{}: {} tokens", args.output.display(), grouped(trained.vocab_len() as u64))?;
    if trained.vocab_len() < args.vocab {
        let reason = "the text has no more pairs that are there as often as --min-frequency";
        writeln!(out, "  fewer than {}: {reason}", grouped(args.vocab as u64))?;
    }
    if tokens > 0 {
        writeln!(
            out,
            "  {:.2} bytes per token, over {}",
            bytes as f64 / tokens as f64,
            term::bytes(bytes as u64)
        )?;
    }
    Ok(())
}

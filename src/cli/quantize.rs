//! `ember quantize`: re-encodes a model file.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::threads;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::output::{ReplaceArgs, say_kept};
use crate::cli::progress::Bar;
use crate::cli::term;
use crate::gguf::GgufFile;
use crate::io::private::is_private;
use crate::io::{Access, Manner};
use crate::quant::Format;
use crate::quantize::{self as work, Decision, QuantizeError, QuantizeOptions};

/// Re-encode a model in another format
///
/// Matrices become TYPE; where TYPE's blocks do not divide a row, the nearest format that fits is used, and said.
/// The output matrix gets Q6_K unless you choose; norms and biases stay as they are. Start from F16, F32 or Q8_0:
/// re-encoding a small format loses twice.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember quantize model-f16.gguf model-q4_k.gguf Q4_K\n  \
    ember quantize in.gguf out.gguf q4_0 --output-type q8_0")]
pub struct QuantizeArgs {
    /// Model to read: a file, or the name of a model that is here
    #[arg(value_name = "IN")]
    pub input: String,
    /// File to write
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K or IQ4_NL
    #[arg(value_name = "TYPE", value_parser = format)]
    pub format: Format,
    /// Format of the output matrix
    #[arg(long, value_name = "TYPE", value_parser = format)]
    pub output_type: Option<Format>,
    /// Format of the token embedding
    #[arg(long, value_name = "TYPE", value_parser = format)]
    pub embedding_type: Option<Format>,
    /// Threads; 0 or -1 for one per core [default: one per core]
    #[arg(short = 't', long, value_name = "N", value_parser = threads)]
    pub threads: Option<u32>,
    #[command(flatten)]
    pub replace: ReplaceArgs,
}

/// One line per pair of formats, wanted and taken.
fn say_fallbacks(decisions: &[Decision]) {
    let mut pairs: Vec<(Format, &str, usize, &str)> = Vec::new();
    for decision in decisions {
        let Some(wanted) = decision.instead_of else { continue };
        let got = decision.to.map_or(decision.from, Format::name);
        match pairs.iter_mut().find(|(w, g, ..)| (*w, *g) == (wanted, got)) {
            Some(pair) => pair.2 += 1,
            None => pairs.push((wanted, got, 1, &decision.name)),
        }
    }
    for (wanted, got, count, name) in pairs {
        let block = wanted.block_len();
        term::say(format!(
            "{got} instead of {wanted} for {count} tensors ({name}, …): rows are no multiple of {block}"
        ));
    }
}

/// A format by its name.
pub(super) fn format(text: &str) -> Result<Format, String> {
    let known = || format!("`{text}` is not a format; known: {}", Format::ALL.map(Format::name).join(", "));
    Format::from_name(text).ok_or_else(known)
}

/// Runs the command.
pub fn run(args: &QuantizeArgs) -> CliResult {
    let input = engine::here(&args.input)?;
    args.replace.check(&args.output, &[&input])?;
    // A model that only its owner may read stays so.
    let access = if is_private(&input) { Access::Private } else { Access::Ordinary };
    let input = GgufFile::open(input)?;
    let tied = input.header().tensor("output.weight").is_none();
    if let (true, Some(_), Some(_)) = (tied, args.output_type, args.embedding_type) {
        let what =
            "--output-type has no effect beside --embedding-type: this model's output is its embedding";
        return Err(CliError::usage(what).advise("one of them"));
    }
    let mut options = QuantizeOptions::new(args.format);
    options.output = args.output_type;
    options.embedding = args.embedding_type;
    options.threads = args.threads.filter(|n| *n > 0).map_or(options.threads, |n| n as usize);
    options.manner = Manner { existing: args.replace.existing(), access };
    say_fallbacks(&work::decide(input.header(), &options)?);
    let listen = Listen::new();
    let mut bar = Bar::phase("encoding", input.header().tensors.len() as u64);
    let done = work::quantize(&input, &args.output, &options, &mut |index, decision| {
        bar.item(index as u64, &decision.name);
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.clear();
    let summary = match done {
        Err(QuantizeError::Stopped) => return Err(CliError::interrupted()),
        other => other?,
    };
    say_kept(&args.output, summary.backup.as_slice());
    term::say(format!(
        "{}: {} tensors re-encoded, {} copied; {} became {}",
        args.output.display(),
        summary.encoded,
        summary.copied,
        term::bytes(summary.before),
        term::bytes(summary.after),
    ));
    Ok(())
}

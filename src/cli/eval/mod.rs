//! `ember eval`: how well a model answers, with and without adapters.

mod measure;
mod report;

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, session_options, tokens};
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::lora::{self, LoraArgs};
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::{engine, term};
use crate::session::Modes;
use crate::train::data::{self, Case, CaseKind, EncodeOptions};

use measure::{Measured, Work};

/// Longest row without `-c`, where the model allows it.
const CTX: usize = 4096;

/// Measure how well a model answers
///
/// Each line of FILE is a JSON object: {"text"}, whose perplexity is measured; {"prompt", "completion"}, {"messages"}
/// or {"instruction", "input", "output"}, where the perplexity of the last reply is measured and the model's own
/// greedy answer is compared with it; {"question", "answer", "match"}, whose answer may be a list of those accepted
/// and match "exact" or "contains"; {"question", "choices", "answer"}, where the choice of the greatest log-
/// likelihood counts, as a sum and per token (without the end of turn), and the answer is a choice, its letter or its
/// index from 0. Case, white space and final punctuation make no difference. With --adapter everything is measured
/// without and with it.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember eval questions.jsonl\n  ember eval held-out.jsonl --adapter mine --show 5\n  \
    ember eval questions.jsonl -m qwen3-0.6b --limit 100 --json"
)]
pub struct EvalArgs {
    /// JSON lines, or a JSON array of such rows
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Most tokens of an answer; -1 for no limit
    #[arg(short = 'n', long, alias = "predict", value_name = "N", default_value = "128", value_parser = some_tokens)]
    n_predict: usize,
    /// Rows that are used, from the first on [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Print the first N answers
    #[arg(long, value_name = "N", default_value_t = 0)]
    show: usize,
    /// Fail at a row that cannot be used, instead of skipping it
    #[arg(long)]
    strict: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(args: &EvalArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let adapters = args.lora.load(&model)?;
    let prompter = Prompter::for_text(&model, &args.prompt, false)?;
    let mut options = session_options(&args.device, &args.context, Modes::SCORE);
    let ctx = options.positions(model.config().train_ctx, CTX);
    options.ctx = Some(ctx);
    let encode = EncodeOptions { max_len: ctx, strict: args.strict, ..EncodeOptions::default() };
    let encoder = prompter.encoder(encode);
    let limit = args.limit.map_or(usize::MAX, |n| n as usize);
    let (cases, rows) = data::read_cases(&args.file, &encoder, limit)?;
    if rows.is_notable() {
        term::warn(&rows);
    }
    if cases.is_empty() {
        return Err(CliError::failed("no row can be evaluated")
            .at(args.file.display())
            .advise("`ember eval --help-all` for the rows that are read"));
    }
    options.modes = modes(&cases);
    let mut session = engine::boot_with(&model, options, &adapters)?;
    engine::announce(&session);
    let work = Work { tokenizer: prompter.tokenizer(), cases: &cases, limit: args.n_predict.min(ctx) };
    let passes = if adapters.is_empty() { 1 } else { 2 };
    let listen = Listen::new();
    let mut bar = Bar::phase("asking", passes * cases.len() as u64);
    session.set_adapters(&[])?;
    let base = work.measure(&mut session, &listen, &mut bar, 0, "base")?;
    let mut adapted: Option<Measured> = None;
    if !adapters.is_empty() {
        session.set_adapters(&lora::pairs(&adapters))?;
        adapted = Some(work.measure(&mut session, &listen, &mut bar, cases.len() as u64, "with adapter")?);
    }
    bar.clear();
    let report = report::Report {
        file: &args.file,
        model: &model.config().name,
        adapters: session.adapters(),
        cases: &cases,
        skipped: rows.skipped_count(),
        base: &base,
        adapted: adapted.as_ref(),
        show: args.show,
    };
    let mut out = term::report(args.json);
    let written = if args.json { report.json(&mut out) } else { report.print(&mut out) };
    Ok(written?)
}

/// A number of tokens, at least one.
fn some_tokens(text: &str) -> Result<usize, String> {
    tokens(text).and_then(|n| if n > 0 { Ok(n) } else { Err("an answer has at least one token".into()) })
}

/// What the cases need of a session.
fn modes(cases: &[Case]) -> Modes {
    let scored = |case: &Case| !matches!(&case.kind, CaseKind::Answer { reply: None, .. });
    Modes {
        generate: cases.iter().any(|case| matches!(case.kind, CaseKind::Answer { .. })),
        logits: false,
        score: cases.iter().any(scored),
    }
}

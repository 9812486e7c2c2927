//! `ember explain`: how a model reads a text, in pictures.

mod compare;
mod terminal;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::{ContextArgs, DeviceArgs, Kv, ModelArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::interrupt::Listen;
use crate::cli::output::{self, ReplaceArgs};
use crate::cli::progress::Bar;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::exec::DeviceInfo;
use crate::explain::{Answer, ExplainError, Explanation, Options, Report, RunError, TrainingRun, json, page};
use crate::model::Model;
use crate::session::{Modes, SessionError, SessionOptions};
use crate::text::Tokenizer;

use compare::Compared;

/// Show in pictures how a model reads a text
///
/// What the model makes of TEXT as it goes on: its tokens, which earlier tokens each one looks at (attention), what each layer
/// adds, which tokens are likeliest next, and what temperature does to that. In the terminal, or, with --html, as a page to
/// explore, for people who have never programmed. TEXT is read as it is, without a chat template.
#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("device", |a| a.default_value("cpu")),
    after_help = "Examples:\n  ember explain \"The capital of France is\"\n  \
        ember explain \"The capital of France is\" --layer 12 --head 3\n  \
        ember explain \"The cat sat on the mat because it\" --html cat.html\n  \
        ember explain -f poem.txt --json - | jq .next[-1].top\n  \
        ember explain \"Why is the sky blue?\" --html how.html --run runs/mine.gguf \\\n      \
        --compare before=base.gguf --compare after=chat.gguf"
)]
pub struct ExplainArgs {
    /// The text; without it, -p, -f, or what is piped in, without its last line end
    #[arg(value_name = "TEXT", conflicts_with_all = ["prompt", "file"])]
    text: Option<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Layer whose attention is drawn, from 1 on [default: where a head looks hardest at one token]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    layer: Option<u32>,
    /// Head of that layer, from 1 on [default: the mean of all]
    #[arg(long, value_name = "N", requires = "layer", value_parser = clap::value_parser!(u32).range(1..))]
    head: Option<u32>,
    /// Likeliest next tokens that are shown
    #[arg(long, value_name = "N", default_value_t = Options::default().top as u32, value_parser = clap::value_parser!(u32).range(1..=50))]
    top: u32,
    /// Most tokens of the text; a page grows with their square
    #[arg(long, value_name = "N", default_value_t = Options::default().limit as u32, value_parser = clap::value_parser!(u32).range(1..=512))]
    limit: u32,
    /// Say nothing but errors on stderr
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    compare: compare::CompareArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// What is written and what else is read.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files")]
struct FileArgs {
    /// Write a page to explore, complete in one file; - is stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the numbers as JSON, in full precision; - is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show how the loss of a training run fell: NAME.gguf, beside which NAME.metrics.jsonl lies and, for what the model wrote
    /// then, NAME.samples.jsonl with lines {"step", "prompt", "text"}
    #[arg(long, value_name = "NAME")]
    run: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
}

impl FileArgs {
    /// What is written to files, rather than to stdout.
    fn written(&self) -> Vec<&Path> {
        let both = [self.html.as_deref(), self.json.as_deref()].into_iter().flatten();
        both.filter(|path| *path != Path::new("-")).collect()
    }
}

/// The attention that is drawn: a layer, and a head or the mean of all; from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    layer: usize,
    head: Option<usize>,
}

/// Runs the command.
pub fn run(args: &ExplainArgs) -> CliResult {
    let text = text(args)?;
    let path = engine::find(&args.model)?;
    let compared = args.compare.find(&args.model)?;
    check_outputs(args, &path, &compared)?;
    let run = args.files.run.as_deref().map(TrainingRun::open).transpose()?;
    let model = engine::open_file(&path)?;
    let tokenizer = engine::tokenizer(model.file())?;
    check_shown(args, &model)?;
    let mut options = session_options(
        &args.device,
        &ContextArgs { kv: Kv::F32, ..ContextArgs::default() },
        Modes::GENERATE,
    );
    let explanation = explain(args, &model, &tokenizer, &text, &options)?;
    options.slots = 1;
    let answers: Vec<Answer> =
        compared.iter().map(|one| one.answer(&args.compare, &text, &options)).collect::<CliResult<_>>()?;
    let report = Report {
        model: &model,
        tokenizer: &tokenizer,
        text: &text,
        explanation: &explanation,
        run: run.as_ref(),
        answers: &answers,
    };
    write(args, &report)
}

/// The text: not empty, and without the line end that files and pipes have.
fn text(args: &ExplainArgs) -> CliResult<String> {
    let text = match &args.text {
        Some(text) => text.clone(),
        None => {
            let mut text = args.input.read()?;
            if args.input.prompt.is_none() && text.ends_with('\n') {
                text.pop();
                text.truncate(text.trim_end_matches('\r').len());
            }
            text
        }
    };
    if text.is_empty() {
        return Err(CliError::from(ExplainError::Empty).advise("ember explain \"The capital of France is\""));
    }
    Ok(text)
}

/// What is read must not be written, and what is there stays.
fn check_outputs(args: &ExplainArgs, model: &Path, compared: &[Compared]) -> CliResult {
    let read = [Some(model), args.input.file.as_deref(), args.files.run.as_deref()];
    let mut inputs: Vec<&Path> = read.into_iter().flatten().collect();
    inputs.extend(compared.iter().map(|one| one.path.as_path()));
    if args.files.html.is_some() && args.files.html == args.files.json {
        return Err(CliError::usage("--html and --json name the same file").advise("two names"));
    }
    args.files.written().into_iter().try_for_each(|path| args.files.replace.check(path, &inputs))
}

/// The layer and head that were asked for must be there.
fn check_shown(args: &ExplainArgs, model: &Model) -> CliResult {
    let config = model.config();
    for (flag, asked, there) in
        [("--layer", args.layer, config.layers.len()), ("--head", args.head, config.heads)]
    {
        if let Some(asked) = asked.filter(|n| *n as usize > there) {
            let what = format!("{flag} {asked} is not there: the model has {there}");
            return Err(CliError::usage(what).advise(format!("1 to {there}")));
        }
    }
    Ok(())
}

fn explain(
    args: &ExplainArgs,
    model: &Model,
    tokenizer: &Tokenizer,
    text: &str,
    device: &SessionOptions,
) -> CliResult<Explanation> {
    let tokens = tokenizer.encode(text, true, true);
    if !args.quiet {
        let name = show::line(&model.config().name);
        let device =
            crate::session::device_info(device).map_err(|e| CliError::from(e).at(model.path().display()))?;
        let device = engine::describe(&DeviceInfo { why: String::new(), ..device });
        let plural = if tokens.len() == 1 { "" } else { "s" };
        let line = format!("{name}, {} token{plural}, on {device}", tokens.len());
        term::say(Paint::stderr().dim(line));
        engine::warn_of_context(model, tokens.len());
    }
    let options = Options {
        device: device.clone(),
        limit: args.limit as usize,
        top: args.top as usize,
        all_positions: args.files.html.is_some() || args.files.json.is_some(),
        ..Options::default()
    };
    let (listen, mut bar) = (Listen::new(), None);
    let made = Explanation::of(model, &tokens, &options, &mut |done, all| {
        if !args.quiet {
            bar.get_or_insert_with(|| Bar::phase("looking", all as u64)).item(done as u64, "steps");
        }
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if let Some(mut bar) = bar {
        bar.clear();
    }
    made.map_err(|error| match error {
        ExplainError::Stopped => CliError::interrupted(),
        error @ ExplainError::TooLong { .. } => CliError::from(error),
        error => CliError::from(error).at(model.path().display()),
    })
}

/// Writes what was asked for, or prints.
fn write(args: &ExplainArgs, report: &Report<'_>) -> CliResult {
    if args.files.html.is_none() && args.files.json.is_none() {
        let mut out = std::io::BufWriter::new(term::listing());
        terminal::print(report, shown(args, report.explanation), &mut out)?;
        return Ok(out.flush()?);
    }
    if let Some(path) = &args.files.html {
        put(args, path, &page::render(report))?;
    }
    if let Some(path) = &args.files.json {
        let mut text = Vec::new();
        json::write(report, &mut text)?;
        put(args, path, &String::from_utf8_lossy(&text))?;
    }
    Ok(())
}

/// Writes a file, or prints it for `-`.
fn put(args: &ExplainArgs, path: &Path, text: &str) -> CliResult {
    if path == Path::new("-") {
        let mut out = term::data();
        out.write_all(text.as_bytes())?;
        return Ok(out.flush()?);
    }
    let kept = output::write_text(path, text, args.files.replace.existing())?;
    if !args.quiet {
        output::say_kept(path, kept.as_slice());
        term::say(format!("wrote {} ({})", show::path(path), term::bytes(text.len() as u64)));
    }
    Ok(())
}

/// What is drawn: as asked, or the most telling head, or the mean of the middle layer of a text that has none.
fn shown(args: &ExplainArgs, explanation: &Explanation) -> Shown {
    let from_0 = |n: u32| n as usize - 1;
    match (args.layer, explanation.most_telling()) {
        (Some(layer), _) => Shown { layer: from_0(layer), head: args.head.map(from_0) },
        (None, Some((layer, head))) => Shown { layer, head: Some(head) },
        (None, None) => Shown { layer: explanation.layers.len() / 2, head: None },
    }
}

impl From<ExplainError> for CliError {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Model(error) => error.into(),
            ExplainError::Exec(error) => error.into(),
            ExplainError::Session(error) => SessionError::into(*error),
            ExplainError::TooLong { .. } => Self::failed(error).advise("--limit N, 512 at most"),
            other => Self::failed(other),
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        Self::failed(error)
    }
}

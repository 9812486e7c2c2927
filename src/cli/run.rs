//! `ember run`: one prompt, one answer.

use std::io::Write;

use clap::Args;

use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, SamplingArgs, session_options};
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::lora::LoraArgs;
use crate::cli::prompt::Prompter;
use crate::cli::{answer, engine, term};
use crate::session::{Modes, StopReason};

/// Answer one prompt
///
/// The answer alone goes to stdout, so that it pipes. The model's chat template is applied where it has one.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember run -p \"Why is the sky blue?\"\n  \
    ember run -p \"Summarise this:\" -f notes.txt --temp 0 > summary.txt\n  \
    echo \"Once upon a time\" | ember run --raw -n 64 --seed 7\n  \
    ember run --adapter poet --adapter terse:0.5 -p \"The sea\"")]
pub struct RunArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// Most tokens to generate [default: until the answer or the context ends]
    #[arg(short = 'n', long, value_name = "N")]
    n_predict: Option<usize>,
    /// Continue the text as it is, without a chat template
    #[arg(long, conflicts_with_all = ["system", "chat_template"])]
    raw: bool,
    /// Say tokens per second when done
    #[arg(long)]
    stats: bool,
    /// Say nothing but errors on stderr
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(args: &RunArgs) -> CliResult {
    let text = args.input.read()?;
    let model = engine::open(&args.model)?;
    let prompter = Prompter::for_text(&model, &args.prompt, args.raw)?;
    let tokens = prompter.single(&text)?;
    let adapters = args.lora.load(&model)?;
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let mut session = engine::boot_with(&model, options, &adapters)?;
    if !args.quiet {
        engine::announce(&session);
    }
    let limit = args.n_predict.unwrap_or(usize::MAX).min(session.ctx());
    let mut out = std::io::stdout().lock();
    let answer =
        answer::stream(&mut session, prompter.tokenizer(), &tokens, args.sampling.params(), limit, &mut out)?;
    if !answer.text.ends_with('\n') {
        writeln!(out)?;
    }
    out.flush()?;
    if args.stats {
        term::say(engine::stats_line(&answer.done));
    }
    if answer.done.stop == StopReason::ContextFull && !args.quiet {
        term::warn(format!("the context of {} tokens is full; -c takes a larger one", session.ctx()));
    }
    if answer.interrupted { Err(CliError::interrupted()) } else { Ok(()) }
}

//! `ember run`: one prompt, one answer.

use std::io::Write;

use clap::Args;

use crate::cli::answer::{self, Manner};
use crate::cli::answer_args::{AnswerArgs, Think};
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, SamplingArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::lora::LoraArgs;
use crate::cli::prompt::{self, Prompter};
use crate::cli::term::{self, Paint};
use crate::session::{Modes, StopReason};
use crate::text::SamplerParams;

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
    answer: AnswerArgs,
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
    if text.trim().is_empty() && !args.raw {
        return Err(CliError::usage("the prompt is empty: there is nothing to answer")
            .advise("a text, by -p, -f or a pipe")
            .advise("--raw, for the model to begin by itself"));
    }
    let model = engine::open(&args.model)?;
    let mut prompter = Prompter::for_text(&model, &args.prompt, args.raw)?;
    let switched = prompter.think(args.answer.think);
    if !args.quiet {
        say_of_prompt(args, &prompter, switched);
    }
    let tokens = prompter.single(&text)?;
    let adapters = args.lora.load(&model)?;
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let mut session = engine::boot_with(&model, options, &adapters)?;
    if !args.quiet {
        engine::announce(&session);
    }
    let thinks = prompter.marks().is_some() && args.answer.think != Think::Off;
    let known = engine::known(&model, thinks)?;
    let limit = args.answer.limit().unwrap_or(usize::MAX).min(session.ctx());
    let manner = Manner {
        stop: args.answer.stop(if args.raw { &[] } else { &known.stop }),
        marks: prompter.marks(),
        thoughts: args.answer.thoughts(),
        guard: args.answer.guard(prompter.template().is_none()),
        quiet: args.quiet,
    };
    // A text that is continued as it is may repeat itself.
    let defaults = if prompter.template().is_none() { SamplerParams::default() } else { known.sampler };
    let (tokenizer, sampler) = (prompter.tokenizer(), args.sampling.params(defaults));
    let mut out = term::answer();
    let answer = answer::stream(&mut session, tokenizer, &tokens, sampler, limit, &manner, &mut out)?;
    if !answer.answer.ends_with('\n') {
        writeln!(out)?;
    }
    out.flush()?;
    if answer.circled && !args.quiet {
        term::say(Paint::stderr().dim(answer::CIRCLED));
    }
    if args.stats {
        term::say(engine::stats_line(&answer.done));
    }
    if answer.done.stop == StopReason::ContextFull && !args.quiet {
        term::warn(format!("the context of {} tokens is full; -c takes a larger one", session.ctx()));
    }
    if answer.thinking && !answer.interrupted && !args.quiet {
        term::warn("it ended while the model was thinking: -n takes more tokens, --think off fewer thoughts");
    }
    if answer.interrupted { Err(CliError::interrupted()) } else { Ok(()) }
}

/// What may be meant otherwise.
fn say_of_prompt(args: &RunArgs, prompter: &Prompter, switched: bool) {
    if prompter.template().is_none() && !args.raw {
        let names = prompt::names();
        term::warn(format!(
            "the model has no chat template: the text is continued as it is (--raw: so it should be; to ask: --chat-template with one of {names})"
        ));
    }
    if !switched {
        term::warn("--think has no effect: the chat template has no switch for it");
    }
}

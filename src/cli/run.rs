//! `ember run`: one prompt, one answer.

use std::io::Write;

use clap::Args;

use crate::chat::{Answer, Chat, Manner};
use crate::cli::answer::{CIRCLED, Display};
use crate::cli::answer_args::{AnswerArgs, Think, ThoughtsShown};
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, SamplingArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::InputArgs;
use crate::cli::lora::{self, LoraArgs};
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
    // What the template refuses is said before anything is loaded.
    prompter.single(&text)?;
    let (templated, conversation) = (prompter.template().is_some(), prompter.conversation());
    let adapters = args.lora.load(&model)?;
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let mut chat = Chat::new(&model, options, conversation);
    chat.boot(lora::scales(adapters)).map_err(|e| CliError::from(e).at(model.path().display()))?;
    if !args.quiet {
        engine::announce(chat.session()?);
    }
    let thinks = chat.conversation.voice().marks().is_some() && args.answer.think != Think::Off;
    let known = engine::known(&model, thinks)?;
    // A text that is continued as it is may repeat itself.
    let defaults = if templated { known.sampler } else { SamplerParams::default() };
    chat.conversation.manner = Manner {
        sampler: args.sampling.params(defaults),
        limit: args.answer.limit().unwrap_or(usize::MAX),
        room: 0,
        stop: args.answer.stop(if args.raw { &[] } else { &known.stop }),
        loop_guard: args.answer.guards(!templated).then_some(known.patience),
        thoughts_apart: args.answer.thoughts() != ThoughtsShown::Inline,
    };
    let mut out = term::answer();
    let mut display = Display::new(args.answer.thoughts(), args.quiet, &mut out);
    let said = chat.say(&text, &mut |piece| display.show(piece))?;
    let interrupted = display.finish()?;
    let answer = Answer { interrupted, ..said };
    end(args, &answer, chat.session()?.ctx(), &mut out)
}

/// What is said behind an answer.
fn end(args: &RunArgs, answer: &Answer, ctx: usize, out: &mut dyn Write) -> CliResult {
    if !answer.answer.ends_with('\n') {
        writeln!(out)?;
    }
    out.flush()?;
    if answer.circled && !args.quiet {
        term::say(Paint::stderr().dim(CIRCLED));
    }
    if args.stats {
        term::say(engine::stats_line(&answer.done));
    }
    if answer.done.stop == StopReason::ContextFull && !args.quiet {
        term::warn(format!("the context of {ctx} tokens is full; -c takes a larger one"));
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

//! The `ember` command: arguments, progress, printing. One file per subcommand.

pub mod adapt;
mod adapter;
mod advice;
mod answer;
mod answer_args;
pub mod args;
mod bench;
mod chat;
mod completions;
mod doctor;
mod engine;
pub mod error;
mod eval;
mod explain;
mod first;
pub mod given;
mod habits;
mod help;
mod input;
mod inspect;
mod interrupt;
pub mod journal;
mod keys;
pub mod live;
pub mod lora;
mod man;
mod memory;
mod models;
pub mod output;
mod pace;
mod perplexity;
mod plan;
mod pretrain;
mod progress;
mod prompt;
mod pull;
mod quantize;
mod run;
mod score;
mod screen;
pub mod show;
pub mod store;
pub mod term;
mod tokenize;
#[cfg(feature = "tokenizer")]
mod tokenizer;
pub mod tune;
mod wrap;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use error::{CliError, CliResult};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

/// A language model that lives on your own machine
///
/// Runs quantized GGUF models on the GPU you have, or on the CPU. Without a command it chats.
#[derive(Parser, Debug)]
#[command(name = "ember", version, styles = STYLES, max_term_width = 110)]
#[command(
    after_help = "Start with `ember chat`. Each command has its own `--help`, and `--help-all` for every option.\n\n\
    Environment: EMBER_HOME (where models and history are kept), EMBER_CATALOG (a catalogue of your own),\n\
    EMBER_MODEL and EMBER_DEVICE (defaults of -m and --device), NO_COLOR,\n\
    EMBER_SIMD (the most of the CPU's instructions to use: portable; avx2, avx512, vnni; neon, dotprod).\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Chat(chat::ChatArgs),
    Run(run::RunArgs),
    Plan(plan::PlanArgs),
    Doctor(doctor::DoctorArgs),
    Inspect(inspect::InspectArgs),
    Pull(pull::PullArgs),
    Models(models::ModelsArgs),
    Tokenize(tokenize::TokenizeArgs),
    #[cfg(feature = "tokenizer")]
    Tokenizer(tokenizer::TokenizerArgs),
    Perplexity(perplexity::PerplexityArgs),
    Eval(eval::EvalArgs),
    Explain(Box<explain::ExplainArgs>),
    Quantize(quantize::QuantizeArgs),
    Bench(bench::BenchArgs),
    Adapt(Box<adapt::AdaptArgs>),
    Adapter(adapter::AdapterArgs),
    Memory(memory::MemoryArgs),
    Tune(tune::TuneArgs),
    Pretrain(Box<pretrain::PretrainArgs>),
    Score(score::ScoreArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// All commands with their options, as the parser has them.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Parses the command line, runs the command and reports how it went.
pub fn main() -> ExitCode {
    let arguments = help::asked(&Cli::command(), habits::translated(arguments()));
    let cli = match habits::misread(&arguments).map_or_else(|| parse(&arguments), Err) {
        Ok(cli) => cli,
        Err(error) => {
            error.print();
            return ExitCode::from(error.ending.code());
        }
    };
    interrupt::install();
    match cli.command.map_or(Ok(()), dispatch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.ending.code())
        }
    }
}

/// Reads the command line. Help and version are printed, and end the program.
fn parse(arguments: &[OsString]) -> Result<Cli, CliError> {
    let mut command = help::fitted(numbers_may_be_negative(Cli::command()), arguments);
    let given::Expanded { arguments, said } = given::expanded(&command, arguments)?;
    let parsed = command.try_get_matches_from_mut(&arguments);
    match parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches))) {
        Ok((cli, matches)) => {
            given::keep(&command, &matches);
            said.iter().for_each(term::say);
            Ok(cli)
        }
        // A closed pipe is nobody's error.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            std::process::exit(0)
        }
        Err(error) => Err(habits::unknown(&error).unwrap_or_else(|| unread(&arguments, &error))),
    }
}

/// What the parser says, in its colours where no argument, such as a file's name that the shell found, steers the terminal.
fn unread(arguments: &[OsString], error: &clap::Error) -> CliError {
    let harmless = |argument: &OsString| {
        let text = argument.to_string_lossy();
        show::text(&text) == text
    };
    if !arguments.iter().all(harmless) {
        return CliError::of_parser(error);
    }
    let _ = error.print();
    CliError::said(error::Ending::Usage)
}

/// Numbers below zero are values everywhere, to be taken or refused by whoever reads them.
fn numbers_may_be_negative(command: clap::Command) -> clap::Command {
    let takes_value = |arg: &clap::Arg| arg.get_action().takes_values();
    let command = command.mut_args(|arg| {
        if takes_value(&arg) && !arg.is_allow_hyphen_values_set() {
            arg.allow_negative_numbers(true)
        } else {
            arg
        }
    });
    command.mut_subcommands(numbers_may_be_negative)
}

/// The command line; nothing at all means `chat`.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.len() <= 1 {
        arguments.resize(1, "ember".into());
        arguments.push("chat".into());
    }
    arguments
}

fn dispatch(command: Command) -> CliResult {
    match command {
        Command::Chat(args) => chat::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Pull(args) => pull::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        #[cfg(feature = "tokenizer")]
        Command::Tokenizer(args) => tokenizer::run(&args),
        Command::Perplexity(args) => perplexity::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Tune(args) => tune::run(&args),
        Command::Pretrain(args) => pretrain::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Adapt(args) => adapt::run(&args),
        Command::Adapter(args) => adapter::run(&args),
        Command::Memory(args) => memory::run(&args),
    }
}

//! The `ember` command: arguments, progress, printing. One file per subcommand.

pub mod args;
pub mod error;
pub mod inspect;
pub mod interrupt;
pub mod models;
pub mod progress;
pub mod pull;
pub mod quantize;
pub mod store;
pub mod term;

use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Parser, Subcommand};

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
#[command(after_help = "Start with `ember chat`. Each command has its own `--help`.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Pull(pull::PullArgs),
    Models(models::ModelsArgs),
    Inspect(inspect::InspectArgs),
    Quantize(quantize::QuantizeArgs),
}

/// Parses the command line, runs the command and reports how it went.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors; a closed pipe is nobody's.
            let code = if error.use_stderr() { error::Ending::Usage.code() } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    interrupt::install();
    match dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.ending.code())
        }
    }
}

fn dispatch(command: Option<Command>) -> CliResult {
    match command {
        None => Err(CliError::usage("nothing to do")),
        Some(Command::Pull(args)) => pull::run(&args),
        Some(Command::Models(args)) => models::run(&args),
        Some(Command::Inspect(args)) => inspect::run(&args),
        Some(Command::Quantize(args)) => quantize::run(&args),
    }
}

//! Fine-tuning at the command line.

pub mod args;
pub mod bench;
pub mod curve;
mod drive;
mod keep;
pub mod plan;
pub mod preview;
pub mod reward_args;
pub mod samples;
mod sft;

use clap::{Args, Subcommand};

use crate::cli::error::CliResult;

/// Fine-tune a model on this machine
#[derive(Args, Clone, Debug)]
pub struct TuneArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    Sft(Box<sft::SftArgs>),
}

/// Runs the command.
pub fn run(args: &TuneArgs) -> CliResult {
    match &args.what {
        What::Sft(args) => sft::run(args),
    }
}

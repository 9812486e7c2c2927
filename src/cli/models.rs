//! `ember models`: the catalogue, what of it is here, which is the default, and taking one away.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::engine::HUB_PREFIX;
use crate::cli::error::{CliError, CliResult};
use crate::cli::store::{self, Catalog, Choice, Home, HubModel, Model};
use crate::cli::term::{self, Paint};

/// List known models, and which are here
#[derive(Args, Clone, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  ember models\n  ember models use qwen3-0.6b\n  ember models remove qwen3-0.6b\n  ember models --json"
)]
pub struct ModelsArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Clone, Debug)]
enum Command {
    /// Make a model the default one
    Use(UseArgs),
    /// Delete a model's file, and say how much that frees
    Remove(RemoveArgs),
}

#[derive(Args, Clone, Debug)]
struct UseArgs {
    /// A name from `ember models`, or the path of a GGUF file [default: the catalogue's default]
    name: Option<String>,
    /// -hf: a GGUF model of Hugging Face's hub
    #[arg(long, value_name = "OWNER/REPO[:QUANT]", conflicts_with = "name")]
    hf_repo: Option<HubModel>,
}

#[derive(Args, Clone, Debug)]
struct RemoveArgs {
    /// A name or a file's name from `ember models`
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub fn run(args: &ModelsArgs) -> CliResult {
    let catalog = Catalog::load()?;
    let home = Home::find()?;
    match &args.command {
        Some(Command::Use(args)) => choose(&catalog, &home, args),
        Some(Command::Remove(args)) => remove(&catalog, &home, args),
        None if args.json => as_json(&catalog, &home),
        None => list(&catalog, &home),
    }
}

/// The name of the default model: what was chosen, else the catalogue's.
fn default(catalog: &Catalog, home: &Home) -> String {
    let chosen = home.chosen().unwrap_or_else(|| catalog.default.clone());
    catalog.find(&chosen).map_or(chosen, |model| model.name.clone())
}

fn list(catalog: &Catalog, home: &Home) -> CliResult {
    let mut out = term::listing();
    let paint = Paint::stdout();
    let default = default(catalog, home);
    let widest = catalog.models.iter().map(|m| m.name.len()).max().unwrap_or(0);
    for model in &catalog.models {
        let here = if home.present(model).is_some() { paint.green("here") } else { paint.dim("   -") };
        let size = model.size.map_or("size unknown".into(), term::bytes);
        let name = format!("{:widest$}", model.name);
        writeln!(
            out,
            "{here}  {}  {size:>12}  {:>6}  {:<7}  {}{}",
            paint.bold(name),
            model.parameters,
            model.format,
            model.licence,
            if model.name == default { paint.green("  default") } else { String::new() }
        )?;
        let also = if model.aliases.is_empty() {
            String::new()
        } else {
            format!("  (also {})", model.aliases.join(", "))
        };
        writeln!(out, "      {}{}", model.about, paint.dim(also))?;
    }
    for (repo, file) in home.of_hubs() {
        let size = size_of(&file).map_or("size unknown".into(), term::bytes);
        writeln!(
            out,
            "{}  {}  {size:>12}  {}",
            paint.green("here"),
            paint.bold(name_of(&file)),
            paint.dim(format!("-hf {repo}"))
        )?;
    }
    let how = "`ember models use NAME` takes another. Get one with `ember pull NAME`";
    writeln!(out, "\nDefault: {default}; {how}. Kept in {}", home.models.display())?;
    Ok(())
}

fn as_json(catalog: &Catalog, home: &Home) -> CliResult {
    let default = default(catalog, home);
    let models: Vec<_> = catalog.models.iter().map(|m| entry(home, m, &default)).collect();
    let of_hubs: Vec<_> = home
        .of_hubs()
        .into_iter()
        .map(|(repo, path)| json!({ "repo": repo, "file": name_of(&path), "size": size_of(&path), "path": path }))
        .collect();
    let all = json!({ "store": home.models, "default": default, "models": models, "hub": of_hubs });
    writeln!(term::data(), "{all:#}")?;
    Ok(())
}

fn entry(home: &Home, model: &Model, default: &str) -> serde_json::Value {
    json!({
        "name": model.name,
        "aliases": model.aliases,
        "about": model.about,
        "parameters": model.parameters,
        "format": model.format,
        "file": model.file,
        "size": model.size,
        "sha256": model.sha256,
        "base": model.base,
        "licence": model.licence,
        "terms": model.terms,
        "default": model.name == default,
        "path": home.present(model),
    })
}

fn size_of(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.len())
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Remembers the default model.
fn choose(catalog: &Catalog, home: &Home, args: &UseArgs) -> CliResult {
    if let Some(model) = &args.hf_repo {
        home.remember(Some(&format!("{HUB_PREFIX}{model}")))?;
        let here = model.present(home).is_some();
        term::say(format!(
            "{model} is the default now{}",
            if here { "" } else { "; it is fetched when it is first used" }
        ));
        return Ok(());
    }
    let Some(name) = &args.name else {
        home.remember(None)?;
        term::say(format!("{} is the default, as the catalogue has it", catalog.default));
        return Ok(());
    };
    let (name, here) = match store::choose(catalog, Some(name))? {
        Choice::Path(path) => {
            let path = std::fs::canonicalize(&path).map_err(|e| CliError::file(&path, &e))?;
            (path.display().to_string(), true)
        }
        Choice::Known(model) => (model.name.clone(), home.present(&model).is_some()),
    };
    home.remember(Some(&name))?;
    term::say(format!(
        "{name} is the default now{}",
        if here { "" } else { "; it is fetched when it is first used" }
    ));
    Ok(())
}

/// Deletes a model of the store.
fn remove(catalog: &Catalog, home: &Home, args: &RemoveArgs) -> CliResult {
    let (name, path) = here(catalog, home, &args.name)?;
    let size = size_of(&path).unwrap_or(0);
    if !args.yes && !agreed(&format!("delete {name} ({})?", term::bytes(size)))? {
        term::say("left as it is");
        return Ok(());
    }
    std::fs::remove_file(&path).map_err(|e| CliError::file(&path, &e))?;
    term::say(format!("{name} deleted: {} are free", term::bytes(size)));
    if default(catalog, home) == name {
        term::say(
            "it is still the default, and is fetched again when it is next used; `ember models use NAME` takes another",
        );
    }
    Ok(())
}

/// A model of the store, by its name or its file's.
fn here(catalog: &Catalog, home: &Home, wanted: &str) -> CliResult<(String, PathBuf)> {
    if let Some(model) = catalog.find(wanted) {
        let place = home.path_of(model);
        // What is there in part can be removed as well.
        return if place.is_file() {
            Ok((model.name.clone(), place))
        } else {
            Err(CliError::failed(format!("`{}` is not here", model.name)).at(place.display()))
        };
    }
    let of_hubs = home.of_hubs();
    match of_hubs.into_iter().find(|(_, path)| name_of(path).eq_ignore_ascii_case(wanted)) {
        Some((_, path)) => Ok((name_of(&path), path)),
        None => {
            let unknown = CliError::failed(format!("no model here is called `{wanted}`"));
            Err(unknown.advise("`ember models` lists those that are"))
        }
    }
}

/// Asks before something is lost; without a terminal there is nobody to ask.
fn agreed(question: &str) -> CliResult<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("nothing was deleted: nobody can be asked").advise("--yes"));
    }
    term::say_raw(&format!("{question} [y/N] "));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

//! `ember models`: the catalogue, and what of it is here.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::cli::error::CliResult;
use crate::cli::store::{Catalog, Home, Model};
use crate::cli::term::{self, Paint};

/// List known models, and which are here
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember models\n  ember models --json")]
pub struct ModelsArgs {
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
pub fn run(args: &ModelsArgs) -> CliResult {
    let catalog = Catalog::load()?;
    let home = Home::find()?;
    let mut out = term::report(args.json);
    if args.json {
        let models: Vec<_> = catalog.models.iter().map(|m| as_json(&catalog, &home, m)).collect();
        writeln!(out, "{:#}", json!({ "store": home.models, "models": models }))?;
        return Ok(());
    }
    let paint = Paint::stdout();
    let widest = catalog.models.iter().map(|m| m.name.len()).max().unwrap_or(0);
    for model in &catalog.models {
        let here = if home.present(model).is_some() { paint.green("here") } else { paint.dim("   -") };
        let size = model.size.map_or("size unknown".into(), term::bytes);
        let name = format!("{:widest$}", model.name);
        writeln!(
            out,
            "{here}  {}  {size:>12}  {:>6}  {:<7}  {}",
            paint.bold(name),
            model.parameters,
            model.format,
            model.licence
        )?;
        let also = if model.aliases.is_empty() {
            String::new()
        } else {
            format!("  (also {})", model.aliases.join(", "))
        };
        writeln!(out, "      {}{}", model.about, paint.dim(also))?;
    }
    let default = &catalog.default;
    writeln!(out, "\nDefault: {default}. Get one with `ember pull NAME`. Kept in {}", home.models.display())?;
    Ok(())
}

fn as_json(catalog: &Catalog, home: &Home, model: &Model) -> serde_json::Value {
    json!({
        "name": model.name,
        "aliases": model.aliases,
        "about": model.about,
        "parameters": model.parameters,
        "format": model.format,
        "file": model.file,
        "size": model.size,
        "sha256": model.sha256,
        "licence": model.licence,
        "default": model.name == catalog.default,
        "path": home.present(model),
    })
}

//! `ember adapter import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::adapter::hf::{self, Layout};
use crate::cli::args::ModelArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::term;

/// Make a GGUF adapter of a PEFT or MLX folder
///
/// Reads a folder of PEFT or mlx-lm, one safetensors file, or a GGUF adapter made elsewhere, and notes which model
/// file it belongs to.
#[derive(Args, Clone, Debug)]
pub struct ImportArgs {
    /// Folder or file to read
    #[arg(value_name = "DIR|FILE")]
    input: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// GGUF file to write
    #[arg(short = 'o', long, value_name = "FILE")]
    output: PathBuf,
    /// Scale times rank, instead of what the configuration says
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    alpha: Option<f32>,
    /// Take a GGUF adapter that was trained on another model file
    #[arg(long)]
    force: bool,
}

/// Make a PEFT or MLX folder of a GGUF adapter
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// Adapter to read
    #[arg(value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    model: ModelArgs,
    /// Whose conventions to follow
    #[arg(long, value_enum)]
    to: To,
    /// Folder to write
    #[arg(short = 'o', long, value_name = "DIR")]
    output: PathBuf,
    /// Even if the adapter was trained on another model file
    #[arg(long)]
    force: bool,
}

/// Whose conventions.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// Hugging Face PEFT
    Peft,
    /// Apple's mlx-lm
    Mlx,
}

/// Runs `import`.
pub fn import(args: &ImportArgs) -> CliResult {
    let base = super::base(&args.model)?;
    let adapter = hf::import(&args.input, &base, args.alpha, args.force)
        .map_err(|e| CliError::from(e).at(args.input.display()))?;
    adapter.save(&args.output)?;
    term::say(format!(
        "{}: {} matrices, {} parameters, for {}",
        args.output.display(),
        adapter.pairs.len(),
        term::grouped(adapter.parameters()),
        base.path().display(),
    ));
    if !adapter.ignored.is_empty() {
        term::warn(format!("left out, as updates of norms have no effect: {}", adapter.ignored.join(", ")));
    }
    Ok(())
}

/// Runs `export`.
pub fn export(args: &ExportArgs) -> CliResult {
    let base = super::base(&args.model)?;
    let adapter = super::open(&args.input)?;
    let layout = match args.to {
        To::Peft => Layout::Peft,
        To::Mlx => Layout::Mlx,
    };
    hf::export(&adapter, &base, layout, &args.output, args.force)
        .map_err(|e| CliError::from(e).at(args.input.display()))?;
    term::say(format!("{}: {} matrices for {}", args.output.display(), adapter.pairs.len(), layout.name()));
    Ok(())
}

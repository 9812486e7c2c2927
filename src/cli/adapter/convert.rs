//! `ember adapter import` and `export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::adapter::hf::{self, Layout};
use crate::cli::args::{ModelArgs, number};
use crate::cli::error::{CliError, CliResult};
use crate::cli::output::{ReplaceArgs, refused, say_kept};
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
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = alpha)]
    alpha: Option<f32>,
    /// Take a GGUF adapter that was trained on another model file
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    replace: ReplaceArgs,
}

/// In a file an alpha of 0 stands for a scale of 1, which nobody means who gives it.
fn alpha(text: &str) -> Result<f32, String> {
    number(text).and_then(|v| if v != 0.0 { Ok(v) } else { Err("must not be 0".into()) })
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
    #[command(flatten)]
    replace: ReplaceArgs,
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
    args.replace.check(&args.output, &[&args.input, base.path()])?;
    let adapter = hf::import(&args.input, &base, args.alpha, args.force)
        .map_err(|e| CliError::from(e).at(args.input.display()))?;
    let kept = adapter.save_as(&args.output, args.replace.existing())?;
    say_kept(&args.output, kept.as_slice());
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
    hf::check_export(layout, &args.output, args.replace.existing()).map_err(refused)?;
    let kept = hf::export(&adapter, &base, layout, &args.output, args.replace.existing(), args.force)
        .map_err(|e| CliError::from(e).at(args.input.display()))?;
    for old in kept {
        term::say(format!("an old file is now {}", old.display()));
    }
    term::say(format!("{}: {} matrices for {}", args.output.display(), adapter.pairs.len(), layout.name()));
    Ok(())
}

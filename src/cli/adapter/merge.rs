//! `ember adapter merge`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::{ModelArgs, threads};
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::lora::{self, Loaded, Scaled, scaled};
use crate::cli::output::{ReplaceArgs, say_kept};
use crate::cli::progress::Bar;
use crate::cli::quantize::format;
use crate::cli::{live, term};
use crate::io::{Access, Manner};
use crate::quant::Format;
use crate::quantize::{self, MergeOptions, Merging, QuantizeError};

/// Write a model with adapters merged into it
///
/// Each adapted matrix becomes W + scale * B A, in its own format unless TYPE is given. Re-encoding in a small format
/// rounds the update; an F16 or Q8_0 model loses least.
#[derive(Args, Clone, Debug)]
pub struct MergeArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Adapter, and what to multiply its effect with: a file, or a name in the folder `adapters`; may be repeated
    #[arg(long = "adapter", alias = "lora", value_name = "NAME|PATH[:SCALE]", required = true, value_parser = scaled)]
    adapters: Vec<Scaled>,
    /// Model file to write
    #[arg(short = 'o', long, value_name = "FILE")]
    output: PathBuf,
    /// Re-encode all matrices in this format (as `ember quantize`)
    #[arg(long = "type", value_name = "TYPE", value_parser = format)]
    format: Option<Format>,
    /// Even if an adapter was trained on another model file
    #[arg(long)]
    force: bool,
    /// Threads; 0 or -1 for one per core [default: one per core]
    #[arg(short = 't', long, value_name = "N", value_parser = threads)]
    threads: Option<u32>,
    #[command(flatten)]
    replace: ReplaceArgs,
}

/// Runs the command.
pub fn run(args: &MergeArgs) -> CliResult {
    let base = super::base(&args.model)?;
    let mut read = vec![base.path().to_owned()];
    for adapter in args.adapters.iter().filter(|adapter| adapter.name != live::NAME) {
        if adapter.scale == 0.0 {
            term::warn(format!("`{}` is merged 0 times, which changes nothing", adapter.name));
        }
        read.push(lora::find(&adapter.name)?);
    }
    args.replace.check(&args.output, &read.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let load = |wanted| Loaded::open(wanted, &base, args.force);
    let adapters = args.adapters.iter().map(load).collect::<CliResult<Vec<_>>>()?;
    let merging: Vec<_> =
        adapters.iter().map(|one| Merging { adapter: &one.adapter, scale: one.scale }).collect();
    // What was learnt from somebody's words is in the model now.
    let manner = Manner { existing: args.replace.existing(), access: Access::Private };
    let mut options =
        MergeOptions { format: args.format, force: args.force, manner, ..MergeOptions::default() };
    options.threads = args.threads.filter(|n| *n > 0).map_or(options.threads, |n| n as usize);
    let listen = Listen::new();
    let mut bar = Bar::phase("merging", base.header().tensors.len() as u64);
    let done = quantize::merge(&base, &merging, &args.output, &options, &mut |index, decision| {
        bar.item(index as u64, &decision.name);
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    bar.clear();
    let summary = match done {
        Err(QuantizeError::Stopped) => return Err(CliError::interrupted()),
        other => other?,
    };
    say_kept(&args.output, summary.backup.as_slice());
    term::say(format!(
        "{}: {} tensors re-encoded, {} copied; {} became {}",
        args.output.display(),
        summary.encoded,
        summary.copied,
        term::bytes(summary.before),
        term::bytes(summary.after),
    ));
    Ok(())
}

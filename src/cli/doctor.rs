//! `ember doctor`: what Ember finds on this machine, and whether it computes rightly.

use std::io::Write;

use clap::Args;

use crate::cli::args::{DeviceArgs, session_options};
use crate::cli::error::CliResult;
use crate::cli::store::{Catalog, Home};
use crate::cli::term::{self, Paint};

/// Show devices, what would be chosen and why, and test the kernels
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember doctor\n  ember doctor --device gpu --profile webgpu-default")]
pub struct DoctorArgs {
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(_args: &DoctorArgs) -> CliResult {
    let mut out = std::io::stdout().lock();
    let paint = Paint::stdout();
    writeln!(out, "{} {}", paint.bold("ember"), env!("CARGO_PKG_VERSION"))?;
    let _ = (Catalog::load()?, Home::find()?, term::width(), session_options);
    Ok(())
}

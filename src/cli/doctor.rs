//! `ember doctor`: what Ember finds on this machine, what it would choose and why.

use std::io::Write;

use clap::Args;

use crate::cli::args::DeviceArgs;
use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::store::{Catalog, Home};
use crate::cli::term::{self, Paint};

/// Show devices, what would be chosen and why
///
/// Lists every GPU adapter with the limits and features that matter here, the CPU's features, which device `auto`
/// takes and why, and which models are here.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember doctor\n  ember doctor --device gpu --profile webgpu-default")]
pub struct DoctorArgs {
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> CliResult {
    let mut out = std::io::stdout().lock();
    let paint = Paint::stdout();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    writeln!(out, "{} {} on {os} {arch}", paint.bold("ember"), env!("CARGO_PKG_VERSION"))?;
    cpu(&mut out)?;
    adapters(&mut out)?;
    chosen(&mut out, args)?;
    models(&mut out)?;
    Ok(())
}

fn cpu(out: &mut dyn Write) -> std::io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    writeln!(out, "\n{}", Paint::stdout().bold("CPU"))?;
    writeln!(out, "  {}, {threads} threads", crate::exec::cpu::name())?;
    let features = features();
    writeln!(
        out,
        "  features: {}",
        if features.is_empty() { "none that matter".into() } else { features.join(" ") }
    )?;
    if let Some(bytes) = memory() {
        writeln!(out, "  memory: {}", term::bytes(bytes))?;
    }
    Ok(())
}

/// Instruction sets that the CPU kernels can use.
fn features() -> Vec<&'static str> {
    let mut found: Vec<&'static str> = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let all = [
            ("avx", std::arch::is_x86_feature_detected!("avx")),
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("f16c", std::arch::is_x86_feature_detected!("f16c")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
            ("avx512vnni", std::arch::is_x86_feature_detected!("avx512vnni")),
        ];
        found.extend(all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    }
    #[cfg(target_arch = "aarch64")]
    {
        let all = [
            ("neon", std::arch::is_aarch64_feature_detected!("neon")),
            ("fp16", std::arch::is_aarch64_feature_detected!("fp16")),
            ("dotprod", std::arch::is_aarch64_feature_detected!("dotprod")),
            ("i8mm", std::arch::is_aarch64_feature_detected!("i8mm")),
            ("sve", std::arch::is_aarch64_feature_detected!("sve")),
        ];
        found.extend(all.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    }
    found
}

/// Physical memory, where the system tells it.
fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(feature = "gpu")]
fn adapters(out: &mut dyn Write) -> std::io::Result<()> {
    let paint = Paint::stdout();
    writeln!(out, "\n{}", paint.bold("GPU adapters"))?;
    let found = crate::exec::gpu::report();
    if found.is_empty() {
        writeln!(out, "  none: no Vulkan, Metal or DX12 driver answers")?;
    }
    for adapter in found {
        let mark = if adapter.usable { paint.green("+") } else { paint.yellow("-") };
        let kind = engine::kind_name(adapter.info.kind);
        writeln!(out, "  {mark} {} ({kind}; {})", adapter.info.name, adapter.info.driver)?;
        writeln!(out, "    {}", adapter.info.why)?;
        for (name, value) in &adapter.limits {
            writeln!(out, "    {:>14} {name}", term::grouped(*value))?;
        }
        let features = if adapter.features.is_empty() { "none".into() } else { adapter.features.join(" ") };
        writeln!(out, "    features: {features}")?;
    }
    Ok(())
}

#[cfg(not(feature = "gpu"))]
fn adapters(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "\n{}\n  this build has no GPU support", Paint::stdout().bold("GPU adapters"))
}

fn chosen(out: &mut dyn Write, args: &DoctorArgs) -> CliResult {
    let paint = Paint::stdout();
    let options =
        crate::cli::args::session_options(&args.device, &Default::default(), crate::session::Modes::GENERATE);
    writeln!(out, "\n{}", paint.bold(format!("--device {}", args.device.device)))?;
    match crate::session::device_info(&options) {
        Ok(info) => writeln!(out, "  {}", engine::describe(&info))?,
        Err(error) => writeln!(out, "  {} {error}", paint.red("none:"))?,
    }
    Ok(())
}

fn models(out: &mut dyn Write) -> CliResult {
    let (catalog, home) = (Catalog::load()?, Home::find()?);
    writeln!(out, "\n{}", Paint::stdout().bold("models"))?;
    let here: Vec<_> =
        catalog.models.iter().filter(|m| home.present(m).is_some()).map(|m| m.name.as_str()).collect();
    let list = if here.is_empty() { "none yet".into() } else { here.join(", ") };
    writeln!(out, "  in {}: {list}", home.models.display())?;
    let default = &catalog.default;
    if !here.contains(&default.as_str()) {
        writeln!(out, "  the default, {default}, is fetched when it is first needed (or with `ember pull`)")?;
    }
    Ok(())
}

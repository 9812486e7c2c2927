//! `ember doctor`: what Ember finds on this machine, what it would choose and why.

#[cfg(all(feature = "gpu", feature = "plot"))]
mod picture;
#[cfg(feature = "gpu")]
mod tuning;

use std::io::Write;

use clap::Args;

use crate::cli::args::DeviceArgs;
#[cfg(feature = "gpu")]
use crate::cli::args::ModelArgs;
use crate::cli::engine;
#[cfg(feature = "gpu")]
use crate::cli::error::CliError;
use crate::cli::error::CliResult;
use crate::cli::show;
use crate::cli::store::{Catalog, Home};
use crate::cli::term::{self, Paint};
use crate::exec::choice::Speed;
use crate::session::{SessionOptions, Speeds, speeds};
use crate::simd::Level;

/// Show devices, what would be chosen and why
///
/// Lists every GPU adapter with the limits and features that matter here, the CPU's features, which device `auto`
/// takes and why, which models are here, and which ways to run ops were measured to be the fastest on the GPU.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember doctor\n  ember doctor --device gpu --profile webgpu-default\n  ember doctor --measure"
)]
pub struct DoctorArgs {
    #[cfg(feature = "gpu")]
    #[command(flatten)]
    tuning: tuning::TuningArgs,
    #[cfg(feature = "gpu")]
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> CliResult {
    #[cfg(feature = "gpu")]
    if args.tuning.asked() {
        return tuning::run(args);
    }
    let mut out = term::listing();
    let paint = Paint::stdout();
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    writeln!(out, "{} {} on {os} {arch}", paint.bold("ember"), env!("CARGO_PKG_VERSION"))?;
    cpu(&mut out)?;
    adapters(&mut out)?;
    models(&mut out)?;
    chosen(&mut out, args)?;
    selftest(&mut out, args)
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
    writeln!(out, "  in use: {}{}", Level::in_use().name(), simd_note())?;
    if let Some(bytes) = memory() {
        writeln!(out, "  memory: {}", term::bytes(bytes))?;
    }
    Ok(())
}

/// What `EMBER_SIMD` has to do with the level in use.
fn simd_note() -> String {
    match (std::env::var_os("EMBER_SIMD").filter(|v| !v.is_empty()), Level::unknown()) {
        (_, Some(value)) => {
            let levels = Level::ALL.iter().map(|level| level.name()).collect::<Vec<_>>().join(", ");
            format!(" (EMBER_SIMD is {value:?}, which is no level and has no effect; levels are {levels})")
        }
        (Some(_), None) => match Level::lacking() {
            Some(level) => format!(" (EMBER_SIMD asks for {}, which this processor lacks)", level.name()),
            None => " (at most what EMBER_SIMD says)".into(),
        },
        (None, None) => String::new(),
    }
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

/// Every op against its CPU twin, on the GPU that the arguments choose.
#[cfg(feature = "gpu")]
fn selftest(out: &mut dyn Write, args: &DoctorArgs) -> CliResult {
    // Without such a GPU there is nothing to test, as was said above.
    let Ok(gpu) = tuning::open(&args.device) else { return Ok(()) };
    tuning::table(out, &gpu, &gpu.tuned())?;
    let paint = Paint::stdout();
    writeln!(out, "\n{}", paint.bold("self-test: every op against the CPU"))?;
    for (candidate, why) in gpu.left_out() {
        let (candidate, why) = (show::line(&candidate), show::line(&why));
        writeln!(out, "  {} {candidate} is not used on this GPU: {why}", paint.red("-"))?;
    }
    let cases = crate::exec::gpu::selftest(&gpu, false)?;
    for (op, cases) in by_op(&cases) {
        let failed = cases.iter().filter(|case| case.failure.is_some()).count();
        let worst = cases.iter().map(|case| case.error).fold(0.0, f64::max);
        let verdict = if failed == 0 { paint.green("ok") } else { paint.red(format!("{failed} FAILED")) };
        writeln!(
            out,
            "  {op:10} {:>3} cases, worst error {worst:.2} of what rounding explains: {verdict}",
            cases.len()
        )?;
    }
    let failures: Vec<_> = cases.iter().filter_map(|case| Some((case, case.failure.as_ref()?))).collect();
    for (case, failure) in &failures {
        writeln!(out, "    {} ({}): {failure}", case.name, case.candidate)?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    let what = format!(
        "{} of {} self-tests failed: this GPU or its driver computes wrongly",
        failures.len(),
        cases.len()
    );
    Err(CliError::failed(what).at(&gpu.info().name).advise("a newer driver, or `--device cpu`"))
}

#[cfg(not(feature = "gpu"))]
fn selftest(_: &mut dyn Write, _: &DoctorArgs) -> CliResult {
    Ok(())
}

/// `12.3 us`, `4.56 ms`.
#[cfg(feature = "gpu")]
fn time(seconds: f64) -> String {
    match seconds * 1e6 {
        us if us < 1000.0 => format!("{us:.1} us"),
        us => format!("{:.2} ms", us / 1000.0),
    }
}

/// Cases by op, in the order of their first case. A case's name begins with its op.
#[cfg(feature = "gpu")]
fn by_op(cases: &[crate::exec::gpu::CaseReport]) -> Vec<(&str, Vec<&crate::exec::gpu::CaseReport>)> {
    let mut ops: Vec<(&str, Vec<_>)> = Vec::new();
    for case in cases {
        let op = case.name.split([' ', ',']).next().unwrap_or_default();
        match ops.iter_mut().find(|(name, _)| *name == op) {
            Some((_, list)) => list.push(case),
            None => ops.push((op, vec![case])),
        }
    }
    ops
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
    measured(out, &options)
}

/// How fast devices were when `auto` measured them, by model.
fn measured(out: &mut dyn Write, options: &SessionOptions) -> CliResult {
    for Speeds { model, speeds } in options.notes.as_deref().map(speeds).unwrap_or_default() {
        writeln!(out, "  measured with {}:", show::line(&model))?;
        for Speed { device, driver, rates, failure } in speeds {
            let rates = rates.iter().map(|(phase, rate)| format!("{} {rate:.1} tok/s", phase.name()));
            let all: Vec<String> = rates.chain(failure).collect();
            writeln!(out, "    {} ({}): {}", show::line(&device), show::line(&driver), all.join(", "))?;
        }
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

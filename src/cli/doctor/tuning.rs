//! What was measured of the ways to run ops on a GPU: measuring, the table, files to carry it elsewhere.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{DoctorArgs, time};
use crate::cli::args::{DeviceArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::output::{ReplaceArgs, refused};
use crate::cli::progress::Bar;
use crate::cli::show;
use crate::cli::store::Home;
use crate::cli::term::{self, Paint};
use crate::exec::gpu::{Gpu, GpuOptions, Measured, Tuned, TuningError};
use crate::session::{DeviceChoice, Modes, plan_memory};

/// What is to be done with measured times.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Autotuning")]
pub struct TuningArgs {
    /// Measure on the GPU which ways to run the model's ops are the fastest, and keep it; Ctrl-C keeps what is measured by then
    #[arg(long)]
    measure: bool,
    /// Write what was measured on the GPU to a file, for machines like this one
    #[arg(long, value_name = "FILE")]
    export_tuning: Option<PathBuf>,
    /// Take what was measured on another machine with the same GPU, driver and version of Ember
    #[arg(long, value_name = "FILE")]
    import_tuning: Option<PathBuf>,
    /// Draw what was measured on the GPU as bars
    #[cfg(feature = "plot")]
    #[arg(long, value_name = "FILE.svg")]
    tuning_picture: Option<PathBuf>,
    #[command(flatten)]
    replace: ReplaceArgs,
}

impl TuningArgs {
    /// Whether anything is.
    pub fn asked(&self) -> bool {
        self.measure || self.import_tuning.is_some() || !self.written().is_empty()
    }

    /// Files that are written.
    fn written(&self) -> Vec<&PathBuf> {
        let written = [self.export_tuning.as_ref(), self.picture()];
        written.into_iter().flatten().collect()
    }

    fn picture(&self) -> Option<&PathBuf> {
        #[cfg(feature = "plot")]
        return self.tuning_picture.as_ref();
        #[cfg(not(feature = "plot"))]
        None
    }
}

/// Opens the GPU that the arguments choose, to look into it.
pub fn open(device: &DeviceArgs) -> CliResult<Gpu> {
    let choice = device.choice();
    if choice == DeviceChoice::Cpu {
        return Err(CliError::usage("the CPU has no ways to choose among").advise("`--device gpu`"));
    }
    let options = GpuOptions {
        choice: choice.into(),
        profile: device.profile.name().into(),
        max_submit_ms: device.max_submit_ms,
        notes: crate::cli::args::notes(),
        ..GpuOptions::default()
    };
    Ok(Gpu::open(&options)?)
}

/// Does what was asked for, and shows what is known then.
pub fn run(args: &DoctorArgs) -> CliResult {
    let tuning = &args.tuning;
    // Where nothing can be kept there is nothing to be done.
    Home::find()?;
    let inputs: Vec<_> = tuning.import_tuning.iter().map(PathBuf::as_path).collect();
    tuning.written().into_iter().try_for_each(|file| tuning.replace.check(file, &inputs))?;
    let gpu = open(&args.device)?;
    if let Some(file) = &tuning.import_tuning {
        let count = gpu.import_tuning(file).map_err(|e| CliError::from(e).at(file.display()))?;
        term::say(format!("{count} kinds of calls were taken from {}", show::path(file)));
    }
    let interrupted = tuning.measure && measure(&gpu, args)?;
    let known = gpu.tuned();
    table(&mut term::listing(), &gpu, &known)?;
    if let Some(file) = &tuning.export_tuning {
        let text = gpu.exported_tuning()?;
        write(tuning, file, &text)?;
    }
    #[cfg(feature = "plot")]
    if let Some(file) = &tuning.tuning_picture {
        let drawn = super::picture::draw(&gpu.info().name, &known);
        write(tuning, file, &drawn.map_err(|e| CliError::failed(e).at(file.display()))?)?;
    }
    if interrupted { Err(CliError::interrupted()) } else { Ok(()) }
}

fn write(args: &TuningArgs, file: &std::path::Path, text: &str) -> CliResult {
    let manner = crate::io::Manner { existing: args.replace.existing(), ..Default::default() };
    let kept = crate::io::write_bytes(file, manner, text.as_bytes()).map_err(refused)?;
    if let Some(kept) = kept {
        term::say(format!("what was there is {} now", show::path(&kept)));
    }
    Ok(())
}

/// Measures the plans of a model; whether that was interrupted.
fn measure(gpu: &Gpu, args: &DoctorArgs) -> CliResult<bool> {
    let model = engine::open(&args.model)?;
    let options = session_options(&args.device, &Default::default(), Modes::GENERATE);
    let (program, _) = plan_memory(&model, &options, gpu.profile())?;
    term::say(format!("measuring {} on {}", show::line(&engine::name(&model)), engine::describe(gpu.info())));
    let listen = Listen::new();
    let mut bar = None;
    let done = gpu.measure(&program, &mut |at| {
        let bar = bar.get_or_insert_with(|| Bar::phase("measuring", at.total as u64));
        bar.item(at.done as u64, at.next);
        !listen.pressed()
    });
    if let Some(mut bar) = bar {
        bar.clear();
    }
    let Measured { measured, left, failed } = done?;
    for (kind, why) in failed {
        term::warn(format!("{} was not measured: {}", show::line(&kind), show::line(&why)));
    }
    let rest = if left > 0 { format!(", {left} left for another time") } else { String::new() };
    term::say(format!("{measured} kinds of calls were measured{rest}"));
    Ok(left > 0)
}

/// What was measured, if anything was.
pub fn table(out: &mut dyn Write, gpu: &Gpu, known: &[Tuned]) -> CliResult {
    let paint = Paint::stdout();
    writeln!(
        out,
        "\n{}",
        paint.bold(format!("measured ways to run ops on {}", show::line(&gpu.info().name)))
    )?;
    if known.is_empty() {
        writeln!(
            out,
            "  none yet: `ember doctor --measure` measures, and so does the start of a model on a GPU"
        )?;
        return Ok(());
    }
    let head = ["op", "shape", "rows", "fastest way", "time", ""].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(known.iter().map(row)).collect();
    let wide: Vec<usize> =
        (0..6).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    for (at, [op, shape, count, way, time, gain]) in rows.iter().enumerate() {
        let line = format!(
            "  {op:0$}  {shape:1$}  {count:>2$}  {way:3$}  {time:>4$}  {gain}",
            wide[0], wide[1], wide[2], wide[3], wide[4]
        );
        let line = line.trim_end();
        writeln!(out, "{}", if at == 0 { paint.dim(line) } else { line.to_owned() })?;
    }
    Ok(())
}

fn row(tuned: &Tuned) -> [String; 6] {
    let gain = match tuned.seconds {
        None => "nothing to choose".into(),
        Some(_) if tuned.chosen == tuned.default => "the default".into(),
        Some(_) => format!("{:.2} times as fast as {}", tuned.gain, tuned.default),
    };
    let time = tuned.seconds.map_or_else(|| "-".into(), time);
    [tuned.op.clone(), tuned.shape.clone(), tuned.rows.to_string(), tuned.chosen.clone(), time, gain]
}

impl From<TuningError> for CliError {
    fn from(error: TuningError) -> Self {
        let advice = match &error {
            TuningError::Io(_) => None,
            TuningError::Damaged => Some("a file that `ember doctor --export-tuning` wrote, whole"),
            TuningError::Nothing(_) => Some("`ember doctor --measure`, with the same --device"),
            TuningError::NoFolder => Some("set EMBER_HOME to a folder of your choice"),
            TuningError::Other { .. } => Some("`ember doctor --measure` on this machine"),
        };
        advice.into_iter().fold(Self::failed(error), Self::advise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_or_so() {
        assert_eq!([1.234e-6, 4.56e-4, 0.123].map(time), ["1.2 us", "456.0 us", "123.00 ms"]);
    }

    #[test]
    fn a_row_says_what_is_gained() {
        let tuned = Tuned {
            op: "linear q4_1".into(),
            shape: "1536x576".into(),
            rows: 1,
            chosen: "linear.base.q4_1#5".into(),
            seconds: Some(2e-6),
            default: "linear.base.q4_1#1".into(),
            gain: 1.5,
        };
        assert_eq!(row(&tuned)[4..], ["2.0 us", "1.50 times as fast as linear.base.q4_1#1"]);
        let same = Tuned { chosen: tuned.default.clone(), gain: 1.0, ..tuned.clone() };
        assert_eq!(row(&same)[5], "the default");
        assert_eq!(row(&Tuned { seconds: None, ..same })[4..], ["-", "nothing to choose"]);
    }
}

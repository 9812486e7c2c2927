//! Driving a training run at the command line: progress, metrics, saving, Ctrl-C.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::given;
use crate::cli::interrupt::Listen;
use crate::cli::output::{say_kept, write_text};
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::tune::curve;
use crate::cli::tune::files::{Outputs, STATE};
use crate::cli::tune::steps::{Meter, Metrics, Samples};
use crate::io::{CommitStore, Existing, FolderSlots};
use crate::quant::Format;
use crate::train::data::{Item, Items};
use crate::train::{Ended, TrainError, Trainer};

/// Time between saves, unless asked otherwise.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// How a run behaves; nothing here changes what is learnt.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Steps between saves of the run's state [default: about once a minute]
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    save_every: Option<u64>,
    /// Stop after this step as Ctrl-C would; --resume goes on
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u64).range(1..))]
    pause_at: Option<u64>,
    /// Work only this part of the time, so that the machine stays responsive (e.g. 40%)
    #[arg(long, value_name = "PART", value_parser = duty)]
    duty: Option<f64>,
    /// Draw the loss curve to this SVG file at the end
    #[cfg(feature = "plot")]
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

impl RunArgs {
    /// Where the loss curve is drawn to.
    pub fn plot(&self) -> Option<PathBuf> {
        #[cfg(feature = "plot")]
        return self.plot.clone();
        #[cfg(not(feature = "plot"))]
        None
    }
}

/// A part of the time, as `40%` or `0.4`.
pub fn duty(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').map(|n| (n, 100.0)).unwrap_or((text, 1.0));
    let part = number.0.trim().parse::<f64>().map_err(|_| format!("`{text}` is not a part such as 40%"))?;
    let part = part / number.1;
    if part > 0.0 && part <= 1.0 { Ok(part) } else { Err("must be above 0% and at most 100%".into()) }
}

/// One run, apart from the trainer.
pub struct Job {
    /// Its files.
    pub outputs: Outputs,
    /// What a checkpoint must have been begun with.
    pub identity: String,
    /// Notes that go into what is trained.
    pub info: BTreeMap<String, String>,
    /// Format of the matrices of a model whose weights are trained.
    pub format: Format,
    /// What to do with such a model, `{}` for its path.
    pub next: &'static str,
    /// What is shown of what the model writes.
    pub samples: Samples,
    /// It is also kept in a file.
    pub record_samples: bool,
}

impl Job {
    /// A run that shows nothing of what the model writes.
    pub fn new(outputs: Outputs, identity: String, info: BTreeMap<String, String>) -> Self {
        let (format, next) = (Format::F32, "ember chat -m {}");
        Self { outputs, identity, info, format, next, samples: Samples::default(), record_samples: false }
    }
}

/// What data there is, in words; `what` are its items.
pub fn data_in_words<T: Item>(what: &str, data: &Items<T>, validation: &Items<T>) -> String {
    let counts = data.counts();
    let held = match validation.items.len() {
        0 => String::new(),
        n => format!(", {n} held out"),
    };
    let trained = match counts.trained {
        0 => String::new(),
        n => format!(", {} of them trained on", term::grouped(n)),
    };
    format!(
        "{} {what}{held}, {} tokens{trained}",
        term::grouped(data.items.len() as u64),
        term::grouped(counts.total)
    )
}

/// Says what will be trained, on what (`data`), and where.
pub fn announce(trainer: &mut Trainer, data: &str) {
    let (total, per_epoch) = (trainer.total(), trainer.steps_per_epoch());
    let engine = trainer.engine();
    let numbers: usize = engine.trained().iter().map(|(_, _, rows, width)| rows * width).sum();
    let spec = engine.spec();
    let layers = engine.model().config().layers.len();
    let again = match spec.recompute {
        0 => String::new(),
        n if n == layers => ", all layers run again".into(),
        n => format!(", {n} of {layers} layers run again"),
    };
    let lines = [
        format!("{}, on {}", show::line(&engine.model().config().name), engine::describe(engine.device())),
        data.to_owned(),
        format!(
            "{} numbers in {} matrices; {total} steps, {per_epoch} an epoch; {} planned{again}",
            term::grouped(numbers as u64),
            engine.trained().len(),
            term::bytes(engine.layout().total())
        ),
    ];
    for line in lines {
        term::say(Paint::stderr().dim(line));
    }
    let warmup = trainer.made_of().0.warmup;
    if warmup >= total {
        term::warn(format!(
            "the learning rate rises over {warmup} steps, and there are {total}: it never reaches --lr"
        ));
    }
}

/// Runs to the end, or until Ctrl-C, and leaves the adapter or a state that resumes.
pub fn drive(trainer: &mut Trainer, job: &Job, args: &RunArgs) -> CliResult {
    let listen = Listen::new();
    let mut store = open_store(trainer, job)?;
    let mut metrics = Metrics::open(&job.outputs.files.metrics, trainer.step_count())?;
    let samples = &job.outputs.files.samples;
    let open = |trainer: &Trainer| Metrics::open(samples, trainer.step_count());
    let mut written = job.record_samples.then(|| open(trainer)).transpose()?;
    let mut meter = Meter::new(trainer.total(), trainer.step_count());
    let mut saved = Instant::now();
    let mut pause = |took: Duration| rest(took, args.duty, &listen);
    loop {
        let stopped = listen.pressed() || args.pause_at.is_some_and(|at| trainer.step_count() >= at);
        if stopped && trainer.ended().is_none() {
            meter.clear();
            save(trainer, &mut store, &mut metrics, job)?;
            return stop(trainer, job, listen.pressed());
        }
        let report = match trainer.step(&mut pause) {
            Ok(Some(report)) => report,
            Ok(None) => break,
            Err(TrainError::Exec(failure)) if failure.remedy().is_some() => {
                meter.clear();
                go_on(trainer, failure.into(), &mut store, &mut metrics, job)?;
                written = job.record_samples.then(|| open(trainer)).transpose()?;
                meter = Meter::new(trainer.total(), trainer.step_count());
                continue;
            }
            Err(error) => {
                // What is trained is as it was before the steps that failed; before the first there is nothing to go on from.
                meter.clear();
                if trainer.step_count() > 0 {
                    save(trainer, &mut store, &mut metrics, job)?;
                }
                return Err(error.into());
            }
        };
        metrics.write(&report)?;
        if let Some(written) = written.as_mut() {
            written.samples(&report)?;
        }
        meter.show(&report, &job.samples);
        let due = args.save_every.map_or(saved.elapsed() >= SAVE_EVERY, |n| report.step.is_multiple_of(n));
        if due {
            save(trainer, &mut store, &mut metrics, job)?;
            saved = Instant::now();
        }
    }
    meter.clear();
    save(trainer, &mut store, &mut metrics, job)?;
    drop(store);
    finish(trainer, job, &metrics, &meter)
}

/// Goes on from what was saved last, on a device that was opened anew.
fn go_on(
    trainer: &mut Trainer,
    error: TrainError,
    store: &mut CommitStore<FolderSlots>,
    metrics: &mut Metrics,
    job: &Job,
) -> CliResult {
    let happened = trainer.reopen(error)?;
    let saved = trainer.restore(store, &job.identity)?;
    let from = if saved { "the state after step" } else { "the beginning, step" };
    term::say(Paint::stderr().dim(format!("{happened}: {from} {}", trainer.step_count())));
    // What comes after it is done, and written, again.
    *metrics = Metrics::open(&job.outputs.files.metrics, trainer.step_count())?;
    Ok(())
}

/// Commits the state, once the metrics of its steps are on the disk: going on from it never writes them again.
fn save(
    trainer: &mut Trainer,
    store: &mut CommitStore<FolderSlots>,
    metrics: &mut Metrics,
    job: &Job,
) -> CliResult {
    metrics.sync()?;
    Ok(trainer.save(store, &job.identity)?)
}

/// The state's store: empty, or resumed from.
fn open_store(trainer: &mut Trainer, job: &Job) -> CliResult<CommitStore<FolderSlots>> {
    let (files, begin) = (&job.outputs.files, job.outputs.begin);
    let folder = &files.state;
    if begin.restart {
        files.forget()?;
    }
    // A run that was killed before its first save leaves metrics that are written anew; those of others stay.
    if !files.begun() {
        files.set_metrics_aside()?;
    }
    files.make_folders()?;
    let slots = FolderSlots::open(folder, STATE).map_err(|e| CliError::from(e).at(folder.display()))?;
    let mut store = CommitStore::open(slots).map_err(|e| CliError::from(e).at(folder.display()))?;
    if let Some(notice) = store.notice() {
        term::warn(format!("{notice}; going on from the one before"));
    }
    if store.current().is_some() && !begin.resume {
        return Err(CliError::failed("a run with this name was begun before")
            .at(folder.display())
            .advise("--resume to go on with it, --restart to throw its state away, or another -o"));
    }
    if begin.resume {
        if trainer.restore(&mut store, &job.identity)? {
            term::say(Paint::stderr().dim(format!("going on after step {}", trainer.step_count())));
        } else {
            term::say(Paint::stderr().dim("no state of a run here: starting anew"));
        }
    }
    Ok(store)
}

/// A part of the time is left to others.
fn rest(took: Duration, duty: Option<f64>, listen: &Listen) {
    let Some(duty) = duty.filter(|d| *d < 1.0) else { return };
    let end = Instant::now() + took.mul_f64(1.0 / duty - 1.0);
    while Instant::now() < end && !listen.pressed() {
        std::thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
    }
}

fn stop(trainer: &Trainer, job: &Job, interrupted: bool) -> CliResult {
    let (step, total) = (trainer.step_count(), trainer.total());
    term::say(format!("stopped after step {step} of {total}; the same command with --resume goes on"));
    term::say(Paint::stderr().dim(format!("state in {}", job.outputs.files.state.display())));
    if interrupted { Err(CliError::interrupted()) } else { Ok(()) }
}

fn finish(trainer: &mut Trainer, job: &Job, metrics: &Metrics, meter: &Meter) -> CliResult {
    let files = &job.outputs.files;
    let judge = write(trainer, job)?;
    // The result is whole and on the disk: the state has served.
    files.forget()?;
    keep_settings(&files.result)?;
    let (what, train, validation) = metrics.curves()?;
    if let Some(line) = curve::sparkline(&train, term::width().saturating_sub(20)) {
        term::say(format!("{what:10}  {line}"));
    }
    if let Some(line) = curve::sparkline(&validation, term::width().saturating_sub(20)) {
        term::say(format!("validation  {line}"));
    }
    #[cfg(feature = "plot")]
    if let Some(path) = &files.plot {
        let picture =
            curve::svg(what, &train, &validation, &[]).map_err(|e| CliError::failed(e).at(path.display()))?;
        say_kept(path, write_text(path, &picture, job.outputs.begin.replace.existing())?.as_slice());
    }
    let ended = match trainer.ended() {
        Some(Ended::Early) => ", ended early: the validation loss no longer fell",
        Some(Ended::Limit) => ", ended early: the policy went beyond its limit again and again",
        _ => "",
    };
    let best = trainer.best().map_or(String::new(), |(what, value, step)| {
        format!("; kept is the state after step {step}, with a {} of {value:.4}", what.replace('_', " "))
    });
    term::say(format!("{} steps in {}{ended}{best}", trainer.step_count(), time(meter.begun.elapsed())));
    if meter.idle() {
        term::warn(
            "every step was skipped: nothing was learnt. Rewards must differ between answers to a prompt: partial credit \
             (such as f1 or length), a higher --temp, a larger --group",
        );
    }
    if let Some(parts) = meter.parts() {
        term::say(parts);
    }
    term::say(format!(
        "wrote {} ({})",
        files.result.display(),
        term::bytes(std::fs::metadata(&files.result).map_or(0, |m| m.len()))
    ));
    let name = files.result.with_extension("");
    let next = match (trainer.made_of().0.full, judge) {
        (true, _) => job.next.replace("{}", &files.result.display().to_string()),
        (false, true) => format!("ember score --adapter {}", name.display()),
        (false, false) => format!("ember chat --adapter {}", name.display()),
    };
    term::say(Paint::stderr().dim(format!("try: {next}")));
    Ok(())
}

/// Writes what the run was given beside its result, so that it can be repeated. What has the name is kept, unless it says
/// the same.
fn keep_settings(result: &Path) -> CliResult {
    let Some(text) = given::recorded() else { return Ok(()) };
    let path = result.with_extension("toml");
    if !std::fs::read_to_string(&path).is_ok_and(|there| there == text) {
        say_kept(&path, write_text(&path, text, Existing::Keep)?.as_slice());
    }
    Ok(())
}

/// Writes what was trained; whether it is an adapter that judges.
fn write(trainer: &mut Trainer, job: &Job) -> CliResult<bool> {
    let path = &job.outputs.files.result;
    // Whatever has the name now was made by somebody else, or was there before and is to be kept.
    if trainer.made_of().0.full {
        let kept = trainer
            .save_model(path, job.format, Existing::Keep, &job.info)
            .map_err(|e| CliError::from(e).at(path.display()))?;
        say_kept(path, kept.as_slice());
        return Ok(false);
    }
    let adapter = trainer.adapter(job.info.clone())?;
    let kept = adapter.save_as(path, Existing::Keep).map_err(|e| CliError::from(e).at(path.display()))?;
    say_kept(path, kept.as_slice());
    Ok(adapter.head.is_some())
}

/// Seconds, minutes or hours, for people.
fn time(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(all(test, feature = "gpu"))]
mod tests;

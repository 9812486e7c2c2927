//! Measures the ways to run calls on the device at hand, each after it has passed its proof, and remembers how long they take.
//!
//! `trial` says what there is to measure, `rig` measures, `keep` is the file; which way runs follows from the times in `order`.

mod keep;
mod rig;
#[cfg(test)]
mod tests;
mod trial;

pub use keep::{TuningError, export, import, load};

use std::time::{Duration, Instant};

use rig::Rig;
use trial::{Point, Trial, trials};

use super::Gpu;
use super::id::CandidateId;
use super::launch::Allowed;
use super::order::{LOST, Timing};
use super::preferences::Preferences;
use super::proof::prove_each;
use crate::exec::{DeviceKind, ExecError};
use crate::plan::Program;

/// Takes the time of the ways to run a call: a test puts one in its place that says which is faster.
pub(super) trait Timer {
    /// A kind of call comes next.
    fn begin(&mut self, trial: &Trial<'_>) -> Result<(), ExecError>;
    /// Seconds of each way of a point.
    fn seconds(&mut self, trial: &Trial<'_>, point: &Point) -> Result<Vec<f64>, ExecError>;
    /// Nothing comes any more.
    fn end(&mut self) {}
}

/// How far measuring is.
#[derive(Clone, Copy, Debug)]
pub struct TuningProgress<'a> {
    /// Kinds of calls that are done.
    pub done: usize,
    /// Kinds of calls in all.
    pub total: usize,
    /// The next one: op and format, shape.
    pub next: &'a str,
}

/// What measuring came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Kinds of calls that were measured now.
    pub measured: usize,
    /// Those that are left for another time.
    pub left: usize,
    /// Those that could not be measured, and why.
    pub failed: Vec<(String, String)>,
}

/// Whether to go on.
pub type GoOn<'a> = dyn FnMut(TuningProgress<'_>) -> bool + 'a;

/// The times that a boot goes by: those that are kept, and what of the program is not among them, measured within the budget
/// that the options have. Software adapters, whose compiler makes it long, are not measured unasked.
///
/// # Errors
/// [`ExecError::DeviceLost`]; what keeps single kinds from being measured leaves them as they are.
pub fn at_boot(gpu: &Gpu, program: &Program) -> Result<Preferences, ExecError> {
    let Some(budget) = gpu.options.autotune else { return Ok(Preferences::default()) };
    let mut known = load(gpu);
    if gpu.device.info.kind != DeviceKind::Software && gpu.options.notes.is_some() {
        within(gpu, program, &mut known, budget, &mut Rig::new(gpu))?;
    }
    Ok(known)
}

/// Measures what is not known yet until the budget is spent.
fn within(
    gpu: &Gpu,
    program: &Program,
    known: &mut Preferences,
    budget: Duration,
    timer: &mut dyn Timer,
) -> Result<Measured, ExecError> {
    let start = Instant::now();
    run(gpu, unknown(gpu, program, known)?, known, timer, &mut |_| start.elapsed() < budget)
}

/// The kinds of calls of a program of which nothing is known.
fn unknown<'a>(gpu: &Gpu, program: &'a Program, known: &Preferences) -> Result<Vec<Trial<'a>>, ExecError> {
    let mut all = trials(program, &gpu.allowed())?;
    all.retain(|trial| !known.0.contains_key(&trial.kind));
    Ok(all)
}

/// Measures the kinds of calls of a program of which nothing is known, or all where all is known; each is kept at once.
///
/// # Errors
/// As [`at_boot`].
pub fn measure(gpu: &Gpu, program: &Program, go_on: &mut GoOn<'_>) -> Result<Measured, ExecError> {
    let mut known = load(gpu);
    let mut all = unknown(gpu, program, &known)?;
    if all.is_empty() {
        all = trials(program, &gpu.allowed())?;
    }
    run(gpu, all, &mut known, &mut Rig::new(gpu), go_on)
}

fn run(
    gpu: &Gpu,
    all: Vec<Trial<'_>>,
    known: &mut Preferences,
    timer: &mut dyn Timer,
    go_on: &mut GoOn<'_>,
) -> Result<Measured, ExecError> {
    let mut result = Measured { left: all.len(), ..Measured::default() };
    let total = all.len();
    for (done, trial) in all.iter().enumerate() {
        let next = format!("{} {}", trial.kind.op(), trial.kind.shape());
        if !go_on(TuningProgress { done, total, next: &next }) {
            break;
        }
        result.left -= 1;
        match one(gpu, trial, timer) {
            Ok(timings) => {
                known.0.insert(trial.kind.clone(), timings);
                result.measured += 1;
            }
            Err(lost @ ExecError::DeviceLost(_)) => {
                // It would be lost again at the next boot: there the default stays.
                known.0.insert(trial.kind.clone(), vec![given_up(trial)]);
                let _ = keep::save(gpu, known);
                return Err(lost);
            }
            Err(error) => result.failed.push((next, error.to_string())),
        }
        // What cannot be kept is measured again.
        let _ = keep::save(gpu, known);
    }
    timer.end();
    Ok(result)
}

/// Proves the ways to run a kind of call, and measures those that are right.
fn one(gpu: &Gpu, trial: &Trial<'_>, timer: &mut dyn Timer) -> Result<Vec<Timing>, ExecError> {
    let wrong = prove_each(gpu, &trial.candidates())?;
    let right = Allowed { wrong, ..gpu.allowed() };
    let Some(trial) = trial.without_wrong(&right)? else { return Ok(vec![given_up(trial)]) };
    timer.begin(&trial)?;
    let timing = |point: &Point| {
        let seconds = timer.seconds(&trial, point)?;
        let nanos = seconds.iter().map(|seconds| (seconds * 1e9).round().max(1.0) as u64);
        let ids = point.ways.iter().map(|way| way.id);
        Ok(Timing { rows: point.rows, ways: ids.zip(nanos).collect() })
    };
    trial.points.iter().map(timing).collect()
}

/// Nothing to compare: the default stays, and is not asked for again.
fn given_up(trial: &Trial<'_>) -> Timing {
    let first = trial.points.first();
    let way = first.and_then(|point| point.ways.first()).map(|way| (way.id, LOST));
    Timing { rows: first.map_or(1, |point| point.rows), ways: way.into_iter().collect() }
}

/// What is known of a kind of call at a number of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuned {
    /// Op, formats and cache: `linear q4_1`.
    pub op: String,
    /// Rows by columns of the weights, or widths: `1536x576`.
    pub shape: String,
    /// Active rows.
    pub rows: usize,
    /// The way that runs: `linear.base.q4_1#3 TOKENS=4`.
    pub chosen: String,
    /// Its seconds; `None` where nothing could be compared.
    pub seconds: Option<f64>,
    /// The way that would run without measuring.
    pub default: String,
    /// How many times as long it takes.
    pub gain: f64,
}

/// All that is known of this device.
pub fn known(gpu: &Gpu) -> Vec<Tuned> {
    let each = load(gpu).0.into_iter().flat_map(|(kind, timings)| {
        timings.into_iter().filter_map(move |timing| {
            let (chosen, time) = *timing.order().first()?;
            let (default, before) = *timing.ways.first()?;
            let compared = timing.ways.len() > 1;
            Some(Tuned {
                op: kind.op(),
                shape: kind.shape().to_owned(),
                rows: timing.rows,
                chosen: CandidateId::name(chosen),
                seconds: compared.then_some(time as f64 / 1e9),
                default: CandidateId::name(default),
                gain: if compared { before as f64 / time.max(1) as f64 } else { 1.0 },
            })
        })
    });
    each.collect()
}

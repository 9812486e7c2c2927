//! Each op against its CPU twin, on this device, with random data.
//!
//! Inputs and outputs lie side by side in the state segment, which is filled with a pattern first: whatever a kernel writes
//! beside its output shows. Used by the tests, by `ember doctor`, and by `proof`.

mod bench;
mod cases;
mod cases_attention;
mod cases_fused;
mod cases_optimizer;
mod cases_products;
mod cases_sample;
mod cases_training;
#[cfg(test)]
mod tests;
mod twin;

pub(super) use bench::{Bench, Case};

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;

use super::id::CandidateId;
use super::kernels::{KERNELS, Kernel};
use super::launch::{Allowed, choices};
use super::shrink::shrink;
use super::{Gpu, GpuExecutor};
use crate::exec::{ExecError, Executor};
use crate::ops::{Accepts, block16};
use crate::plan::{Arg, DType, Layout, OpCall, PlanId, SegmentKind, Step, TensorId};
use crate::quant::Format;

/// What memory holds that nothing has written.
const PATTERN: u32 = 0xdead_beef;
/// A step of the 16-bit cache, as a part of the largest of a block.
const STEP: f64 = 1.0 / 4096.0;

/// How one case went.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    /// `linear q4_1, 3 rows`.
    pub name: String,
    /// The kernel that it ran on, such as `linear.tiled.q4_1`.
    pub kernel: String,
    /// Which of its candidates, such as `linear.q4_1#3 TOKENS=4`.
    pub candidate: String,
    /// The same, by its places in the table.
    pub(super) id: Option<CandidateId>,
    /// Largest error in units of the op's tolerance (exact ops: 0, or infinite).
    pub error: f64,
    /// What was wrong, if anything.
    pub failure: Option<String>,
}

/// What the self-test asks of a device: a test puts one that lies in its place.
pub(super) trait Subject {
    /// Fills words of a buffer of the state segment.
    fn fill(&mut self, buffer: usize, words: Range<usize>, word: u32) -> Result<(), ExecError>;
    /// Words of a buffer of the state segment.
    fn words(&mut self, buffer: usize, words: Range<usize>) -> Result<Vec<u32>, ExecError>;
    /// Puts words into a tensor.
    fn put(&mut self, id: TensorId, words: &[u32]) -> Result<(), ExecError>;
    /// Runs a step.
    fn step(&mut self, plan: PlanId, step: &Step) -> Result<(), ExecError>;
    /// The candidate that runs a plan's only call in a step.
    fn candidate(&self, plan: PlanId, step: &Step) -> Option<CandidateId>;
}

impl Subject for GpuExecutor {
    fn fill(&mut self, buffer: usize, words: Range<usize>, word: u32) -> Result<(), ExecError> {
        self.fill_words(SegmentKind::State, buffer, words, word)
    }

    fn words(&mut self, buffer: usize, words: Range<usize>) -> Result<Vec<u32>, ExecError> {
        self.read_words(SegmentKind::State, buffer, words)
    }

    fn put(&mut self, id: TensorId, words: &[u32]) -> Result<(), ExecError> {
        self.write_tensor(id, words)
    }

    fn step(&mut self, plan: PlanId, step: &Step) -> Result<(), ExecError> {
        let ticket = self.submit(plan, step)?;
        self.wait(ticket, &mut Vec::new())
    }

    fn candidate(&self, plan: PlanId, step: &Step) -> Option<CandidateId> {
        self.calls[plan.index()][0].candidate(step)
    }
}

/// Runs all cases; `thorough` covers every format, cache type and variant.
///
/// # Errors
/// Only what keeps the cases from running at all; a case that fails is in its report.
pub fn selftest(gpu: &Gpu, thorough: bool) -> Result<Vec<CaseReport>, ExecError> {
    let (bench, cases) = cases::all(thorough).map_err(|e| ExecError::Internal(e.to_string()))?;
    on_device(gpu, &gpu.allowed(), &bench, &cases)
}

/// Every case.
#[cfg(test)]
pub(super) fn all_cases() -> Result<(Bench, Vec<Case>), ExecError> {
    cases::of(&Format::ALL).map_err(|e| ExecError::Internal(e.to_string()))
}

/// Runs the cases that come to run on one of these candidates.
///
/// # Errors
/// As [`selftest`].
pub(super) fn run_on(
    gpu: &Gpu,
    allowed: &Allowed,
    ids: &BTreeSet<CandidateId>,
) -> Result<Vec<CaseReport>, ExecError> {
    let (bench, cases) = cases_on(allowed, ids)?;
    on_device(gpu, allowed, &bench, &cases)
}

fn on_device(
    gpu: &Gpu,
    allowed: &Allowed,
    bench: &Bench,
    cases: &[Case],
) -> Result<Vec<CaseReport>, ExecError> {
    let layout = Layout::new(&bench.program, gpu.profile());
    let mut executor = gpu.clone().boot_with(bench.program.clone(), &layout, &bench.weights(), allowed)?;
    run_all(bench, &layout, cases, &mut executor)
}

/// Runs cases on a device, or on what says that it is one.
pub(super) fn run_all(
    bench: &Bench,
    layout: &Layout,
    cases: &[Case],
    subject: &mut dyn Subject,
) -> Result<Vec<CaseReport>, ExecError> {
    cases.iter().map(|case| run(bench, layout, subject, case)).collect()
}

/// The cases that come to run on one of these candidates, in a program that has nothing for the others: their plans are empty,
/// and tensors that nobody binds are a word.
pub(super) fn cases_on(
    allowed: &Allowed,
    ids: &BTreeSet<CandidateId>,
) -> Result<(Bench, Vec<Case>), ExecError> {
    let formats = Format::ALL.iter().filter(|format| {
        ids.iter().any(|id| KERNELS.get(id.kernel).is_some_and(|k| k.weight == Some(format.stem())))
    });
    let formats: Vec<Format> = formats.copied().collect();
    let (mut bench, all) = cases::of(&formats).map_err(|e| ExecError::Internal(e.to_string()))?;
    let mut cases = Vec::new();
    let (mut used, mut plans) = (HashSet::new(), HashSet::new());
    for case in all {
        let plan = &bench.program.plans[case.plan.index()];
        let call = &plan.calls[0];
        let over = (call.def().over)(call);
        let active = over.rows(&case.step);
        let ways = match choices(&bench.program, call, over.capacity(plan), allowed) {
            // Nothing of it is left to be tested.
            Err(ExecError::Wrong(_)) => continue,
            ways => ways?,
        };
        if ways.iter().find(|way| way.when.holds(active, &case.step)).is_some_and(|way| ids.contains(&way.id))
        {
            used.extend(call.args().iter().flatten().copied());
            // Some cases fill what their call leaves out.
            used.extend(case.inputs.iter().map(|(id, _)| *id));
            plans.insert(case.plan);
            cases.push(case);
        }
    }
    shrink(&mut bench.program, &plans, &used);
    Ok((bench, cases))
}

/// A piece of the state segment.
#[derive(Clone, PartialEq)]
struct Window {
    buffer: usize,
    first: usize,
    words: Vec<u32>,
}

/// The pieces that hold a case's tensors, with some of what lies around them.
#[derive(Clone, PartialEq)]
struct State(Vec<Window>);

/// Words around a case's tensors that are watched too.
const MARGIN: usize = 1024;

impl State {
    fn of(layout: &Layout, ids: impl Iterator<Item = TensorId>) -> Self {
        let sizes = &layout.segment(SegmentKind::State).buffers;
        let mut windows: Vec<Window> = Vec::new();
        for (buffer, range) in ids.filter_map(|id| words(layout, id)) {
            let end = (range.end + MARGIN).min(sizes[buffer] as usize / 4);
            let first = range.start.saturating_sub(MARGIN);
            match windows.iter_mut().find(|w| w.buffer == buffer) {
                Some(w) => {
                    let end = end.max(w.first + w.words.len());
                    w.first = w.first.min(first);
                    w.words.resize(end - w.first, PATTERN);
                }
                None => windows.push(Window { buffer, first, words: vec![PATTERN; end - first] }),
            }
        }
        Self(windows)
    }

    fn fill(&self, subject: &mut dyn Subject) -> Result<(), ExecError> {
        let mut all = self.0.iter();
        all.try_for_each(|w| subject.fill(w.buffer, w.first..w.first + w.words.len(), PATTERN))
    }

    fn read(&self, subject: &mut dyn Subject) -> Result<Self, ExecError> {
        let read = |w: &Window| {
            let range = w.first..w.first + w.words.len();
            let words = subject.words(w.buffer, range)?;
            Ok(Window { words, ..*w })
        };
        self.0.iter().map(read).collect::<Result<_, ExecError>>().map(Self)
    }

    /// The words of a tensor.
    fn tensor(&mut self, layout: &Layout, id: TensorId) -> &mut [u32] {
        let Some((buffer, range)) = words(layout, id) else { return &mut [] };
        match self.0.iter_mut().find(|w| w.buffer == buffer) {
            Some(w) => &mut w.words[range.start - w.first..range.end - w.first],
            None => &mut [],
        }
    }
}

fn run(
    bench: &Bench,
    layout: &Layout,
    subject: &mut dyn Subject,
    case: &Case,
) -> Result<CaseReport, ExecError> {
    let call = &bench.program.plans[case.plan.index()].calls[0];
    let state = State::of(layout, call.args().iter().flatten().copied());
    begin(subject, case, &state)?;
    let before = state.read(subject)?;
    let mut expected = before.clone();
    twin::run(bench, layout, case, &mut expected)?;
    let found = step(subject, case, &state)?;
    // From the beginning, so that what was there before does not pass for a result.
    begin(subject, case, &state)?;
    let again = step(subject, case, &state)?;
    let same = found == again;
    let mut report = compare(bench, layout, case, before, expected, found);
    report.id = subject.candidate(case.plan, &case.step);
    report.candidate = report.id.map(CandidateId::name).unwrap_or_default();
    report.kernel = report.id.and_then(|id| KERNELS.get(id.kernel)).map(Kernel::name).unwrap_or_default();
    if !same && report.failure.is_none() {
        report.failure = Some("two runs differ".into());
    }
    Ok(report)
}

/// Puts everything where it is before a run.
fn begin(subject: &mut dyn Subject, case: &Case, state: &State) -> Result<(), ExecError> {
    state.fill(subject)?;
    case.inputs.iter().try_for_each(|(id, words)| subject.put(*id, words))
}

fn step(subject: &mut dyn Subject, case: &Case, state: &State) -> Result<State, ExecError> {
    subject.step(case.plan, &case.step)?;
    state.read(subject)
}

/// How an output is compared with the twin's.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Judged {
    /// Not at all: it holds what the kernel likes.
    Scratch,
    /// Bit by bit.
    Exactly,
    /// As rows of the sampler.
    Sampled,
    /// As floats, by the norm of the error as a part of that of the values.
    Within(f64),
    /// The same, as blocks of 16-bit values.
    Blocks(f64),
}

impl Judged {
    fn of(bench: &Bench, call: &OpCall, arg: &Arg, id: TensorId) -> Self {
        match (bench.program.get(id).dtype, arg.name, arg.accepts) {
            (_, "part", _) => Judged::Scratch,
            (_, "sampled", _) => Judged::Sampled,
            (DType::F32, _, Accepts::F32) => {
                Judged::Within((call.def().tolerance)(call) * f64::from(f32::EPSILON))
            }
            (dtype, _, Accepts::Cache) if (call.def().tolerance)(call) > 0.0 => {
                let tolerance = (call.def().tolerance)(call) * f64::from(f32::EPSILON);
                // What lies on the edge between two numbers is rounded either way: by a step.
                if dtype == DType::Block16 {
                    Judged::Blocks(tolerance + STEP)
                } else {
                    Judged::Within(tolerance)
                }
            }
            _ => Judged::Exactly,
        }
    }
}

/// Compares the state with what the twin left.
fn compare(
    bench: &Bench,
    layout: &Layout,
    case: &Case,
    mut before: State,
    mut expected: State,
    mut found: State,
) -> CaseReport {
    let call = &bench.program.plans[case.plan.index()].calls[0];
    let mut report = CaseReport {
        name: case.name.clone(),
        kernel: String::new(),
        candidate: String::new(),
        id: None,
        error: 0.0,
        failure: None,
    };
    for (arg, id) in call.def().args.iter().zip(call.args()) {
        let Some(id) = id.filter(|_| arg.written()) else { continue };
        let was = before.tensor(layout, id);
        let (expected, got) = (expected.tensor(layout, id), found.tensor(layout, id));
        let verdict = match Judged::of(bench, call, arg, id) {
            Judged::Scratch => Ok(0.0),
            Judged::Sampled => sampled(expected, got),
            Judged::Within(tolerance) => floats(was, expected, got, tolerance),
            Judged::Blocks(tolerance) => {
                let [was, expected, got] = [&*was, &*expected, &*got].map(values_of_blocks);
                floats(&was, &expected, &got, tolerance)
            }
            Judged::Exactly => exact(expected, got),
        };
        match verdict {
            Ok(error) => report.error = report.error.max(error),
            Err(why) => report.failure = Some(format!("{}: {why}", arg.name)),
        }
        // Judged: what is left must be as it was.
        was.copy_from_slice(got);
    }
    for (before, found) in before.0.iter().zip(&found.0) {
        if let Some(at) = (0..before.words.len()).find(|i| before.words[*i] != found.words[*i]) {
            report.failure =
                Some(format!("word {} of the state, beside the outputs, was written", before.first + at));
        }
    }
    if report.failure.is_some() {
        report.error = f64::INFINITY;
    }
    report
}

/// Buffer and words of a tensor of the state segment.
fn words(layout: &Layout, id: TensorId) -> Option<(usize, std::ops::Range<usize>)> {
    let place = layout.placement(id).filter(|p| p.segment == SegmentKind::State)?;
    let first = place.offset as usize / 4;
    Some((place.buffer, first..first + place.bytes.div_ceil(4) as usize))
}

/// Relative error of the written floats in units of the tolerance; the rest must be untouched.
fn floats(before: &[u32], expected: &[u32], found: &[u32], tolerance: f64) -> Result<f64, String> {
    let (mut error, mut norm) = (0.0, 0.0);
    for (i, ((b, e), f)) in before.iter().zip(expected).zip(found).enumerate() {
        if b == e {
            if f != b {
                return Err(format!("element {i} was written and should not have been"));
            }
            continue;
        }
        let (e, f) = (f64::from(f32::from_bits(*e)), f64::from(f32::from_bits(*f)));
        if !f.is_finite() {
            return Err(format!("element {i} is {f}, the twin has {e}"));
        }
        error += (e - f).powi(2);
        norm += e.powi(2);
    }
    let relative = (error / norm.max(f64::MIN_POSITIVE)).sqrt();
    if relative <= tolerance {
        return Ok(if tolerance > 0.0 { relative / tolerance } else { 0.0 });
    }
    Err(format!("relative error {relative:.1e}, tolerance {tolerance:.1e}"))
}

/// The values of blocks, as the bits of floats.
fn values_of_blocks(words: &[u32]) -> Vec<u32> {
    let lanes: Vec<u16> = words.iter().flat_map(|w| [*w as u16, (*w >> 16) as u16]).collect();
    let mut values = vec![0.0; lanes.len()];
    block16::unpack_row(&lanes, &mut values);
    values.into_iter().map(f32::to_bits).collect()
}

fn exact(expected: &[u32], found: &[u32]) -> Result<f64, String> {
    match expected.iter().zip(found).position(|(e, f)| e != f) {
        None => Ok(0.0),
        Some(i) => Err(format!("word {i} is {:#x}, the twin has {:#x}", found[i], expected[i])),
    }
}

/// (token, log-probability, status, 0) per output row.
fn sampled(expected: &[u32], found: &[u32]) -> Result<f64, String> {
    for (o, (e, f)) in expected.chunks_exact(4).zip(found.chunks_exact(4)).enumerate() {
        let apart = f32::from_bits(e[1]) - f32::from_bits(f[1]);
        let close = apart.abs() < 1e-4
            || e[1] == f[1]
            || (f32::from_bits(e[1]).is_nan() && f32::from_bits(f[1]).is_nan());
        if e[0] != f[0] || e[2..] != f[2..] || !close {
            return Err(format!("row {o} is {f:x?}, the twin has {e:x?}"));
        }
    }
    Ok(0.0)
}

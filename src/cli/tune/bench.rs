//! `ember bench --tune`: how fast a training step is, against prefill and against what the device multiplies at best.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;

use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::plan::step_work;
use crate::exec::{DeviceInfo, OpTime};
use crate::model::Model;
use crate::plan::Scalars;
use crate::session::{Session, SessionOptions};
use crate::text::SamplerParams;
use crate::train::{Engine, Load, MatmulRate, Sequence, TrainError, initialize, matmul_rate};

/// A training step takes at most so many times as long as the prefill of its rows: the project's aim on a GPU.
const AIM: f64 = 3.5;

/// All that was measured; times in seconds.
struct Report {
    device: DeviceInfo,
    rows: usize,
    recompute: usize,
    full: bool,
    steps: Vec<f64>,
    prefill: f64,
    plans: Vec<(String, f64)>,
    ops: Vec<OpTime>,
    planned: u64,
    peak: Option<u64>,
    /// Multiply-adds of a step.
    work: u64,
    rate: MatmulRate,
}

impl Report {
    fn best(&self) -> f64 {
        self.steps.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn ratio(&self) -> f64 {
        self.best() / self.prefill
    }

    /// GFLOP/s, two for a multiply-add.
    fn achieved(&self) -> f64 {
        self.work as f64 * 2.0 / self.best() / 1e9
    }

    fn possible(&self) -> f64 {
        self.rate.best() * 2.0 / 1e9
    }
}

/// Runs the command.
pub fn run(
    model: &Model,
    (shape, full): (&TuneShapeArgs, bool),
    options: &SessionOptions,
    repetitions: u32,
    as_json_wanted: bool,
) -> CliResult {
    let report = measure(model, (shape, full), options, repetitions)?;
    let mut out = term::report(as_json_wanted);
    if as_json_wanted {
        writeln!(out, "{:#}", as_json(model, shape, &report))?;
    } else {
        print(&mut out, model, shape, &report)?;
    }
    Ok(())
}

fn measure(
    model: &Model,
    (shape, full): (&TuneShapeArgs, bool),
    options: &SessionOptions,
    repetitions: u32,
) -> CliResult<Report> {
    let listen = Listen::new();
    let at = |e: TrainError| CliError::from(e).at(model.path().display());
    let mut engine = Engine::boot(model, &shape.engine(model, options.clone(), full)).map_err(at)?;
    initialize(&mut engine, 0)?;
    term::say(Paint::stderr().dim(format!("training on {}", engine::describe(engine.device()))));
    let (batch, seq) = (shape.batch() as usize, shape.seq as usize);
    // A token more than rows: each row predicts the next token, and all of them are trained on.
    let tokens = tokens(model.config().vocab as u32, seq + 1);
    let trained = vec![true; seq + 1];
    let sequences = vec![Sequence { tokens: &tokens, trained: &trained }; batch];
    let mut steps = Vec::new();
    // The first step warms caches up and does not count.
    for repetition in 0..=repetitions {
        engine.take_seconds();
        let start = Instant::now();
        step(&mut engine, &sequences)?;
        if repetition > 0 {
            steps.push(start.elapsed().as_secs_f64());
        }
        if listen.pressed() {
            return Err(CliError::interrupted());
        }
    }
    let plans = engine.take_seconds().into_iter().filter(|(_, s)| *s > 0.0).collect();
    engine.executor_mut().profile(true);
    step(&mut engine, &sequences)?;
    let ops = engine.executor_mut().op_times()?;
    let (planned, recompute, rows) = (engine.layout().total(), engine.spec().recompute, batch * seq);
    let work = step_work(engine.program(), engine.plans(), Load::of(batch as u64, seq as u64));
    let device = engine.device().clone();
    // Taken before what follows allocates anything.
    let peak = term::peak_memory();
    drop(engine);
    let prefill = prefill(model, options, &tokens[..seq], repetitions)? * batch as f64;
    let rate = matmul_rate(model, options)?;
    Ok(Report { device, rows, recompute, full, steps, prefill, plans, ops, planned, peak, work, rate })
}

/// One step of the optimizer over the sequences.
fn step(engine: &mut Engine, sequences: &[Sequence<'_>]) -> Result<(), TrainError> {
    let targets: usize = sequences.iter().map(Sequence::targets).sum();
    engine.clear()?;
    engine.gradient(sequences, &vec![-1.0 / targets.max(1) as f32; targets], 0)?;
    engine.norm()?;
    let scalars = Scalars {
        rate: 1e-5,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        decay: 0.0,
        scale: 1.0,
        correct1: 0.1,
        correct2: 1e-3,
    };
    engine.update(scalars)
}

/// Seconds of the fastest prefill of one sequence, without adapters.
fn prefill(model: &Model, options: &SessionOptions, tokens: &[u32], repetitions: u32) -> CliResult<f64> {
    let options = SessionOptions { ctx: Some(tokens.len() + 1), budget: None, ..options.clone() };
    let mut session: Session = engine::boot(model, &options)?;
    let mut best = f64::INFINITY;
    for _ in 0..=repetitions {
        session.reset();
        let done =
            session.generate(tokens, SamplerParams::greedy(), 1, &mut |_| ControlFlow::Continue(()))?;
        best = best.min(done.first_token.as_secs_f64());
    }
    Ok(best)
}

/// Token ids without a meaning, the same in every run.
fn tokens(vocab: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % vocab).collect()
}

fn print(out: &mut dyn Write, model: &Model, shape: &TuneShapeArgs, r: &Report) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let rate = |seconds: f64| r.rows as f64 / seconds;
    let mean = r.steps.iter().sum::<f64>() / r.steps.len().max(1) as f64;
    writeln!(out, "{}", paint.bold(show::line(&model.config().name)))?;
    writeln!(
        out,
        "training step    {:8.1} tok/s  {:.3} s for {} rows (mean of {}: {mean:.3} s), {}, {} layers run again",
        rate(r.best()),
        r.best(),
        r.rows,
        r.steps.len(),
        if r.full { "all weights".to_owned() } else { format!("rank {}", shape.lora().rank) },
        r.recompute
    )?;
    writeln!(out, "prefill          {:8.1} tok/s  {:.3} s for the same rows", rate(r.prefill), r.prefill)?;
    writeln!(
        out,
        "ratio            {:8.2}        a step's time by the prefill's; the aim on a GPU is {AIM}",
        r.ratio()
    )?;
    writeln!(
        out,
        "arithmetic       {:8.1} GFLOP/s  {:.0}% of the {:.1} measured on this device (encoded {:.1}, f32 {:.1})",
        r.achieved(),
        r.achieved() * 100.0 / r.possible(),
        r.possible(),
        r.rate.encoded * 2.0 / 1e9,
        r.rate.plain * 2.0 / 1e9
    )?;
    writeln!(out, "planned          {:>10}", term::bytes(r.planned))?;
    if let Some(peak) = r.peak {
        writeln!(out, "peak memory      {:>10}    resident, mapped weights included", term::bytes(peak))?;
    }
    writeln!(out, "\n{}", paint.bold("time by plan, the last step"))?;
    let total: f64 = r.plans.iter().map(|p| p.1).sum();
    for (name, seconds) in &r.plans {
        writeln!(out, "  {name:14} {:5.1}%  {:9.2} ms", seconds * 100.0 / total.max(1e-12), seconds * 1e3)?;
    }
    writeln!(out, "\n{}", paint.bold("time by op, a step"))?;
    let total: f64 = r.ops.iter().map(|o| o.seconds).sum();
    for op in &r.ops {
        let (share, each) =
            (op.seconds * 100.0 / total.max(1e-12), op.seconds * 1e6 / op.calls.max(1) as f64);
        writeln!(out, "  {:16} {share:5.1}%  {each:9.1} us a call, {} calls", op.op, op.calls)?;
    }
    Ok(())
}

fn as_json(model: &Model, shape: &TuneShapeArgs, r: &Report) -> serde_json::Value {
    let ops = r.ops.iter().map(|o| json!({ "op": o.op, "calls": o.calls, "seconds": o.seconds }));
    let plans = r.plans.iter().map(|(name, seconds)| json!({ "plan": name, "seconds": seconds }));
    json!({
        "model": model.config().name,
        "file": model.path(),
        "device": { "name": r.device.name, "driver": r.device.driver, "why": r.device.why },
        "seq": shape.seq,
        "batch": shape.batch(),
        "full": r.full,
        "rank": shape.lora().rank,
        "layers_run_again": r.recompute,
        "rows": r.rows,
        "step_s": { "best": r.best(), "all": r.steps },
        "training_tok_s": r.rows as f64 / r.best(),
        "prefill_tok_s": r.rows as f64 / r.prefill,
        "step_by_prefill": r.ratio(),
        "step_multiply_adds": r.work,
        "gflop_s": r.achieved(),
        "matmul_gflop_s": { "encoded": r.rate.encoded * 2.0 / 1e9, "f32": r.rate.plain * 2.0 / 1e9 },
        "matmul_share": r.achieved() / r.possible(),
        "planned_bytes": r.planned,
        "peak_bytes": r.peak,
        "plans": plans.collect::<Vec<_>>(),
        "ops": ops.collect::<Vec<_>>(),
    })
}

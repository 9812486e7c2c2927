//! `ember bench --batches`: tokens a second, in all, of several sequences generated together.

use std::io::Write;

use serde_json::json;

use super::{BenchArgs, PROFILED, Speed, tokens};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::lora::{Loaded, in_words};
use crate::cli::progress::Bar;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::exec::OpTime;
use crate::model::Model;
use crate::session::{Request, Session, SessionOptions};
use crate::text::SamplerParams;

/// What was measured of one batch size.
struct Batch {
    sequences: usize,
    /// Tokens of all sequences.
    speed: Speed,
    /// Of [`PROFILED`] steps.
    ops: Vec<OpTime>,
}

/// Measures and prints all batch sizes of `args`, one session for all of them.
pub fn run(args: &BenchArgs, model: &Model, mut options: SessionOptions, adapters: &[Loaded]) -> CliResult {
    options.slots = args.batches.iter().max().map_or(1, |most| *most as usize);
    let needed = args.n_gen.max(PROFILED as u32) as usize + 2;
    options.ctx = Some(options.positions(model.config().train_ctx, needed).max(needed));
    let mut session = engine::boot_with(model, options, adapters)?;
    engine::announce(&session);
    let batches = measure(args, model, &mut session)?;
    let mut out = term::report(args.json);
    if args.json {
        writeln!(out, "{:#}", as_json(args, &session, &batches))?;
    } else {
        print(&mut out, args, &session, &batches)?;
    }
    Ok(())
}

fn measure(args: &BenchArgs, model: &Model, session: &mut Session) -> CliResult<Vec<Batch>> {
    let listen = Listen::new();
    let vocab = model.config().vocab as u32;
    let new = |n: &u32| Batch { sequences: *n as usize, speed: Speed::default(), ops: Vec::new() };
    let mut batches: Vec<Batch> = args.batches.iter().map(new).collect();
    let mut bar = Bar::phase("measuring", u64::from(args.repetitions) + 1);
    // Sizes take turns, so that what else the machine does falls on all of them. The first round warms caches up.
    for repetition in 0..=args.repetitions {
        bar.item(u64::from(repetition), "");
        for batch in &mut batches {
            let speed = generate(session, vocab, batch.sequences, args.n_gen as usize, args.sampled)?;
            if repetition > 0 {
                batch.speed.0.push(speed);
            }
            if listen.pressed() {
                bar.clear();
                return Err(CliError::interrupted());
            }
        }
    }
    bar.clear();
    for batch in &mut batches {
        // Less what the prompts and the first tokens take.
        let prompts = profiled(args, session, vocab, batch.sequences, 1)?;
        batch.ops = profiled(args, session, vocab, batch.sequences, 1 + steps(args))?;
        for op in &mut batch.ops {
            for before in prompts.iter().filter(|before| before.op == op.op) {
                op.calls -= before.calls.min(op.calls);
                op.seconds -= before.seconds.min(op.seconds);
            }
        }
    }
    Ok(batches)
}

/// Steps of the run that times each op.
fn steps(args: &BenchArgs) -> usize {
    PROFILED.min(args.n_gen as usize)
}

fn profiled(
    args: &BenchArgs,
    session: &mut Session,
    vocab: u32,
    sequences: usize,
    limit: usize,
) -> CliResult<Vec<OpTime>> {
    session.executor_mut().profile(true);
    generate(session, vocab, sequences, limit, args.sampled)?;
    let ops = session.executor_mut().op_times()?;
    session.executor_mut().profile(false);
    Ok(ops)
}

/// Tokens a second of all sequences together, from each one's first token on.
fn generate(
    session: &mut Session,
    vocab: u32,
    sequences: usize,
    limit: usize,
    sampled: bool,
) -> CliResult<f64> {
    let all = tokens(vocab, sequences);
    let sampler = if sampled { SamplerParams::default() } else { SamplerParams::greedy() };
    let prompts: Vec<Request<'_>> = all.chunks(1).map(|prompt| Request::new(prompt, sampler)).collect();
    session.reset();
    let made = session.write(&prompts, limit)?;
    let tokens: usize = made.iter().map(|g| g.tokens.len().saturating_sub(1)).sum();
    let seconds = made.iter().map(|g| g.decode.as_secs_f64()).fold(0.0, f64::max);
    Ok(tokens as f64 / seconds)
}

/// Speed of a batch by that of the first one in the list.
fn gain(batch: &Batch, batches: &[Batch]) -> f64 {
    batches.first().map_or(1.0, |first| batch.speed.best() / first.speed.best())
}

fn print(out: &mut dyn Write, args: &BenchArgs, session: &Session, batches: &[Batch]) -> std::io::Result<()> {
    let paint = Paint::stdout();
    writeln!(out, "{}", paint.bold(show::line(&session.model().config().name)))?;
    writeln!(out, "generating {} tokens each, best (mean) of {}", args.n_gen, args.repetitions)?;
    writeln!(out, "{:>9} {:>18} {:>12} {:>6}", "sequences", "tok/s in all", "tok/s each", "gain")?;
    for b in batches {
        let (best, each) = (b.speed.best(), b.speed.best() / b.sequences as f64);
        let all = format!("{best:.1} ({:.1})", b.speed.mean());
        writeln!(out, "{:>9} {all:>18} {each:>12.1} {:>6.2}", b.sequences, gain(b, batches))?;
    }
    writeln!(out, "\n{}", paint.bold("time by op, us a step"))?;
    let names: Vec<&str> =
        batches.iter().max_by_key(|b| b.ops.len()).map_or(vec![], |b| b.ops.iter().map(|o| o.op).collect());
    write!(out, "{:>12}", "sequences")?;
    batches.iter().try_for_each(|b| write!(out, " {:>9}", b.sequences))?;
    writeln!(out)?;
    for name in names {
        write!(out, "{name:>12}")?;
        for b in batches {
            write!(out, " {:>9.0}", 1e6 * seconds(b, name) / steps(args) as f64)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn seconds(batch: &Batch, op: &str) -> f64 {
    batch.ops.iter().filter(|o| o.op == op).map(|o| o.seconds).sum()
}

fn as_json(args: &BenchArgs, session: &Session, batches: &[Batch]) -> serde_json::Value {
    let device = session.executor().device();
    let batch = |b: &Batch| {
        let ops = b.ops.iter().map(|o| json!({ "op": o.op, "calls": o.calls, "seconds": o.seconds }));
        json!({
            "sequences": b.sequences,
            "tok_s": { "best": b.speed.best(), "mean": b.speed.mean(), "all": b.speed.0 },
            "gain": gain(b, batches),
            "ops": ops.collect::<Vec<_>>(),
        })
    };
    json!({
        "model": session.model().config().name,
        "file": session.model().path(),
        "adapters": in_words(session.adapters()),
        "device": { "name": device.name, "driver": device.driver, "why": device.why },
        "n_gen": args.n_gen,
        "sampled": args.sampled,
        "planned_bytes": session.layout().total(),
        "batches": batches.iter().map(batch).collect::<Vec<_>>(),
    })
}

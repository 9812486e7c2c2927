//! `ember bench`: how fast a model runs here, and how close that is to what the memory gives.

mod batch;

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use clap::Args;
use serde_json::json;

use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, session_options};
use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::interrupt::Listen;
use crate::cli::lora::{LoraArgs, in_words};
use crate::cli::progress::Bar;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::tune::{self, args::TuneShapeArgs};
use crate::exec::OpTime;
use crate::model::{KvType, Model};
use crate::session::{Generated, Modes, Session};
use crate::text::SamplerParams;

/// Tokens of the run that times each op.
const PROFILED: usize = 16;

/// Measure speed and memory
///
/// Prompt and generation speed, the bytes that generation reads per second and their share of the bandwidth
/// measured on the same device in the same run, load time, time to first token, peak memory, and time by op.
#[derive(Args, Clone, Debug)]
#[command(
    mut_group("TuneShapeArgs", |g| g.requires("tune")),
    mut_group("LoraShapeArgs", |g| g.requires("tune")),
    mut_group("MemoryArgs", |g| g.requires("tune")),
    mut_arg("seq", |a| a.default_value("512")),
    mut_arg("rank", |a| a.default_value("8")),
    mut_arg("batch", |a| a.default_value("1")),
    after_help = "Examples:\n  ember bench\n  ember bench -m qwen3-0.6b -p 512 -n 128 -r 5 --json\n  ember bench --device cpu -t 4\n  ember bench -d 4096 -p 64 -n 32\n  ember bench --batches 1,2,4,8\n  ember bench --tune --seq 512 --rank 8"
)]
pub struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt
    #[arg(short = 'p', long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    n_prompt: u32,
    /// Tokens to generate
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..))]
    n_gen: u32,
    /// Tokens that are in the KV cache before: what a long conversation or document makes of both speeds
    #[arg(short = 'd', long, value_name = "N", default_value_t = 0, conflicts_with_all = ["batches", "tune"])]
    n_depth: u32,
    /// Repetitions; the best and the mean are shown
    #[arg(short = 'r', long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Measure sequences generated together instead: so many at once, sizes separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=8), conflicts_with_all = ["n_prompt", "tune"])]
    batches: Vec<u32>,
    /// With --batches: draw tokens as `ember run` does by default, instead of taking the likeliest
    #[arg(long, requires = "batches")]
    sampled: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Measure training steps of one sequence instead, against the prefill of the same tokens
    #[arg(long, conflicts_with_all = ["n_prompt", "n_gen", "ctx_size"])]
    tune: bool,
    /// Of all weights instead of an adapter
    #[arg(long, requires = "tune")]
    full: bool,
    #[command(flatten)]
    shape: TuneShapeArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Repeated measurements of one speed.
#[derive(Clone, Debug, Default)]
struct Speed(Vec<f64>);

impl Speed {
    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    fn best(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }
}

/// All that was measured.
struct Report {
    load: f64,
    first_token: f64,
    prompt: Speed,
    generation: Speed,
    /// Bytes read for one token at the middle of the generation.
    bytes_per_token: u64,
    bandwidth: Option<f64>,
    ops: Vec<OpTime>,
    peak: Option<u64>,
}

/// Runs the command.
pub fn run(args: &BenchArgs) -> CliResult {
    let path = engine::find(&args.model)?;
    let start = Instant::now();
    let model = engine::open_file(&path)?;
    let adapters = args.lora.load(&model)?;
    let mut options = session_options(&args.device, &args.context, Modes::GENERATE);
    if args.tune {
        return tune::bench::run(&model, (&args.shape, args.full), &options, args.repetitions, args.json);
    }
    if !args.batches.is_empty() {
        return batch::run(args, &model, options, &adapters);
    }
    let needed = args.n_depth as usize + args.n_prompt.max(args.n_gen + 1) as usize + 1;
    options.ctx = Some(options.positions(model.config().train_ctx, needed).max(needed));
    let kv = options.kv;
    let mut session = engine::boot_with(&model, options, &adapters)?;
    let load = start.elapsed().as_secs_f64();
    engine::announce(&session);
    let report = measure(args, &model, &mut session, load, kv)?;
    let mut out = term::report(args.json);
    if args.json {
        writeln!(out, "{:#}", as_json(args, &session, &report))?;
    } else {
        print(&mut out, args, &session, &report)?;
    }
    Ok(())
}

fn measure(
    args: &BenchArgs,
    model: &Model,
    session: &mut Session,
    load: f64,
    kv: KvType,
) -> CliResult<Report> {
    let listen = Listen::new();
    let (depth, n_prompt, n_gen) = (args.n_depth as usize, args.n_prompt as usize, args.n_gen as usize);
    let mut bar = Bar::phase("measuring", u64::from(args.repetitions) + 1);
    let (mut prompt, mut generation, mut first_token) = (Speed::default(), Speed::default(), f64::INFINITY);
    let vocab = model.config().vocab as u32;
    // The first repetition warms caches up and does not count.
    for repetition in 0..=args.repetitions {
        bar.item(u64::from(repetition), "");
        let read = generate(session, &tokens(vocab, depth + n_prompt), depth, 1)?;
        let made = generate(session, &tokens(vocab, depth + 1), depth, n_gen)?;
        if listen.pressed() {
            bar.clear();
            return Err(crate::cli::error::CliError::interrupted());
        }
        if repetition > 0 {
            prompt.0.push(read.computed as f64 / read.first_token.as_secs_f64());
            generation.0.push((made.tokens.len() - 1) as f64 / made.decode.as_secs_f64());
            first_token = first_token.min(read.first_token.as_secs_f64());
        }
    }
    bar.clear();
    let ops = profiled(session, &tokens(vocab, depth + 1), depth, PROFILED.min(n_gen))?;
    let bytes_per_token = bytes_per_token(model, kv, depth + n_gen / 2) + adapter_bytes(session);
    // Taken before the bandwidth's own buffers.
    let peak = term::peak_memory();
    let bandwidth = session.executor_mut().bandwidth()?;
    Ok(Report { load, first_token, prompt, generation, bytes_per_token, bandwidth, ops, peak })
}

/// Generates behind a prompt of which `depth` tokens are in the cache already.
fn generate(session: &mut Session, prompt: &[u32], depth: usize, limit: usize) -> CliResult<Generated> {
    fill(session, &prompt[..depth])?;
    Ok(session.generate(prompt, SamplerParams::greedy(), limit, &mut |_| ControlFlow::Continue(()))?)
}

/// Puts tokens into the empty cache, or cuts back to them what it has.
fn fill(session: &mut Session, tokens: &[u32]) -> CliResult {
    if tokens.is_empty() {
        session.reset();
        return Ok(());
    }
    session.generate(tokens, SamplerParams::greedy(), 1, &mut |_| ControlFlow::Continue(()))?;
    Ok(())
}

/// How long each op takes behind such a prompt.
fn profiled(session: &mut Session, prompt: &[u32], depth: usize, limit: usize) -> CliResult<Vec<OpTime>> {
    fill(session, &prompt[..depth])?;
    session.executor_mut().profile(true);
    session.generate(prompt, SamplerParams::greedy(), limit, &mut |_| ControlFlow::Continue(()))?;
    let ops = session.executor_mut().op_times()?;
    session.executor_mut().profile(false);
    Ok(ops)
}

/// Token ids without a meaning, the same in every run.
fn tokens(vocab: u32, count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) % vocab).collect()
}

/// Weights and cached keys and values that decoding at position `pos` reads.
fn bytes_per_token(model: &Model, kv: KvType, pos: usize) -> u64 {
    let gguf = model.gguf();
    // A separate embedding is only looked up, a row a token.
    let untied = gguf.tensor("output.weight").is_some();
    let read = |name: &str| !(untied && name == "token_embd.weight");
    let weights: u64 = gguf.tensors.iter().filter(|t| read(&t.name)).map(|t| t.bytes).sum();
    let config = model.config();
    let element = match kv {
        KvType::Block16 => 2,
        KvType::F32 => 4,
    };
    let positions: usize =
        config.windows().map(|window| if window == 0 { pos } else { pos.min(window) }).sum();
    weights + (positions * config.kv_width() * 2 * element) as u64
}

/// Bytes of the adapters' factors.
fn adapter_bytes(session: &Session) -> u64 {
    let program = session.executor().program();
    let bytes = |id| program.capacity_rows(id) as u64 * program.get(id).width as u64 * 4;
    program.trained.iter().map(|&id| bytes(id)).sum()
}

fn gigabytes_per_second(report: &Report) -> f64 {
    report.bytes_per_token as f64 * report.generation.best() / 1e9
}

fn print(out: &mut dyn Write, args: &BenchArgs, session: &Session, report: &Report) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let speed = |s: &Speed| format!("{:8.1} tok/s  (mean of {}: {:.1})", s.best(), s.0.len(), s.mean());
    writeln!(out, "{}", paint.bold(show::line(&session.model().config().name)))?;
    if args.n_depth > 0 {
        writeln!(out, "behind {:>6} tokens", args.n_depth)?;
    }
    writeln!(out, "prompt {:>6}     {}", args.n_prompt, speed(&report.prompt))?;
    writeln!(out, "generation {:>4}  {}", args.n_gen, speed(&report.generation))?;
    let effective = gigabytes_per_second(report);
    let share = match report.bandwidth {
        Some(b) => format!("{:.0}% of the {b:.1} GB/s measured on this device", effective * 100.0 / b),
        None => "this device's bandwidth cannot be measured".into(),
    };
    writeln!(out, "reads            {effective:8.1} GB/s   {share}")?;
    writeln!(out, "load             {:8.2} s", report.load)?;
    writeln!(out, "first token      {:8.2} s      of a prompt of {}", report.first_token, args.n_prompt)?;
    writeln!(out, "planned          {:>10}", term::bytes(session.layout().total()))?;
    if let Some(peak) = report.peak {
        writeln!(out, "peak memory      {:>10}    resident, mapped weights included", term::bytes(peak))?;
    }
    writeln!(out, "\n{}", paint.bold("time by op, generating"))?;
    let total: f64 = report.ops.iter().map(|o| o.seconds).sum();
    for op in &report.ops {
        let (share, each) =
            (op.seconds * 100.0 / total.max(1e-12), op.seconds * 1e6 / op.calls.max(1) as f64);
        writeln!(out, "  {:12} {share:5.1}%  {each:9.1} us a call, {} calls", op.op, op.calls)?;
    }
    Ok(())
}

fn as_json(args: &BenchArgs, session: &Session, report: &Report) -> serde_json::Value {
    let device = session.executor().device();
    let speed = |s: &Speed| json!({ "best": s.best(), "mean": s.mean(), "all": s.0 });
    let ops = report.ops.iter().map(|o| json!({ "op": o.op, "calls": o.calls, "seconds": o.seconds }));
    let effective = gigabytes_per_second(report);
    json!({
        "model": session.model().config().name,
        "file": session.model().path(),
        "adapters": in_words(session.adapters()),
        "device": { "name": device.name, "driver": device.driver, "why": device.why },
        "n_prompt": args.n_prompt,
        "n_gen": args.n_gen,
        "n_depth": args.n_depth,
        "prompt_tok_s": speed(&report.prompt),
        "generation_tok_s": speed(&report.generation),
        "bytes_per_token": report.bytes_per_token,
        "effective_gb_s": effective,
        "bandwidth_gb_s": report.bandwidth,
        "bandwidth_share": report.bandwidth.map(|b| effective / b),
        "load_s": report.load,
        "first_token_s": report.first_token,
        "planned_bytes": session.layout().total(),
        "peak_bytes": report.peak,
        "ops": ops.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_in_the_vocabulary() {
        assert!(tokens(100, 1000).into_iter().all(|t| t < 100));
        assert_eq!(tokens(100, 5), tokens(100, 5));
    }

    #[test]
    fn speeds_are_summed_up() {
        let speed = Speed(vec![1.0, 3.0]);
        assert_eq!((speed.mean(), speed.best()), (2.0, 3.0));
    }
}

//! `ember plan`: the memory map, drawn like a linker's, before anything is allocated.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::{self, LoraArgs};
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::plan::{Objective, TuneStep};
use crate::cli::tune::plan_data::Sizes;
use crate::model::Model;
use crate::plan::{DType, Layout, Placement, Program, SegmentKind, TensorId};
use crate::session::{self, Modes};

/// Largest items listed.
const LISTED: usize = 12;

/// Draw the memory map
///
/// Shows what booting would allocate, to the byte, without allocating it. With --budget a map that is too large is
/// refused, naming the largest items and a setting that fits.
#[derive(Args, Clone, Debug)]
#[command(
    mut_group("TuneShapeArgs", |g| g.requires("tune")),
    mut_group("LoraShapeArgs", |g| g.requires("tune")),
    mut_group("MemoryArgs", |g| g.requires("tune")),
    mut_group("LoraArgs", |g| g.conflicts_with("tune")),
    after_help = "Examples:\n  ember plan -c 8192\n  ember plan -m qwen3-0.6b --budget 1G\n  ember plan --tensors --device cpu\n  ember plan --tune sft --seq 512 --batch 1 --rank 8 --budget 1GiB\n  ember plan --tune sft --data my.jsonl\n  ember plan --tune ppo --seq 256\n  ember plan --tune pretrain --batch 1 --seq 512"
)]
pub struct PlanArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The map of a training step with this objective, instead of that of generating
    #[arg(long, value_name = "OBJECTIVE", value_enum, num_args = 0..=1, default_missing_value = "sft", conflicts_with_all = ["ctx_size", "kv"])]
    tune: Option<Objective>,
    /// With --tune: for these data, with their longest rows, instead of the longest that --seq allows
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "tune")]
    data: Vec<PathBuf>,
    /// Of all weights instead of an adapter
    #[arg(long, requires = "tune")]
    full: bool,
    /// Every tensor with its place
    #[arg(long)]
    tensors: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    shape: TuneShapeArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub fn run(args: &PlanArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let adapters = args.lora.load(&model)?;
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let options = lora::with_room(options, &adapters);
    let profile = session::device_profile(&options)?;
    let at = |e: CliError| e.at(model.path().display());
    let mut out = std::io::BufWriter::new(term::report(args.json));
    if let Some(objective) = args.tune {
        let mut options = objective.engine(&args.shape, &model, options, args.full);
        let data = match args.data.is_empty() {
            true => None,
            false => Some(Sizes::of(objective, &args.data, &model, &args.shape)?),
        };
        options = data.map_or(options.clone(), |sizes| sizes.put(objective, options));
        let step =
            TuneStep::draw(&model, &options, profile).map_err(|e| at(objective.advice(e, args.shape.seq)))?;
        let about = step.about(&model, &args.shape, data);
        let json = step.as_json(&args.shape, data);
        show(&mut out, args, &model, &step.program, &step.layout, &about, Some(json))?;
    } else {
        let (program, layout) = session::plan_memory(&model, &options, profile).map_err(|e| at(e.into()))?;
        let (slots, ctx) = program.inputs.map_or((0, 0), |i| (i.slots, i.ctx));
        engine::warn_of_context(&model, ctx);
        let about = format!("{slots} sequence(s) of {ctx} positions");
        show(&mut out, args, &model, &program, &layout, &about, None)?;
    }
    out.flush()?;
    Ok(())
}

fn show(
    out: &mut dyn Write,
    args: &PlanArgs,
    model: &Model,
    program: &Program,
    layout: &Layout,
    about: &str,
    extra: Option<serde_json::Value>,
) -> std::io::Result<()> {
    if args.json {
        let mut map = as_json(program, layout);
        if let Some(extra) = extra {
            map["tune"] = extra;
        }
        return writeln!(out, "{map:#}");
    }
    heading(out, model, layout, about)?;
    segments(out, layout)?;
    largest(out, program, layout)?;
    plans(out, program)?;
    if args.tensors { tensors(out, program, layout) } else { Ok(()) }
}

fn heading(out: &mut dyn Write, model: &Model, layout: &Layout, about: &str) -> std::io::Result<()> {
    let config = model.config();
    let where_ = if layout.profile.mapped_weights { "CPU" } else { "GPU" };
    writeln!(
        out,
        "{} ({}, {} layers of width {}, {} weights) on the {where_}\n{about}\n",
        Paint::stdout().bold(show::line(&config.name)),
        config.arch.name,
        config.layers.len(),
        config.width,
        term::grouped(model.parameters()),
    )
}

fn segments(out: &mut dyn Write, layout: &Layout) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let total = layout.total();
    let width = term::width().saturating_sub(46).clamp(10, 50);
    let mut address = 0u64;
    writeln!(out, "{}", paint.bold("address       segment            bytes      size"))?;
    for segment in &layout.segments {
        let bytes = segment.bytes();
        if bytes == 0 {
            continue;
        }
        let bar = paint.cyan(bar(bytes, total, width));
        writeln!(
            out,
            "{address:#012x}  {:9} {:>14} {:>9}  {bar}",
            segment.kind.name(),
            term::grouped(bytes),
            term::bytes(bytes)
        )?;
        address += bytes;
    }
    writeln!(
        out,
        "{address:#012x}  {} {:>14} {:>9}",
        paint.bold("total    "),
        term::grouped(total),
        term::bytes(total)
    )?;
    if layout.mapped > 0 {
        let mapped = term::grouped(layout.mapped);
        writeln!(
            out,
            "{:12}  mapped    {mapped:>14} {:>9}  stays in the file",
            "",
            term::bytes(layout.mapped)
        )?;
    }
    Ok(())
}

/// A bar of eighths of a character.
fn bar(part: u64, whole: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part as f64 / whole.max(1) as f64 * width as f64 * 8.0).round().max(1.0) as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn largest(out: &mut dyn Write, program: &Program, layout: &Layout) -> std::io::Result<()> {
    writeln!(out, "\n{}", Paint::stdout().bold("largest items"))?;
    let total = layout.total().max(1);
    for item in layout.demands(program).iter().take(LISTED) {
        let share = item.bytes as f64 * 100.0 / total as f64;
        writeln!(out, "  {:>9}  {share:5.1}%  {}", term::bytes(item.bytes), show::line(&item.name))?;
    }
    Ok(())
}

fn plans(out: &mut dyn Write, program: &Program) -> std::io::Result<()> {
    writeln!(out, "\n{}", Paint::stdout().bold("plans"))?;
    for plan in &program.plans {
        let (calls, tokens, outputs) = (plan.calls.len(), plan.tokens, plan.outputs);
        writeln!(out, "  {:14} {calls:>5} calls, {tokens} token rows, {outputs} output rows", plan.name)?;
    }
    Ok(())
}

/// Tensors that have a place, by segment, buffer and offset.
fn placed(program: &Program, layout: &Layout) -> Vec<(TensorId, Placement)> {
    let ids = (0..program.tensors.len() as u32).map(TensorId);
    let mut all: Vec<_> = ids.filter_map(|id| Some((id, layout.placement(id)?))).collect();
    all.sort_by_key(|(id, p)| (p.segment, p.buffer, program.get(*id).plan, p.offset, *id));
    all
}

fn tensors(out: &mut dyn Write, program: &Program, layout: &Layout) -> std::io::Result<()> {
    let paint = Paint::stdout();
    let mut segment: Option<(SegmentKind, usize)> = None;
    for (id, place) in placed(program, layout) {
        if segment != Some((place.segment, place.buffer)) {
            segment = Some((place.segment, place.buffer));
            writeln!(out, "\n{}", paint.bold(format!("{} {}", place.segment.name(), place.buffer)))?;
        }
        let tensor = program.get(id);
        let (rows, width) = (program.capacity_rows(id), tensor.width);
        writeln!(
            out,
            "  {:#010x} {:>13}  {:7} {rows} x {width}  {}",
            place.offset,
            term::grouped(place.bytes),
            dtype(tensor.dtype),
            show::line(&tensor.name)
        )?;
    }
    Ok(())
}

fn dtype(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::Block16 => "block16",
        DType::U32 => "u32",
        DType::Matrix(format) => format.name(),
    }
}

fn as_json(program: &Program, layout: &Layout) -> serde_json::Value {
    let segments = layout
        .segments
        .iter()
        .map(|s| json!({ "name": s.kind.name(), "bytes": s.bytes(), "buffers": s.buffers }));
    let tensors = placed(program, layout).into_iter().map(|(id, place)| {
        let tensor = program.get(id);
        json!({
            "name": tensor.name,
            "type": dtype(tensor.dtype),
            "rows": program.capacity_rows(id),
            "width": tensor.width,
            "segment": place.segment.name(),
            "buffer": place.buffer,
            "offset": place.offset,
            "bytes": place.bytes,
        })
    });
    let largest = layout.demands(program).into_iter().map(|d| json!({ "name": d.name, "bytes": d.bytes }));
    json!({
        "total": layout.total(),
        "mapped": layout.mapped,
        "segments": segments.collect::<Vec<_>>(),
        "largest": largest.collect::<Vec<_>>(),
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::bar;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1, 2, 10), "█████");
        assert_eq!(bar(1, 1, 10).chars().count(), 10);
        assert_eq!(bar(0, 100, 10), "▏", "what is there is seen");
    }
}

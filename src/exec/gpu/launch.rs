//! From an op call to dispatches: which shader variant, which constants, how many workgroups.

mod training;

use super::kernels::{KERNELS, Kernel, Recipe};
use crate::exec::{DeviceKind, ExecError};
use crate::ops::{Accepts, Op, params};
use crate::plan::{DType, Load, OpCall, Plan, Program, Step, TensorId};

/// What suits a kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuning {
    /// Many lanes, fast workgroup memory.
    Hardware,
    /// A CPU that runs shaders eight lanes at a time: reads that all lanes share are dear, registers cheap.
    Software,
}

impl Tuning {
    /// The tuning of a kind of device.
    pub fn of(kind: DeviceKind) -> Self {
        if kind == DeviceKind::Software { Tuning::Software } else { Tuning::Hardware }
    }
}

/// Workgroups of one entry point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Grid {
    /// First dimension.
    pub x: u32,
    /// Active rows that one workgroup of the second dimension takes.
    pub rows_each: u32,
    /// Third dimension.
    pub z: u32,
}

/// When a variant may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// In every step.
    Always,
    /// With at most so many active rows.
    UpTo(usize),
    /// If all token rows are of one slot.
    OneSlot,
}

impl When {
    /// Whether it may run in a step with so many active rows.
    pub fn holds(self, active: usize, step: &Step) -> bool {
        match self {
            When::Always => true,
            When::UpTo(most) => active <= most,
            When::OneSlot => step.rows.windows(2).all(|w| w[0].slot == w[1].slot),
        }
    }
}

/// One way to run a call.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Shader and constants.
    pub recipe: Recipe,
    /// One per entry point.
    pub grids: Vec<Grid>,
    /// When.
    pub when: When,
}

/// Multiply-adds of a call per active row, roughly: what submissions are sized by.
pub fn work(program: &Program, plan: &Plan, call: &OpCall) -> u64 {
    let cost = (call.def().cost)(call, &Load::most(program, plan));
    let rows = (call.def().over)(call).capacity(plan).max(1) as u64;
    ((cost.products + cost.other) / rows).max(4096)
}

/// The ways to run a call, best first; the last may always run. `capacity`: most active rows; `features`: what
/// kernels may require.
pub fn choices(
    program: &Program,
    call: &OpCall,
    capacity: usize,
    tuning: Tuning,
    features: wgpu::Features,
) -> Result<Vec<Choice>, ExecError> {
    let maker = Maker { call, weight: weight_stem(program, call), kv: kv_stem(program, call) };
    let one = |x: usize| maker.plain("base", x, 1, 1);
    Ok(match Op::of(call) {
        Op::Embed => vec![one(1)?],
        Op::RmsNorm => vec![one(call.params.get::<params::rms_norm::Params>().groups as usize)?],
        Op::Linear => linear(&maker, capacity, tuning, features)?,
        Op::Rope => vec![one((call.params.get::<params::rope::Params>().heads as usize).div_ceil(4))?],
        Op::KvWrite => vec![one(lanes(call.params.get::<params::kv_write::Params>().width))?],
        Op::KvCopy => vec![one(lanes(call.params.get::<params::kv_copy::Params>().width))?],
        Op::Gate => vec![one(lanes(call.params.get::<params::gate::Params>().width))?],
        Op::Add => vec![one(lanes(call.params.get::<params::add::Params>().width))?],
        Op::Softcap => vec![one(columns(call.params.get::<params::softcap::Params>().width))?],
        Op::Gather => vec![one(lanes(call.params.get::<params::gather::Params>().width))?],
        Op::Attention => attention(&maker, capacity, tuning, features)?,
        Op::LogProb | Op::Sample | Op::LogProbBack | Op::Divergence => vec![one(1)?],
        _ => training::choices(&maker, tuning)?,
    })
}

/// Workgroups of 64 lanes with an element each.
fn columns(width: u32) -> usize {
    (width as usize).div_ceil(64)
}

/// Workgroups of 64 lanes with four elements each.
fn lanes(width: u32) -> usize {
    (width as usize).div_ceil(256)
}

fn weight_stem(program: &Program, call: &OpCall) -> Option<&'static str> {
    call.args.iter().flatten().find_map(|id| match program.get(*id).dtype {
        DType::Matrix(format) => Some(format.stem()),
        _ => None,
    })
}

fn kv_stem(program: &Program, call: &OpCall) -> Option<&'static str> {
    let cache = call.def().args.iter().zip(&call.args).find(|(arg, _)| arg.accepts == Accepts::Cache);
    let id: Option<TensorId> = cache.and_then(|(_, id)| *id);
    id.map(|id| if program.get(id).dtype == DType::Block16 { "block16" } else { "f32" })
}

struct Maker<'a> {
    call: &'a OpCall,
    weight: Option<&'static str>,
    kv: Option<&'static str>,
}

impl Maker<'_> {
    fn plain(&self, variant: &str, x: usize, rows_each: u32, z: u32) -> Result<Choice, ExecError> {
        let kernel = Kernel::find(self.call.def().stem, variant, self.weight, self.kv)?;
        let grid = Grid { x: x as u32, rows_each, z };
        Ok(Choice { recipe: Recipe { kernel, constants: vec![] }, grids: vec![grid], when: When::Always })
    }

    /// Whether a variant can run with these features.
    fn can_run(&self, variant: &str, features: wgpu::Features) -> bool {
        let found = Kernel::find(self.call.def().stem, variant, self.weight, self.kv);
        found.is_ok_and(|kernel| KERNELS[kernel].runs_with(features))
    }

    /// The baseline matrix product: `rows` rows of w and `tokens` of x a lane, the columns cut into `slices`.
    fn product(&self, rows: u32, tokens: u32, slices: u32) -> Result<Choice, ExecError> {
        let p: params::linear::Params = self.call.params.get();
        let mut choice = self.plain("base", p.out.div_ceil(32 * rows) as usize, tokens, 1)?;
        choice.recipe.constants = vec![("ROWS", rows), ("TOKENS", tokens), ("SLICES", slices)];
        choice.when = When::UpTo(tokens as usize);
        Ok(choice)
    }
}

fn linear(
    maker: &Maker<'_>,
    capacity: usize,
    tuning: Tuning,
    features: wgpu::Features,
) -> Result<Vec<Choice>, ExecError> {
    let out = maker.call.params.get::<params::linear::Params>().out as usize;
    let most = capacity.next_power_of_two().min(8) as u32;
    let (rows, slices) = match tuning {
        Tuning::Hardware => (1, 8),
        // As many rows of w as share the dear reads of x.
        Tuning::Software => (if most == 8 && capacity <= 8 { 8 } else { 4 }, 1),
    };
    // Eight rows of x, and any number, where lanes can hand each other what they read.
    let eight = tuning == Tuning::Software && most == 8 && maker.can_run("eight", features);
    let mut all = Vec::new();
    // Few rows of x: as many sizes as the capacity asks for, smallest first.
    for tokens in [1, 2, 4, 8].into_iter().filter(|t| *t == most || (*t == 1 && capacity > 8)) {
        if !(eight && tokens == 8) {
            all.push(maker.product(rows, tokens, slices)?);
        }
    }
    if eight {
        all.push(maker.plain("eight", out.div_ceil(64), 8, 1)?);
    } else if capacity > 8 {
        all.push(match tuning {
            Tuning::Hardware => maker.plain("tiled", out.div_ceil(64), 64, 1)?,
            Tuning::Software => maker.product(8, 8, 1)?,
        });
    }
    if let Some(last) = all.last_mut() {
        last.when = When::Always;
    }
    Ok(all)
}

/// Rows of a tile of prefill attention, and its widest head.
const ATTENTION_TILE: (usize, u32) = (32, 128);

fn attention(
    maker: &Maker<'_>,
    capacity: usize,
    tuning: Tuning,
    features: wgpu::Features,
) -> Result<Vec<Choice>, ExecError> {
    let p: params::attention::Params = maker.call.params.get();
    let heads = p.heads as usize;
    if maker.call.args[5].is_some() {
        let mut split = maker.plain("split", heads, 1, p.splits)?;
        split.grids.push(Grid { x: p.heads, rows_each: 1, z: 1 });
        return Ok(vec![split]);
    }
    let mut all = Vec::new();
    let (tile, widest) = ATTENTION_TILE;
    let fits = p.head_dim.is_multiple_of(32) && p.head_dim <= widest && capacity >= tile;
    if fits && tuning == Tuning::Hardware {
        let mut tiled = maker.plain("tiled", heads, tile as u32, 1)?;
        tiled.recipe.constants = vec![("CHUNKS", p.head_dim / 32)];
        tiled.when = When::OneSlot;
        all.push(tiled);
    }
    let whole = p.head_dim.is_multiple_of(32) && p.head_dim <= 256;
    if whole && tuning == Tuning::Software && maker.can_run("eight", features) {
        let mut eight = maker.plain("eight", heads, 1, 1)?;
        eight.recipe.constants = vec![("PARTS", p.head_dim / 32)];
        return Ok(vec![eight]);
    }
    all.push(maker.plain("base", heads, 1, 1)?);
    Ok(all)
}

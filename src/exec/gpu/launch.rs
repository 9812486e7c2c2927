//! From an op call to dispatches: which shader variant, which constants, how many workgroups.

use super::candidates::{Candidate, Expression, Tuning};
use super::kernels::{KERNELS, Recipe};
use crate::exec::ExecError;
use crate::plan::{Accepts, DType, Load, OpCall, Plan, Program, Step};

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
    fn of(candidate: &Candidate, capacity: usize) -> Self {
        match candidate.rows {
            Some(rows) if (rows as usize) < capacity => When::UpTo(rows as usize),
            _ if candidate.one_slot => When::OneSlot,
            _ => When::Always,
        }
    }

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
///
/// # Errors
/// [`ExecError::Internal`] if the shaders' headers leave a step without a way.
pub fn choices(
    program: &Program,
    call: &OpCall,
    capacity: usize,
    tuning: Tuning,
    features: wgpu::Features,
) -> Result<Vec<Choice>, ExecError> {
    let (weights, kv) = (weight_stems(program, call), kv_stem(program, call));
    let stem = call.def().stem;
    let fits = KERNELS.iter().enumerate().filter(|(_, k)| k.fits(stem, weights, kv) && k.runs_with(features));
    let each = fits.flat_map(|(kernel, k)| k.candidates.iter().map(move |candidate| (kernel, candidate)));
    let mut all: Vec<(usize, &Candidate)> =
        each.filter(|(_, candidate)| candidate.suits(call, capacity, tuning)).collect();
    all.sort_by_key(|(_, candidate)| candidate.order);
    let mut choices = Vec::new();
    for (kernel, candidate) in all {
        let when = When::of(candidate, capacity);
        choices.push(choice(call, kernel, candidate, when));
        if when == When::Always {
            return Ok(choices);
        }
    }
    Err(ExecError::Internal(format!("{}: no way to run {stem} {weights:?} {kv:?} in every step", call.label)))
}

fn choice(call: &OpCall, kernel: usize, candidate: &Candidate, when: When) -> Choice {
    let constants = candidate.constants.iter().map(|(name, value)| (*name, value.of(call))).collect();
    let grid = |(x, rows_each, z): &(Expression, u32, Expression)| Grid {
        x: x.of(call),
        rows_each: *rows_each,
        z: z.of(call),
    };
    Choice { recipe: Recipe { kernel, constants }, grids: candidate.grids.iter().map(grid).collect(), when }
}

fn weight_stems(program: &Program, call: &OpCall) -> [Option<&'static str>; 2] {
    let mut stems = call.args().iter().flatten().filter_map(|id| match program.get(*id).dtype {
        DType::Matrix(format) => Some(format.stem()),
        _ => None,
    });
    [stems.next(), stems.next()]
}

fn kv_stem(program: &Program, call: &OpCall) -> Option<&'static str> {
    let cache = call.def().args.iter().zip(call.args()).find(|(arg, _)| arg.accepts == Accepts::Cache);
    let id = cache.and_then(|(_, id)| *id);
    id.map(|id| if program.get(id).dtype == DType::Block16 { "block16" } else { "f32" })
}

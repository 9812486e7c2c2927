//! From an op call to dispatches: which shader variant, which constants, how many workgroups.

use std::collections::BTreeSet;

use super::candidates::{Candidate, Expression, Term, Tuning};
use super::kernels::{KERNELS, Kernel, Recipe};
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

/// A candidate, by its places in the table of kernels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CandidateId {
    /// Index into [`KERNELS`].
    pub kernel: usize,
    /// Which of its candidates.
    pub candidate: usize,
}

impl CandidateId {
    /// For people: `linear.tiled.q4_1`, and which of its candidates where it has several, `linear.q4_1#3 TOKENS=4`.
    pub fn name(self) -> String {
        let Some(kernel) = KERNELS.get(self.kernel) else { return String::new() };
        let mut name = kernel.name();
        if let (true, Some(candidate)) = (kernel.candidates.len() > 1, kernel.candidates.get(self.candidate))
        {
            name += &format!("#{}", self.candidate + 1);
            for (constant, value) in candidate.constants {
                if let Term::Number(number) = value.term {
                    name += &format!(" {constant}={number}");
                }
            }
        }
        name
    }
}

/// Which candidates a device may be given.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// What suits it.
    pub tuning: Tuning,
    /// What kernels may require.
    pub features: wgpu::Features,
    /// Those that it gets wrong.
    pub wrong: BTreeSet<CandidateId>,
}

/// One way to run a call.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Which candidate it is.
    pub id: CandidateId,
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

/// The ways to run a call, best first; the last may always run. `capacity`: most active rows. Where the device gets some wrong,
/// those for other kinds of devices come behind the rest.
///
/// # Errors
/// [`ExecError::Wrong`] if only such are left, [`ExecError::Internal`] if the shaders' headers leave a step without a way.
pub fn choices(
    program: &Program,
    call: &OpCall,
    capacity: usize,
    allowed: &Allowed,
) -> Result<Vec<Choice>, ExecError> {
    let (weights, kv) = (weight_stems(program, call), kv_stem(program, call));
    let stem = call.def().stem;
    let fits = |k: &Kernel| k.fits(stem, weights, kv) && k.runs_with(allowed.features);
    let each = KERNELS.iter().enumerate().filter(|(_, k)| fits(k)).flat_map(|(kernel, k)| {
        let id = move |candidate| CandidateId { kernel, candidate };
        k.candidates.iter().enumerate().map(move |(at, candidate)| (id(at), candidate))
    });
    let each: Vec<(CandidateId, &Candidate)> = each.collect();
    let suiting = |tuning: Tuning| {
        let suits = |(_, candidate): &&(CandidateId, &Candidate)| candidate.suits(call, capacity, tuning);
        let mut all: Vec<(CandidateId, &Candidate)> = each.iter().filter(suits).copied().collect();
        all.sort_by_key(|(_, candidate)| candidate.order);
        all
    };
    let mut all = suiting(allowed.tuning);
    let wrong: Vec<String> =
        all.iter().filter(|(id, _)| allowed.wrong.contains(id)).map(|(id, _)| id.name()).collect();
    if !wrong.is_empty() {
        all.extend(suiting(allowed.tuning.other()));
    }
    let mut choices = Vec::new();
    for (id, candidate) in all.into_iter().filter(|(id, _)| !allowed.wrong.contains(id)) {
        let when = When::of(candidate, capacity);
        choices.push(choice(call, id, candidate, when));
        if when == When::Always {
            return Ok(choices);
        }
    }
    if !wrong.is_empty() {
        return Err(ExecError::Wrong(wrong.join(", ")));
    }
    Err(ExecError::Internal(format!("{}: no way to run {stem} {weights:?} {kv:?} in every step", call.label)))
}

fn choice(call: &OpCall, id: CandidateId, candidate: &Candidate, when: When) -> Choice {
    let constants = candidate.constants.iter().map(|(name, value)| (*name, value.of(call))).collect();
    let grid = |(x, rows_each, z): &(Expression, u32, Expression)| Grid {
        x: x.of(call),
        rows_each: *rows_each,
        z: z.of(call),
    };
    let recipe = Recipe { kernel: id.kernel, constants };
    Choice { id, recipe, grids: candidate.grids.iter().map(grid).collect(), when }
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

//! From an op call to dispatches: which shader variant, which constants, how many workgroups.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::candidates::{Candidate, Expression, Tuning};
use super::id::CandidateId;
use super::kernels::{KERNELS, Kernel, Recipe};
use super::kind::{Kind, kv_stem, weight_stems};
use super::order::{Way, When, arranged};
use super::preferences::Preferences;
use crate::exec::ExecError;
use crate::plan::{Load, OpCall, Plan, Program};

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

/// Which candidates a device may be given.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// What suits it.
    pub tuning: Tuning,
    /// What kernels may require.
    pub features: wgpu::Features,
    /// Those that it gets wrong.
    pub wrong: BTreeSet<CandidateId>,
    /// How long they take, as far as that was measured.
    pub preferences: Arc<Preferences>,
}

impl Allowed {
    /// What suits a device, nothing of which is known.
    pub fn new(tuning: Tuning, features: wgpu::Features) -> Self {
        Self { tuning, features, wrong: BTreeSet::new(), preferences: Arc::default() }
    }

    /// The same, as the shaders' headers have it.
    pub fn unmeasured(&self) -> Self {
        Self { preferences: Arc::default(), ..self.clone() }
    }
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
/// those for other kinds of devices come behind the rest; where it was measured, the order follows from that.
///
/// # Errors
/// [`ExecError::Wrong`] if only such are left, [`ExecError::Internal`] if the shaders' headers leave a step without a way.
pub fn choices(
    program: &Program,
    call: &OpCall,
    capacity: usize,
    allowed: &Allowed,
) -> Result<Vec<Choice>, ExecError> {
    let each = fitting(program, call, allowed.features);
    let mut list = by_headers(program, call, capacity, allowed, &each)?;
    if !allowed.preferences.0.is_empty() {
        let timings = allowed.preferences.of(&Kind::of(program, call, capacity));
        let all: Vec<Way> = ways(call, capacity, allowed, &each);
        list = arranged(&list, &all, capacity, timings);
    }
    Ok(list.into_iter().filter_map(|(id, when)| choice(call, id, when)).collect())
}

/// Every way to run a call, whatever kind of device it is for, but those that the device gets wrong, by their places in the
/// table.
pub fn all_ways(program: &Program, call: &OpCall, capacity: usize, allowed: &Allowed) -> Vec<Choice> {
    let all = ways(call, capacity, allowed, &fitting(program, call, allowed.features));
    all.into_iter().filter_map(|(id, when)| choice(call, id, when)).collect()
}

type Fitting = (CandidateId, &'static Candidate);

/// The candidates of the kernels that compute a call's op with its formats on a device with these features.
fn fitting(program: &Program, call: &OpCall, features: wgpu::Features) -> Vec<Fitting> {
    let (stem, weights, kv) = (call.def().stem, weight_stems(program, call), kv_stem(program, call));
    let fits = |k: &Kernel| k.fits(stem, weights, kv) && k.runs_with(features);
    let each = KERNELS.iter().enumerate().filter(|(_, k)| fits(k)).flat_map(|(kernel, k)| {
        let id = move |candidate| CandidateId { kernel, candidate };
        k.candidates.iter().enumerate().map(move |(at, candidate)| (id(at), candidate))
    });
    each.collect()
}

fn ways(call: &OpCall, capacity: usize, allowed: &Allowed, each: &[Fitting]) -> Vec<Way> {
    let suits = |candidate: &Candidate| {
        [Tuning::Hardware, Tuning::Software].iter().any(|tuning| candidate.suits(call, capacity, *tuning))
    };
    let right = each.iter().filter(|(id, candidate)| suits(candidate) && !allowed.wrong.contains(id));
    right.map(|(id, candidate)| (*id, When::of(candidate, capacity))).collect()
}

/// The ways as the headers have them.
fn by_headers(
    program: &Program,
    call: &OpCall,
    capacity: usize,
    allowed: &Allowed,
    each: &[Fitting],
) -> Result<Vec<Way>, ExecError> {
    let suiting = |tuning: Tuning| {
        let suits = |(_, candidate): &&Fitting| candidate.suits(call, capacity, tuning);
        let mut all: Vec<Fitting> = each.iter().filter(suits).copied().collect();
        all.sort_by_key(|(_, candidate)| candidate.order);
        all
    };
    let mut all = suiting(allowed.tuning);
    let wrong: Vec<String> =
        all.iter().filter(|(id, _)| allowed.wrong.contains(id)).map(|(id, _)| id.name()).collect();
    if !wrong.is_empty() {
        all.extend(suiting(allowed.tuning.other()));
    }
    let mut list = Vec::new();
    for (id, candidate) in all.into_iter().filter(|(id, _)| !allowed.wrong.contains(id)) {
        let when = When::of(candidate, capacity);
        list.push((id, when));
        if when == When::ALWAYS {
            return Ok(list);
        }
    }
    if !wrong.is_empty() {
        return Err(ExecError::Wrong(wrong.join(", ")));
    }
    let (stem, weights, kv) = (call.def().stem, weight_stems(program, call), kv_stem(program, call));
    Err(ExecError::Internal(format!("{}: no way to run {stem} {weights:?} {kv:?} in every step", call.label)))
}

/// A candidate as a call takes it; `None` for one that is not in the table.
fn choice(call: &OpCall, id: CandidateId, when: When) -> Option<Choice> {
    let candidate = KERNELS.get(id.kernel)?.candidates.get(id.candidate)?;
    let constants = candidate.constants.iter().map(|(name, value)| (*name, value.of(call))).collect();
    let grid = |(x, rows_each, z): &(Expression, u32, Expression)| Grid {
        x: x.of(call),
        rows_each: *rows_each,
        z: z.of(call),
    };
    let recipe = Recipe { kernel: id.kernel, constants };
    Some(Choice { id, recipe, grids: candidate.grids.iter().map(grid).collect(), when })
}

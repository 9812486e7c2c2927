//! Calls made ready at boot: pipelines compiled, parameters uploaded, bind groups built.

use std::collections::{HashMap, HashSet};

use super::arena::Arena;
use super::bound::{Bound, bound};
use super::device::Device;
use super::id::CandidateId;
use super::kernels::{Compiled, KERNELS, Recipe, compile};
use super::launch::{Allowed, Choice, Grid, choices, work};
use super::order::When;
use crate::exec::ExecError;
use crate::ops::Op;
use crate::plan::{OpCall, Over, Plan, PlanId, Program, SegmentKind, Step};

/// A call as the device runs it.
pub struct Call {
    /// The op.
    pub op: Op,
    /// Multiply-adds per active row.
    work: u64,
    over: Over,
    ways: Vec<Way>,
}

struct Way {
    id: CandidateId,
    when: When,
    grids: Vec<Grid>,
    compiled: Compiled,
    bind_group: wgpu::BindGroup,
}

impl Call {
    /// Active rows of a step.
    pub fn active(&self, step: &Step) -> usize {
        self.over.rows(step)
    }

    /// Multiply-adds of a step.
    pub fn load(&self, step: &Step) -> f64 {
        self.work as f64 * self.active(step) as f64
    }

    /// How a step is run; `None` if it has no active rows.
    fn way(&self, step: &Step) -> Option<&Way> {
        let active = self.active(step);
        self.ways.iter().find(|w| w.when.holds(active, step)).filter(|_| active > 0)
    }

    /// The candidate that a step runs on, if it runs at all.
    pub fn candidate(&self, step: &Step) -> Option<CandidateId> {
        self.way(step).map(|way| way.id)
    }

    /// Records the dispatches of one step; nothing for a step without active rows.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>, step: &Step) {
        let Some(way) = self.way(step) else { return };
        let active = self.active(step);
        pass.set_bind_group(0, &way.bind_group, &[]);
        for (pipeline, grid) in way.compiled.pipelines.iter().zip(&way.grids) {
            pass.set_pipeline(pipeline);
            pass.dispatch_workgroups(grid.x, (active as u32).div_ceil(grid.rows_each), grid.z);
        }
    }
}

/// How each call of each plan is run.
///
/// # Errors
/// Those of [`choices`].
pub fn chosen(program: &Program, allowed: &Allowed) -> Result<Vec<Vec<Vec<Choice>>>, ExecError> {
    let of_plan = |plan: &Plan| {
        let capacity = |call: &OpCall| (call.def().over)(call).capacity(plan);
        plan.calls.iter().map(|call| choices(program, call, capacity(call), allowed)).collect()
    };
    program.plans.iter().map(of_plan).collect()
}

/// Makes all calls of all plans ready.
pub fn prepare(
    device: &Device,
    arena: &Arena,
    program: &Program,
    allowed: &Allowed,
    checked: bool,
) -> Result<Vec<Vec<Call>>, ExecError> {
    let chosen = chosen(program, allowed)?;
    let compiled = compile(device, &distinct(&chosen), checked)?;
    upload_params(device, arena, program)?;
    let mut plans = Vec::new();
    for (index, calls) in chosen.into_iter().enumerate() {
        let plan = PlanId(index as u32);
        let ready =
            |(at, ways): (usize, Vec<Choice>)| make(device, arena, program, plan, at, ways, &compiled);
        plans.push(calls.into_iter().enumerate().map(ready).collect::<Result<_, _>>()?);
    }
    Ok(plans)
}

/// Makes each way to run the calls of a plan, which are of one kind, ready by itself, to be run whatever the step: by way, by
/// call.
///
/// # Errors
/// Those of compiling and binding.
pub fn each_way(
    device: &Device,
    arena: &Arena,
    program: &Program,
    plan: PlanId,
    ways: &[Choice],
    checked: bool,
) -> Result<Vec<Vec<Call>>, ExecError> {
    let recipes: Vec<Recipe> = ways.iter().map(|way| way.recipe.clone()).collect();
    let compiled = compile(device, &recipes, checked)?;
    upload_params(device, arena, program)?;
    let alone = |way: &Choice| {
        let way = Choice { when: When::ALWAYS, ..way.clone() };
        let calls = 0..program.plans[plan.index()].calls.len();
        calls.map(|at| make(device, arena, program, plan, at, vec![way.clone()], &compiled)).collect()
    };
    ways.iter().map(alone).collect()
}

/// Each recipe once, in the order of first use.
fn distinct(chosen: &[Vec<Vec<Choice>>]) -> Vec<Recipe> {
    let mut seen = HashSet::new();
    let all = chosen.iter().flatten().flatten().map(|c| &c.recipe);
    all.filter(|r| seen.insert(*r)).cloned().collect()
}

fn upload_params(device: &Device, arena: &Arena, program: &Program) -> Result<(), ExecError> {
    let Some(buffer) = arena.buffers(SegmentKind::Params).first() else { return Ok(()) };
    let mut bytes = vec![0u8; buffer.size() as usize];
    for (index, plan) in program.plans.iter().enumerate() {
        for (at, call) in plan.calls.iter().enumerate() {
            let offset = arena.layout().params_offset(program, PlanId(index as u32), at) as usize;
            let params = call.words().bytes();
            bytes[offset..offset + params.len()].copy_from_slice(params);
        }
    }
    device.guarded(|| device.queue.write_buffer(buffer, 0, &bytes))
}

fn make(
    device: &Device,
    arena: &Arena,
    program: &Program,
    plan: PlanId,
    at: usize,
    ways: Vec<Choice>,
    compiled: &HashMap<Recipe, Compiled>,
) -> Result<Call, ExecError> {
    let call = &program.plans[plan.index()].calls[at];
    let mut ready = Vec::new();
    for choice in ways {
        let missing = || ExecError::Internal(format!("{}: its shader was not compiled", call.label));
        let compiled = compiled.get(&choice.recipe).ok_or_else(missing)?.clone();
        let bound = bound(program, arena.layout(), plan, at, &KERNELS[choice.recipe.kernel])?;
        let bind_group = bind_group(device, arena, &call.label, &bound, &compiled)?;
        ready.push(Way { id: choice.id, when: choice.when, grids: choice.grids, compiled, bind_group });
    }
    Ok(Call {
        op: Op::of(call),
        work: work(program, &program.plans[plan.index()], call),
        over: (call.def().over)(call),
        ways: ready,
    })
}

/// Binds what a call has to what its shader asks for.
fn bind_group(
    device: &Device,
    arena: &Arena,
    label: &str,
    bound: &[Bound],
    compiled: &Compiled,
) -> Result<wgpu::BindGroup, ExecError> {
    let mut entries = Vec::new();
    for b in bound {
        entries.push(wgpu::BindGroupEntry { binding: b.index, resource: arena.binding(b.place)? });
    }
    let descriptor =
        wgpu::BindGroupDescriptor { label: Some(label), layout: &compiled.layout, entries: &entries };
    device.guarded(|| device.device.create_bind_group(&descriptor)).map_err(|e| match e {
        ExecError::Device(why) => ExecError::Device(format!("{label}: {why}")),
        other => other,
    })
}

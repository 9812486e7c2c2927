//! What there is to measure of a program: each kind of call that can be run in more than one way.

use std::collections::BTreeSet;

use crate::exec::ExecError;
use crate::exec::gpu::id::CandidateId;
use crate::exec::gpu::kind::Kind;
use crate::exec::gpu::launch::{Allowed, Choice, all_ways, choices};
use crate::plan::{OpCall, Out, Over, Plan, PlanId, Program, Row, Step};

/// Plans of at most so many rows are run with any number of them.
const FEW: usize = 8;
/// Positions that a row sees, as far as there are so many.
const DEPTH: usize = 512;

/// A number of active rows, and the ways to run them.
#[derive(Clone, Debug)]
pub struct Point {
    /// Active rows.
    pub rows: usize,
    /// Two ways or more; first the one that runs without measuring.
    pub ways: Vec<Choice>,
}

/// A kind of call to be measured, by the first call of it.
#[derive(Clone, Debug)]
pub struct Trial<'a> {
    /// The kind.
    pub kind: Kind,
    /// The program.
    pub program: &'a Program,
    /// The call's plan.
    pub plan: PlanId,
    /// Its place there.
    pub at: usize,
    /// From the fewest rows on.
    pub points: Vec<Point>,
}

impl Trial<'_> {
    /// Its plan.
    pub fn plan(&self) -> &Plan {
        &self.program.plans[self.plan.index()]
    }

    /// Its call.
    pub fn call(&self) -> &OpCall {
        &self.plan().calls[self.at]
    }

    /// All candidates that it is about.
    pub fn candidates(&self) -> BTreeSet<CandidateId> {
        self.points.iter().flat_map(|point| &point.ways).map(|way| way.id).collect()
    }

    /// The same without what came out as wrong; `None` if then nothing is left to be measured.
    ///
    /// # Errors
    /// Those of [`choices`].
    pub fn without_wrong(&self, allowed: &Allowed) -> Result<Option<Self>, ExecError> {
        let points = points(self.program, self.plan(), self.call(), allowed)?;
        Ok((!points.is_empty()).then(|| Self { points, ..self.clone() }))
    }

    /// A step with so many active rows, all of one slot, the last at a depth of [`DEPTH`] positions.
    pub fn step(&self, rows: usize) -> Step {
        let plan = self.plan();
        let (tokens, outputs) = match (self.call().def().over)(self.call()) {
            Over::Tokens => (rows, plan.outputs.min(rows)),
            Over::Outputs => (plan.tokens.min(rows), rows),
            Over::One => (plan.tokens, plan.outputs),
        };
        let ctx = if plan.packed { plan.tokens } else { self.program.inputs.map_or(1, |inputs| inputs.ctx) };
        let first = if plan.packed { 0 } else { DEPTH.min(ctx).saturating_sub(tokens) };
        let row = |t: usize| Row { slot: 0, pos: (first + t).min(ctx.max(1) - 1) as u32, first: 0, token: 0 };
        let out = |o: usize| Out { row: o.min(tokens.max(1) - 1) as u32, ..Out::default() };
        Step {
            rows: (0..tokens).map(row).collect(),
            outs: (0..outputs).map(out).collect(),
            ..Step::default()
        }
    }
}

/// The kinds of calls of a program that can be run in more than one way, in its order.
///
/// # Errors
/// Those of [`choices`].
pub fn trials<'a>(program: &'a Program, allowed: &Allowed) -> Result<Vec<Trial<'a>>, ExecError> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    for (index, plan) in program.plans.iter().enumerate() {
        for (at, call) in plan.calls.iter().enumerate() {
            let kind = Kind::of(program, call, (call.def().over)(call).capacity(plan));
            if !seen.insert(kind.clone()) {
                continue;
            }
            let points = points(program, plan, call, allowed)?;
            if !points.is_empty() {
                all.push(Trial { kind, program, plan: PlanId(index as u32), at, points });
            }
        }
    }
    Ok(all)
}

/// The numbers of rows that matter: one and all of a plan of few rows, all of a prompt's.
fn points(program: &Program, plan: &Plan, call: &OpCall, allowed: &Allowed) -> Result<Vec<Point>, ExecError> {
    let capacity = (call.def().over)(call).capacity(plan);
    let rows = if (2..=FEW).contains(&capacity) { vec![1, capacity] } else { vec![capacity] };
    let (default, all) = (
        choices(program, call, capacity, &allowed.unmeasured())?,
        all_ways(program, call, capacity, allowed),
    );
    let point = |rows: usize| {
        let mut ways: Vec<Choice> = Vec::new();
        for way in default.iter().chain(&all).filter(|way| way.when.reaches(rows)) {
            // Lines of headers for different devices may say the same.
            if !ways.iter().any(|other| other.recipe == way.recipe && other.grids == way.grids) {
                ways.push(way.clone());
            }
        }
        Point { rows, ways }
    };
    Ok(rows.into_iter().filter(|rows| *rows > 0).map(point).filter(|point| point.ways.len() > 1).collect())
}

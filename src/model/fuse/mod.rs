//! Steps that are one: the plans of an inference program, written as all plans are, are rewritten by rules, each of which puts
//! ops that follow each other into one op. What an op is given, such as a LoRA product's input, is never fused away: a rule
//! applies only where nothing else looks at what is between its steps.

mod gate;
mod heads;
mod norm;
mod products;

use crate::model::ModelError;
use crate::model::builder::Builder;
use crate::plan::{Call, DType, OpCall, Over, PlanId, Program, Role, Rows, Tensor, TensorId};

/// A rule.
pub(super) struct Rule {
    /// Plans of at most so many token rows: beyond, the single steps are faster.
    most_rows: usize,
    /// Applies it wherever it can be.
    apply: fn(&mut Rewrite<'_>) -> Result<(), ModelError>,
}

/// Rows of a plan that decodes one sequence. Of several rows norms are a small part of the work, and products take more of them
/// at a time than those that norm as they read.
const ONE: usize = 1;

/// All rules, in this order: what one makes, the next may take.
const RULES: [Rule; 5] = [
    Rule { most_rows: usize::MAX, apply: heads::norm_rope_and_cache },
    Rule { most_rows: ONE, apply: gate::norm_products_and_gate },
    Rule { most_rows: usize::MAX, apply: products::joined },
    Rule { most_rows: ONE, apply: norm::norm_and_products },
    Rule { most_rows: usize::MAX, apply: norm::norm_and_residual },
];

/// Rewrites the open plan.
pub(super) fn rewrite(b: &mut Builder<'_>) -> Result<(), ModelError> {
    let rows = b.program.plans[b.plan.index()].tokens;
    let (plan, step) = (b.plan, b.rows);
    for rule in RULES.iter().filter(|rule| rows <= rule.most_rows) {
        (rule.apply)(&mut Rewrite { program: &mut b.program, plan, step })?;
    }
    Ok(())
}

/// A plan that is being rewritten.
pub(super) struct Rewrite<'a> {
    program: &'a mut Program,
    plan: PlanId,
    /// Step rows.
    step: TensorId,
}

impl Rewrite<'_> {
    fn calls(&self) -> &[OpCall] {
        &self.program.plans[self.plan.index()].calls
    }

    /// The call at a place, if it is of this op.
    fn get<C: Call>(&self, at: usize) -> Option<C> {
        self.calls()[at].get()
    }

    /// Places of the calls of one op.
    fn all<C: Call>(&self) -> Vec<(usize, C)> {
        self.calls().iter().enumerate().filter_map(|(at, call)| Some((at, call.get()?))).collect()
    }

    /// Places of the calls that have a tensor among their arguments.
    fn uses(&self, id: TensorId) -> Vec<usize> {
        let uses = |(at, call): (usize, &OpCall)| call.args().contains(&Some(id)).then_some(at);
        self.calls().iter().enumerate().filter_map(uses).collect()
    }

    /// Whether a tensor is an activation that only these calls see.
    fn seen_by(&self, id: TensorId, places: &[usize]) -> bool {
        let fetched = self.program.plans[self.plan.index()].fetch == Some(id);
        let own = self.program.get(id).role == Role::Activation;
        own && !fetched && self.uses(id).iter().all(|at| places.contains(at))
    }

    /// The call that writes a tensor, if it is of this op and no other one writes it.
    fn maker<C: Call>(&self, id: TensorId) -> Option<(usize, C)> {
        let writes = |at: &usize| {
            let call = &self.calls()[*at];
            let mut args = call.def().args.iter().zip(call.args());
            args.any(|(arg, of)| arg.written() && *of == Some(id))
        };
        let mut makers = self.uses(id).into_iter().filter(writes);
        let at = makers.next().filter(|_| makers.next().is_none())?;
        Some((at, self.get(at)?))
    }

    /// An activation of the plan.
    fn activation(&mut self, label: &str, width: usize) -> Result<TensorId, ModelError> {
        let name = format!("{}: {label}", self.program.plans[self.plan.index()].name);
        let (dtype, rows, plan) = (DType::F32, Rows::each(Over::Tokens, 1), Some(self.plan));
        Ok(self.program.tensor(Tensor { name, dtype, rows, width, role: Role::Activation, plan })?)
    }

    /// Puts a call in the place of another.
    fn put<C: Call>(&mut self, at: usize, label: &str, call: C) -> Result<(), ModelError> {
        let call = OpCall::new(label, call);
        self.program.check(self.plan, &call)?;
        self.program.plans[self.plan.index()].calls[at] = call;
        Ok(())
    }

    /// Takes calls out.
    fn drop(&mut self, gone: &[usize]) {
        let mut at = 0;
        self.program.plans[self.plan.index()].calls.retain(|_| {
            at += 1;
            !gone.contains(&(at - 1))
        });
    }
}

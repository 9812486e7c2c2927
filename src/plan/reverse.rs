//! The reverse walk: from calls of a plan to the calls that turn gradients of their outputs into gradients of their inputs.

use std::collections::{HashMap, HashSet};

use crate::plan::{Call, DType, OpCall, Over, PlanError, PlanId, Program, Role, Rows, Tensor, TensorId};

/// Appends the gradient of calls to a plan. Each op's rule says what its inputs' gradients are made of; this keeps track of
/// which tensors have one, and of which ask for one.
pub struct Reverse<'a> {
    program: &'a mut Program,
    plan: PlanId,
    /// Gradients of activations: where they are.
    flows: HashMap<TensorId, TensorId>,
    /// Sums of gradients of trained tensors.
    sums: &'a HashMap<TensorId, TensorId>,
    /// Tensors that a trained tensor has gone into.
    wanted: HashSet<TensorId>,
    /// Label of the call that is being walked.
    of: String,
}

impl<'a> Reverse<'a> {
    /// A walk that appends to `plan`; `sums` has the gradient of every trained tensor, zero when a window of steps begins.
    pub fn new(program: &'a mut Program, plan: PlanId, sums: &'a HashMap<TensorId, TensorId>) -> Self {
        Self { program, plan, flows: HashMap::new(), sums, wanted: HashSet::new(), of: String::new() }
    }

    /// The gradient of `x` is `dx`, and is wanted.
    pub fn seed(&mut self, x: TensorId, dx: TensorId) {
        self.flows.insert(x, dx);
        self.wanted.insert(x);
    }

    /// Gradients of the inputs of calls that have been walked depend on `x`.
    pub fn want(&mut self, x: TensorId) {
        self.wanted.insert(x);
    }

    /// Walks over calls from the last to the first.
    ///
    /// # Errors
    /// [`PlanError`] if a gradient is needed through an op that has none.
    pub fn walk(&mut self, calls: &[OpCall]) -> Result<(), PlanError> {
        for call in calls {
            let def = call.def();
            let mut args = def.args.iter().zip(call.args()).filter_map(|(arg, id)| Some((arg, (*id)?)));
            if args.any(|(_, id)| self.wanted.contains(&id) || self.sums.contains_key(&id)) {
                let written = def.args.iter().zip(call.args()).filter(|(arg, _)| arg.written());
                self.wanted.extend(written.filter_map(|(_, id)| *id));
            }
        }
        for call in calls.iter().rev() {
            let def = call.def();
            let mut written =
                def.args.iter().zip(call.args()).filter(|(a, _)| a.written()).filter_map(|(_, i)| *i);
            if !written.any(|id| self.flows.contains_key(&id) && self.wanted.contains(&id)) {
                continue;
            }
            let rule = def.grad.ok_or_else(|| call.fails(format!("{} has no gradient", def.stem)))?;
            self.of.clone_from(&call.label);
            rule(self, call)?;
        }
        Ok(())
    }

    /// Where the gradient of an output is, if anything depends on it.
    pub fn gradient(&self, y: TensorId) -> Option<TensorId> {
        self.flows.get(&y).copied()
    }

    /// The sum that takes the gradient of a trained tensor.
    pub fn sum(&self, w: impl Into<Option<TensorId>>) -> Option<TensorId> {
        w.into().and_then(|w| self.sums.get(&w).copied())
    }

    /// Where the gradient of an input goes, and whether it is added to what is there; `None` if nobody wants it.
    ///
    /// # Errors
    /// [`PlanError`] if the tensor cannot be made.
    pub fn flow(&mut self, x: TensorId) -> Result<Option<(TensorId, bool)>, PlanError> {
        if !self.wanted.contains(&x) {
            return Ok(None);
        }
        if let Some(dx) = self.flows.get(&x) {
            return Ok(Some((*dx, true)));
        }
        let like = self.program.get(x).clone();
        // A tensor kept for this plan has the rows of the plan it came from.
        let tokens = self.program.plans[self.plan.index()].tokens;
        let rows = match like.rows.if_fixed() {
            Some(n) if tokens > 0 && n.is_multiple_of(tokens) => Rows::each(Over::Tokens, n / tokens),
            _ => like.rows,
        };
        let name = format!("{}: d {}", self.program.plans[self.plan.index()].name, like.name);
        let dx = Tensor { name, rows, role: Role::Activation, plan: Some(self.plan), ..like };
        let dx = self.program.tensor(dx)?;
        self.flows.insert(x, dx);
        Ok(Some((dx, false)))
    }

    /// Where the gradient of an input goes that no other call reads; `None` if nobody wants it.
    ///
    /// # Errors
    /// As [`Reverse::flow`], and if there is a gradient already.
    pub fn fresh(&mut self, x: TensorId) -> Result<Option<TensorId>, PlanError> {
        match self.flow(x)? {
            Some((_, true)) => Err(self.fails("its inputs must not be used elsewhere")),
            fresh => Ok(fresh.map(|(dx, _)| dx)),
        }
    }

    /// An error about the call that is being walked.
    pub fn fails(&self, why: &str) -> PlanError {
        PlanError::Call { call: self.of.clone(), why: why.into() }
    }

    /// The gradient of `x` is that of the output, `dy`, which nobody needs any more once this call has been walked.
    ///
    /// # Errors
    /// [`PlanError`] if `x` has a gradient of its own already.
    pub fn pass(&mut self, x: Option<TensorId>, dy: TensorId) -> Result<(), PlanError> {
        let Some(x) = x.filter(|x| self.wanted.contains(x)) else { return Ok(()) };
        match self.flows.insert(x, dy) {
            None => Ok(()),
            // Another piece of the same matrix was here before.
            Some(before) if before == dy => Ok(()),
            Some(_) => Err(self.fails("its residual's gradient must come first")),
        }
    }

    /// Appends a call of the gradient of the one that is being walked.
    ///
    /// # Errors
    /// As [`Program::append`].
    pub fn call<C: Call>(&mut self, call: C) -> Result<(), PlanError> {
        let call = OpCall::new(format!("{}.{}", self.of, C::op().def.stem), call);
        for id in call.args().iter().flatten() {
            self.program.keep(*id, self.plan);
        }
        self.program.append(self.plan, call)
    }

    /// A tensor of the plan, for what passes from one call of a gradient to the next.
    ///
    /// # Errors
    /// [`PlanError`] if the name is taken.
    pub fn scratch(&mut self, what: &str, rows: Rows, width: usize) -> Result<TensorId, PlanError> {
        let name = format!("{}: {}.{what}", self.program.plans[self.plan.index()].name, self.of);
        let (dtype, role) = (DType::F32, Role::Activation);
        self.program.tensor(Tensor { name, dtype, rows, width, role, plan: Some(self.plan) })
    }
}

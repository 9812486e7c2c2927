//! The program: the tensor table and the plans over it.

use std::collections::HashSet;

use crate::plan::{Access, DType, OpCall, Role, Rows, Shapes, Tensor, TensorId, VIEW_ALIGN};

/// Why a program could not be built: a bug in a model description or a shape that does not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// An argument's shape or type is not what the op takes.
    #[error("{call}: argument `{arg}` ({tensor}): {why}")]
    Argument {
        /// Label of the call.
        call: String,
        /// Argument name.
        arg: &'static str,
        /// Tensor name.
        tensor: String,
        /// What was wrong.
        why: String,
    },
    /// A required argument is missing, or there are too many.
    #[error("{call}: {why}")]
    Call {
        /// Label of the call.
        call: String,
        /// What was wrong.
        why: String,
    },
    /// A tensor name was used twice.
    #[error("tensor `{0}` is defined twice")]
    Duplicate(String),
}

/// Number of a plan in its program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlanId(pub u32);

impl PlanId {
    /// Index into [`Program::plans`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One mode's list of calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// `decode x1`, `prefill 64`.
    pub name: String,
    /// Capacity in token rows.
    pub tokens: usize,
    /// Capacity in output rows.
    pub outputs: usize,
    /// Calls in order.
    pub calls: Vec<OpCall>,
    /// The tensor the host fetches after a step, if any.
    pub fetch: Option<TensorId>,
    /// It has no KV cache: a row's position is its place in the step, where its keys and values are.
    pub packed: bool,
    /// Plans of one number hand tapes to each other; of those of another number nothing is needed in between.
    pub branch: u32,
}

impl Plan {
    fn empty(name: &str, tokens: usize, outputs: usize) -> Self {
        let name = name.into();
        Self { name, tokens, outputs, calls: vec![], fetch: None, packed: false, branch: 0 }
    }
}

/// Tensors and plans. Append-only while being built.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// All tensors; a [`TensorId`] is an index.
    pub tensors: Vec<Tensor>,
    /// All plans; a [`PlanId`] is an index.
    pub plans: Vec<Plan>,
    /// Step inputs shared by all plans: rows (1 + tokens, 4) and outs (outputs, 16).
    pub inputs: Option<Inputs>,
    /// What the host sets and the optimizer changes, named as in a file.
    pub trained: Vec<TensorId>,
    names: HashSet<String>,
}

/// What a cache that holds the window of its layer only has of a slot: positions in a ring, the newest over the oldest. Of
/// several such caches the least of each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    /// Positions per slot.
    pub length: usize,
    /// Positions that it holds beside the window of the next one: how far a sequence can be cut back.
    pub spare: usize,
}

impl Ring {
    /// Whether a sequence can go on from position `at` after `written` positions of its slot were written.
    pub fn reaches(self, at: usize, written: usize) -> bool {
        at == 0 || written <= self.length || written <= at + self.spare
    }
}

/// The step inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// Header and token rows, (1 + tokens, 4) words.
    pub rows: TensorId,
    /// Output rows, (outputs, 16) words.
    pub outs: TensorId,
    /// Numbers of an optimizer step, (1, 8) words; only where something is trained.
    pub scalars: Option<TensorId>,
    /// Slots of the KV cache.
    pub slots: usize,
    /// Positions per slot.
    pub ctx: usize,
    /// Vocabulary size.
    pub vocab: usize,
    /// Caches that hold less than `ctx` positions.
    pub ring: Option<Ring>,
}

impl Program {
    /// Adds a tensor; the name must be new.
    pub fn tensor(&mut self, tensor: Tensor) -> Result<TensorId, PlanError> {
        if !self.names.insert(tensor.name.clone()) {
            return Err(PlanError::Duplicate(tensor.name));
        }
        let id = TensorId(self.tensors.len() as u32);
        self.tensors.push(tensor);
        Ok(id)
    }

    /// The tensor's description.
    pub fn get(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// Capacity in rows of a tensor (a plan's own tensors use that plan's capacity).
    pub fn capacity_rows(&self, id: TensorId) -> usize {
        let tensor = self.get(id);
        let plan = tensor.plan.and_then(|p| self.plans.get(p.index()));
        // Shared tensors have fixed rows (checked by `append`).
        tensor.rows.if_fixed().or(plan.map(|plan| tensor.rows.capacity(plan))).unwrap_or(0)
    }

    /// Opens a plan over the KV cache.
    pub fn open_plan(&mut self, name: &str, tokens: usize, outputs: usize) -> PlanId {
        self.push_plan(Plan::empty(name, tokens, outputs))
    }

    /// Opens a plan without a KV cache, of a branch: see [`Plan::packed`] and [`Plan::branch`].
    pub fn open_packed_plan(&mut self, name: &str, tokens: usize, outputs: usize, branch: u32) -> PlanId {
        self.push_plan(Plan { packed: true, branch, ..Plan::empty(name, tokens, outputs) })
    }

    fn push_plan(&mut self, plan: Plan) -> PlanId {
        self.plans.push(plan);
        PlanId(self.plans.len() as u32 - 1)
    }

    /// Makes an activation of another plan outlive that plan's steps, because `plan` needs it.
    pub fn keep(&mut self, id: TensorId, plan: PlanId) {
        let rows = self.capacity_rows(id);
        let tensor = &mut self.tensors[id.index()];
        if let Some(of) = tensor.plan.filter(|p| *p != plan) {
            let branch = self.plans[of.index()].branch;
            (tensor.plan, tensor.role, tensor.rows) = (None, Role::Tape { branch }, Rows::fixed(rows));
        }
    }

    /// Drops calls of a plan whose results nobody reads: a layer that is run again for its gradient need not be
    /// finished.
    pub fn prune(&mut self, plan: PlanId) {
        let index = plan.index();
        let mut needed: HashSet<TensorId> = self.plans[index].fetch.into_iter().collect();
        let own = |tensor: &Tensor| tensor.plan == Some(plan) && tensor.role == Role::Activation;
        let mut kept = Vec::new();
        for call in std::mem::take(&mut self.plans[index].calls).into_iter().rev() {
            let args = call.def().args.iter().zip(call.args()).filter_map(|(arg, id)| Some((arg, (*id)?)));
            let live =
                args.clone().any(|(arg, id)| arg.written() && (needed.contains(&id) || !own(self.get(id))));
            if live {
                needed.extend(args.filter(|(arg, _)| arg.access != Access::Write).map(|(_, id)| id));
                kept.push(call);
            }
        }
        kept.reverse();
        self.plans[index].calls = kept;
    }

    /// A part of a shared tensor, from element `first` on.
    pub fn view(
        &mut self,
        name: &str,
        of: TensorId,
        first: usize,
        rows: usize,
        width: usize,
    ) -> Result<TensorId, PlanError> {
        let whole = self.get(of);
        let (dtype, held) = (whole.dtype, self.capacity_rows(of) * whole.width);
        if first + rows * width > held || !first.is_multiple_of(VIEW_ALIGN) {
            let why = format!("elements {first}.. of {held} cannot be a part of {rows} x {width}");
            return Err(PlanError::Call { call: name.into(), why });
        }
        let role = Role::View { of, first };
        self.tensor(Tensor { name: name.into(), dtype, rows: Rows::fixed(rows), width, role, plan: None })
    }

    /// Checks a call against its op and appends it.
    pub fn append(&mut self, plan: PlanId, call: OpCall) -> Result<(), PlanError> {
        self.check(plan, &call)?;
        self.plans[plan.index()].calls.push(call);
        Ok(())
    }

    /// Whether a call may stand in a plan: its arguments are there, of this plan, and what its op takes.
    ///
    /// # Errors
    /// [`PlanError`] that names the argument.
    pub fn check(&self, plan: PlanId, call: &OpCall) -> Result<(), PlanError> {
        let def = call.def();
        if call.args().len() != def.args.len() {
            return Err(call.fails(format!(
                "{} takes {} arguments, {} given",
                def.stem,
                def.args.len(),
                call.args().len()
            )));
        }
        for (arg, id) in def.args.iter().zip(call.args()) {
            let Some(id) = id else {
                if arg.optional {
                    continue;
                }
                return Err(call.fails(format!("argument `{}` is missing", arg.name)));
            };
            let tensor = self.get(*id);
            let foreign = tensor.plan.is_some_and(|p| p != plan);
            let unsized_shared = tensor.plan.is_none() && tensor.rows.if_fixed().is_none();
            let frozen = arg.written() && tensor.role.is_frozen();
            let why = if foreign {
                "belongs to another plan"
            } else if unsized_shared {
                "is shared but has no fixed rows"
            } else if frozen {
                "is written but is read-only"
            } else if !arg.accepts(tensor.dtype) {
                "has a type this op does not take"
            } else {
                continue;
            };
            return Err(PlanError::Argument {
                call: call.label.clone(),
                arg: arg.name,
                tensor: tensor.name.clone(),
                why: why.into(),
            });
        }
        (def.check)(&Shapes { program: self, call })
    }

    /// Convenience: a shared weight matrix or vector of the model file, called as there.
    pub fn weight(
        &mut self,
        name: &str,
        first_row: usize,
        rows: usize,
        width: usize,
        dtype: DType,
    ) -> Result<TensorId, PlanError> {
        let shard = if first_row == 0 { name.to_owned() } else { format!("{name}[{first_row}..]") };
        let role = Role::Weight { source: name.into(), first_row };
        self.tensor(Tensor { name: shard, dtype, rows: Rows::fixed(rows), width, role, plan: None })
    }
}

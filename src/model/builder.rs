//! What appends tensors and calls to a program: every file that describes a part of a model speaks to it.

use crate::model::options::{Branch, BuildOptions, Train};
use crate::model::{ModelConfig, ModelError};
use crate::plan::{
    Call, DType, Inputs, OpCall, Out, Over, PlanError, PlanId, Program, Role, Rows, Tensor, TensorId,
    VIEW_ALIGN, WeightSource,
};

/// A block of trained tensors that is being filled.
#[derive(Clone, Copy, Debug)]
pub struct OpenBlock {
    /// The tensor.
    pub id: TensorId,
    /// Elements taken.
    pub taken: usize,
    /// Whose it is.
    pub branch: usize,
    /// Matrices, which decay, or norms and biases, which do not.
    pub decays: bool,
}

/// Appends calls to the open plan.
pub struct Builder<'a> {
    /// The program being built.
    pub program: Program,
    /// The open plan.
    pub plan: PlanId,
    /// Numbers of the model.
    pub config: &'a ModelConfig,
    /// Shapes and formats of the weights.
    pub weights: &'a dyn WeightSource,
    /// Sizes and limits.
    pub options: &'a BuildOptions,
    /// Step rows.
    pub rows: TensorId,
    /// Step outputs.
    pub outs: TensorId,
    /// Token table (slots, ctx).
    pub table: TensorId,
    /// Blocks that hold what is trained.
    pub blocks: Vec<OpenBlock>,
    /// All branches.
    pub branches: Vec<Branch>,
    /// The one whose plans are being built, or whose tensors are declared.
    pub branch: usize,
    /// Most token rows of a step of the plans over the KV cache.
    pub together: usize,
    /// Plans that are opened have no KV cache: see [`Plan::packed`](crate::plan::Plan::packed).
    pub packed: bool,
    /// What labels of activations begin with, where a plan has a layer twice.
    pub part: &'static str,
    /// Weights that are declared are the trained model's own; otherwise they are frozen.
    pub own: bool,
    uses: u32,
}

impl<'a> Builder<'a> {
    /// A program with its step inputs and its token table; `tokens` and `outputs`: most rows of a step.
    pub fn new(
        config: &'a ModelConfig,
        weights: &'a dyn WeightSource,
        options: &'a BuildOptions,
        tokens: usize,
        outputs: usize,
    ) -> Result<Self, ModelError> {
        let mut program = Program::default();
        let input = |name: &str, rows, width| Tensor {
            name: name.into(),
            dtype: DType::U32,
            rows: Rows::fixed(rows),
            width,
            role: Role::Input,
            plan: None,
        };
        let rows = program.tensor(input("step.rows", 1 + tokens, 4))?;
        let outs = program.tensor(input("step.outs", outputs, size_of::<Out>() / 4))?;
        let scalars = match options.train {
            Train::Nothing => None,
            _ => Some(program.tensor(input("step.scalars", 1, 8))?),
        };
        let table = Tensor { role: Role::State, ..input("tokens", options.slots, options.ctx) };
        let table = program.tensor(table)?;
        let (slots, ctx, vocab) = (options.slots, options.ctx, config.vocab);
        program.inputs = Some(Inputs { rows, outs, scalars, slots, ctx, vocab, ring: None });
        let (plan, blocks, branches) = (PlanId(0), vec![], options.all_branches());
        let (branch, uses) = (0, 0);
        Ok(Self {
            program,
            plan,
            config,
            weights,
            options,
            rows,
            outs,
            table,
            blocks,
            branches,
            branch,
            together: tokens,
            packed: false,
            part: "",
            own: options.train == Train::All,
            uses,
        })
    }

    /// Opens a plan of the current branch; calls are appended to it from now on.
    pub fn open(&mut self, name: &str, tokens: usize, outputs: usize) -> PlanId {
        self.plan = match self.packed {
            true => self.program.open_packed_plan(name, tokens, outputs, self.branch as u32),
            false => self.program.open_plan(name, tokens, outputs),
        };
        self.plan
    }

    /// Does something as another branch.
    pub fn within<T>(&mut self, branch: usize, make: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.branch, branch);
        let made = make(self);
        self.branch = before;
        made
    }

    /// Branches whose adapters are added to the weights that are being declared: where the first model's own weights are
    /// trained, the others have frozen ones of the file.
    pub fn adapted(&self) -> std::ops::Range<usize> {
        match (self.options.train, self.own) {
            (Train::All, true) => 0..1,
            (Train::All, false) => 1..self.branches.len(),
            _ => 0..self.branches.len(),
        }
    }

    /// Rate of dropout of the plans being built: it is for training.
    pub fn dropout(&self) -> f32 {
        if self.packed { self.branches[self.branch].adapters.dropout } else { 0.0 }
    }

    /// A number for each use of dropout.
    pub fn next_use(&mut self) -> u32 {
        self.uses += 1;
        self.uses
    }

    /// A trained tensor: part of a block as large as a device binds, so that the optimizer needs a call per block.
    pub fn trained(
        &mut self,
        name: &str,
        rows: usize,
        width: usize,
        decays: bool,
    ) -> Result<TensorId, ModelError> {
        let size = (rows * width).next_multiple_of(VIEW_ALIGN);
        let limit = self.options.max_binding.map_or(usize::MAX, |b| (b / 4) as usize);
        let last =
            self.blocks.iter().rposition(|block| (block.branch, block.decays) == (self.branch, decays));
        let fits = last.filter(|index| self.blocks[*index].taken.saturating_add(size) <= limit);
        let index = fits.unwrap_or(self.blocks.len());
        if fits.is_none() {
            if size > limit {
                let why = format!("is trained and has {size} elements, the device binds {limit}");
                return Err(ModelError::Tensor { name: name.into(), why });
            }
            let block = self.program.tensor(Tensor {
                name: format!("trained.{}", self.blocks.len()),
                dtype: DType::F32,
                rows: Rows::fixed(1),
                width: 0,
                role: Role::Trained,
                plan: None,
            })?;
            self.blocks.push(OpenBlock { id: block, taken: 0, branch: self.branch, decays });
        }
        let OpenBlock { id: block, taken: first, .. } = self.blocks[index];
        self.blocks[index].taken = first + size;
        self.program.tensors[block.index()].width = first + size;
        let id = self.program.view(name, block, first, rows, width)?;
        self.program.trained.push(id);
        Ok(id)
    }

    /// Every adapted matrix that the options name must be there.
    pub fn check_adapters(&self) -> Result<(), ModelError> {
        for (index, branch) in self.branches.iter().enumerate() {
            let prefix = branch.prefix(index);
            let known = |label: &&String| {
                let name = format!("{prefix}{label}.weight.lora_a");
                self.program.trained.iter().any(|id| self.program.get(*id).name == name)
            };
            if let Some(label) = branch.adapters.pairs.keys().find(|label| !known(label)) {
                let why = "is adapted, and is no linear layer of this model".into();
                return Err(ModelError::Tensor { name: format!("{label}.weight"), why });
            }
        }
        Ok(())
    }

    /// A new activation of the open plan.
    pub fn activation(&mut self, label: &str, rows: Over, width: usize) -> Result<TensorId, ModelError> {
        self.own(label, rows, 1, width, DType::F32, Role::Activation)
    }

    /// A tensor of the open plan.
    pub fn own(
        &mut self,
        label: &str,
        rows: Over,
        per: usize,
        width: usize,
        dtype: DType,
        role: Role,
    ) -> Result<TensorId, ModelError> {
        let plan = &self.program.plans[self.plan.index()];
        let rows = Rows::each(rows, per);
        let name = format!("{}: {}{label}", plan.name, self.part);
        Ok(self.program.tensor(Tensor { name, dtype, rows, width, role, plan: Some(self.plan) })?)
    }

    /// A vector among the weights, `width` elements from `first` on; any float format.
    pub fn vector(&mut self, name: &str, first: usize, width: usize) -> Result<TensorId, ModelError> {
        let fail = |why: String| ModelError::Tensor { name: name.into(), why };
        let shape =
            self.weights.shape(name).ok_or_else(|| fail("is missing, or in an unsupported format".into()))?;
        if shape.rows * shape.cols < first + width {
            return Err(fail(format!(
                "has {} elements, {} are needed",
                shape.rows * shape.cols,
                first + width
            )));
        }
        Ok(self.frozen(name, first, 1, width, DType::F32)?)
    }

    /// What a weight of the file is called that may stand beside a trained one.
    fn beside(&self, name: &str) -> String {
        if self.options.train == Train::All && !self.own { format!("frozen {name}") } else { name.to_owned() }
    }

    /// A weight of the file, as it is.
    pub fn frozen(
        &mut self,
        name: &str,
        first: usize,
        rows: usize,
        width: usize,
        dtype: DType,
    ) -> Result<TensorId, PlanError> {
        let id = self.program.weight(&self.beside(name), first, rows, width, dtype)?;
        self.program.tensors[id.index()].role = Role::Weight { source: name.into(), first_row: first };
        Ok(id)
    }

    /// Whole weights of the file as one tensor: see [`Role::Joined`].
    pub fn joined(
        &mut self,
        name: &str,
        sources: Vec<(String, usize)>,
        (rows, width): (usize, usize),
        dtype: DType,
    ) -> Result<TensorId, PlanError> {
        let (role, rows) = (Role::Joined { sources }, Rows::fixed(rows));
        self.program.tensor(Tensor { name: self.beside(name), dtype, rows, width, role, plan: None })
    }

    /// A norm's weight or a bias: a vector that is trained where the model is.
    pub fn norm(&mut self, name: &str, first: usize, width: usize) -> Result<TensorId, ModelError> {
        if self.own { self.trained(name, 1, width, false) } else { self.vector(name, first, width) }
    }

    /// Appends a call.
    pub fn call<C: Call>(&mut self, label: &str, call: C) -> Result<(), ModelError> {
        Ok(self.program.append(self.plan, OpCall::new(label, call))?)
    }
}

//! Builds a program: weights and state once, then one plan per mode over them.

use std::collections::BTreeMap;

use crate::model::forward::{Models, Weights, emit};
use crate::model::{ModelConfig, ModelError};
use crate::plan::{
    BudgetError, Call, DType, Fit, Inputs, Layout, OpCall, Out, Over, PlanError, PlanId, Profile, Program,
    Role, Rows, Suggestion, Tensor, TensorId, VIEW_ALIGN, WeightSource,
};

/// Storage of the KV cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KvType {
    /// 16 bits a value, blocks of four with a shared exponent: half the memory, the default.
    #[default]
    Block16,
    /// Single precision.
    F32,
}

/// What a plan makes of its output rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// Sample a token; the host fetches (token, bits of its log-probability, status, 0).
    Sample,
    /// The host fetches the logits, (outputs, vocab).
    Logits,
    /// The host fetches the log-probability of each output row's label.
    LogProb,
}

/// One mode of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSpec {
    /// Name, unique.
    pub name: String,
    /// Capacity in token rows.
    pub tokens: usize,
    /// Capacity in output rows.
    pub outputs: usize,
    /// What becomes of them.
    pub head: Head,
}

impl PlanSpec {
    /// A plan specification.
    pub fn new(name: &str, tokens: usize, outputs: usize, head: Head) -> Self {
        Self { name: name.into(), tokens, outputs, head }
    }
}

/// One adapted matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairShape {
    /// Rank of the factors.
    pub rank: usize,
    /// Factor of their product.
    pub scale: f32,
}

/// Which matrices have LoRA factors added to them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdapterShape {
    /// By matrix, without `.weight`: `blk.3.attn_q`.
    pub pairs: BTreeMap<String, PairShape>,
    /// Rate of dropout before the first factor; only for training.
    pub dropout: f32,
}

/// What a branch makes of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BranchHead {
    /// Log-probabilities of tokens, by the model's own output matrix.
    #[default]
    Tokens,
    /// One number, by a vector of its own behind the output norm: a reward or a value.
    Scalar,
    /// How far the first branch is from this one, in nats: the sum over the vocabulary of p (log p - log q), p being this
    /// one's softmax. A branch of this kind is not trained.
    Divergence,
}

/// One of several models that share a base: they differ in their adapters and heads, and there is no second base.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Branch {
    /// For people and for names of tensors: `value`.
    pub name: String,
    /// Its adapters; none for the base as it is.
    pub adapters: AdapterShape,
    /// What it makes of a position.
    pub head: BranchHead,
    /// Adapters and head are trained.
    pub trained: bool,
}

impl Branch {
    /// What its tensors' names begin with: nothing for the first.
    pub fn prefix(&self, index: usize) -> String {
        if index == 0 { String::new() } else { format!("{}/", self.name) }
    }
}

/// Name of a branch's scalar head, (1, width), without the branch's prefix.
pub const SCALAR_HEAD: &str = "score.weight";

/// Whether the plans train, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Train {
    /// Nothing is trained.
    #[default]
    Nothing,
    /// The adapters.
    Adapters,
    /// The model's own weights, as f32.
    All,
}

/// Sizes chosen by the user and limits of the device.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildOptions {
    /// Positions per slot of the KV cache.
    pub ctx: usize,
    /// Sequences held at once.
    pub slots: usize,
    /// Storage of the KV cache.
    pub kv: KvType,
    /// Largest binding of the device in bytes; larger matrices are cut by rows.
    pub max_binding: Option<u64>,
    /// LoRA factors.
    pub adapters: AdapterShape,
    /// What is trained.
    pub train: Train,
    /// What the model makes of a position in training.
    pub head: BranchHead,
    /// Further models on the same base, for training.
    pub branches: Vec<Branch>,
}

impl BuildOptions {
    /// All branches, the model itself first.
    pub fn all_branches(&self) -> Vec<Branch> {
        let trained = self.train != Train::Nothing;
        let first =
            Branch { name: "policy".into(), adapters: self.adapters.clone(), head: self.head, trained };
        std::iter::once(first).chain(self.branches.iter().cloned()).collect()
    }
}

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

/// Builds the program of `specs`, in their order.
pub fn build(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    specs: &[PlanSpec],
) -> Result<Program, ModelError> {
    let max = |f: fn(&PlanSpec) -> usize| specs.iter().map(f).max().unwrap_or(1).max(1);
    let mut builder = Builder::new(config, weights, options, max(|s| s.tokens), max(|s| s.outputs))?;
    let model = Weights::declare(&mut builder, true)?;
    builder.check_adapters()?;
    let model = Models { first: model, others: None };
    for spec in specs {
        builder.open(&spec.name, spec.tokens, spec.outputs);
        emit(&mut builder, &model, spec)?;
    }
    Ok(builder.program)
}

/// Builds the program and its map and checks both against the budget; a refusal names a context that fits.
pub fn build_fitting(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    specs: &[PlanSpec],
    profile: Profile,
    budget: Option<u64>,
) -> Result<(Program, Layout), ModelError> {
    let draw = |options: &BuildOptions| -> Result<(Program, Layout, Result<(), BudgetError>), ModelError> {
        let program = build(config, weights, options, specs)?;
        let layout = Layout::new(&program, profile);
        let verdict = layout.check(&program, budget);
        Ok((program, layout, verdict))
    };
    let (program, layout, verdict) = draw(options)?;
    let Err(refusal) = verdict else { return Ok((program, layout)) };
    let mut smaller = options.clone();
    let mut fit = None;
    while smaller.ctx > 64 && fit.is_none() {
        smaller.ctx /= 2;
        if draw(&smaller)?.2.is_ok() {
            fit = Some(Fit { ctx: Some(smaller.ctx), ..Fit::default() });
        } else if draw(&BuildOptions { kv: KvType::Block16, ..smaller.clone() })?.2.is_ok() {
            fit = Some(Fit { ctx: Some(smaller.ctx), kv16: true, ..Fit::default() });
        }
    }
    Err(refusal.with_fit(Some(fit.map_or(Suggestion::SmallerModel, Suggestion::from))).into())
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

    /// A norm's weight or a bias: a vector that is trained where the model is.
    pub fn norm(&mut self, name: &str, first: usize, width: usize) -> Result<TensorId, ModelError> {
        if self.own { self.trained(name, 1, width, false) } else { self.vector(name, first, width) }
    }

    /// Appends a call.
    pub fn call<C: Call>(&mut self, label: &str, call: C) -> Result<(), ModelError> {
        Ok(self.program.append(self.plan, OpCall::new(label, call))?)
    }
}

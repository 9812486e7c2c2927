//! Builds a program: weights and state once, then one plan per mode over them.

use crate::exec::WeightSource;
use crate::model::forward::{Weights, emit};
use crate::model::{ModelConfig, ModelError};
use crate::ops::Op;
use crate::plan::{
    BudgetError, DType, Inputs, Layout, OpCall, PlanId, Profile, Program, Role, Rows as TensorRows, Tensor,
    TensorId, Words,
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

/// Sizes chosen by the user and limits of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BuildOptions {
    /// Positions per slot of the KV cache.
    pub ctx: usize,
    /// Sequences held at once.
    pub slots: usize,
    /// Storage of the KV cache.
    pub kv: KvType,
    /// Largest binding of the device in bytes; larger matrices are cut by rows.
    pub max_binding: Option<u64>,
}

/// Builds the program of `specs`, in their order.
pub fn build(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: BuildOptions,
    specs: &[PlanSpec],
) -> Result<Program, ModelError> {
    let mut program = Program::default();
    let (inputs, table) = declare_state(config, &mut program, options, specs)?;
    let plan = PlanId(0);
    let mut builder =
        Builder { program, plan, config, weights, options, rows: inputs.rows, outs: inputs.outs, table };
    let model = Weights::declare(&mut builder)?;
    for spec in specs {
        builder.plan = builder.program.open_plan(&spec.name, spec.tokens, spec.outputs);
        emit(&mut builder, &model, spec)?;
    }
    Ok(builder.program)
}

/// Builds the program and its map and checks both against the budget; a refusal names a context that fits.
pub fn build_fitting(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: BuildOptions,
    specs: &[PlanSpec],
    profile: Profile,
    budget: Option<u64>,
) -> Result<(Program, Layout), ModelError> {
    let draw = |options: BuildOptions| -> Result<(Program, Layout, Result<(), BudgetError>), ModelError> {
        let program = build(config, weights, options, specs)?;
        let layout = Layout::new(&program, profile);
        let verdict = layout.check(&program, budget);
        Ok((program, layout, verdict))
    };
    let (program, layout, verdict) = draw(options)?;
    let Err(refusal) = verdict else { return Ok((program, layout)) };
    let mut smaller = options;
    let mut fit = None;
    while smaller.ctx > 64 && fit.is_none() {
        smaller.ctx /= 2;
        if draw(smaller)?.2.is_ok() {
            fit = Some(format!("-c {}", smaller.ctx));
        } else if draw(BuildOptions { kv: KvType::Block16, ..smaller })?.2.is_ok() {
            fit = Some(format!("-c {} --kv f16", smaller.ctx));
        }
    }
    Err(refusal.with_fit(fit.or(Some("a smaller model, or a smaller format (ember quantize)".into()))).into())
}

fn declare_state(
    config: &ModelConfig,
    program: &mut Program,
    options: BuildOptions,
    specs: &[PlanSpec],
) -> Result<(Inputs, TensorId), ModelError> {
    let max = |f: fn(&PlanSpec) -> usize| specs.iter().map(f).max().unwrap_or(1).max(1);
    let input = |name: &str, rows, width| Tensor {
        name: name.into(),
        dtype: DType::U32,
        rows: TensorRows::Fixed(rows),
        width,
        role: Role::Input,
        plan: None,
    };
    let rows = program.tensor(input("step.rows", 1 + max(|s| s.tokens), 4))?;
    let outs = program.tensor(input("step.outs", max(|s| s.outputs), 12))?;
    let table = Tensor { role: Role::State, ..input("tokens", options.slots, options.ctx) };
    let table = program.tensor(table)?;
    let inputs = Inputs { rows, outs, slots: options.slots, ctx: options.ctx, vocab: config.vocab };
    program.inputs = Some(inputs);
    Ok((inputs, table))
}

/// Symbolic rows of an activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// One per token row.
    Tokens,
    /// One per output row.
    Outputs,
}

impl Rows {
    /// The `count` parameter of ops.
    pub fn count(self) -> u32 {
        match self {
            Rows::Tokens => 0,
            Rows::Outputs => 1,
        }
    }
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
    pub options: BuildOptions,
    /// Step rows.
    pub rows: TensorId,
    /// Step outputs.
    pub outs: TensorId,
    /// Token table (slots, ctx).
    pub table: TensorId,
}

impl Builder<'_> {
    /// A new activation of the open plan.
    pub fn activation(&mut self, label: &str, rows: Rows, width: usize) -> Result<TensorId, ModelError> {
        self.own(label, rows, 1, width, DType::F32, Role::Activation)
    }

    /// A tensor of the open plan.
    pub fn own(
        &mut self,
        label: &str,
        rows: Rows,
        per: usize,
        width: usize,
        dtype: DType,
        role: Role,
    ) -> Result<TensorId, ModelError> {
        let plan = &self.program.plans[self.plan.index()];
        let rows = match rows {
            Rows::Tokens => TensorRows::Tokens(per),
            Rows::Outputs => TensorRows::Outputs(per),
        };
        let name = format!("{}: {label}", plan.name);
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
        Ok(self.program.weight(name, first, 1, width, DType::F32)?)
    }

    /// Appends a call.
    pub fn call<P: bytemuck::Pod>(
        &mut self,
        op: Op,
        label: &str,
        args: Vec<Option<TensorId>>,
        params: P,
    ) -> Result<(), ModelError> {
        let call = OpCall { op, label: label.into(), args, params: Words::new(params) };
        Ok(self.program.append(self.plan, call)?)
    }
}

//! The plans of a training step. The forward keeps what the gradient needs on the tape, or only each layer's input, from
//! which the gradient runs the layer again. The head works on a chunk of the positions that carry a coefficient at a time,
//! so that logits are never held for a whole sequence.

use std::collections::HashMap;
use std::ops::Range;

use crate::model::builder::{Builder, OpenBlock};
use crate::model::forward::{
    Models, Weights, divergence, embed, emit, layer, log_prob, logits, scalar, share,
};
use crate::model::options::{BranchHead, BuildOptions, PlanSpec, Train};
use crate::model::{ModelConfig, ModelError};
use crate::ops::{self, params, sumsq};
use crate::plan::{
    DType, OpCall, Over, PlanId, Program, Reverse, Role, Rows, Tensor, TensorId, WeightSource,
};

/// Sizes of a training step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TrainSpec {
    /// Most token rows of a step: sequences lie one behind another.
    pub rows: usize,
    /// Trained positions whose logits are made together.
    pub outputs: usize,
    /// Layers, from the first on, that the gradient runs again instead of keeping their activations.
    pub recompute: usize,
}

/// The plans of one branch. What they hand to each other is lost when another branch runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchPlans {
    /// Token rows to the last layer's output, which stays.
    pub forward: PlanId,
    /// After `forward`: log-probabilities of the output rows' labels, or the scalar head's numbers, fetched.
    pub score: PlanId,
    /// After `forward`: the same, and their gradients by the output rows' coefficients; where something is trained.
    pub head: Option<PlanId>,
    /// After all of `head`: adds the gradients of the step to those of the window.
    pub backward: Option<PlanId>,
}

/// The plans of a training program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainPlans {
    /// By branch, the model itself first.
    pub passes: Vec<BranchPlans>,
    /// Plans with a KV cache, as asked for.
    pub cached: Vec<PlanId>,
    /// Copies of keys and values from slot to slot, if there is a KV cache.
    pub share: Option<PlanId>,
    /// Zeros the gradients.
    pub clear: PlanId,
    /// Partial sums of the squared gradients, fetched: (blocks, 256).
    pub norm: PlanId,
    /// One step of the optimizer.
    pub update: PlanId,
    /// Blocks of what is trained, their gradients, and the optimizer's two moments.
    pub blocks: Vec<TrainedBlock>,
}

/// A block of what is trained and what belongs to it, all (1, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainedBlock {
    /// Values.
    pub values: TensorId,
    /// Gradients.
    pub gradient: TensorId,
    /// First moment.
    pub first: TensorId,
    /// Second moment.
    pub second: TensorId,
    /// Whose.
    pub branch: usize,
    /// Matrices, which decay, or norms and biases, which do not.
    pub decays: bool,
}

/// A layer of the forward: its calls, input and output.
struct Taped {
    calls: Range<usize>,
    input: TensorId,
    output: TensorId,
}

/// Builds the training program: the plans of every branch, and, with `cached`, plans with a KV cache of `options.ctx`
/// positions in `options.slots` slots, for which the first branch's adapters are switched on.
///
/// # Errors
/// [`ModelError`] if a weight is missing or an adapted matrix is not there.
pub fn build_training(
    config: &ModelConfig,
    weights: &dyn WeightSource,
    options: &BuildOptions,
    spec: TrainSpec,
    cached: &[PlanSpec],
) -> Result<(Program, TrainPlans), ModelError> {
    let mut options = options.clone();
    if cached.is_empty() {
        (options.ctx, options.slots) = (spec.rows, 1);
    }
    let most = |f: fn(&PlanSpec) -> usize| cached.iter().map(f).max().unwrap_or(0);
    let (tokens, outputs) = (spec.rows.max(most(|s| s.tokens)), spec.outputs.max(most(|s| s.outputs)));
    let mut b = Builder::new(config, weights, &options, tokens, outputs)?;
    b.together = most(|s| s.tokens);
    let models = declare(&mut b, !cached.is_empty())?;
    b.check_adapters()?;
    let (blocks, sums) = declare_gradients(&mut b)?;

    b.packed = true;
    let mut passes = Vec::new();
    for branch in 0..b.branches.len() {
        passes.push(b.within(branch, |b| match b.branches[branch].head {
            BranchHead::Divergence => apart(b, &models, spec),
            _ => pass(b, models.of(branch), &sums, spec),
        })?);
    }
    let (clear, norm, update) = optimizer(&mut b, &blocks)?;

    b.packed = false;
    let mut made = Vec::new();
    for spec in cached {
        b.open(&spec.name, spec.tokens, spec.outputs);
        emit(&mut b, &models, spec)?;
        made.push(b.plan);
    }
    let mut shared = None;
    if !cached.is_empty() {
        b.open("share", tokens, 0);
        share(&mut b, &models.first)?;
        shared = Some(b.plan);
    }
    Ok((b.program, TrainPlans { passes, cached: made, share: shared, clear, norm, update, blocks }))
}

/// The weights of all branches. Where the first model's own are trained, the others' are those of the file.
fn declare(b: &mut Builder<'_>, caches: bool) -> Result<Models, ModelError> {
    let first = Weights::declare(b, caches)?;
    let mut others = None;
    if b.options.train == Train::All && b.branches.len() > 1 {
        b.own = false;
        others = Some(Weights::declare(b, false)?);
    }
    Ok(Models { first, others })
}

/// The plans of the current branch.
fn pass(
    b: &mut Builder<'_>,
    model: &Weights,
    sums: &HashMap<TensorId, TensorId>,
    spec: TrainSpec,
) -> Result<BranchPlans, ModelError> {
    let config = b.config;
    let forward = open(b, "forward", spec.rows, 0);
    let first = embed(b, model)?;
    let mut x = first;
    let mut layers = Vec::new();
    for index in 0..config.layers.len() {
        let start = b.program.plans[forward.index()].calls.len();
        let output = layer(b, model, index, x)?;
        let end = b.program.plans[forward.index()].calls.len();
        layers.push(Taped { calls: start..end, input: x, output });
        x = output;
    }
    let trained = b.branches[b.branch].trained;
    let dx = match trained {
        true => Some(hidden_gradient(b, spec)?),
        false => None,
    };
    let score = open(b, "score", spec.rows, spec.outputs);
    b.program.keep(x, score);
    let fetched = match b.branches[b.branch].head {
        BranchHead::Tokens => {
            let made = logits(b, model, x, false)?;
            Some(log_prob(b, made)?)
        }
        BranchHead::Scalar => scalar(b, model, x)?,
        BranchHead::Divergence => None,
    };
    b.program.plans[score.index()].fetch = fetched;
    let Some(dx) = dx else { return Ok(BranchPlans { forward, score, head: None, backward: None }) };

    let head = open(b, "head", spec.rows, spec.outputs);
    head_gradient(b, model, sums, x, dx)?;

    let backward = open(b, "backward", spec.rows, spec.outputs);
    let embeds = b.program.plans[forward.index()].calls[..layers[0].calls.start].to_vec();
    let trains_embedding = sums_of(&embeds, sums);
    for (index, taped) in layers.iter().enumerate().rev() {
        let wanted = index > 0 || trains_embedding;
        layer_gradient(b, model, sums, (forward, index, taped), dx, index < spec.recompute, wanted)?;
    }
    if trains_embedding {
        let mut walk = Reverse::new(&mut b.program, backward, sums);
        walk.seed(first, dx);
        walk.walk(&embeds)?;
    }
    b.program.prune(backward);
    Ok(BranchPlans { forward, score, head: Some(head), backward: Some(backward) })
}

/// The plans of a branch that the first one is compared with: the layers as each of them is, over the same rows, then both
/// logits of a chunk of the outputs.
fn apart(b: &mut Builder<'_>, models: &Models, spec: TrainSpec) -> Result<BranchPlans, ModelError> {
    let this = b.branch;
    let forward = open(b, "forward", spec.rows, 0);
    let both = [(this, ""), (0, "first ")];
    let mut hidden = Vec::new();
    for (branch, part) in both {
        b.part = part;
        hidden.push(b.within(branch, |b| {
            let model = models.of(branch);
            let first = embed(b, model)?;
            (0..b.config.layers.len()).try_fold(first, |x, index| layer(b, model, index, x))
        })?);
    }
    let score = open(b, "score", spec.rows, spec.outputs);
    let mut made = Vec::new();
    for ((branch, part), x) in both.into_iter().zip(hidden) {
        b.part = part;
        b.program.keep(x, score);
        made.push(b.within(branch, |b| logits(b, models.of(branch), x, false))?);
    }
    b.part = "";
    b.program.plans[score.index()].fetch = Some(divergence(b, made[0], made[1])?);
    Ok(BranchPlans { forward, score, head: None, backward: None })
}

/// The gradient of the last layer's output, zeroed by the forward.
fn hidden_gradient(b: &mut Builder<'_>, spec: TrainSpec) -> Result<TensorId, ModelError> {
    let name = format!("{}d hidden", b.branches[b.branch].prefix(b.branch));
    let (rows, width) = (Rows::fixed(spec.rows), b.config.width);
    let (dtype, role) = (DType::F32, Role::Tape { branch: b.branch as u32 });
    let dx = b.program.tensor(Tensor { name, dtype, rows, width, role, plan: None })?;
    let p = params::fill::Params { width: width as u32, count: Over::Tokens.count(), value: 0.0, pad0: 0 };
    b.call("d hidden", ops::Fill { rows: b.rows, y: dx, params: p })?;
    Ok(dx)
}

/// Opens a plan of the current branch.
fn open(b: &mut Builder<'_>, name: &str, rows: usize, outputs: usize) -> PlanId {
    let name = if b.branch == 0 {
        name.to_owned()
    } else {
        format!("{}{name}", b.branches[b.branch].prefix(b.branch))
    };
    b.open(&name, rows, outputs)
}

/// Whether calls use something that is trained.
fn sums_of(calls: &[OpCall], sums: &HashMap<TensorId, TensorId>) -> bool {
    calls.iter().flat_map(|c| c.args().iter().flatten()).any(|id| sums.contains_key(id))
}

/// Gradients and moments like the blocks, and the gradient of each trained tensor as a part of its block's.
fn declare_gradients(
    b: &mut Builder<'_>,
) -> Result<(Vec<TrainedBlock>, HashMap<TensorId, TensorId>), ModelError> {
    let mut blocks = Vec::new();
    let open: Vec<OpenBlock> = b.blocks.iter().filter(|o| b.branches[o.branch].trained).copied().collect();
    for (index, OpenBlock { id: values, taken: width, branch, decays }) in open.into_iter().enumerate() {
        let mut like = |name: &str, role: Role| {
            let (rows, dtype) = (Rows::fixed(1), DType::F32);
            b.program.tensor(Tensor { name: format!("{name}.{index}"), dtype, rows, width, role, plan: None })
        };
        let gradient = like("gradient", Role::Gradient)?;
        let (first, second) = (like("moment1", Role::Moment)?, like("moment2", Role::Moment)?);
        blocks.push(TrainedBlock { values, gradient, first, second, branch, decays });
    }
    let mut sums = HashMap::new();
    for id in b.program.trained.clone() {
        let tensor = b.program.get(id).clone();
        let Role::View { of, first } = tensor.role else { continue };
        let Some(block) = blocks.iter().find(|block| block.values == of) else { continue };
        let rows = b.program.capacity_rows(id);
        let name = format!("d {}", tensor.name);
        sums.insert(id, b.program.view(&name, block.gradient, first, rows, tensor.width)?);
    }
    Ok((blocks, sums))
}

/// Log-probabilities of a chunk, and their gradients down to the last layer's output, added to `dx`.
fn head_gradient(
    b: &mut Builder<'_>,
    model: &Weights,
    sums: &HashMap<TensorId, TensorId>,
    x: TensorId,
    dx: TensorId,
) -> Result<(), ModelError> {
    let plan = b.plan;
    let (made, seed) = match b.branches[b.branch].head {
        BranchHead::Tokens => {
            let made = logits(b, model, x, false)?;
            (made, made)
        }
        BranchHead::Scalar | BranchHead::Divergence => {
            let fail = || ModelError::Tensor { name: "score.weight".into(), why: "is not there".into() };
            let made = scalar(b, model, x)?.ok_or_else(fail)?;
            (made, b.activation("d scalar", Over::Outputs, 1)?)
        }
    };
    let calls = b.program.plans[plan.index()].calls.clone();
    let fetched = if seed == made {
        let y = log_prob(b, made)?;
        let p = params::logprob_back::Params { vocab: b.config.vocab as u32, ..Default::default() };
        b.call("logprob_back", ops::LogProbBack { rows: b.rows, outs: b.outs, y, logits: made, params: p })?;
        y
    } else {
        let p = params::coefs::Params { width: 1, ..Default::default() };
        b.call("d scalar", ops::Coefs { rows: b.rows, outs: b.outs, dy: seed, params: p })?;
        made
    };
    b.program.plans[plan.index()].fetch = Some(fetched);
    let mut walk = Reverse::new(&mut b.program, plan, sums);
    walk.seed(made, seed);
    walk.seed(x, dx);
    Ok(walk.walk(&calls)?)
}

/// The gradient of a layer: `dx` holds that of its output, and then that of its input.
fn layer_gradient(
    b: &mut Builder<'_>,
    model: &Weights,
    sums: &HashMap<TensorId, TensorId>,
    (forward, index, taped): (PlanId, usize, &Taped),
    dx: TensorId,
    again: bool,
    wanted: bool,
) -> Result<(), ModelError> {
    let plan = b.plan;
    let (calls, output) = if again {
        b.program.keep(taped.input, plan);
        let start = b.program.plans[plan.index()].calls.len();
        let output = layer(b, model, index, taped.input)?;
        (b.program.plans[plan.index()].calls[start..].to_vec(), output)
    } else {
        (b.program.plans[forward.index()].calls[taped.calls.clone()].to_vec(), taped.output)
    };
    let mut walk = Reverse::new(&mut b.program, plan, sums);
    walk.seed(output, dx);
    if wanted {
        walk.want(taped.input);
    }
    Ok(walk.walk(&calls)?)
}

/// Plans that zero the gradients, measure them, and step.
fn optimizer(b: &mut Builder<'_>, blocks: &[TrainedBlock]) -> Result<(PlanId, PlanId, PlanId), ModelError> {
    let width = |b: &Builder<'_>, block: &TrainedBlock| b.program.get(block.values).width as u32;
    let clear = b.open("clear", 0, 0);
    for block in blocks {
        let p =
            params::fill::Params { width: width(b, block), count: Over::One.count(), value: 0.0, pad0: 0 };
        b.call("clear", ops::Fill { rows: b.rows, y: block.gradient, params: p })?;
    }
    let norm = b.open("norm", 0, 0);
    let squares = b.program.tensor(Tensor {
        name: "norm: squares".into(),
        dtype: DType::F32,
        rows: Rows::fixed(blocks.len().max(1)),
        width: sumsq::PIECES,
        role: Role::Output,
        plan: Some(norm),
    })?;
    for (row, block) in blocks.iter().enumerate() {
        let p = params::sumsq::Params { width: width(b, block), row: row as u32, ..Default::default() };
        b.call("norm", ops::SumSq { rows: b.rows, x: block.gradient, y: squares, params: p })?;
    }
    b.program.plans[norm.index()].fetch = Some(squares);
    let update = b.open("update", 0, 0);
    let missing = || ModelError::Tensor { name: "step.scalars".into(), why: "is not there".into() };
    let scalars = b.program.inputs.and_then(|i| i.scalars);
    for block in blocks {
        let decays = u32::from(block.decays);
        let p = params::adamw::Params { width: width(b, block), decays, ..Default::default() };
        b.call(
            "update",
            ops::AdamW {
                scalars: scalars.ok_or_else(missing)?,
                grad: block.gradient,
                w: block.values,
                m: block.first,
                v: block.second,
                params: p,
            },
        )?;
    }
    Ok((clear, norm, update))
}

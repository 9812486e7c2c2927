//! The forward, written once: decode, prefill and scoring are modes of it.

use crate::model::builder::Builder;
use crate::model::linear::{Declared, Linear, Projection};
use crate::model::options::{BranchHead, Head, KvType, PlanSpec, SCALAR_HEAD};
use crate::model::residual;
use crate::model::{Attention, FeedForward, GateKind, LayerConfig, Mixer, ModelError, Norms};
use crate::ops::{self, params};
use crate::plan::{DType, Over, Ring, Role, Rows, Tensor, TensorId};

/// Rings of the KV cache are multiples of so many positions.
const RING: usize = 32;
/// Plans of at most this many token rows split attention over the context instead of over rows.
const DECODE_ROWS: usize = 8;
/// Positions per split of decode attention, and the most splits.
const SPLIT: (usize, usize) = (128, 16);

/// All weights and state of a model, as tensors of the program.
pub struct Weights {
    embedding: Linear,
    layers: Vec<Layer>,
    output_norm: TensorId,
    output: Linear,
    rope_factors: Option<TensorId>,
    /// Each branch's scalar head, (1, width).
    heads: Vec<Option<TensorId>>,
}

struct Layer {
    config: LayerConfig,
    attn_norm: TensorId,
    q: Linear,
    k: Linear,
    v: Linear,
    q_norm: Option<TensorId>,
    k_norm: Option<TensorId>,
    o: Linear,
    /// Of what attention gives, where norms are around it.
    attn_after: Option<TensorId>,
    ffn_norm: TensorId,
    gate: Linear,
    up: Linear,
    down: Linear,
    ffn_after: Option<TensorId>,
    /// Keys and values between steps; the plans of a training step have their own rows instead.
    cache: Option<KvCache>,
}

/// The models of a program: the first branch's, and, where its own weights are trained, the frozen ones of the others.
pub struct Models {
    /// The first branch's; everybody's where the base is frozen.
    pub first: Weights,
    /// The other branches', if they are others.
    pub others: Option<Weights>,
}

impl Models {
    /// A branch's weights.
    pub fn of(&self, branch: usize) -> &Weights {
        self.others.as_ref().filter(|_| branch > 0).unwrap_or(&self.first)
    }
}

impl Weights {
    /// Declares the frozen tensors, what is trained, and, with `caches`, the KV cache.
    pub fn declare(b: &mut Builder<'_>, caches: bool) -> Result<Self, ModelError> {
        let c = b.config;
        let embedding = Linear::declare(b, "token_embd", c.vocab, c.width, false)?;
        let factors = c.rope.factors(b.options.ctx);
        let rope_factors = match b.weights.shape(factors) {
            Some(_) => Some(b.vector(factors, 0, c.rope_dim / 2)?),
            None => None,
        };
        let layers = (0..c.layers.len()).map(|i| Layer::declare(b, i, caches)).collect::<Result<_, _>>()?;
        let output_norm = b.norm("output_norm.weight", 0, c.width)?;
        let output = match b.weights.shape("output.weight") {
            Some(_) => {
                let bias = b.weights.shape("output.bias").is_some();
                Linear::declare(b, "output", c.vocab, c.width, bias)?
            }
            None => embedding.tied(b, "output")?,
        };
        let heads = scalar_heads(b)?;
        Ok(Self { embedding, layers, output_norm, output, rope_factors, heads })
    }
}

impl Layer {
    fn declare(b: &mut Builder<'_>, index: usize, caches: bool) -> Result<Self, ModelError> {
        let c = b.config;
        let config = c.layers[index].clone();
        let Mixer::Attention(Attention { qk_norm, window, .. }) = config.mixer;
        let name = |part: &str| format!("blk.{index}.{part}");
        let (q_width, kv_width) = (c.heads * c.head_dim, c.kv_width());
        let declared = |b: &Builder<'_>, part: &str, rows| {
            let bias = b.weights.shape(&format!("{}.bias", name(part))).is_some();
            let required = c.arch.qkv_bias && matches!(part, "attn_q" | "attn_k" | "attn_v");
            Declared { label: name(part), rows, bias: bias || required }
        };
        let linear = |b: &mut Builder<'_>, part: &str, rows, cols| {
            let Declared { label, bias, .. } = declared(b, part, rows);
            Linear::declare(b, &label, rows, cols, bias)
        };
        let parts = [("attn_q", q_width), ("attn_k", kv_width), ("attn_v", kv_width)];
        let parts = parts.map(|(part, rows)| declared(b, part, rows));
        let [q, k, v] = Linear::declare_together(b, parts, c.width)?;
        let o = linear(b, "attn_output", c.width, q_width)?;
        let parts = ["ffn_gate", "ffn_up"].map(|part| declared(b, part, c.ff));
        let [gate, up] = Linear::declare_together(b, parts, c.width)?;
        let down = linear(b, "ffn_down", c.width, c.ff)?;
        let norm = |b: &mut Builder<'_>, part: &str, width| b.norm(&name(part), 0, width);
        let norm_if = |b: &mut Builder<'_>, there: bool, part: &str, width| {
            if there { norm(b, part, width).map(Some) } else { Ok(None) }
        };
        let around = config.norms == Norms::Around;
        Ok(Self {
            attn_norm: norm(b, "attn_norm.weight", c.width)?,
            q_norm: norm_if(b, qk_norm, "attn_q_norm.weight", c.head_dim)?,
            k_norm: norm_if(b, qk_norm, "attn_k_norm.weight", c.head_dim)?,
            attn_after: norm_if(b, around, "post_attention_norm.weight", c.width)?,
            ffn_norm: norm(b, "ffn_norm.weight", c.width)?,
            ffn_after: norm_if(b, around, "post_ffw_norm.weight", c.width)?,
            cache: if caches { Some(KvCache::declare(b, index, window)?) } else { None },
            config,
            q,
            k,
            v,
            o,
            gate,
            up,
            down,
        })
    }
}

/// The vectors of the branches that make one number of a position.
fn scalar_heads(b: &mut Builder<'_>) -> Result<Vec<Option<TensorId>>, ModelError> {
    let mut heads = vec![None; b.branches.len()];
    for index in b.adapted() {
        let branch = b.branches[index].clone();
        let name = format!("{}{SCALAR_HEAD}", branch.prefix(index));
        let width = b.config.width;
        heads[index] = match branch.head {
            BranchHead::Scalar => Some(b.within(index, |b| b.trained(&name, 1, width, true))?),
            BranchHead::Tokens | BranchHead::Divergence => None,
        };
    }
    Ok(heads)
}

/// Keys and values of a layer.
#[derive(Clone, Copy)]
struct KvCache {
    k: TensorId,
    v: TensorId,
    /// Positions per slot: all of the context, or a ring of those that a window and a step need.
    positions: usize,
}

impl KvCache {
    /// `window`: positions that a row sees, 0 for all.
    fn declare(b: &mut Builder<'_>, index: usize, window: usize) -> Result<Self, ModelError> {
        let dtype = match b.options.kv {
            KvType::Block16 => DType::Block16,
            KvType::F32 => DType::F32,
        };
        // A step's last row must not overwrite what its first one sees.
        let ring = (window + b.together).next_multiple_of(RING);
        let positions = if window > 0 { b.options.ctx.min(ring) } else { b.options.ctx };
        if positions < b.options.ctx
            && let Some(inputs) = &mut b.program.inputs
        {
            let own = Ring { length: positions, spare: positions - window };
            let least = |a: Ring| Ring { length: a.length.min(own.length), spare: a.spare.min(own.spare) };
            inputs.ring = Some(inputs.ring.map_or(own, least));
        }
        let (rows, width) = (Rows::fixed(b.options.slots * positions), b.config.kv_width());
        let mut declare = |part: &str| {
            let name = format!("kv.{index}.{part}");
            b.program.tensor(Tensor { name, dtype, rows, width, role: Role::State, plan: None })
        };
        Ok(Self { k: declare("k")?, v: declare("v")?, positions })
    }
}

/// Appends the whole model to the open plan.
pub fn emit(b: &mut Builder<'_>, models: &Models, spec: &PlanSpec) -> Result<(), ModelError> {
    let w = models.of(b.branch);
    let mut x = embed(b, w)?; // (T, width)
    for index in 0..w.layers.len() {
        x = layer(b, w, index, x)?;
    }
    let logits = logits(b, w, x, spec.head == Head::Logits)?;
    let fetch = match spec.head {
        Head::Logits => logits,
        Head::Sample => sample(b, logits)?,
        Head::LogProb => log_prob(b, logits)?,
    };
    b.program.plans[b.plan.index()].fetch = Some(fetch);
    Ok(())
}

/// Appends one decoder layer: x (T, width) to (T, width).
pub fn layer(b: &mut Builder<'_>, w: &Weights, index: usize, x: TensorId) -> Result<TensorId, ModelError> {
    let (layer, prefix) = (&w.layers[index], format!("blk.{index}"));
    let h = rms_norm(b, &format!("{prefix}.attn_norm"), x, layer.attn_norm, Over::Tokens)?;
    let Mixer::Attention(config) = &layer.config.mixer;
    let a = attention(b, &prefix, layer, config, h, w.rope_factors)?; // (T, width)
    let x = add(b, &format!("{prefix}.post_attention"), a, layer.attn_after, x)?;
    let h = rms_norm(b, &format!("{prefix}.ffn_norm"), x, layer.ffn_norm, Over::Tokens)?;
    let f = feed_forward(b, &prefix, layer, h)?; // (T, width)
    add(b, &format!("{prefix}.post_ffw"), f, layer.ffn_after, x)
}

/// Appends what a part of a layer adds to the residual stream, both (T, width): its norm, if it has one, and the sum.
fn add(
    b: &mut Builder<'_>,
    label: &str,
    part: TensorId,
    norm: Option<TensorId>,
    stream: TensorId,
) -> Result<TensorId, ModelError> {
    let part = match norm {
        Some(norm) => rms_norm(b, &format!("{label}_norm"), part, norm, Over::Tokens)?,
        None => part,
    };
    residual::add(b, label, part, stream)
}

/// Appends the embedding of the step's tokens, (T, width).
pub fn embed(b: &mut Builder<'_>, w: &Weights) -> Result<TensorId, ModelError> {
    let width = b.config.width;
    let scale = if b.config.arch.scale_embedding { (width as f32).sqrt() } else { 1.0 };
    let x = b.activation("embedding", Over::Tokens, width)?;
    let table = (!b.packed).then_some(b.table);
    for shard in &w.embedding.shards {
        let ctx = table.map_or(0, |_| b.options.ctx as u32);
        if w.embedding.trained {
            let p = params::lookup::Params { width: width as u32, scale, ctx, ..Default::default() };
            b.call("token_embd", ops::Lookup { rows: b.rows, w: shard.w, tokens: table, x, params: p })?;
            continue;
        }
        let p = params::embed::Params {
            planes: shard.planes,
            width: width as u32,
            row_first: shard.first as u32,
            row_count: shard.rows as u32,
            ctx,
            scale,
            ..Default::default()
        };
        b.call("token_embd", ops::Embed { rows: b.rows, w: shard.w, tokens: table, x, params: p })?;
    }
    Ok(x)
}

/// Norm of whole rows (`w` as wide as `x`) or of each head (`w` as wide as a head).
fn rms_norm(
    b: &mut Builder<'_>,
    label: &str,
    x: TensorId,
    w: TensorId,
    rows: Over,
) -> Result<TensorId, ModelError> {
    let (wide, width) = (b.program.get(x).width, b.program.get(w).width);
    let y = b.activation(label, rows, wide)?;
    let p = params::rms_norm::Params {
        width: width as u32,
        groups: (wide / width) as u32,
        count: rows.count(),
        eps: b.config.rms_eps,
        ..Default::default()
    };
    b.call(label, ops::RmsNorm { rows: b.rows, x, w, residual: None, y, params: p })?;
    Ok(y)
}

fn rope(
    b: &mut Builder<'_>,
    label: &str,
    attention: &Attention,
    x: TensorId,
    heads: usize,
    factors: Option<TensorId>,
) -> Result<TensorId, ModelError> {
    let c = b.config;
    let y = b.activation(label, Over::Tokens, heads * c.head_dim)?;
    let p = c.rope_params(attention, heads, factors.is_some());
    b.call(label, ops::Rope { rows: b.rows, x, factors, y, params: p })?;
    Ok(y)
}

/// One of q and k: projection, optional norm per head, rope.
fn rotated(
    b: &mut Builder<'_>,
    attention: &Attention,
    (linear, norm): (&Linear, Option<TensorId>),
    x: TensorId,
    heads: usize,
    factors: Option<TensorId>,
) -> Result<TensorId, ModelError> {
    let mut y = linear.forward(b, x, Over::Tokens, None)?;
    if let Some(norm) = norm {
        y = rms_norm(b, &format!("{}_norm", linear.label), y, norm, Over::Tokens)?;
    }
    rope(b, &format!("{}_rope", linear.label), attention, y, heads, factors)
}

/// Attention and its output matrix: x (T, width) to (T, width).
fn attention(
    b: &mut Builder<'_>,
    prefix: &str,
    layer: &Layer,
    config: &Attention,
    x: TensorId,
    factors: Option<TensorId>,
) -> Result<TensorId, ModelError> {
    let c = b.config;
    let factors = factors.filter(|_| config.rope_scaled);
    let tokens = b.program.plans[b.plan.index()].tokens;
    let cache = layer.cache.filter(|_| !b.packed);
    let ctx = cache.map_or(tokens, |cache| cache.positions);
    let q = rotated(b, config, (&layer.q, layer.q_norm), x, c.heads, factors)?;
    let k = rotated(b, config, (&layer.k, layer.k_norm), x, c.kv_heads, factors)?;
    let v = layer.v.forward(b, x, Over::Tokens, None)?;
    let (keys, values) = match cache {
        Some(cache) => {
            kv_write(b, prefix, (k, v), cache)?;
            (cache.k, cache.v)
        }
        None => (k, v),
    };

    let splits =
        if tokens <= DECODE_ROWS && cache.is_some() { ctx.div_ceil(SPLIT.0).clamp(1, SPLIT.1) } else { 1 };
    let label = format!("{prefix}.attention");
    let part = if splits > 1 {
        let rows = c.heads * splits;
        Some(b.own(
            &format!("{label}.part"),
            Over::Tokens,
            rows,
            c.head_dim + 2,
            DType::F32,
            Role::Activation,
        )?)
    } else {
        None
    };
    let y = b.activation(&label, Over::Tokens, c.heads * c.head_dim)?;
    let p = params::attention::Params {
        heads: c.heads as u32,
        kv_heads: c.kv_heads as u32,
        head_dim: c.head_dim as u32,
        ctx: ctx as u32,
        scale: config.scale,
        softcap: config.softcap,
        window: config.window as u32,
        splits: splits as u32,
    };
    b.call(&label, ops::Attention { rows: b.rows, q, k: keys, v: values, y, part, params: p })?;
    layer.o.forward(b, y, Over::Tokens, None)
}

fn kv_write(
    b: &mut Builder<'_>,
    prefix: &str,
    (k, v): (TensorId, TensorId),
    cache: KvCache,
) -> Result<(), ModelError> {
    let (width, ctx) = (b.config.kv_width() as u32, cache.positions as u32);
    let p = params::kv_write::Params { width, ctx, ..Default::default() };
    b.call(
        &format!("{prefix}.kv_write"),
        ops::KvWrite { rows: b.rows, k, v, cache_k: cache.k, cache_v: cache.v, params: p },
    )
}

/// x (T, width) to (T, width).
fn feed_forward(
    b: &mut Builder<'_>,
    prefix: &str,
    layer: &Layer,
    x: TensorId,
) -> Result<TensorId, ModelError> {
    let gate = layer.gate.forward(b, x, Over::Tokens, None)?;
    let up = layer.up.forward(b, x, Over::Tokens, None)?;
    let label = format!("{prefix}.gate");
    let y = b.activation(&label, Over::Tokens, b.config.ff)?;
    let kind = match layer.config.feed_forward {
        FeedForward::Gated(GateKind::Silu) => 0,
        FeedForward::Gated(GateKind::GeluTanh) => 1,
    };
    let p = params::gate::Params { width: b.config.ff as u32, kind, count: Over::Tokens.count(), pad0: 0 };
    b.call(&label, ops::Gate { rows: b.rows, gate, up, y, params: p })?;
    layer.down.forward(b, y, Over::Tokens, None)
}

/// Appends copies of all layers' keys and values, and of the tokens, from slot to slot.
pub fn share(b: &mut Builder<'_>, w: &Weights) -> Result<(), ModelError> {
    let (width, table) = (b.config.kv_width() as u32, b.options.ctx as u32);
    for (index, cache) in w.layers.iter().filter_map(|layer| layer.cache).enumerate() {
        let tokens = (index == 0).then_some(b.table);
        let has_tokens = u32::from(tokens.is_some());
        let p = params::kv_copy::Params { width, ctx: cache.positions as u32, has_tokens, table };
        b.call(
            &format!("blk.{index}.kv_copy"),
            ops::KvCopy { rows: b.rows, cache_k: cache.k, cache_v: cache.v, tokens, params: p },
        )?;
    }
    Ok(())
}

/// What a head works on: the output rows of the last layer, normed, (O, width).
fn outputs(b: &mut Builder<'_>, w: &Weights, x: TensorId) -> Result<TensorId, ModelError> {
    let width = b.config.width as u32;
    let h = b.activation("gather", Over::Outputs, b.config.width)?;
    let p = params::gather::Params { width, ..Default::default() };
    b.call("gather", ops::Gather { rows: b.rows, outs: b.outs, x, y: h, params: p })?;
    rms_norm(b, "output_norm", h, w.output_norm, Over::Outputs)
}

/// The number that the branch makes of each output row, (O, 1), fetched; `None` for a branch that has no such head.
pub fn scalar(b: &mut Builder<'_>, w: &Weights, x: TensorId) -> Result<Option<TensorId>, ModelError> {
    let Some(head) = w.heads.get(b.branch).copied().flatten() else { return Ok(None) };
    let h = outputs(b, w, x)?;
    let y = b.own("scalar", Over::Outputs, 1, 1, DType::F32, Role::Output)?;
    Projection { w: head, ..Projection::of(h, y) }.emit(b, "scalar", Over::Outputs)?;
    Ok(Some(y))
}

/// Logits of the output rows only, (O, vocab).
pub fn logits(b: &mut Builder<'_>, w: &Weights, x: TensorId, fetched: bool) -> Result<TensorId, ModelError> {
    let vocab = b.config.vocab;
    let h = outputs(b, w, x)?;
    let role = if fetched { Role::Output } else { Role::Activation };
    let logits =
        |b: &mut Builder<'_>, label: &str, role| b.own(label, Over::Outputs, 1, vocab, DType::F32, role);
    let cap = b.config.softcap;
    if cap == 0.0 {
        let y = logits(b, "logits", role)?;
        return w.output.forward(b, h, Over::Outputs, Some(y));
    }
    let x = logits(b, "raw logits", Role::Activation)?;
    let x = w.output.forward(b, h, Over::Outputs, Some(x))?;
    let y = logits(b, "logits", role)?;
    let p = params::softcap::Params { width: vocab as u32, cap, ..Default::default() };
    b.call("softcap", ops::Softcap { rows: b.rows, x, y, params: p })?;
    Ok(y)
}

fn sample(b: &mut Builder<'_>, logits: TensorId) -> Result<TensorId, ModelError> {
    let sampled = b.own("sampled", Over::Outputs, 1, 4, DType::U32, Role::Output)?;
    let [breakers0, breakers1, breakers2] = b.config.breakers.vectors();
    let p = params::sample::Params {
        vocab: b.config.vocab as u32,
        ctx: b.options.ctx as u32,
        breakers0,
        breakers1,
        breakers2,
        ..Default::default()
    };
    b.call(
        "sample",
        ops::Sample { rows: b.rows, outs: b.outs, logits, tokens: b.table, sampled, params: p },
    )?;
    Ok(sampled)
}

/// How far `other`'s softmax is from `base`'s at each output row, (O, 1), fetched.
pub fn divergence(b: &mut Builder<'_>, base: TensorId, other: TensorId) -> Result<TensorId, ModelError> {
    let y = b.own("divergence", Over::Outputs, 1, 1, DType::F32, Role::Output)?;
    let p = params::divergence::Params { vocab: b.config.vocab as u32, ..Default::default() };
    b.call("divergence", ops::Divergence { rows: b.rows, outs: b.outs, base, other, y, params: p })?;
    Ok(y)
}

/// Log-probabilities of the output rows' labels, (O, 1), fetched.
pub fn log_prob(b: &mut Builder<'_>, logits: TensorId) -> Result<TensorId, ModelError> {
    let y = b.own("logprob", Over::Outputs, 1, 1, DType::F32, Role::Output)?;
    let p = params::logprob::Params { vocab: b.config.vocab as u32, ..Default::default() };
    b.call("logprob", ops::LogProb { rows: b.rows, outs: b.outs, logits, y, params: p })?;
    Ok(y)
}

//! Cases of the steps that are several in one: norm, rope and cache; norm and products; norm, products and gate.

use super::bench::{Bench, Case};
use super::cases::{Cases, cols, kv_name, planes};
use crate::ops::{self, params};
use crate::plan::{DType, PlanError};
use crate::quant::Format;

pub(super) fn all(b: &mut Bench, formats: &[Format]) -> Cases {
    let mut cases = Vec::new();
    for block16 in [true, false] {
        for heads in &HEADS {
            cases.push(rope_write(b, block16, heads)?);
        }
    }
    for &format in formats {
        cases.push(norm_linear(b, &Product { out: 70, ..Product::of(format, 1, 1) })?);
        cases.push(norm_gate(b, &Product { out: 96, ..Product::of(format, 1, 1) })?);
    }
    for (first, second) in Format::pairs() {
        let base = Product { second: Some((second, 38)), ..Product::of(first, 1, 1) };
        cases.push(norm_linear(b, &base)?);
    }
    // Several rows, shards, biases, and matrices of more than one workgroup.
    for (capacity, count) in [(1, 1), (8, 5), (20, 2)] {
        let base = Product { out: 300, ..Product::of(Format::Q8_0, capacity, count) };
        cases.push(norm_linear(b, &Product { shard: Some((400, 33)), bias: true, ..base })?);
        let second = Some((Format::Q8_0, 140));
        let mixed = Product { second, bias: true, ..Product::of(Format::Q5_0, capacity, count) };
        cases.push(norm_linear(b, &Product { out: 150, ..mixed })?);
        cases.push(norm_gate(b, &Product { out: 288, gelu: count % 2 == 0, ..base })?);
    }
    Ok(cases)
}

struct Heads {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    rope_dim: usize,
    neox: bool,
    scaled: bool,
    norms: bool,
    first: usize,
}

const PLAIN: Heads = Heads {
    heads: 9,
    kv_heads: 3,
    dim: 64,
    rope_dim: 64,
    neox: false,
    scaled: false,
    norms: false,
    first: 21,
};

/// Both pairings, partial rotation, factors, norms, far positions.
const HEADS: [Heads; 5] = [
    PLAIN,
    Heads { neox: true, norms: true, first: 131_000, ..PLAIN },
    Heads {
        heads: 4,
        kv_heads: 2,
        dim: 128,
        rope_dim: 128,
        neox: true,
        scaled: true,
        norms: true,
        first: 100_000,
    },
    Heads { heads: 5, kv_heads: 5, dim: 80, rope_dim: 36, neox: true, ..PLAIN },
    Heads { heads: 2, kv_heads: 1, dim: 256, rope_dim: 256, scaled: true, norms: true, first: 4000, ..PLAIN },
];

fn rope_write(b: &mut Bench, block16: bool, h: &Heads) -> Result<Case, PlanError> {
    let (ctx, count, capacity) = (24, 5, 6);
    let (q, kv) = (h.heads * h.dim, h.kv_heads * h.dim);
    let x = b.floats(capacity, q + 2 * kv, 2.0)?;
    let norm = |b: &mut Bench| if h.norms { b.weight(None, 1, h.dim).map(Some) } else { Ok(None) };
    let (q_norm, k_norm) = (norm(b)?, norm(b)?);
    let factors = if h.scaled { Some(super::cases::factors(b, h.rope_dim / 2)?) } else { None };
    let y = b.output(DType::F32, capacity, q)?;
    let cache_k = b.cache(block16, 3 * ctx, kv)?;
    let cache_v = b.cache(block16, 3 * ctx, kv)?;
    let scale = if h.scaled { 0.25 } else { 1.0 };
    let rope = params::rope::Params::new(h.heads, h.dim, h.rope_dim, h.neox, 500_000.0, scale, h.scaled);
    let rope = params::rope::Params { magnitude: if h.scaled { 1.25 } else { 1.0 }, ..rope };
    let p = params::rope_write::Params::new(&rope, h.kv_heads as u32, ctx as u32, h.norms.then_some(1e-5));
    // Over the end of the ring, and in two slots.
    let mut step = b.step(count, h.first);
    step.rows[2].slot = 2;
    let name = format!(
        "rope_write {}, {} and {} heads, {} of {} at {}{}",
        kv_name(block16),
        h.heads,
        h.kv_heads,
        h.rope_dim,
        h.dim,
        h.first,
        if h.norms { ", normed" } else { "" }
    );
    let call = ops::RopeWrite { rows: b.rows, x, q_norm, k_norm, factors, y, cache_k, cache_v, params: p };
    b.case(name, capacity, call, step)
}

struct Product {
    format: Format,
    out: usize,
    cols: usize,
    capacity: usize,
    count: usize,
    /// Of another format, and its rows.
    second: Option<(Format, usize)>,
    /// Width of y and first column written.
    shard: Option<(usize, usize)>,
    bias: bool,
    gelu: bool,
}

impl Product {
    fn of(format: Format, capacity: usize, count: usize) -> Self {
        let (second, shard, bias, gelu) = (None, None, false, false);
        Self { format, out: 70, cols: cols(format), capacity, count, second, shard, bias, gelu }
    }
}

fn norm_linear(b: &mut Bench, c: &Product) -> Result<Case, PlanError> {
    let (second, out2) = c.second.map_or((c.format, 0), |(format, rows)| (format, rows));
    let (stride, offset) = c.shard.unwrap_or((c.out + out2, 0));
    let x = b.floats(c.capacity, c.cols, 3.0)?;
    let norm = b.weight(None, 1, c.cols)?;
    let w = b.weight(Some(c.format), c.out, c.cols)?;
    let w2 = if out2 > 0 { Some(b.weight(Some(second), out2, c.cols)?) } else { None };
    let bias = if c.bias { Some(b.weight(None, 1, c.out + out2)?) } else { None };
    let y = b.output(DType::F32, c.capacity, stride)?;
    let p = params::norm_linear::Params {
        planes: planes(c.format, c.out, c.cols),
        planes2: planes(second, out2, c.cols),
        cols: c.cols as u32,
        out: c.out as u32,
        out2: out2 as u32,
        y_stride: stride as u32,
        y_offset: offset as u32,
        count: (c.count % 2) as u32,
        has_bias: u32::from(c.bias),
        eps: 1e-5,
    };
    let name = format!(
        "norm_linear {}{} {}x{}, {} of {} rows{}",
        c.format.name(),
        c.second.map_or(String::new(), |(format, rows)| format!(" and {rows} {}", format.name())),
        c.out,
        c.cols,
        c.count,
        c.capacity,
        if c.bias { ", bias" } else { "" }
    );
    let step = b.step(c.count, 0);
    b.case(name, c.capacity, ops::NormLinear { rows: b.rows, x, norm, w, w2, bias, y, params: p }, step)
}

fn norm_gate(b: &mut Bench, c: &Product) -> Result<Case, PlanError> {
    let x = b.floats(c.capacity, c.cols, 3.0)?;
    let norm = b.weight(None, 1, c.cols)?;
    let w = b.weight(Some(c.format), 2 * c.out, c.cols)?;
    let y = b.output(DType::F32, c.capacity, c.out)?;
    let p = params::norm_gate::Params {
        planes: planes(c.format, 2 * c.out, c.cols),
        cols: c.cols as u32,
        out: c.out as u32,
        kind: u32::from(c.gelu),
        count: (c.count % 2) as u32,
        eps: 1e-5,
        ..Default::default()
    };
    let name = format!(
        "norm_gate {} {}x{}, {} of {} rows, {}",
        c.format.name(),
        c.out,
        c.cols,
        c.count,
        c.capacity,
        if c.gelu { "gelu" } else { "silu" }
    );
    let step = b.step(c.count, 0);
    b.case(name, c.capacity, ops::NormGate { rows: b.rows, x, norm, w, y, params: p }, step)
}

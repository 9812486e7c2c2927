//! The cases: every op, and where it matters every format, cache type and number of rows.

use super::bench::{Bench, Case};
use super::{cases_attention, cases_fused, cases_optimizer, cases_products, cases_training};
use crate::ops::{self, params};
use crate::plan::{DType, PlanError, Step, TOKEN_FROM_TABLE};
use crate::quant::Format;

pub(super) type Cases = Result<Vec<Case>, PlanError>;

/// All cases and the program that they make up.
pub fn all(thorough: bool) -> Result<(Bench, Vec<Case>), PlanError> {
    let formats = if thorough { &Format::ALL[..] } else { &[Format::F16, Format::Q4_1, Format::Q4K][..] };
    make(formats, &[(1, 1), (80, 67)], thorough)
}

/// Those of some formats only, which then meet every number of rows that has a candidate of its own.
pub fn of(formats: &[Format]) -> Result<(Bench, Vec<Case>), PlanError> {
    make(formats, &[(1, 1), (2, 2), (4, 3), (8, 7), (80, 1), (80, 5), (80, 67)], true)
}

/// `rows`: capacities of products in each format, and how many of them are there.
fn make(
    formats: &[Format],
    rows: &[(usize, usize)],
    thorough: bool,
) -> Result<(Bench, Vec<Case>), PlanError> {
    let mut b = Bench::new()?;
    let mut cases = Vec::new();
    for &format in formats {
        cases.push(embed(&mut b, format, true)?);
        cases.extend(linear_of(&mut b, format, rows)?);
    }
    cases.push(embed(&mut b, Format::Q8_0, false)?);
    cases.extend(linear_shapes(&mut b)?);
    cases.extend(norms(&mut b)?);
    cases.extend(ropes(&mut b)?);
    for block16 in [true, false] {
        cases.push(kv_write(&mut b, block16)?);
        cases.push(kv_copy(&mut b, block16)?);
        cases.extend(attentions(&mut b, block16)?);
    }
    cases.extend(gates(&mut b)?);
    cases.extend([add(&mut b, true)?, add(&mut b, false)?, softcap(&mut b)?]);
    cases.push(gather(&mut b)?);
    cases.extend(heads(&mut b)?);
    for &format in formats {
        cases.extend(cases_products::linear_backs(&mut b, format)?);
    }
    cases.extend(cases_products::all(&mut b)?);
    cases.extend(cases_fused::all(&mut b, formats)?);
    cases.extend(cases_training::all(&mut b)?);
    cases.extend(cases_attention::all(&mut b)?);
    cases.extend(cases_optimizer::all(&mut b, thorough)?);
    Ok((b, cases))
}

/// Columns that a format takes, not a multiple of 32 where it need not be, nor of 8.
pub(super) fn cols(format: Format) -> usize {
    match format.block_len() {
        1 if format == Format::BF16 => 72,
        1 => 76,
        32 => 160,
        _ => 512,
    }
}

/// A shard of a vocabulary: tokens before and after it leave their rows alone; some tokens come from the table, if there is
/// one.
fn embed(b: &mut Bench, format: Format, table: bool) -> Result<Case, PlanError> {
    let (width, ctx, count) = (cols(format), 40, 9);
    let mut step = b.step(count, 5);
    for (t, row) in step.rows.iter_mut().enumerate() {
        row.token = if table && t % 3 == 0 { TOKEN_FROM_TABLE } else { 8 * t as u32 };
    }
    let words = (0..4 * ctx).map(|i| (i * 11 % 70) as u32).collect();
    let tokens = if table { Some(b.words(DType::U32, 4, ctx, words)?) } else { None };
    let w = b.weight(Some(format), 40, width)?;
    let x = b.output(DType::F32, count, width)?;
    let p = params::embed::Params {
        planes: planes(format, 40, width),
        width: width as u32,
        row_first: 10,
        row_count: 40,
        ctx: if table { ctx as u32 } else { 0 },
        scale: 1.5,
        ..Default::default()
    };
    let kind = if table { "" } else { " without a table" };
    b.case(
        format!("embed {}{kind}", format.name()),
        count,
        ops::Embed { rows: b.rows, w, tokens, x, params: p },
        step,
    )
}

pub(super) fn planes(format: Format, rows: usize, cols: usize) -> [u32; 4] {
    format.planes(rows, cols).to_u32().unwrap_or_default()
}

struct ProductCase {
    format: Format,
    out: usize,
    cols: usize,
    capacity: usize,
    count: usize,
    /// Width of y and first column written.
    shard: Option<(usize, usize)>,
    extras: bool,
    outputs: bool,
}

fn linear(b: &mut Bench, c: &ProductCase) -> Result<Case, PlanError> {
    let (stride, offset) = c.shard.unwrap_or((c.out, 0));
    let x = b.floats(c.capacity, c.cols, 1.0)?;
    let w = b.weight(Some(c.format), c.out, c.cols)?;
    let bias = if c.extras { Some(b.weight(None, 1, c.out)?) } else { None };
    let residual = if c.extras { Some(b.floats(c.capacity, stride, 4.0)?) } else { None };
    let y = b.output(DType::F32, c.capacity, stride)?;
    let p = params::linear::Params {
        planes: planes(c.format, c.out, c.cols),
        cols: c.cols as u32,
        out: c.out as u32,
        y_stride: stride as u32,
        y_offset: offset as u32,
        count: u32::from(c.outputs),
        has_bias: u32::from(c.extras),
        has_residual: u32::from(c.extras),
        w_first: 0,
    };
    let name = format!(
        "linear {} {}x{}, {} of {} rows{}",
        c.format.name(),
        c.out,
        c.cols,
        c.count,
        c.capacity,
        if c.extras { ", bias, residual" } else { "" }
    );
    let step = b.step(c.count, 0);
    b.case(name, c.capacity, ops::Linear { rows: b.rows, x, w, bias, residual, y, params: p }, step)
}

/// A format with so many rows.
fn linear_of(b: &mut Bench, format: Format, rows: &[(usize, usize)]) -> Cases {
    let base = ProductCase {
        format,
        out: 70,
        cols: cols(format),
        capacity: 1,
        count: 1,
        shard: None,
        extras: false,
        outputs: false,
    };
    rows.iter().map(|&(capacity, count)| linear(b, &ProductCase { capacity, count, ..base })).collect()
}

/// Every number of rows that has a variant of its own, shards, and matrices of more than one workgroup.
fn linear_shapes(b: &mut Bench) -> Cases {
    let base = ProductCase {
        format: Format::Q8_0,
        out: 200,
        cols: 352,
        capacity: 1,
        count: 1,
        shard: None,
        extras: true,
        outputs: false,
    };
    let rows = [(1, 1), (2, 2), (4, 3), (8, 8), (8, 5), (80, 1), (80, 7), (80, 80), (130, 129)];
    let mut cases = Vec::new();
    for (capacity, count) in rows {
        cases.push(linear(b, &ProductCase { capacity, count, outputs: count % 2 == 0, ..base })?);
    }
    for (capacity, count) in [(2, 2), (70, 65)] {
        cases.push(linear(b, &ProductCase { capacity, count, out: 64, shard: Some((300, 96)), ..base })?);
        cases.push(linear(
            b,
            &ProductCase { capacity, count, out: 1100, cols: 64, format: Format::F32, ..base },
        )?);
    }
    Ok(cases)
}

fn norms(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (width, groups, count, added) in
        [(576, 1, 3, false), (64, 9, 2, false), (100, 1, 1, true), (2048, 1, 20, true)]
    {
        let x = b.floats(20, width * groups, 3.0)?;
        let w = b.weight(None, 1, width)?;
        let residual = if added { Some(b.floats(20, width * groups, 3.0)?) } else { None };
        let y = b.output(DType::F32, 20, width * groups)?;
        let p = params::rms_norm::Params {
            width: width as u32,
            groups: groups as u32,
            count: (count % 2) as u32,
            eps: 1e-5,
            has_residual: u32::from(added),
            ..Default::default()
        };
        let step = b.step(count, 0);
        let plus = if added { ", residual" } else { "" };
        cases.push(b.case(
            format!("rms_norm {groups} x {width}{plus}"),
            20,
            ops::RmsNorm { rows: b.rows, x, w, residual, y, params: p },
            step,
        )?);
    }
    Ok(cases)
}

/// Both pairings, partial rotation, frequency factors, and positions where an angle in f32 would be wrong.
fn ropes(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (dim, rope_dim, neox, scaled, first) in [
        (64, 64, false, false, 0),
        (64, 64, true, false, 131_000),
        (128, 128, true, true, 100_000),
        (80, 32, true, false, 3000),
        (256, 256, false, true, 4000),
    ] {
        let (heads, count) = (5, 6);
        let x = b.floats(count, heads * dim, 1.0)?;
        let factors = if scaled { Some(factors(b, rope_dim / 2)?) } else { None };
        let y = b.output(DType::F32, count, heads * dim)?;
        let scale = if scaled { 0.25 } else { 1.0 };
        let forward = params::rope::Params::new(heads, dim, rope_dim, neox, 500_000.0, scale, scaled);
        for inverse in [0, 1] {
            let magnitude = if scaled { 1.25 } else { 1.0 };
            let p = params::rope::Params { inverse, magnitude, ..forward };
            let step = b.step(count, first);
            let name = format!("rope {rope_dim} of {dim} at {first}{}", ["", ", inverse"][inverse as usize]);
            cases.push(b.case(name, count, ops::Rope { rows: b.rows, x, factors, y, params: p }, step)?);
        }
    }
    Ok(cases)
}

/// Frequency factors between 1 and 32.
pub(super) fn factors(b: &mut Bench, count: usize) -> Result<crate::plan::TensorId, PlanError> {
    let values: Vec<f32> = b.values(count).iter().map(|v| 1.0 + 15.5 * (v + 1.0)).collect();
    b.vector(&values)
}

fn kv_write(b: &mut Bench, block16: bool) -> Result<Case, PlanError> {
    let (width, ctx, count) = (192, 24, 5);
    let k = b.floats(count, width, 2.0)?;
    let v = b.floats(count, width, 2.0)?;
    let cache_k = b.cache(block16, 3 * ctx, width)?;
    let cache_v = b.cache(block16, 3 * ctx, width)?;
    let p = params::kv_write::Params { width: width as u32, ctx: ctx as u32, ..Default::default() };
    // Over the end of the ring.
    let mut step = b.step(count, 21);
    step.rows[2].slot = 2;
    b.case(
        format!("kv_write {}", kv_name(block16)),
        count,
        ops::KvWrite { rows: b.rows, k, v, cache_k, cache_v, params: p },
        step,
    )
}

fn kv_copy(b: &mut Bench, block16: bool) -> Result<Case, PlanError> {
    let (width, ctx, count) = (192, 24, 9);
    let cache_k = b.cache(block16, 3 * ctx, width)?;
    let cache_v = b.cache(block16, 3 * ctx, width)?;
    let table = 32;
    let words = (0..3 * table as u32).map(|i| i * 7 % 50).collect();
    let tokens = b.words(DType::U32, 3, table, words)?;
    let (width, ctx, table) = (width as u32, ctx as u32, table as u32);
    let p = params::kv_copy::Params { width, ctx, has_tokens: u32::from(block16), table };
    let mut step = b.step(count, 20);
    step.rows.iter_mut().for_each(|row| row.token = 0);
    step.rows[2].token = 2;
    b.case(
        format!("kv_copy {}", kv_name(block16)),
        count,
        ops::KvCopy { rows: b.rows, cache_k, cache_v, tokens: block16.then_some(tokens), params: p },
        step,
    )
}

pub(super) fn kv_name(block16: bool) -> &'static str {
    if block16 { "block16" } else { "f32" }
}

struct Attention {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    first: usize,
    count: usize,
    splits: usize,
    window: u32,
    softcap: f32,
    /// Rows of two slots, some of which see only part of their sequence.
    mixed: bool,
}

fn attentions(b: &mut Bench, block16: bool) -> Cases {
    let base = Attention {
        heads: 9,
        kv_heads: 3,
        dim: 64,
        first: 0,
        count: 1,
        splits: 1,
        window: 0,
        softcap: 0.0,
        mixed: false,
    };
    let list = [
        Attention { ..base },
        Attention { first: 180, splits: 4, ..base },
        Attention { first: 60, count: 2, splits: 3, mixed: true, ..base },
        Attention { first: 150, splits: 2, window: 33, softcap: 2.0, ..base },
        Attention { count: 70, ..base },
        Attention { first: 90, count: 67, ..base },
        Attention { count: 40, mixed: true, ..base },
        Attention { count: 70, window: 20, softcap: 3.0, ..base },
        Attention { heads: 4, kv_heads: 2, dim: 128, first: 17, count: 50, ..base },
        Attention { heads: 2, kv_heads: 1, dim: 256, first: 100, count: 35, ..base },
        Attention { heads: 2, kv_heads: 2, dim: 80, first: 64, count: 33, ..base },
        Attention { heads: 2, kv_heads: 1, dim: 256, first: 190, splits: 4, ..base },
        // Positions over the end of the ring that the cache is then.
        Attention { first: 590, splits: 2, window: 33, ..base },
        Attention { first: 405, count: 3, window: 120, softcap: 2.0, ..base },
        Attention { first: 380, count: 70, window: 100, ..base },
    ];
    list.iter().map(|a| attention(b, block16, a)).collect()
}

fn attention(b: &mut Bench, block16: bool, a: &Attention) -> Result<Case, PlanError> {
    let (ctx, capacity) = (200, a.count.next_multiple_of(8));
    let q = b.floats(capacity, a.heads * a.dim, 4.0)?;
    let k = b.cache(block16, 4 * ctx, a.kv_heads * a.dim)?;
    let v = b.cache(block16, 4 * ctx, a.kv_heads * a.dim)?;
    let y = b.output(DType::F32, capacity, a.heads * a.dim)?;
    let rows = capacity * a.heads * a.splits;
    let part = if a.splits > 1 { Some(b.output(DType::F32, rows, a.dim + 2)?) } else { None };
    let p = params::attention::Params {
        heads: a.heads as u32,
        kv_heads: a.kv_heads as u32,
        head_dim: a.dim as u32,
        ctx: ctx as u32,
        scale: 1.0 / (a.dim as f32).sqrt(),
        softcap: a.softcap,
        window: a.window,
        splits: a.splits as u32,
    };
    let mut step = b.step(a.count, a.first);
    if a.mixed {
        for (t, row) in step.rows.iter_mut().enumerate().filter(|(t, _)| t % 2 == 1) {
            row.slot = 3;
            row.first = row.pos.min(t as u32 / 3);
        }
    }
    let name = format!(
        "attention {}, {}/{} heads of {}, {} rows at {}, {} splits{}",
        kv_name(block16),
        a.heads,
        a.kv_heads,
        a.dim,
        a.count,
        a.first,
        a.splits,
        if a.mixed { ", two slots" } else { "" }
    );
    b.case(name, capacity, ops::Attention { rows: b.rows, q, k, v, y, part, params: p }, step)
}

fn gates(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (kind, name, scale) in [(0, "silu", 20.0), (1, "gelu", 20.0)] {
        let gate = b.floats(5, 360, scale)?;
        let up = b.floats(5, 360, 1.0)?;
        let y = b.output(DType::F32, 5, 360)?;
        let p = params::gate::Params { width: 360, kind, count: 0, pad0: 0 };
        let step = b.step(3, 0);
        cases.push(b.case(
            format!("gate {name}"),
            5,
            ops::Gate { rows: b.rows, gate, up, y, params: p },
            step,
        )?);
    }
    Ok(cases)
}

fn add(b: &mut Bench, with_residual: bool) -> Result<Case, PlanError> {
    let (x, residual) = (b.floats(7, 264, 1.0)?, b.floats(7, 264, 3.0)?);
    let y = b.output(DType::F32, 7, 264)?;
    let p = params::add::Params::new(264, with_residual);
    let step = b.step(5, 0);
    b.case(
        format!("add, residual {with_residual}"),
        7,
        ops::Add { rows: b.rows, x, residual: with_residual.then_some(residual), y, params: p },
        step,
    )
}

fn softcap(b: &mut Bench) -> Result<Case, PlanError> {
    let x = b.floats(4, 1003, 100.0)?;
    let y = b.output(DType::F32, 4, 1003)?;
    let p = params::softcap::Params { width: 1003, cap: 30.0, ..Default::default() };
    let step = b.step(3, 0);
    b.case("softcap".into(), 4, ops::Softcap { rows: b.rows, x, y, params: p }, step)
}

fn gather(b: &mut Bench) -> Result<Case, PlanError> {
    let x = b.floats(7, 264, 1.0)?;
    let y = b.output(DType::F32, 7, 264)?;
    let p = params::gather::Params { width: 264, ..Default::default() };
    let step = b.step(6, 0);
    b.case("gather".into(), 7, ops::Gather { rows: b.rows, outs: b.outs, x, y, params: p }, step)
}

/// How the sampler is asked: temperature, top k, top p, min p, penalty.
const SAMPLERS: [(f32, u32, f32, f32, f32); 8] = [
    (0.0, 0, 1.0, 0.0, 1.0),
    (0.0, 40, 0.9, 0.1, 1.8),
    (1.0, 0, 1.0, 0.0, 1.0),
    (0.8, 40, 0.95, 0.05, 1.1),
    (0.7, 1, 1.0, 0.0, 1.0),
    (1.5, 0, 0.5, 0.0, 1.3),
    (2.0, 0, 1.0, 0.3, 1.0),
    (1.0, 300, 0.99, 0.001, 1.0),
];

/// Log-probabilities and samples of small and large vocabularies; one row of logits is damaged.
fn heads(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for vocab in [60, 1000, 40_000] {
        let count = SAMPLERS.len();
        let logits = b.floats(count, vocab, 12.0)?;
        let y = b.output(DType::F32, count, 1)?;
        let p = params::logprob::Params { vocab: vocab as u32, ..Default::default() };
        let mut step = b.step(count, 0);
        step.outs.iter_mut().zip(SAMPLERS).for_each(|(out, s)| out.temperature = s.0);
        cases.push(b.case(
            format!("logprob of {vocab}"),
            count,
            ops::LogProb { rows: b.rows, outs: b.outs, logits, y, params: p },
            step,
        )?);
        cases.push(sample(b, vocab, false)?);
    }
    cases.push(sample(b, 500, true)?);
    cases.extend(super::cases_sample::all(b)?);
    Ok(cases)
}

fn sample(b: &mut Bench, vocab: usize, damaged: bool) -> Result<Case, PlanError> {
    let (ctx, count) = (300, SAMPLERS.len());
    let mut values: Vec<f32> = b.values(count * vocab).iter().map(|v| v * 8.0).collect();
    // Ties for the largest: the first wins.
    values[3] = 9.0;
    values[7] = 9.0;
    if damaged {
        values[vocab + 11] = f32::NAN;
    }
    let logits = b.words(DType::F32, count, vocab, values.iter().map(|v| v.to_bits()).collect())?;
    let table = (0..count * ctx).map(|i| (i * 13 % vocab) as u32).collect();
    let tokens = b.words(DType::U32, count, ctx, table)?;
    let sampled = b.output(DType::U32, count, 4)?;
    let p = params::sample::Params { vocab: vocab as u32, ctx: ctx as u32, ..Default::default() };
    let step = sampler_step(b, count);
    let name = format!("sample of {vocab}{}", if damaged { ", damaged" } else { "" });
    b.case(name, count, ops::Sample { rows: b.rows, outs: b.outs, logits, tokens, sampled, params: p }, step)
}

/// A row and a slot per sampler; the last is at the end of its slot, where there is no next position.
fn sampler_step(b: &mut Bench, count: usize) -> Step {
    let mut step = b.step(count, 292);
    for (o, (out, s)) in step.outs.iter_mut().zip(SAMPLERS).enumerate() {
        (out.temperature, out.top_k, out.top_p, out.min_p, out.repeat_penalty) = s;
        out.seed = 77 + o as u32;
        out.repeat_last_n = [64, 256, 5, 1000][o % 4];
        out.slot = o as u32;
    }
    step.outs[0].pos = 2;
    step
}

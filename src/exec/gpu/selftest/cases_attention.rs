//! Cases of the gradients of attention: packed sequences, windows, soft caps, grouped heads.

use super::bench::{Bench, Case};
use super::cases::Cases;
use crate::ops::{self, params};
use crate::plan::{DType, PlanError, Step, TensorId};

struct Shape {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    count: usize,
    window: u32,
    softcap: f32,
    /// Where sequences start.
    starts: &'static [usize],
}

pub(super) fn all(b: &mut Bench) -> Cases {
    let base = Shape { heads: 9, kv_heads: 3, dim: 64, count: 67, window: 0, softcap: 0.0, starts: &[0] };
    let list = [
        Shape { count: 1, ..base },
        Shape { ..base },
        Shape { starts: &[0, 1, 30, 41], ..base },
        Shape { window: 20, softcap: 3.0, ..base },
        Shape { heads: 4, kv_heads: 2, dim: 128, count: 130, window: 9, starts: &[0, 66, 67], ..base },
        Shape { heads: 2, kv_heads: 1, dim: 256, count: 35, softcap: 2.0, starts: &[0, 12], ..base },
        Shape { heads: 2, kv_heads: 2, dim: 80, count: 150, starts: &[0, 100], ..base },
        Shape { heads: 6, kv_heads: 1, dim: 16, count: 254, ..base },
    ];
    let mut cases = Vec::new();
    for shape in &list {
        cases.extend(gradients(b, shape)?);
    }
    Ok(cases)
}

/// One sequence behind another in slot 0, each row at the position of its index.
fn packed(b: &mut Bench, shape: &Shape) -> Step {
    let mut step = b.step(shape.count, 0);
    for (t, row) in step.rows.iter_mut().enumerate() {
        let starts = shape.starts.iter().filter(|s| **s <= t);
        (row.slot, row.first) = (0, starts.max().copied().unwrap_or(0) as u32);
    }
    step
}

/// Log-sums and deltas of q, k and the outputs that the gradients start from: close enough to the real ones that weights
/// are of their size.
fn stats(b: &mut Bench, shape: &Shape, rows: usize) -> Result<TensorId, PlanError> {
    let mut values = b.values(rows * shape.heads * 2);
    for (i, pair) in values.chunks_exact_mut(2).enumerate() {
        pair[0] = (1.0 + (i / shape.heads) as f32).ln() + 1.0 + 0.1 * pair[0];
    }
    b.words(DType::F32, rows, shape.heads * 2, values.iter().map(|v| v.to_bits()).collect())
}

fn gradients(b: &mut Bench, shape: &Shape) -> Cases {
    let capacity = shape.count + 3;
    let (wide, narrow) = (shape.heads * shape.dim, shape.kv_heads * shape.dim);
    let params = params::attention_back::Params {
        heads: shape.heads as u32,
        kv_heads: shape.kv_heads as u32,
        head_dim: shape.dim as u32,
        window: shape.window,
        scale: 1.0 / (shape.dim as f32).sqrt(),
        softcap: shape.softcap,
        ..Default::default()
    };
    let mut cases: Vec<Case> = Vec::new();
    let name = |stem: &str| {
        format!(
            "{stem} {}/{} heads of {}, {} rows in {} sequences, window {}, cap {}",
            shape.heads,
            shape.kv_heads,
            shape.dim,
            shape.count,
            shape.starts.len(),
            shape.window,
            shape.softcap
        )
    };
    let (rows, step) = (b.rows, packed(b, shape));
    let (q, k) = (b.floats(capacity, wide, 2.0)?, b.floats(capacity, narrow, 2.0)?);
    let (dy, y) = (b.floats(capacity, wide, 1.0)?, b.floats(capacity, wide, 1.0)?);
    let made = b.output(DType::F32, capacity, shape.heads * 2)?;
    let call = ops::AttentionStats { rows, q, k, y, dy, stats: made, params };
    cases.push(b.case(name("attention_stats"), capacity, call, step)?);

    let (q, k) = (b.floats(capacity, wide, 2.0)?, b.floats(capacity, narrow, 2.0)?);
    let (dy, v) = (b.floats(capacity, wide, 1.0)?, b.floats(capacity, narrow, 1.0)?);
    let (stats, step) = (self::stats(b, shape, capacity)?, packed(b, shape));
    let dq = b.output(DType::F32, capacity, wide)?;
    let call = ops::AttentionDq { rows, q, k, v, dy, stats, dq, params };
    cases.push(b.case(name("attention_dq"), capacity, call, step)?);

    let (q, k) = (b.floats(capacity, wide, 2.0)?, b.floats(capacity, narrow, 2.0)?);
    let (dy, v) = (b.floats(capacity, wide, 1.0)?, b.floats(capacity, narrow, 1.0)?);
    let (stats, step) = (self::stats(b, shape, capacity)?, packed(b, shape));
    let (dk, dv) = (b.output(DType::F32, capacity, narrow)?, b.output(DType::F32, capacity, narrow)?);
    let call = ops::AttentionDkv { rows, q, k, v, dy, stats, dk, dv, params };
    cases.push(b.case(name("attention_dkv"), capacity, call, step)?);
    Ok(cases)
}

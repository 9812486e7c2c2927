//! Causal attention with grouped queries (Ainslie et al. 2023) and a streaming softmax
//! (Milakov & Gimelshein 2018): no score matrix is kept.

use std::ops::Range;

use super::attention_tile::{
    BLOCK as ATTENTION_BLOCK, Head, SPAN, Tile, block_rows, dots, mix, overlap, seen, spans, union,
};
use super::cpu::{Cache, Columns, Context, Real};
use super::params::{self, attention::Params};
use super::{AttentionDkv, AttentionDq, AttentionStats};
use crate::plan::{Cost, Over, PlanError, Reverse, Row, Rows, Shapes};

/// Positions scored together.
const BLOCK: usize = 32;
/// Most query heads that read a KV head together.
const MAX_TOGETHER: usize = 8;
/// Keys are fetched so many positions ahead.
const AHEAD: usize = 6;
/// From so many rows on, attention goes by tiles.
const MANY: usize = 16;
/// Largest head width.
pub const MAX_HEAD_DIM: usize = 256;

op! {
    /// Arguments: rows, q (T, heads * head_dim), k and v (slots * ctx, kv_heads * head_dim), y like q,
    /// part (T * heads * splits, head_dim + 2): scratch of the split kernel.
    Attention(Params) "attention" {
        rows: Read U32,
        q: Read F32,
        k: Read Cache,
        v: Read Cache,
        y: Write F32,
        part: Write F32 (optional),
    }
    check: check,
    tolerance: |p| 64.0 + 4.0 * f64::from(p.head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |p, load| Cost::products(2 * load.pairs, &[p.heads, p.head_dim]),
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    let sound = p.kv_heads > 0 && p.heads.is_multiple_of(p.kv_heads) && p.head_dim as usize <= MAX_HEAD_DIM;
    let why = || format!("heads must be a multiple of kv heads, their width at most {MAX_HEAD_DIM}");
    s.require(AT.q, |_| sound, why)?;
    s.wide([AT.q, AT.y], p.heads * p.head_dim)?;
    s.wide([AT.k, AT.v], p.kv_heads * p.head_dim)?;
    s.wide([AT.part], p.head_dim + 2)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Attention>();
    if p.softcap == 0.0 && c.rows(Over::Tokens) >= MANY {
        return tiled(c, &p);
    }
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let group = heads / p.kv_heads as usize;
    let (q, k, v) = (c.read(AT.q), c.cache(AT.k), c.cache(AT.v));
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Tokens) * heads, dim);
    let mut lines = [F::ZERO; BLOCK * MAX_HEAD_DIM];
    let lines = &mut lines[..BLOCK * dim];
    // Heads that share a KV head go together: its rows are read once.
    let (mut next, mut rest) = (first, y);
    while !rest.is_empty() {
        let (t, head) = (next / heads, next % heads);
        let count = (group - head % group).min(MAX_TOGETHER).min(rest.len() / dim);
        let (y, later) = rest.split_at_mut(count * dim);
        let q = &q[(t * heads + head) * dim..][..count * dim];
        attend(&p, c.row(t), q, (&k, &v), head / group, lines, y);
        (next, rest) = (next + count, later);
    }
}

/// Many rows: a block of them against a span of positions at a time, by products of tiles.
fn tiled<F: Real>(c: &Context<'_, F>, p: &Params) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let rows = c.rows(Over::Tokens);
    let each = block_rows(rows, c.parts());
    let mut y = c.write_pieces(AT.y, each * heads * dim);
    let mut scratch = Scratch {
        weights: [F::ZERO; ATTENTION_BLOCK * SPAN],
        keys: [F::ZERO; SPAN * MAX_HEAD_DIM],
        values: [F::ZERO; SPAN * MAX_HEAD_DIM],
    };
    for block in c.deal(rows.div_ceil(each)) {
        let ts = block * each..rows.min((block + 1) * each);
        let y = &mut y.piece(block)[..ts.len() * heads * dim];
        y.fill(F::ZERO);
        // Rows of one slot go together.
        let mut start = ts.start;
        while start < ts.end {
            let slot = c.row(start).slot;
            let end = (start..ts.end).find(|t| c.row(*t).slot != slot).unwrap_or(ts.end);
            let y = &mut y[(start - ts.start) * heads * dim..(end - ts.start) * heads * dim];
            for kv_head in 0..kv_heads {
                attend_block(c, p, start..end, kv_head, &mut scratch, y);
            }
            start = end;
        }
    }
}

/// What a thread needs for a tile.
struct Scratch<F> {
    weights: Tile<F>,
    keys: [F; SPAN * MAX_HEAD_DIM],
    values: [F; SPAN * MAX_HEAD_DIM],
}

/// The query heads of one KV head, for rows of one slot.
fn attend_block<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    ts: Range<usize>,
    kv_head: usize,
    scratch: &mut Scratch<F>,
    y: &mut [F],
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let (q, k, v) = (c.read(AT.q), c.cache(AT.k), c.cache(AT.v));
    let group = heads / kv_heads;
    let seen = |t: usize| seen(p.window, c.row(t));
    let all = union(ts.clone().map(seen));
    let slot = c.row(ts.start).slot as usize * p.ctx as usize;
    // Largest score and sum of weights of each row, by query head of the group.
    let mut running = [[(F::LOWEST, F::ZERO); ATTENTION_BLOCK]; MAX_TOGETHER];
    for first in (0..group).step_by(MAX_TOGETHER) {
        let together = MAX_TOGETHER.min(group - first);
        running.iter_mut().for_each(|r| r.fill((F::LOWEST, F::ZERO)));
        for span in spans(all.clone()) {
            for (i, j) in span.clone().enumerate() {
                let from = ((slot + j % p.ctx as usize) * kv_heads + kv_head) * dim;
                k.load(from, &mut scratch.keys[i * dim..(i + 1) * dim]);
                v.load(from, &mut scratch.values[i * dim..(i + 1) * dim]);
            }
            let size = (ts.len(), span.len());
            let key = Head::of(&scratch.keys, 1, dim, 0, 0);
            let value = Head::of(&scratch.values, 1, dim, 0, 0);
            for (one, running) in running.iter_mut().enumerate().take(together) {
                let head = kv_head * group + first + one;
                let query = Head::of(q, heads, dim, head, ts.start);
                dots(query, key, size, F::from_f32(p.scale), &mut scratch.weights, SPAN);
                let columns = head * dim..(head + 1) * dim;
                for ((i, t), row) in ts.clone().enumerate().zip(scratch.weights.chunks_mut(SPAN)) {
                    let own = &mut y[i * heads * dim..][columns.clone()];
                    weigh_on(&mut row[..span.len()], overlap(&seen(t), &span), &mut running[i], own);
                }
                mix(&scratch.weights, SPAN, size, value, &mut Columns::new(y, heads * dim, columns));
            }
        }
        for (one, running) in running.iter().enumerate().take(together) {
            let head = kv_head * group + first + one;
            for (i, (_, sum)) in running.iter().take(ts.len()).enumerate() {
                let norm = F::ONE / *sum;
                y[(i * heads + head) * dim..][..dim].iter_mut().for_each(|y| *y *= norm);
            }
        }
    }
}

/// Turns a row's scores into weights relative to its largest so far, to which `y` is shrunk.
fn weigh_on<F: Real>(row: &mut [F], seen: Range<usize>, running: &mut (F, F), y: &mut [F]) {
    row[..seen.start].fill(F::ZERO);
    row[seen.end..].fill(F::ZERO);
    let row = &mut row[seen];
    let top = row.iter().fold(running.0, |top, score| if *score > top { *score } else { top });
    if row.is_empty() {
        return;
    }
    let shrink = if running.0 == F::LOWEST { F::ZERO } else { (running.0 - top).exp() };
    if shrink != F::ONE {
        y.iter_mut().for_each(|y| *y *= shrink);
    }
    F::exp_all(row, F::ONE, -top);
    *running = (top, running.1 * shrink + row.iter().fold(F::ZERO, |sum, w| sum + *w));
}

/// The weights that a row's query head gives to the step's rows `0..=row.pos`, which attention itself keeps nowhere: softmax of
/// scale * q k^T over those it may see, 0 elsewhere; in double precision. `q` is (T, heads * head_dim), `k` (T, kv_heads *
/// head_dim), and the row's place in both is its position, as in a plan without a cache.
pub fn weights(p: &Params, row: Row, head: usize, q: &[f32], k: &[f32]) -> Vec<f64> {
    let (heads, kv_heads, dim) = (p.heads as usize, p.kv_heads as usize, p.head_dim as usize);
    let kv_head = head / (heads / kv_heads);
    let query = &q[(row.pos as usize * heads + head) * dim..][..dim];
    let score = |j: usize| {
        let key = &k[(j * kv_heads + kv_head) * dim..][..dim];
        let dot: f64 = query.iter().zip(key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
        cap(p, dot * f64::from(p.scale))
    };
    let seen = seen(p.window, row);
    let mut weights = vec![0.0; seen.end];
    let scores: Vec<f64> = seen.clone().map(score).collect();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|score| (score - top).exp()).sum();
    for (weight, score) in weights[seen].iter_mut().zip(scores) {
        *weight = (score - top).exp() / sum;
    }
    weights
}

/// Query heads of one KV head: y = softmax(scale * q k^T) v over the positions that `row` may see. `lines`: room for a block of
/// keys or values.
fn attend<F: Real>(
    p: &Params,
    row: Row,
    q: &[F],
    (k, v): (&Cache<'_, F>, &Cache<'_, F>),
    kv_head: usize,
    lines: &mut [F],
    y: &mut [F],
) {
    let dim = p.head_dim as usize;
    let stride = p.kv_heads as usize * dim;
    let ctx = p.ctx as usize;
    let base = row.slot as usize * ctx * stride + kv_head * dim;
    let Range { start: first, end } = seen(p.window, row);
    // A row sees no more positions than the ring has.
    let turned = first - first % ctx;
    let place = |j: usize| base + if j - turned < ctx { j - turned } else { j - turned - ctx } * stride;
    let mut softmax = [Softmax { max: F::LOWEST, sum: F::ZERO, weights: [F::ZERO; BLOCK] }; MAX_TOGETHER];
    y.fill(F::ZERO);
    for start in (first..end).step_by(BLOCK) {
        let count = BLOCK.min(end - start);
        let lines = &mut lines[..count * dim];
        for (j, line) in lines.chunks_exact_mut(dim).enumerate() {
            // Rows of one KV head lie too far apart for the CPU to foresee.
            k.prefetch(place((start + j + AHEAD).min(end - 1)), dim);
            v.prefetch(place(start + j), dim);
            k.load(place(start + j), line);
        }
        for ((q, softmax), y) in q.chunks_exact(dim).zip(&mut softmax).zip(y.chunks_exact_mut(dim)) {
            let scores = &mut softmax.weights[..count];
            F::dot_lines(q, lines, scores);
            scores.iter_mut().for_each(|score| *score = cap(p, *score * F::from_f32(p.scale)));
            softmax.block(count, y);
        }
        for (j, line) in lines.chunks_exact_mut(dim).enumerate() {
            v.load(place(start + j), line);
        }
        for (y, softmax) in y.chunks_exact_mut(dim).zip(&softmax) {
            F::add_lines(&softmax.weights[..count], lines, y);
        }
    }
    for (y, softmax) in y.chunks_exact_mut(dim).zip(&softmax) {
        let norm = F::ONE / softmax.sum;
        y.iter_mut().for_each(|y| *y *= norm);
    }
}

/// The streaming softmax of one head.
#[derive(Clone, Copy)]
struct Softmax<F> {
    max: F,
    sum: F,
    weights: [F; BLOCK],
}

impl<F: Real> Softmax<F> {
    /// Turns the scores of a block into weights, and shrinks `y` to the new maximum.
    fn block(&mut self, count: usize, y: &mut [F]) {
        let weights = &mut self.weights[..count];
        let top = weights.iter().fold(self.max, |top, score| if *score > top { *score } else { top });
        let shrink = if self.max == F::LOWEST { F::ZERO } else { (self.max - top).exp() };
        if shrink != F::ONE {
            self.sum *= shrink;
            y.iter_mut().for_each(|y| *y *= shrink);
        }
        self.max = top;
        F::exp_all(weights, F::ONE, -top);
        self.sum += weights.iter().fold(F::ZERO, |sum, weight| sum + *weight);
    }
}

fn cap<F: Real>(p: &Params, score: F) -> F {
    if p.softcap == 0.0 {
        return score;
    }
    let cap = F::from_f32(p.softcap);
    cap * (score / cap).tanh()
}

/// For training steps, in which k and v are the step's own rows rather than a cache.
fn grad(r: &mut Reverse<'_>, call: &Attention) -> Result<(), PlanError> {
    let p = call.params;
    let Attention { rows, q, k, v, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let shape = params::attention_back::Params {
        heads: p.heads,
        kv_heads: p.kv_heads,
        head_dim: p.head_dim,
        window: p.window,
        scale: p.scale,
        softcap: p.softcap,
        ..Default::default()
    };
    let stats = r.scratch("stats", Rows::each(Over::Tokens, 1), 2 * p.heads as usize)?;
    r.call(AttentionStats { rows, q, k, y, dy, stats, params: shape })?;
    let (dq, dk, dv) = (r.fresh(q)?, r.fresh(k)?, r.fresh(v)?);
    if let Some(dq) = dq {
        r.call(AttentionDq { rows, q, k, v, dy, stats, dq, params: shape })?;
    }
    if dk.is_none() && dv.is_none() {
        return Ok(());
    }
    // The two are made together: the one that nobody wants goes to scratch.
    let width = (p.kv_heads * p.head_dim) as usize;
    let dk = dk.map_or_else(|| r.scratch("dk", Rows::each(Over::Tokens, 1), width), Ok)?;
    let dv = dv.map_or_else(|| r.scratch("dv", Rows::each(Over::Tokens, 1), width), Ok)?;
    r.call(AttentionDkv { rows, q, k, v, dy, stats, dk, dv, params: shape })
}

//! Gradient of attention's queries, without a score matrix (Dao 2023): with p = exp(score - log-sum),
//! dq = sum over keys of p (dy . v - delta) score' k.

use super::attention_stats::check_widths;
use super::attention_tile::{BLOCK, Head, SPAN, Tile, block_rows, dots, mix, overlap, seen_by, spans, weigh};
use super::cpu::{Columns, Context, Real};
use super::params::attention_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, q and dy (T, heads * head_dim), k and v (T, kv_heads * head_dim), stats (T, heads * 2), dq like q.
    AttentionDq(Params) "attention_dq" {
        rows: Read U32,
        q: Read F32,
        k: Read F32,
        v: Read F32,
        dy: Read F32,
        stats: Read F32,
        dq: Write F32,
    }
    check: check,
    tolerance: |p| 128.0 + 8.0 * f64::from(p.head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |p, load| Cost::products(3 * load.pairs, &[p.heads, p.head_dim]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    check_widths(s, p, &[AT.q, AT.dy, AT.dq], &[AT.k, AT.v])?;
    s.require(AT.stats, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<AttentionDq>();
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let rows = c.rows(Over::Tokens);
    let each = block_rows(rows, c.parts());
    let mut dq = c.write_pieces(AT.dq, each * heads * dim);
    let mut tiles = [[F::ZERO; BLOCK * SPAN]; 2];
    for block in c.deal(rows.div_ceil(each)) {
        let ts = block * each..rows.min((block + 1) * each);
        let dq = &mut dq.piece(block)[..ts.len() * heads * dim];
        dq.fill(F::ZERO);
        for head in 0..heads {
            if p.softcap == 0.0 {
                tiled(c, &p, ts.clone(), head, &mut tiles, dq);
            } else {
                capped(c, &p, ts.clone(), head, dq);
            }
        }
    }
}

/// A block's rows of one head, tile by tile.
fn tiled<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    ts: std::ops::Range<usize>,
    head: usize,
    [weights, slopes]: &mut [Tile<F>; 2],
    dq: &mut [F],
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let (stats, scale) = (c.read(AT.stats), F::from_f32(p.scale));
    let query = Head::of(c.read(AT.q), heads, dim, head, ts.start);
    let dy = Head::of(c.read(AT.dy), heads, dim, head, ts.start);
    for span in spans(seen_by(c, p, ts.clone())) {
        let size = (ts.len(), span.len());
        let key = Head::of(c.read(AT.k), kv_heads, dim, kv_head, span.start);
        let value = Head::of(c.read(AT.v), kv_heads, dim, kv_head, span.start);
        dots(query, key, size, scale, weights, SPAN);
        dots(dy, value, size, F::ONE, slopes, SPAN);
        let tiles = weights.chunks_mut(SPAN).zip(slopes.chunks_mut(SPAN));
        for (t, (weights, slopes)) in ts.clone().zip(tiles) {
            let at = 2 * (t * heads + head);
            let weights = &mut weights[..span.len()];
            weigh(weights, overlap(&p.seen(c.row(t)), &span), stats[at]);
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *slope = *weight * (*slope - stats[at + 1]) * scale;
            }
        }
        let mut dq = Columns::new(dq, heads * dim, head * dim..(head + 1) * dim);
        mix(slopes, SPAN, size, key, &mut dq);
    }
}

/// The same for capped scores, one by one.
fn capped<F: Real>(c: &Context<'_, F>, p: &Params, ts: std::ops::Range<usize>, head: usize, dq: &mut [F]) {
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let group = heads / p.kv_heads as usize;
    let (_, kv) = p.widths();
    let (q, k, v, dy, stats) = (c.read(AT.q), c.read(AT.k), c.read(AT.v), c.read(AT.dy), c.read(AT.stats));
    for (i, t) in ts.enumerate() {
        let item = t * heads + head;
        let (query, dy) = (&q[item * dim..][..dim], &dy[item * dim..][..dim]);
        let dq = &mut dq[(i * heads + head) * dim..][..dim];
        for j in p.seen(c.row(t)) {
            let from = j * kv + head / group * dim;
            let (key, value) = (&k[from..from + dim], &v[from..from + dim]);
            let (score, slope) = p.score(query, key);
            let weight = (score - stats[2 * item]).exp();
            F::axpy(weight * (F::dot(dy, value) - stats[2 * item + 1]) * slope, key, dq);
        }
    }
}

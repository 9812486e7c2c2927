//! Gradients of attention's keys and values, without a score matrix (Dao 2023): with p = exp(score - log-sum),
//! dv = sum over queries of p dy, dk = sum over queries of p (dy . v - delta) score' q.

use std::ops::Range;

use super::attention_stats::check_widths;
use super::attention_tile::{BLOCK, Head, SPAN, Tile, block_rows, dots, mix_back, overlap, spans, weigh};
use super::cpu::{Columns, Context, Real};
use super::params::attention_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, q and dy (T, heads * head_dim), k and v (T, kv_heads * head_dim), stats (T, heads * 2), dk and dv like
    /// k. A row is seen by later rows only, and sequences lie one behind another.
    AttentionDkv(Params) "attention_dkv" {
        rows: Read U32,
        q: Read F32,
        k: Read F32,
        v: Read F32,
        dy: Read F32,
        stats: Read F32,
        dk: Write F32,
        dv: Write F32,
    }
    check: check,
    tolerance: |p| 128.0 + 8.0 * f64::from(p.head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |p, load| Cost::products(4 * load.pairs, &[p.heads, p.head_dim]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    check_widths(s, p, &[AT.q, AT.dy], &[AT.k, AT.v, AT.dk, AT.dv])?;
    s.require(AT.stats, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<AttentionDkv>();
    let (_, kv) = p.widths();
    let rows = c.rows(Over::Tokens);
    let each = block_rows(rows, c.parts());
    let (mut dk, mut dv) = (c.write_pieces(AT.dk, each * kv), c.write_pieces(AT.dv, each * kv));
    let mut tiles = [[F::ZERO; BLOCK * SPAN]; 2];
    for block in c.deal(rows.div_ceil(each)) {
        let js = block * each..rows.min((block + 1) * each);
        let dk = &mut dk.piece(block)[..js.len() * kv];
        let dv = &mut dv.piece(block)[..js.len() * kv];
        dk.fill(F::ZERO);
        dv.fill(F::ZERO);
        // Rows from the first key on, up to the first that begins behind the last.
        let end = (js.start..rows).find(|t| c.row(*t).first as usize >= js.end).unwrap_or(rows);
        for head in 0..p.heads as usize {
            if p.softcap == 0.0 {
                tiled(c, &p, js.clone(), end, head, &mut tiles, (dk, dv));
            } else {
                capped(c, &p, js.clone(), end, head, (dk, dv));
            }
        }
    }
}

/// What the rows of one head add to a block of keys, tile by tile.
fn tiled<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    js: Range<usize>,
    end: usize,
    head: usize,
    [weights, slopes]: &mut [Tile<F>; 2],
    (dk, dv): (&mut [F], &mut [F]),
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let (stats, scale) = (c.read(AT.stats), F::from_f32(p.scale));
    let key = Head::of(c.read(AT.k), kv_heads, dim, kv_head, js.start);
    let value = Head::of(c.read(AT.v), kv_heads, dim, kv_head, js.start);
    for ts in spans(js.start..end) {
        let size = (ts.len(), js.len());
        let query = Head::of(c.read(AT.q), heads, dim, head, ts.start);
        let dy = Head::of(c.read(AT.dy), heads, dim, head, ts.start);
        dots(query, key, size, scale, weights, BLOCK);
        dots(dy, value, size, F::ONE, slopes, BLOCK);
        let tiles = weights.chunks_mut(BLOCK).zip(slopes.chunks_mut(BLOCK));
        for (t, (weights, slopes)) in ts.clone().zip(tiles) {
            let at = 2 * (t * heads + head);
            let weights = &mut weights[..js.len()];
            weigh(weights, overlap(&p.seen(c.row(t)), &js), stats[at]);
            for (slope, weight) in slopes.iter_mut().zip(weights) {
                *slope = *weight * (*slope - stats[at + 1]) * scale;
            }
        }
        let columns = kv_head * dim..(kv_head + 1) * dim;
        mix_back(weights, BLOCK, size, dy, &mut Columns::new(dv, kv_heads * dim, columns.clone()));
        mix_back(slopes, BLOCK, size, query, &mut Columns::new(dk, kv_heads * dim, columns));
    }
}

/// The same for capped scores, one by one.
fn capped<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    js: Range<usize>,
    end: usize,
    head: usize,
    (dk, dv): (&mut [F], &mut [F]),
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let (q, k, v, dy, stats) = (c.read(AT.q), c.read(AT.k), c.read(AT.v), c.read(AT.dy), c.read(AT.stats));
    for (i, j) in js.enumerate() {
        let item = j * kv_heads + kv_head;
        let (key, value) = (&k[item * dim..][..dim], &v[item * dim..][..dim]);
        let own = (i * kv_heads + kv_head) * dim..(i * kv_heads + kv_head + 1) * dim;
        for t in (j..end).filter(|t| p.seen(c.row(*t)).contains(&j)) {
            let at = t * heads + head;
            let (query, dy) = (&q[at * dim..][..dim], &dy[at * dim..][..dim]);
            let (score, slope) = p.score(query, key);
            let weight = (score - stats[2 * at]).exp();
            F::axpy(weight, dy, &mut dv[own.clone()]);
            let slope = weight * (F::dot(dy, value) - stats[2 * at + 1]) * slope;
            F::axpy(slope, query, &mut dk[own.clone()]);
        }
    }
}

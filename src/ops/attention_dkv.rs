//! Gradients of attention's keys and values, without a score matrix (Dao 2023): with p = exp(score - log-sum),
//! dv = sum over queries of p dy, dk = sum over queries of p (dy . v - delta) score' q.

use std::ops::Range;

use super::attention_stats::check_widths;
use super::attention_tile::{BLOCK, Head, SPAN, Tile, block_rows, dots, mix_back, overlap, spans, weigh};
use super::cpu::{Columns, Context, Real};
use super::params::attention_dkv::Params;
use super::params::attention_stats::Params as Shape;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, q and dy (T, heads * head_dim), k and v (T, kv_heads * head_dim), stats (T, heads * 2), dk and dv like
/// k. A row is seen by later rows only, and sequences lie one behind another.
pub static DEF: OpDef = OpDef {
    stem: "attention_dkv",
    args: &[
        Arg::input("rows"),
        Arg::read("q"),
        Arg::read("k"),
        Arg::read("v"),
        Arg::read("dy"),
        Arg::read("stats"),
        Arg::write("dk"),
        Arg::write("dv"),
    ],
    check,
    tolerance: |_, call| 128.0 + 8.0 * f64::from(call.params.get::<Params>().head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::products(4 * load.pairs, &[p.heads, p.head_dim])
    },
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Shape = call.params.get();
    check_widths(program, call, &p, &[1, 4], &[2, 3, 6, 7])?;
    require(program, call, 5, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Shape = c.params();
    let (_, kv) = p.widths();
    let rows = c.rows(0);
    let each = block_rows(rows, c.parts());
    let (mut dk, mut dv) = (c.write_pieces(6, each * kv), c.write_pieces(7, each * kv));
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
    p: &Shape,
    js: Range<usize>,
    end: usize,
    head: usize,
    [weights, slopes]: &mut [Tile<F>; 2],
    (dk, dv): (&mut [F], &mut [F]),
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let (stats, scale) = (c.read(5), F::from_f32(p.scale));
    let key = Head::of(c.read(2), kv_heads, dim, kv_head, js.start);
    let value = Head::of(c.read(3), kv_heads, dim, kv_head, js.start);
    for ts in spans(js.start..end) {
        let size = (ts.len(), js.len());
        let query = Head::of(c.read(1), heads, dim, head, ts.start);
        let dy = Head::of(c.read(4), heads, dim, head, ts.start);
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
    p: &Shape,
    js: Range<usize>,
    end: usize,
    head: usize,
    (dk, dv): (&mut [F], &mut [F]),
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let (q, k, v, dy, stats) = (c.read(1), c.read(2), c.read(3), c.read(4), c.read(5));
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

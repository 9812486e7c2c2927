//! Gradients of attention's keys and values, without a score matrix (Dao 2023): with p = exp(score - log-sum),
//! dv = sum over queries of p dy, dk = sum over queries of p (dy . v - delta) score' q.

use super::attention_stats::check_widths;
use super::cpu::{Context, Real};
use super::params::attention_dkv::Params;
use super::params::attention_stats::Params as Shape;
use super::{Arg, OpDef, require};
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
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, call| 128.0 + 8.0 * f64::from(call.params.get::<Params>().head_dim).sqrt(),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Shape = call.params.get();
    check_widths(program, call, &p, &[1, 4], &[2, 3, 6, 7])?;
    require(program, call, 5, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Shape = c.params();
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let group = heads / kv_heads;
    let (q, k, v, dy, stats) = (c.read(1), c.read(2), c.read(3), c.read(4), c.read(5));
    let rows = c.rows(0);
    // Early keys are seen by more rows than late ones: keys of equal cost go to different threads.
    let (mut dk, mut dv) = (c.write_pieces(6, dim), c.write_pieces(7, dim));
    for item in c.deal(rows * kv_heads) {
        let (j, kv_head) = (item / kv_heads, item % kv_heads);
        let (key, value) = (&k[item * dim..][..dim], &v[item * dim..][..dim]);
        let (dk, dv) = (dk.piece(item), dv.piece(item));
        dk.fill(F::ZERO);
        dv.fill(F::ZERO);
        for t in j..rows {
            let row = c.row(t);
            if row.first as usize > j {
                break;
            }
            if !p.seen(row).contains(&j) {
                continue;
            }
            for head in kv_head * group..(kv_head + 1) * group {
                let at = t * heads + head;
                let (query, dy) = (&q[at * dim..][..dim], &dy[at * dim..][..dim]);
                let (score, slope) = p.score(query, key);
                let weight = (score - stats[2 * at]).exp();
                F::axpy(weight, dy, dv);
                F::axpy(weight * (F::dot(dy, value) - stats[2 * at + 1]) * slope, query, dk);
            }
        }
    }
}

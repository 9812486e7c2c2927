//! Gradient of attention's queries, without a score matrix (Dao 2023): with p = exp(score - log-sum),
//! dq = sum over keys of p (dy . v - delta) score' k.

use super::attention_stats::check_widths;
use super::cpu::{Context, Real};
use super::params::attention_dq::Params;
use super::params::attention_stats::Params as Shape;
use super::{Arg, OpDef, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, q and dy (T, heads * head_dim), k and v (T, kv_heads * head_dim), stats (T, heads * 2), dq like q.
pub static DEF: OpDef = OpDef {
    stem: "attention_dq",
    args: &[
        Arg::input("rows"),
        Arg::read("q"),
        Arg::read("k"),
        Arg::read("v"),
        Arg::read("dy"),
        Arg::read("stats"),
        Arg::write("dq"),
    ],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, call| 128.0 + 8.0 * f64::from(call.params.get::<Params>().head_dim).sqrt(),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Shape = call.params.get();
    check_widths(program, call, &p, &[1, 4, 6], &[2, 3])?;
    require(program, call, 5, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Shape = c.params();
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let group = heads / p.kv_heads as usize;
    let (_, kv) = p.widths();
    let (q, k, v, dy, stats) = (c.read(1), c.read(2), c.read(3), c.read(4), c.read(5));
    let (first, dq) = c.write_chunks(6, c.rows(0) * heads, dim);
    for (i, dq) in dq.chunks_mut(dim).enumerate() {
        let (t, head) = ((first + i) / heads, (first + i) % heads);
        let at = (first + i) * dim;
        let (query, dy) = (&q[at..at + dim], &dy[at..at + dim]);
        let (log_sum, delta) = (stats[2 * (first + i)], stats[2 * (first + i) + 1]);
        dq.fill(F::ZERO);
        for j in p.seen(c.row(t)) {
            let from = j * kv + head / group * dim;
            let (key, value) = (&k[from..from + dim], &v[from..from + dim]);
            let (score, slope) = p.score(query, key);
            let weight = (score - log_sum).exp();
            F::axpy(weight * (F::dot(dy, value) - delta) * slope, key, dq);
        }
    }
}

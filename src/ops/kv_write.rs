//! Stores keys and values of the step's rows in the KV cache at (slot, pos).

use super::cpu::{Context, Real};
use super::params::kv_write::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, k (T, width), v (T, width), cache_k (slots * ctx, width), cache_v like it.
    KvWrite(Params) "kv_write" {
        rows: Read U32,
        k: Read F32,
        v: Read F32,
        cache_k: Update Cache,
        cache_v: Update Cache,
    }
    check: check,
    tolerance: |_| 0.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.k, AT.v, AT.cache_k, AT.cache_v], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<KvWrite>();
    let width = p.width as usize;
    for (source, cache) in [(AT.k, AT.cache_k), (AT.v, AT.cache_v)] {
        let values = c.read(source);
        let mut cache = c.write_cache(cache, width);
        let range = cache.range();
        for t in 0..c.rows(Over::Tokens) {
            let row = c.row(t);
            let at = row.slot as usize * p.ctx as usize + (row.pos % p.ctx) as usize;
            cache.store(at, &values[t * width..][range.clone()]);
        }
    }
}

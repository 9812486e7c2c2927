//! Copies positions of the KV cache from one slot to another, so that sequences with the same beginning compute it once.
//! The row's `token` is the slot to copy from; its slot and position are where to.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::kv_copy::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, cache_k (slots * ctx, width), cache_v like it, tokens (slots, ctx), if they are to be copied too.
    KvCopy(Params) "kv_copy" {
        rows: Read U32,
        cache_k: Update Cache,
        cache_v: Update Cache,
        tokens: Update U32 (optional),
    }
    check: check,
    tolerance: |_| 0.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.cache_k, AT.cache_v], p.width)?;
    s.wide([AT.tokens], p.table)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<KvCopy>();
    let (ctx, table) = (p.ctx as usize, p.table as usize);
    let places = (0..c.rows(Over::Tokens)).map(|t| {
        let row = c.row(t);
        let pos = row.pos as usize % ctx;
        (row.source_slot() * ctx + pos, row.slot as usize * ctx + pos)
    });
    for cache in [AT.cache_k, AT.cache_v] {
        let mut cache = c.write_cache(cache, p.width as usize);
        places.clone().for_each(|(from, to)| cache.copy(from, to));
    }
    if c.present(AT.tokens) {
        let tokens = c.words(AT.tokens);
        for t in c.share(c.rows(Over::Tokens), 1) {
            let row = c.row(t);
            let (from, to) = (row.source_slot() * table, row.slot as usize * table);
            let token = tokens[from + row.pos as usize].load(Ordering::Relaxed);
            tokens[to + row.pos as usize].store(token, Ordering::Relaxed);
        }
    }
}

//! Copies positions of the KV cache from one slot to another, so that sequences with the same beginning compute it once.
//! The row's `token` is the slot to copy from; its slot and position are where to.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::kv_copy::Params;
use super::{Accepts, Access, Arg, Cost, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, cache_k (slots * ctx, width), cache_v like it, tokens (slots, ctx), if they are to be copied too.
pub static DEF: OpDef = OpDef {
    stem: "kv_copy",
    args: &[
        Arg::input("rows"),
        Arg::new("cache_k", Access::Update, Accepts::Cache),
        Arg::new("cache_v", Access::Update, Accepts::Cache),
        Arg::new("tokens", Access::Update, Accepts::U32).optional(),
    ],
    check,
    tolerance: |_, _| 0.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..3, p.width)?;
    require(program, call, 3, |t| t.width == p.ctx as usize, || format!("must be {} wide", p.ctx))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let ctx = p.ctx as usize;
    let places = (0..c.rows(0)).map(|t| {
        let row = c.row(t);
        (row.token as usize * ctx + row.pos as usize, row.slot as usize * ctx + row.pos as usize)
    });
    for cache in [1, 2] {
        let mut cache = c.write_cache(cache, p.width as usize);
        places.clone().for_each(|(from, to)| cache.copy(from, to));
    }
    if c.present(3) {
        let tokens = c.words(3);
        for t in c.share(c.rows(0), 1) {
            let row = c.row(t);
            let (from, to) = (row.token as usize * ctx, row.slot as usize * ctx);
            let token = tokens[from + row.pos as usize].load(Ordering::Relaxed);
            tokens[to + row.pos as usize].store(token, Ordering::Relaxed);
        }
    }
}

//! Stores keys and values of the step's rows in the KV cache at (slot, pos).

use super::cpu::{Context, Real};
use super::params::kv_write::Params;
use super::{Accepts, Access, Arg, Cost, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, k (T, width), v (T, width), cache_k (slots * ctx, width), cache_v like it.
pub static DEF: OpDef = OpDef {
    stem: "kv_write",
    args: &[
        Arg::input("rows"),
        Arg::read("k"),
        Arg::read("v"),
        Arg::new("cache_k", Access::Update, Accepts::Cache),
        Arg::new("cache_v", Access::Update, Accepts::Cache),
    ],
    check,
    tolerance: |_, _| 0.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..5, p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    for (source, cache) in [(1, 3), (2, 4)] {
        let values = c.read(source);
        let mut cache = c.write_cache(cache, width);
        let range = cache.range();
        for t in 0..c.rows(0) {
            let row = c.row(t);
            let at = row.slot as usize * p.ctx as usize + row.pos as usize;
            cache.store(at, &values[t * width..][range.clone()]);
        }
    }
}

//! Embedding of a trained f32 table: `x[t] = scale * w[token of row t]`; also keeps the token table, where there is one.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::{self, lookup::Params};
use super::{Accepts, Access, Arg, Cost, Op, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse, TOKEN_FROM_TABLE};

/// Arguments: rows, w (vocab, width), tokens (slots, ctx) unless `ctx` is 0, x (T, width). Without a table every row names its
/// token.
pub static DEF: OpDef = OpDef {
    stem: "lookup",
    args: &[
        Arg::input("rows"),
        Arg::read("w"),
        Arg::new("tokens", Access::Update, Accepts::U32).optional(),
        Arg::write("x"),
    ],
    check,
    tolerance: |_, _| 2.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 2, |t| t.width == p.ctx as usize, || format!("must be {} wide", p.ctx))?;
    wide(program, call, [1, 3], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let w = c.read(1);
    let tokens = c.words(2);
    let (first, x) = c.write_chunks(3, c.rows(0), width);
    for (i, x) in x.chunks_mut(width).enumerate() {
        let row = c.row(first + i);
        let mut token = row.token;
        if let Some(slot) = tokens.get(row.slot as usize * p.ctx as usize + row.pos as usize) {
            token = if token == TOKEN_FROM_TABLE { slot.load(Ordering::Relaxed) } else { token };
            slot.store(token, Ordering::Relaxed);
        }
        // A row that names no token reads the last row of the table.
        let token = (token as usize).min(w.len() / width - 1);
        let w = &w[token * width..][..width];
        for (x, w) in x.iter_mut().zip(w) {
            *x = *w * F::from_f32(p.scale);
        }
    }
}

fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, w, _, x] = call.each()?;
    let (Some(dx), Some(dw)) = (r.gradient(x), r.sum(w)) else { return Ok(()) };
    let q = params::lookup_back::Params { width: p.width, scale: p.scale, ..Default::default() };
    r.call(Op::LookupBack, call, vec![rows, Some(dx), Some(dw)], q)
}

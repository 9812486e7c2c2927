//! Embedding of a trained f32 table: `x[t] = scale * w[token of row t]`; also keeps the token table, where there is one.

use std::sync::atomic::Ordering;

use super::LookupBack;
use super::cpu::{Context, Real};
use super::params::{self, lookup::Params};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes, TOKEN_FROM_TABLE};

op! {
    /// Arguments: rows, w (vocab, width), tokens (slots, ctx) unless `ctx` is 0, x (T, width). Without a table every row names its
    /// token.
    Lookup(Params) "lookup" {
        rows: Read U32,
        w: Read F32,
        tokens: Update U32 (optional),
        x: Write F32,
    }
    check: check,
    tolerance: |_| 2.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.tokens], p.ctx)?;
    s.wide([AT.w, AT.x], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Lookup>();
    let width = p.width as usize;
    let w = c.read(AT.w);
    let tokens = c.words(AT.tokens);
    let (first, x) = c.write_chunks(AT.x, c.rows(Over::Tokens), width);
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

fn grad(r: &mut Reverse<'_>, call: &Lookup) -> Result<(), PlanError> {
    let p = call.params;
    let Lookup { rows, w, x, .. } = *call;
    let (Some(dx), Some(dw)) = (r.gradient(x), r.sum(w)) else { return Ok(()) };
    let q = params::lookup_back::Params { width: p.width, scale: p.scale, ..Default::default() };
    r.call(LookupBack { rows, dx, dw, params: q })
}

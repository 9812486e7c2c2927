//! Token embedding: `x[t] = scale * w[token of row t]`; also keeps the token table, where there is one.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::embed::Params;
use super::{Accepts, Access, Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program, TOKEN_FROM_TABLE};

/// Arguments: rows, w (vocab, width), tokens (slots, ctx) unless `ctx` is 0, x (T, width).
pub static DEF: OpDef = OpDef {
    stem: "embed",
    args: &[
        Arg::input("rows"),
        Arg::new("w", Access::Read, Accepts::Matrix),
        Arg::new("tokens", Access::Update, Accepts::U32).optional(),
        Arg::write("x"),
    ],
    check,
    tolerance: |_, _| 2.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 1, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    require(program, call, 2, |t| t.width == p.ctx as usize, || format!("must be {} wide", p.ctx))?;
    require(program, call, 3, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let w = c.matrix(1, width);
    let tokens = c.words(2);
    let (first, x) = c.write_chunks(3, c.rows(0), width);
    // The longest block holds 256 weights.
    let mut decoded = [0f32; 256];
    for (i, x) in x.chunks_mut(width).enumerate() {
        let row = c.row(first + i);
        let mut token = row.token;
        if !tokens.is_empty() {
            let slot = &tokens[row.slot as usize * p.ctx as usize + row.pos as usize];
            token = if token == TOKEN_FROM_TABLE { slot.load(Ordering::Relaxed) } else { token };
            slot.store(token, Ordering::Relaxed);
        }
        let Some(local) = token.checked_sub(p.row_first).filter(|l| *l < p.row_count) else { continue };
        let blocks = w.row(local as usize).chunks(w.format.block_bytes());
        for (bytes, x) in blocks.zip(x.chunks_mut(w.format.block_len())) {
            let decoded = &mut decoded[..x.len()];
            if w.format.decode(bytes, decoded).is_err() {
                decoded.fill(f32::NAN);
            }
            for (x, v) in x.iter_mut().zip(decoded.iter()) {
                *x = F::from_f32(*v) * F::from_f32(p.scale);
            }
        }
    }
}

//! Token embedding: `x[t] = scale * w[token of row t]`; also keeps the token table, where there is one.

use std::sync::atomic::Ordering;

use super::cpu::{Context, Real};
use super::params::embed::Params;
use crate::plan::{Cost, Over, PlanError, Shapes, TOKEN_FROM_TABLE};

op! {
    /// Arguments: rows, w (vocab, width), tokens (slots, ctx) unless `ctx` is 0, x (T, width).
    Embed(Params) "embed" {
        rows: Read U32,
        w: Read Matrix,
        tokens: Update U32 (optional),
        x: Write F32,
    }
    check: check,
    tolerance: |_| 2.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.w], p.width)?;
    s.wide([AT.tokens], p.ctx)?;
    s.wide([AT.x], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Embed>();
    let width = p.width as usize;
    let w = c.matrix(AT.w, width);
    let tokens = c.words(AT.tokens);
    let (first, x) = c.write_chunks(AT.x, c.rows(Over::Tokens), width);
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

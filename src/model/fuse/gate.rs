//! The first half of a gated feed-forward: norm, gate and up, and the activation.

use super::Rewrite;
use crate::model::ModelError;
use crate::ops::{self, params};

/// What is put together.
struct Half {
    norm: (usize, ops::RmsNorm),
    gate: (usize, ops::Linear),
    up: (usize, ops::Linear),
}

/// Where gate and up are one matrix and nothing but their products sees what the norm makes.
pub(super) fn norm_products_and_gate(r: &mut Rewrite<'_>) -> Result<(), ModelError> {
    let mut at = 0;
    while at < r.calls().len() {
        if let Some(gated) = r.get::<ops::Gate>(at)
            && let Some(half) = half(r, at, &gated)
        {
            let Half { norm: (first, norm), gate: (second, gate), up: (third, _) } = half;
            let p = params::norm_gate::Params {
                planes: gate.params.planes,
                cols: gate.params.cols,
                out: gate.params.out,
                kind: gated.params.kind,
                count: gated.params.count,
                eps: norm.params.eps,
                ..Default::default()
            };
            let label = r.calls()[at].label.clone();
            let (x, w, y) = (norm.x, gate.w, gated.y);
            r.put(at, &label, ops::NormGate { rows: r.step, x, norm: norm.w, w, y, params: p })?;
            r.drop(&[first, second, third]);
            at -= 3;
        }
        at += 1;
    }
    Ok(())
}

/// What is behind an activation, if it can be one call.
fn half(r: &Rewrite<'_>, at: usize, gated: &ops::Gate) -> Option<Half> {
    let (gate, up) = (r.maker::<ops::Linear>(gated.gate)?, r.maker::<ops::Linear>(gated.up)?);
    let norm = r.maker::<ops::RmsNorm>(gate.1.x)?;
    let plain = |product: &ops::Linear| {
        let p = product.params;
        product.bias.is_none() && product.residual.is_none() && (p.y_offset, p.y_stride) == (0, p.out)
    };
    let (p, q) = (gate.1.params, up.1.params);
    let one_matrix = (gate.1.x, gate.1.w, p.out, p.count) == (up.1.x, up.1.w, q.out, q.count)
        && (p.w_first, q.w_first) == (0, p.out);
    let seen = r.seen_by(gated.gate, &[gate.0, at])
        && r.seen_by(gated.up, &[up.0, at])
        && r.seen_by(norm.1.y, &[norm.0, gate.0, up.0]);
    let before = norm.0.max(gate.0).max(up.0) < at;
    let fits = plain(&gate.1) && plain(&up.1) && one_matrix && seen && before;
    let fits = fits && norm.1.params.groups == 1 && norm.1.residual.is_none();
    fits.then_some(Half { norm, gate, up })
}

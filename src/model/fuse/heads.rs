//! Norms of heads, rope and the write to the cache: what is between the products q, k and v and the attention.

use super::Rewrite;
use crate::model::ModelError;
use crate::model::residual::makes;
use crate::ops::{self, params};
use crate::plan::TensorId;

/// How attention is given q or k.
struct Side {
    /// What the products made.
    source: TensorId,
    /// The norm's weight and epsilon.
    norm: Option<(TensorId, f32)>,
    rope: ops::Rope,
    /// Places of the calls between.
    between: Vec<usize>,
}

/// q, k and v are made in one tensor, side by side, and a single call does the rest.
pub(super) fn norm_rope_and_cache(r: &mut Rewrite<'_>) -> Result<(), ModelError> {
    let caches: Vec<TensorId> = r.all::<ops::KvWrite>().into_iter().map(|(_, write)| write.cache_k).collect();
    for cache in caches {
        let found = r.all::<ops::KvWrite>().into_iter().find(|(_, write)| write.cache_k == cache);
        let Some((at, write)) = found else { continue };
        let reader = r.all::<ops::Attention>().into_iter().find(|(_, attention)| attention.k == cache);
        let Some((reader, attention)) = reader.filter(|(reader, _)| at < *reader) else { continue };
        let (Some(q), Some(k)) = (side(r, attention.q, reader), side(r, write.k, at)) else { continue };
        if alike(&q, &k) && made(r, write.v, at) {
            fuse(r, at, &write, &q, &k)?;
        }
    }
    Ok(())
}

/// Whether products made `x` and only the call at `reader` sees it.
fn made(r: &Rewrite<'_>, x: TensorId, reader: usize) -> bool {
    let uses = r.uses(x);
    let products: Vec<usize> = uses.iter().copied().filter(|at| *at != reader).collect();
    let plain = |at: &usize| {
        let call = &r.calls()[*at];
        makes(call, x) && call.arg("residual").is_none() && *at < reader
    };
    !products.is_empty() && products.iter().all(plain) && r.seen_by(x, &uses)
}

/// What is behind `x`, which the call at `reader` takes.
fn side(r: &Rewrite<'_>, x: TensorId, reader: usize) -> Option<Side> {
    let (at, rope) = r.maker::<ops::Rope>(x)?;
    let (mut source, mut first, mut between, mut norm) = (rope.x, at, vec![at], None);
    if let Some((place, call)) = r.maker::<ops::RmsNorm>(rope.x)
        && call.params.groups == rope.params.heads
        && call.residual.is_none()
        && r.seen_by(rope.x, &[place, at])
    {
        (source, first, norm) = (call.x, place, Some((call.w, call.params.eps)));
        between.push(place);
    }
    let sole = r.seen_by(x, &[at, reader]) && rope.params.inverse == 0;
    (sole && made(r, source, first)).then_some(Side { source, norm, rope, between })
}

/// Whether both are turned and normed by the same numbers.
fn alike(q: &Side, k: &Side) -> bool {
    let turn = |side: &Side| (params::rope::Params { heads: 0, ..side.rope.params }, side.rope.factors);
    let eps = |side: &Side| side.norm.map(|(_, eps)| eps);
    turn(q) == turn(k) && eps(q) == eps(k) && k.rope.params.heads <= q.rope.params.heads
}

fn fuse(r: &mut Rewrite<'_>, at: usize, write: &ops::KvWrite, q: &Side, k: &Side) -> Result<(), ModelError> {
    let written = r.calls()[at].label.clone();
    let prefix = written.rsplit_once('.').map_or("", |(prefix, _)| prefix);
    let parts = [q.source, k.source, write.v];
    let widths = parts.map(|id| r.program.get(id).width);
    let x = r.activation(&format!("{prefix}.attn_qkv"), widths.iter().sum())?;
    let mut first = 0;
    for (part, width) in parts.into_iter().zip(widths) {
        for place in r.uses(part).into_iter().filter(|place| *place < at && !between(q, k, *place)) {
            move_to(r, place, x, first, widths.iter().sum())?;
        }
        first += width;
    }
    let p = params::rope_write::Params::new(
        &q.rope.params,
        k.rope.params.heads,
        write.params.ctx,
        q.norm.map(|(_, eps)| eps),
    );
    let call = ops::RopeWrite {
        rows: r.step,
        x,
        q_norm: q.norm.map(|(w, _)| w),
        k_norm: k.norm.map(|(w, _)| w),
        factors: q.rope.factors,
        y: q.rope.y,
        cache_k: write.cache_k,
        cache_v: write.cache_v,
        params: p,
    };
    r.put(at, &format!("{prefix}.rope_write"), call)?;
    r.drop(&[&q.between[..], &k.between[..]].concat());
    Ok(())
}

fn between(q: &Side, k: &Side, place: usize) -> bool {
    q.between.contains(&place) || k.between.contains(&place)
}

/// Has a product write to columns of another tensor, from `first` on.
fn move_to(
    r: &mut Rewrite<'_>,
    place: usize,
    y: TensorId,
    first: usize,
    width: usize,
) -> Result<(), ModelError> {
    let label = r.calls()[place].label.clone();
    if let Some(mut product) = r.get::<ops::Linear>(place) {
        product.y = y;
        (product.params.y_stride, product.params.y_offset) =
            (width as u32, product.params.y_offset + first as u32);
        r.put(place, &label, product)?;
    } else if let Some(mut product) = r.get::<ops::Project>(place) {
        product.y = y;
        (product.params.y_stride, product.params.y_offset) =
            (width as u32, product.params.y_offset + first as u32);
        r.put(place, &label, product)?;
    }
    Ok(())
}

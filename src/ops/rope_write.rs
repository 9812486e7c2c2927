//! What is between the products of an attention and the attention itself: norms of the heads of q and k, rope, and the
//! cache, which [`RmsNorm`](super::RmsNorm), [`Rope`](super::Rope) and [`KvWrite`](super::KvWrite) are the single steps of.

use super::attention::MAX_HEAD_DIM;
use super::cpu::{Context, Real};
use super::params::{rope, rope_write::Params};
use super::rms_norm::norm_row;
use super::rope::Frequencies;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, x (T, (heads + 2 kv_heads) * head_dim): q, k and v side by side; q_norm and k_norm (1, head_dim), factors
    /// (1, rope_dim / 2), y (T, heads * head_dim): q, turned; cache_k (slots * ctx, kv_heads * head_dim), cache_v like it.
    RopeWrite(Params) "rope_write" {
        rows: Read U32,
        x: Read F32,
        q_norm: Read F32 (optional),
        k_norm: Read F32 (optional),
        factors: Read F32 (optional),
        y: Write F32,
        cache_k: Update Cache,
        cache_v: Update Cache,
    }
    check: check,
    tolerance: |p| 12.0 + f64::from(p.head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
}

impl Params {
    /// Those of heads that turn as `rope` says (whose own number of heads is that of q). `norms`: the epsilon of the norms of q
    /// and k, if there are some; `ctx`: positions of a slot.
    pub fn new(rope: &rope::Params, kv_heads: u32, ctx: u32, norms: Option<f32>) -> Self {
        Self {
            heads: rope.heads,
            kv_heads,
            head_dim: rope.head_dim,
            rope_dim: rope.rope_dim,
            neox: rope.neox,
            ctx,
            has_factors: rope.has_factors,
            has_norms: u32::from(norms.is_some()),
            base: rope.base,
            scale: rope.scale,
            magnitude: rope.magnitude,
            eps: norms.unwrap_or_default(),
            turn: rope.turn,
            step: rope.step,
        }
    }

    /// The rope of so many heads.
    fn rope(&self, heads: u32) -> rope::Params {
        rope::Params {
            heads,
            head_dim: self.head_dim,
            rope_dim: self.rope_dim,
            neox: self.neox,
            base: self.base,
            scale: self.scale,
            has_factors: self.has_factors,
            inverse: 0,
            magnitude: self.magnitude,
            pad0: 0,
            turn: self.turn,
            step: self.step,
        }
    }
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    let (q, kv) = (p.heads * p.head_dim, p.kv_heads * p.head_dim);
    s.wide([AT.x], q + 2 * kv)?;
    s.wide([AT.y], q)?;
    s.wide([AT.cache_k, AT.cache_v], kv)?;
    s.wide([AT.q_norm, AT.k_norm], p.head_dim)?;
    let sound = p.rope_dim <= p.head_dim && p.head_dim as usize <= MAX_HEAD_DIM && p.kv_heads <= p.heads;
    s.require(
        AT.x,
        |_| sound,
        || format!("must have heads of at most {MAX_HEAD_DIM}, fewer of k than of q"),
    )?;
    s.require(AT.factors, |t| t.width * 2 == p.rope_dim as usize, || "must hold rope_dim / 2 factors".into())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<RopeWrite>();
    let (q, kv) = ((p.heads * p.head_dim) as usize, (p.kv_heads * p.head_dim) as usize);
    let x = c.read(AT.x);
    let row = |t: usize| &x[t * (q + 2 * kv)..][..q + 2 * kv];
    let frequencies = Frequencies::of(&p.rope(p.heads), c.read(AT.factors));
    let dim = p.head_dim as usize;
    let normed = |x: &[F], norm: usize| {
        let mut y = x.to_vec();
        if p.has_norms != 0 {
            let heads = x.chunks(dim).zip(y.chunks_mut(dim));
            heads.for_each(|(x, y)| norm_row(x, c.read(norm), p.eps, y));
        }
        y
    };
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Tokens), q);
    for (i, y) in y.chunks_mut(q).enumerate() {
        let t = first + i;
        frequencies.turn(&p.rope(p.heads), c.row(t).pos, &normed(&row(t)[..q], AT.q_norm), y);
    }
    let (mut keys, mut values) = (c.write_cache(AT.cache_k, kv), c.write_cache(AT.cache_v, kv));
    let range = keys.range();
    let mut k = vec![F::ZERO; kv];
    for t in 0..c.rows(Over::Tokens) {
        let (at, x) = (c.row(t), row(t));
        frequencies.turn(&p.rope(p.kv_heads), at.pos, &normed(&x[q..q + kv], AT.k_norm), &mut k);
        let to = at.slot as usize * p.ctx as usize + (at.pos % p.ctx) as usize;
        keys.store(to, &k[range.clone()]);
        values.store(to, &x[q + kv..][range.clone()]);
    }
}

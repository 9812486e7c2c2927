//! What the gradient of attention needs of each row and head: the log of the sum of its weights, and
//! delta = dy . y (Dao 2023, FlashAttention-2).

use super::cpu::{Context, Real};
use super::params::attention_stats::Params;
use super::{Arg, OpDef, require};
use crate::plan::{OpCall, PlanError, Program, Row};

/// Arguments: rows, q, y and dy (T, heads * head_dim), k (T, kv_heads * head_dim), stats (T, heads * 2): log-sum, delta.
/// Row t of a training step has position t, so that k is indexed by position.
pub static DEF: OpDef = OpDef {
    stem: "attention_stats",
    args: &[
        Arg::input("rows"),
        Arg::read("q"),
        Arg::read("k"),
        Arg::read("y"),
        Arg::read("dy"),
        Arg::write("stats"),
    ],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, call| 64.0 + 4.0 * f64::from(call.params.get::<Params>().head_dim).sqrt(),
    grad: None,
};

impl Params {
    /// Positions that a row sees.
    pub(super) fn seen(&self, row: Row) -> std::ops::Range<usize> {
        let first = match self.window {
            0 => row.first,
            window => row.first.max((row.pos + 1).saturating_sub(window)),
        };
        first as usize..row.pos as usize + 1
    }

    /// The score of a query and a key, and its derivative with respect to their product.
    pub(super) fn score<F: Real>(&self, q: &[F], k: &[F]) -> (F, F) {
        let (raw, scale) = (F::dot(q, k), F::from_f32(self.scale));
        if self.softcap == 0.0 {
            return (raw * scale, scale);
        }
        let cap = F::from_f32(self.softcap);
        let bent = (raw * scale / cap).tanh();
        (cap * bent, scale * (F::ONE - bent * bent))
    }

    /// Widths of q-like and of k-like tensors.
    pub(super) fn widths(&self) -> (usize, usize) {
        ((self.heads * self.head_dim) as usize, (self.kv_heads * self.head_dim) as usize)
    }
}

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    check_widths(program, call, &p, &[1, 3, 4], &[2])?;
    require(program, call, 5, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

/// Shape rule of the three gradient ops of attention.
pub(super) fn check_widths(
    program: &Program,
    call: &OpCall,
    p: &Params,
    wide: &[usize],
    narrow: &[usize],
) -> Result<(), PlanError> {
    let (q, kv) = p.widths();
    let sound = p.kv_heads > 0 && p.heads.is_multiple_of(p.kv_heads);
    for (args, width) in [(wide, q), (narrow, kv)] {
        for &arg in args {
            let why = || format!("must be {width} wide, heads a multiple of kv heads");
            require(program, call, arg, |t| t.width == width && sound, why)?;
        }
    }
    Ok(())
}

fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let group = heads / p.kv_heads as usize;
    let (_, kv) = p.widths();
    let (q, k, y, dy) = (c.read(1), c.read(2), c.read(3), c.read(4));
    let (first, stats) = c.write_chunks(5, c.rows(0) * heads, 2);
    for (i, stats) in stats.chunks_mut(2).enumerate() {
        let (t, head) = ((first + i) / heads, (first + i) % heads);
        let at = (first + i) * dim;
        let query = &q[at..at + dim];
        let key = |j: usize| &k[j * kv + head / group * dim..][..dim];
        let (mut top, mut sum) = (F::LOWEST, F::ZERO);
        for j in p.seen(c.row(t)) {
            let (score, _) = p.score(query, key(j));
            if score > top {
                sum = if top == F::LOWEST { F::ZERO } else { sum * (top - score).exp() };
                top = score;
            }
            sum += (score - top).exp();
        }
        stats[0] = top + sum.ln();
        stats[1] = F::dot(&dy[at..at + dim], &y[at..at + dim]);
    }
}

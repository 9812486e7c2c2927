//! What the gradient of attention needs of each row and head: the log of the sum of its weights, and
//! delta = dy . y (Dao 2023, FlashAttention-2).

use super::attention_tile::{BLOCK, Head, SPAN, Tile, block_rows, dots, overlap, seen, seen_by, spans};
use super::cpu::{Context, Real};
use super::params::attention_back::Params;
use crate::plan::{Cost, Over, PlanError, Row, Shapes};

op! {
    /// Arguments: rows, q, y and dy (T, heads * head_dim), k (T, kv_heads * head_dim), stats (T, heads * 2): log-sum, delta.
    /// Row t of a training step has position t, so that k is indexed by position.
    AttentionStats(Params) "attention_stats" {
        rows: Read U32,
        q: Read F32,
        k: Read F32,
        y: Read F32,
        dy: Read F32,
        stats: Write F32,
    }
    check: check,
    tolerance: |p| 64.0 + 4.0 * f64::from(p.head_dim).sqrt(),
    over: |_| Over::Tokens,
    cost: |p, load| Cost::products(load.pairs, &[p.heads, p.head_dim]),
}

impl Params {
    /// Positions that a row sees.
    pub(super) fn seen(&self, row: Row) -> std::ops::Range<usize> {
        seen(self.window, row)
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

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    check_widths(s, p, &[AT.q, AT.y, AT.dy], &[AT.k])?;
    s.require(AT.stats, |t| t.width == 2 * p.heads as usize, || "must be 2 * heads wide".into())
}

/// Shape rule of the three gradient ops of attention.
pub(super) fn check_widths(
    s: &Shapes<'_>,
    p: &Params,
    wide: &[usize],
    narrow: &[usize],
) -> Result<(), PlanError> {
    let (q, kv) = p.widths();
    let sound = p.kv_heads > 0 && p.heads.is_multiple_of(p.kv_heads);
    for (args, width) in [(wide, q), (narrow, kv)] {
        for &arg in args {
            let why = || format!("must be {width} wide, heads a multiple of kv heads");
            s.require(arg, |t| t.width == width && sound, why)?;
        }
    }
    Ok(())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<AttentionStats>();
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let (y, dy) = (c.read(AT.y), c.read(AT.dy));
    let rows = c.rows(Over::Tokens);
    let each = block_rows(rows, c.parts());
    let mut stats = c.write_pieces(AT.stats, each * 2 * heads);
    let mut tile = [F::ZERO; BLOCK * SPAN];
    for block in c.deal(rows.div_ceil(each)) {
        let ts = block * each..rows.min((block + 1) * each);
        let stats = stats.piece(block);
        for head in 0..heads {
            if p.softcap == 0.0 {
                tiled_log_sums(c, &p, ts.clone(), head, &mut tile, stats);
            } else {
                capped_log_sums(c, &p, ts.clone(), head, stats);
            }
            for (i, t) in ts.clone().enumerate() {
                let at = (t * heads + head) * dim;
                stats[2 * (i * heads + head) + 1] = F::dot(&dy[at..at + dim], &y[at..at + dim]);
            }
        }
    }
}

/// Streaming log-sums of a block's rows, tile by tile.
fn tiled_log_sums<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    ts: std::ops::Range<usize>,
    head: usize,
    tile: &mut Tile<F>,
    stats: &mut [F],
) {
    let (heads, dim, kv_heads) = (p.heads as usize, p.head_dim as usize, p.kv_heads as usize);
    let kv_head = head / (heads / kv_heads);
    let mut running = [(F::LOWEST, F::ZERO); BLOCK];
    let query = Head::of(c.read(AT.q), heads, dim, head, ts.start);
    for span in spans(seen_by(c, p, ts.clone())) {
        let key = Head::of(c.read(AT.k), kv_heads, dim, kv_head, span.start);
        dots(query, key, (ts.len(), span.len()), F::from_f32(p.scale), tile, SPAN);
        for ((t, row), running) in ts.clone().zip(tile.chunks_mut(SPAN)).zip(&mut running) {
            let seen = &mut row[overlap(&p.seen(c.row(t)), &span)];
            let top = seen.iter().fold(running.0, |top, s| if *s > top { *s } else { top });
            if top == F::LOWEST {
                continue;
            }
            let shrink = if running.0 == F::LOWEST { F::ZERO } else { (running.0 - top).exp() };
            F::exp_all(seen, F::ONE, -top);
            *running = (top, running.1 * shrink + seen.iter().fold(F::ZERO, |sum, w| sum + *w));
        }
    }
    for (i, (top, sum)) in running.iter().take(ts.len()).enumerate() {
        stats[2 * (i * heads + head)] = *top + sum.ln();
    }
}

/// The same for capped scores, one by one.
fn capped_log_sums<F: Real>(
    c: &Context<'_, F>,
    p: &Params,
    ts: std::ops::Range<usize>,
    head: usize,
    stats: &mut [F],
) {
    let (heads, dim) = (p.heads as usize, p.head_dim as usize);
    let (q, k) = (c.read(AT.q), c.read(AT.k));
    let (_, kv) = p.widths();
    for (i, t) in ts.enumerate() {
        let query = &q[(t * heads + head) * dim..][..dim];
        let key = |j: usize| &k[j * kv + head / (heads / p.kv_heads as usize) * dim..][..dim];
        let (mut top, mut sum) = (F::LOWEST, F::ZERO);
        for j in p.seen(c.row(t)) {
            let (score, _) = p.score(query, key(j));
            if score > top {
                sum = if top == F::LOWEST { F::ZERO } else { sum * (top - score).exp() };
                top = score;
            }
            sum += (score - top).exp();
        }
        stats[2 * (i * heads + head)] = top + sum.ln();
    }
}

//! Attention and its gradients on the CPU, a tile of scores at a time (Dao 2023): products of tiles instead of dot
//! products, and exponentials of whole rows. For scores that are not capped.

use std::ops::Range;

use super::cpu::{Columns, Context, Real};
use super::params::attention_back::Params;
use crate::kernels::{Left, Operand, Right};
use crate::plan::Row;

/// Most rows of a step that are dealt out together.
pub(super) const BLOCK: usize = 64;
/// Positions, or rows, that meet a block at once.
pub(super) const SPAN: usize = 128;

/// Scores of a block and a span.
pub(super) type Tile<F> = [F; BLOCK * SPAN];

/// Positions that a row sees; `window`: at most so many, 0 for all.
pub(super) fn seen(window: u32, row: Row) -> Range<usize> {
    let first = if window > 0 { row.first.max((row.pos + 1).saturating_sub(window)) } else { row.first };
    first as usize..row.pos as usize + 1
}

/// Rows of a step that are dealt out together: few enough that every thread gets its share.
pub(super) fn block_rows(rows: usize, parts: usize) -> usize {
    rows.div_ceil(4 * parts).next_multiple_of(8).clamp(16, BLOCK)
}

/// Rows of one head: `values` from the first element of the first row on, `stride` from row to row.
#[derive(Clone, Copy)]
pub(super) struct Head<'a, F> {
    values: &'a [F],
    stride: usize,
    dim: usize,
}

impl<'a, F: Real> Head<'a, F> {
    /// Head `head` of a tensor of `heads` heads, from row `first` on.
    pub(super) fn of(all: &'a [F], heads: usize, dim: usize, head: usize, first: usize) -> Self {
        Self { values: all.get((first * heads + head) * dim..).unwrap_or(&[]), stride: heads * dim, dim }
    }

    fn left(&self) -> Left<'a, F> {
        Left { values: self.values, row_stride: self.stride, depth_stride: 1 }
    }

    fn right(&self, by_row: bool) -> Right<'a, F> {
        Right { w: Operand::Plain { values: self.values }, cols: self.stride, first: 0, by_row }
    }
}

/// tile[i][j] = alpha * a_i . b_j for `rows` rows of a and `cols` of b; rows of the tile are `width` apart.
pub(super) fn dots<F: Real>(
    a: Head<'_, F>,
    b: Head<'_, F>,
    (rows, cols): (usize, usize),
    alpha: F,
    tile: &mut [F],
    width: usize,
) {
    let mut y = Columns::new(tile, width, 0..cols);
    F::product(a.left(), b.right(true), rows, a.dim, alpha, false, &mut y);
}

/// y_i += sum over j of tile[i][j] b_j.
pub(super) fn mix<F: Real>(
    tile: &[F],
    width: usize,
    (rows, cols): (usize, usize),
    b: Head<'_, F>,
    y: &mut Columns<'_, F>,
) {
    let left = Left { values: tile, row_stride: width, depth_stride: 1 };
    F::product(left, b.right(false), rows, cols, F::ONE, true, y);
}

/// y_j += sum over i of tile[i][j] a_i.
pub(super) fn mix_back<F: Real>(
    tile: &[F],
    width: usize,
    (rows, cols): (usize, usize),
    a: Head<'_, F>,
    y: &mut Columns<'_, F>,
) {
    let left = Left { values: tile, row_stride: 1, depth_stride: width };
    F::product(left, a.right(false), cols, rows, F::ONE, true, y);
}

/// The part of `span` that is in `seen`, counted from the span's start.
pub(super) fn overlap(seen: &Range<usize>, span: &Range<usize>) -> Range<usize> {
    let start = seen.start.clamp(span.start, span.end);
    let end = seen.end.clamp(start, span.end);
    start - span.start..end - span.start
}

/// Turns the scores of one row into weights exp(score - log_sum); what is not seen weighs nothing.
pub(super) fn weigh<F: Real>(row: &mut [F], seen: Range<usize>, log_sum: F) {
    row[..seen.start].fill(F::ZERO);
    row[seen.end..].fill(F::ZERO);
    F::exp_all(&mut row[seen], F::ONE, -log_sum);
}

/// Positions that any of the rows sees.
pub(super) fn seen_by<F: Real>(c: &Context<'_, F>, p: &Params, rows: Range<usize>) -> Range<usize> {
    union(rows.map(|t| p.seen(c.row(t))))
}

/// The smallest range that holds all of the ranges.
pub(super) fn union(mut ranges: impl Iterator<Item = Range<usize>>) -> Range<usize> {
    let first = ranges.next().unwrap_or(0..0);
    ranges.fold(first, |a, b| a.start.min(b.start)..a.end.max(b.end))
}

/// The spans that a range of positions is cut into.
pub(super) fn spans(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(SPAN).map(move |start| start..end.min(start + SPAN))
}

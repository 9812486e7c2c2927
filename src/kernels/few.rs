//! Matrix products with one to eight rows of activations: y = (y +) alpha x w^T, the decode steps of a sequence or a
//! batch.
//!
//! Rows of a block format go to `tile.rs`. Floats have no blocks: some weights of [`GROUP`] rows come to the first-level
//! cache and are met by all activations in register tiles. Sums have the order of [`Format::dot`](crate::quant::Format::dot), so
//! that a sequence gets the same bits in any batch and alone.

use std::ops::Range;

use super::dot::dot_f32;
use super::operand::{Operand, Rows};
use super::tile::FEW;
use crate::simd::wide::{self, TileJob, Wide, WideJob};
use crate::simd::{self, Job, Lanes};

/// Rows of floats that are met together.
pub(super) const GROUP: usize = 4;
/// Weights of a row of floats that are met together, at most: with the activations they fill the first-level cache.
pub(super) const DEPTH: usize = 640;
/// Lanes of a sum.
pub(super) const LANES: usize = 32;

/// y = (accumulate ? y : 0) + alpha x w^T.
pub struct FewRows<'a, Y> {
    /// Rows of x and y, at most [`FEW`].
    pub rows: usize,
    /// Columns of y.
    pub width: usize,
    /// Columns of x and w.
    pub cols: usize,
    /// Row-major, `rows` of `cols`.
    pub x: &'a [f32],
    /// Rows of `cols` weights.
    pub w: Operand<'a, f32>,
    /// The row of w that makes the first column of y.
    pub first: usize,
    /// Factor.
    pub alpha: f32,
    /// Whether to add to what y holds.
    pub accumulate: bool,
    /// y.
    pub y: Y,
}

/// Sums of one row of weights: by row of activations, by lane.
pub(super) type Sums = [[f32; LANES]; FEW];
/// What is left of them, in lanes of dot products, when all columns are through.
pub(super) type Folded = [[f32; 8]; FEW];
/// Groups whose results are written together.
const GROUPS: usize = 8 / GROUP;

impl<Y: Rows> FewRows<'_, Y> {
    /// Computes it on the calling thread; scratch on its stack, 17 KB.
    pub fn run(mut self) {
        if self.rows == 0 {
            return;
        }
        let exact = matches!(self.w, Operand::Encoded(w) if w.exact);
        if let Operand::Encoded(w) = self.w
            && !exact
            && let Some(product) = w.format.kernels().few
        {
            let (x, columns) = (&self.x[..self.rows * self.cols], self.first..self.first + self.width);
            return product(w, columns, (x, self.cols), &mut |column, dots| {
                self.put(dots, column..self.width.min(column + dots[0].len()));
            });
        }
        if self.rows == 1 && !exact {
            return self.single();
        }
        let pieces = self.pieces();
        let mut lines = [[0.0; DEPTH]; GROUP];
        let mut sums = [[[0.0; LANES]; FEW]; GROUP];
        let mut folded = [[[[0.0; 8]; FEW]; GROUP]; GROUPS];
        for column in (0..self.width).step_by(GROUPS * GROUP) {
            let count = (GROUPS * GROUP).min(self.width - column);
            for (g, folded) in folded.iter_mut().enumerate().take(count.div_ceil(GROUP)) {
                let count = GROUP.min(count - g * GROUP);
                let row = self.first + column + g * GROUP;
                self.group(&pieces, row, count, &mut lines, &mut sums, folded);
            }
            let dots = simd::run(Totals { folded: &folded, rows: self.rows });
            self.put(&dots, column..column + count);
        }
    }

    /// Writes the first of these columns, as many as fit the range of y's.
    fn put(&mut self, dots: &[[f32; 8]; FEW], columns: Range<usize>) {
        for (t, dots) in dots.iter().enumerate().take(self.rows) {
            let y = &mut self.y.row(t)[columns.clone()];
            for (y, dot) in y.iter_mut().zip(dots) {
                *y = self.alpha * dot + if self.accumulate { *y } else { 0.0 };
            }
        }
    }

    /// One row of activations: dot products with floats.
    fn single(&mut self) {
        for (i, y) in self.y.row(0)[..self.width].iter_mut().enumerate() {
            let (row, x) = (self.first + i, &self.x[..self.cols]);
            let dot = match &self.w {
                Operand::Encoded(w) => w.format.dot(w.row(row), x),
                Operand::Plain { values } => dot_f32(&values[row * self.cols..(row + 1) * self.cols], x),
            };
            *y = self.alpha * dot + if self.accumulate { *y } else { 0.0 };
        }
    }

    /// The sums of `count` rows of weights from `row` on; those of further rows of the group are without meaning.
    fn group(
        &self,
        pieces: &Pieces,
        row: usize,
        count: usize,
        lines: &mut [[f32; DEPTH]; GROUP],
        sums: &mut [Sums; GROUP],
        folded: &mut [Folded; GROUP],
    ) {
        if self.cols == 0 {
            *folded = [[[0.0; 8]; FEW]; GROUP];
        }
        // No divisions from here on: they would cost more than the sums.
        let (mut start, mut at) = (0, 0);
        let mut ahead = self.ahead(row + count, GROUP);
        while start < self.cols {
            let len = pieces.depth.min(self.cols - start);
            let (now, later) = ahead.split_at(ahead.len().min(GROUP * pieces.bytes));
            for (i, line) in lines.iter_mut().enumerate().take(count) {
                self.load(pieces, row + i, start, at, &mut line[..len]);
            }
            let whole = len / LANES * LANES;
            let last = start + len == self.cols;
            let x = |t: usize| &self.x[t.min(self.rows - 1) * self.cols + start..][..len];
            if whole > 0 {
                let x = std::array::from_fn(|t| &x(t)[..whole]);
                let (fresh, last) = (start == 0, last && whole == len);
                wide::run(Accumulate { lines, x, rows: self.rows, fresh, last, ahead: now, sums, folded });
            }
            if whole < len {
                // The last weights, filled up with zeros.
                let mut tail = [[0.0; LANES]; FEW];
                for (t, tail) in tail.iter_mut().enumerate() {
                    tail[..len - whole].copy_from_slice(&x(t)[whole..]);
                }
                let mut rest = [[0.0; DEPTH]; GROUP];
                for (rest, line) in rest.iter_mut().zip(lines.iter()) {
                    rest[..len - whole].copy_from_slice(&line[whole..len]);
                }
                let x = tail.each_ref().map(|t| &t[..]);
                let fresh = start + whole == 0;
                wide::run(Accumulate {
                    lines: &rest,
                    x,
                    rows: self.rows,
                    fresh,
                    last,
                    ahead: &[],
                    sums,
                    folded,
                });
            }
            (start, at, ahead) = (start + len, at + pieces.bytes, later);
        }
    }

    /// How rows of floats are cut: equal shares.
    fn pieces(&self) -> Pieces {
        let depth = share(self.cols);
        let Operand::Encoded(w) = &self.w else { return Pieces { depth, bytes: 0, whole: false } };
        let whole = w.format.row_bytes(self.cols).is_ok_and(|bytes| bytes == w.row_bytes) && self.cols > 0;
        Pieces { depth, bytes: depth * w.format.block_bytes(), whole }
    }

    /// The next encoded rows, from `row` on.
    fn ahead(&self, row: usize, rows: usize) -> &[u8] {
        let Operand::Encoded(w) = &self.w else { return &[] };
        let rows = rows.min((self.first + self.width).saturating_sub(row));
        w.bytes.get(row * w.row_bytes..(row + rows) * w.row_bytes).unwrap_or(&[])
    }

    /// Weights from `start` on, encoded from byte `at` of the row on, as dot products see them; NaN for what a row does
    /// not have.
    fn load(&self, pieces: &Pieces, row: usize, start: usize, at: usize, out: &mut [f32]) {
        match &self.w {
            Operand::Encoded(w) if w.format.block_len() > 1 => w.load(row, start, out),
            Operand::Encoded(w) => {
                let len = out.len() * w.format.block_bytes();
                let found = w.row(row).get(at..at + len).filter(|_| pieces.whole);
                if found.is_none_or(|bytes| w.format.decode(bytes, out).is_err()) {
                    out.fill(f32::NAN);
                }
            }
            Operand::Plain { values } => out.copy_from_slice(&values[row * self.cols + start..][..out.len()]),
        }
    }
}

/// Columns of a piece where so many are cut into equal shares of at most [`DEPTH`].
fn share(cols: usize) -> usize {
    cols.div_ceil(cols.div_ceil(DEPTH).max(1)).next_multiple_of(LANES).clamp(LANES, DEPTH)
}

/// How rows of floats are cut.
struct Pieces {
    /// Weights of a piece; the last may be shorter.
    depth: usize,
    /// Encoded bytes of a piece.
    bytes: usize,
    /// Whether the rows have the bytes that they must have.
    whole: bool,
}

/// Adds the products of decoded weights and activations to the sums.
struct Accumulate<'a> {
    lines: &'a [[f32; DEPTH]; GROUP],
    /// As many whole vectors each; rows past the last repeat it.
    x: [&'a [f32]; FEW],
    rows: usize,
    /// Whether the sums start at zero.
    fresh: bool,
    /// Whether they end here.
    last: bool,
    /// What will be decoded next: it is fetched meanwhile, as the decoder reads too little at a time for the CPU to
    /// foresee.
    ahead: &'a [u8],
    sums: &'a mut [Sums; GROUP],
    /// Written by the last pass.
    folded: &'a mut [Folded; GROUP],
}

impl WideJob for Accumulate<'_> {
    #[inline(always)]
    fn run<S: Wide>(self, s: S) {
        let x = self.x.map(|x| x.as_chunks::<LANES>().0);
        let w = self.lines.each_ref().map(|line| &line.as_chunks::<LANES>().0[..x[0].len()]);
        let (mut t, mut ahead) = (0, self.ahead);
        while t < self.rows {
            let folded = self.last.then_some(&mut *self.folded);
            let tile = Tile { w, x, first: t, fresh: self.fresh, ahead: &mut ahead, sums: self.sums, folded };
            t += s.few(self.rows - t, tile);
        }
    }
}

/// Some rows of activations from `first` on, as one tile for each of the vectors that make up the lanes.
struct Tile<'a, 'b> {
    w: [&'a [[f32; LANES]]; GROUP],
    x: [&'a [[f32; LANES]]; FEW],
    first: usize,
    fresh: bool,
    ahead: &'b mut &'a [u8],
    sums: &'b mut [Sums; GROUP],
    folded: Option<&'b mut [Folded; GROUP]>,
}

impl TileJob for Tile<'_, '_> {
    #[inline(always)]
    fn run<S: Wide, const ROWS: usize, const VECTORS: usize, const W: usize>(self, s: S) {
        let Tile { w, x, first, fresh, ahead, sums, mut folded } = self;
        let len = w[0].len();
        let w = w.map(|w| &w[..len]);
        let x: [&[[f32; LANES]]; ROWS] = std::array::from_fn(|t| &x[(first + t).min(FEW - 1)][..len]);
        for part in 0..LANES / W {
            let vector = |lanes: &[f32; LANES], part: usize| s.load(&lanes.as_chunks::<W>().0[part]);
            let mut acc = [[s.zero(); ROWS]; GROUP];
            if !fresh {
                for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                    for (t, acc) in acc.iter_mut().enumerate() {
                        *acc = vector(&sums[(first + t).min(FEW - 1)], part);
                    }
                }
            }
            for k in 0..len {
                if let Some((line, later)) = ahead.split_first_chunk::<64>() {
                    simd::prefetch(&line[0]);
                    *ahead = later;
                }
                let x: [S::V; ROWS] = std::array::from_fn(|t| vector(&x[t][k], part));
                for i in 0..GROUP {
                    let w = vector(&w[i][k], part);
                    for t in 0..ROWS {
                        acc[i][t] = s.mul_add(w, x[t], acc[i][t]);
                    }
                }
            }
            for i in 0..GROUP {
                for t in 0..ROWS {
                    let lanes = &mut sums[i][(first + t).min(FEW - 1)];
                    match &mut folded {
                        // Eight lanes of the other parts and of this one: the first and third added to the second and fourth.
                        Some(folded) if part + 1 == LANES / W => {
                            let sum = if W == LANES / 2 {
                                s.add(vector(lanes, 0), acc[i][t])
                            } else {
                                let even = s.add(vector(lanes, 0), vector(lanes, LANES / W / 2));
                                s.add(even, s.add(vector(lanes, 1), acc[i][t]))
                            };
                            s.fold(sum, &mut folded[i][(first + t).min(FEW - 1)]);
                        }
                        _ => s.store(acc[i][t], &mut lanes.as_chunks_mut::<W>().0[part]),
                    }
                }
            }
        }
    }
}

/// The dot products of the rows of activations with eight rows of weights.
struct Totals<'a> {
    folded: &'a [[Folded; GROUP]; GROUPS],
    rows: usize,
}

impl Job for Totals<'_> {
    type Out = [[f32; GROUPS * GROUP]; FEW];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [[f32; GROUPS * GROUP]; FEW] {
        let mut out = [[0.0; GROUPS * GROUP]; FEW];
        for (t, out) in out.iter_mut().enumerate().take(self.rows) {
            // A loop, since closures may be compiled apart, without the instructions.
            let mut eight = [l.zero(); GROUPS * GROUP];
            for (eight, folded) in eight.iter_mut().zip(self.folded.as_flattened()) {
                *eight = l.load(&folded[t]);
            }
            *out = l.sums(eight);
        }
        out
    }
}

#[cfg(test)]
#[path = "few_tests.rs"]
mod tests;

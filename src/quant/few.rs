//! Matrix products with two to eight rows of activations: y = (y +) alpha x w^T, the decode steps of a batch.
//!
//! Some weights of [`GROUP`] rows are decoded once, to the first-level cache, and met by all activations in register
//! tiles. Sums have the order of [`Format::dot`](super::Format::dot), weight `i` in lane `i % 32`, so that a sequence
//! gets the same bits in any batch and alone.

use std::ops::Range;

use super::gemm::Rows;
use super::operand::{Matrix, Operand};
use super::simd::{self, Job, Lanes};
use super::wide::{self, Wide, WideJob};

/// Most rows of activations.
pub const FEW: usize = 8;
/// Rows of weights that are decoded together.
pub(super) const GROUP: usize = 4;
/// Weights of a row that are decoded together, at most: with the activations they fill the first-level cache.
const DEPTH: usize = 640;
/// The same where blocks are super-blocks: a multiple of them.
const SUPER_DEPTH: usize = 512;
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

impl<Y: Rows> FewRows<'_, Y> {
    /// Computes it on the calling thread; scratch on its stack, 15 KB.
    pub fn run(mut self) {
        if self.rows == 0 {
            return;
        }
        let mut lines = [[0.0; DEPTH]; GROUP];
        let mut sums = [[[0.0; LANES]; FEW]; GROUP];
        let depth = self.depth();
        for column in (0..self.width).step_by(GROUP) {
            let count = GROUP.min(self.width - column);
            self.group(depth, self.first + column, count, &mut lines, &mut sums);
            let dots = simd::run(Totals { sums: &sums });
            for t in 0..self.rows {
                let y = &mut self.y.row(t)[column..column + count];
                for (y, dots) in y.iter_mut().zip(&dots) {
                    *y = self.alpha * dots[t] + if self.accumulate { *y } else { 0.0 };
                }
            }
        }
    }

    /// The sums of `count` rows of weights from `row` on; those of further rows of the group are without meaning.
    fn group(
        &self,
        depth: usize,
        row: usize,
        count: usize,
        lines: &mut [[f32; DEPTH]; GROUP],
        sums: &mut [Sums; GROUP],
    ) {
        if self.cols == 0 {
            *sums = [[[0.0; LANES]; FEW]; GROUP];
        }
        for start in (0..self.cols).step_by(depth) {
            let len = depth.min(self.cols - start);
            let ahead = self.ahead(row + count, start, len);
            for (i, line) in lines.iter_mut().enumerate().take(count) {
                self.load(row + i, start, &mut line[..len]);
            }
            let whole = len / LANES * LANES;
            let x = |t: usize| &self.x[t.min(self.rows - 1) * self.cols + start..][..len];
            if whole > 0 {
                let x = std::array::from_fn(|t| &x(t)[..whole]);
                wide::run(Pass { lines, x, rows: self.rows, fresh: start == 0, ahead, sums });
            }
            if whole < len {
                // The last weights, filled up with zeros.
                let mut tail = [[0.0; LANES]; FEW];
                for (t, tail) in tail.iter_mut().enumerate() {
                    tail[..len - whole].copy_from_slice(&x(t)[whole..]);
                }
                let mut last = [[0.0; DEPTH]; GROUP];
                for (last, line) in last.iter_mut().zip(lines.iter()) {
                    last[..len - whole].copy_from_slice(&line[whole..len]);
                }
                let x = tail.each_ref().map(|t| &t[..]);
                wide::run(Pass {
                    lines: &last,
                    x,
                    rows: self.rows,
                    fresh: start + whole == 0,
                    ahead: &[],
                    sums,
                });
            }
        }
    }

    /// Weights of a row that are decoded together: equal shares, of whole blocks.
    fn depth(&self) -> usize {
        let (most, unit) = match self.w {
            Operand::Encoded(Matrix { format, .. }) if format.block_len() > LANES => {
                (SUPER_DEPTH, SUPER_DEPTH / 2)
            }
            _ => (DEPTH, LANES),
        };
        self.cols.div_ceil(self.cols.div_ceil(most).max(1)).next_multiple_of(unit).max(1)
    }

    /// What the next group, the rows from `row` on, has in the place of weights `start..start + len` of this one.
    fn ahead(&self, row: usize, start: usize, len: usize) -> &[u8] {
        let Operand::Encoded(w) = &self.w else { return &[] };
        let rows = GROUP.min((self.first + self.width).saturating_sub(row)) * w.row_bytes;
        let (from, to) = (start * rows / self.cols, (start + len) * rows / self.cols);
        w.bytes.get(row * w.row_bytes + from..row * w.row_bytes + to).unwrap_or(&[])
    }

    /// Weights as dot products see them; NaN for what a row does not have.
    fn load(&self, row: usize, start: usize, out: &mut [f32]) {
        match &self.w {
            Operand::Encoded(w) => w.load_for_dots(row, start, out),
            Operand::Plain { values } => out.copy_from_slice(&values[row * self.cols + start..][..out.len()]),
        }
    }
}

/// Adds the products of decoded weights and activations to the sums.
struct Pass<'a> {
    lines: &'a [[f32; DEPTH]; GROUP],
    /// As many whole vectors each; rows past the last repeat it.
    x: [&'a [f32]; FEW],
    rows: usize,
    /// Whether the sums start at zero.
    fresh: bool,
    /// What will be decoded next: it is fetched meanwhile, as the decoder reads too little at a time for the CPU to
    /// foresee.
    ahead: &'a [u8],
    sums: &'a mut [Sums; GROUP],
}

impl WideJob for Pass<'_> {
    #[inline(always)]
    fn run<S: Wide>(self, s: S) {
        let x = self.x.map(|x| x.as_chunks::<LANES>().0);
        let w = self.lines.each_ref().map(|line| &line.as_chunks::<LANES>().0[..x[0].len()]);
        let (mut t, mut ahead) = (0, self.ahead);
        while t < self.rows {
            let done = s.few(w, x, t..self.rows, self.fresh, ahead, self.sums);
            ahead = &ahead[ahead.len() * done / (self.rows - t)..];
            t += done;
        }
    }
}

/// The first `ROWS` of some rows of activations, as one tile for each of the vectors that make up the lanes.
#[inline(always)]
pub(super) fn tile<S: Wide, const ROWS: usize, const W: usize>(
    s: S,
    w: [&[[f32; LANES]]; GROUP],
    x: [&[[f32; LANES]]; FEW],
    Range { start: first, end: rows }: Range<usize>,
    fresh: bool,
    ahead: &[u8],
    sums: &mut [Sums; GROUP],
) {
    let len = w[0].len();
    let w = w.map(|w| &w[..len]);
    let x: [&[[f32; LANES]]; ROWS] = std::array::from_fn(|t| &x[(first + t).min(FEW - 1)][..len]);
    // Rows from `first` on share out what is to be fetched, and so do the parts.
    let mut ahead = ahead.chunks(64);
    let each = ahead.len().div_ceil(LANES / W * (rows - first).div_ceil(ROWS).max(1));
    for part in 0..LANES / W {
        let mut lines = ahead.by_ref().take(each);
        let vector = |lanes: &[f32; LANES]| s.load(&lanes.as_chunks::<W>().0[part]);
        let mut acc = [[s.zero(); ROWS]; GROUP];
        if !fresh {
            for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
                for (t, acc) in acc.iter_mut().enumerate() {
                    *acc = vector(&sums[(first + t).min(FEW - 1)]);
                }
            }
        }
        for k in 0..len {
            if let Some([byte, ..]) = lines.next() {
                simd::prefetch(byte);
            }
            let x: [S::V; ROWS] = std::array::from_fn(|t| vector(&x[t][k]));
            for i in 0..GROUP {
                let w = vector(&w[i][k]);
                for t in 0..ROWS {
                    acc[i][t] = s.mul_add(w, x[t], acc[i][t]);
                }
            }
        }
        for i in 0..GROUP {
            for t in 0..ROWS {
                let lanes = &mut sums[i][(first + t).min(FEW - 1)];
                s.store(acc[i][t], &mut lanes.as_chunks_mut::<W>().0[part]);
            }
        }
    }
}

/// The dot products of the rows of weights with all rows of activations.
struct Totals<'a> {
    sums: &'a [Sums; GROUP],
}

impl Job for Totals<'_> {
    type Out = [[f32; FEW]; GROUP];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [[f32; FEW]; GROUP] {
        let mut out = [[0.0; FEW]; GROUP];
        for (out, sums) in out.iter_mut().zip(self.sums) {
            // A loop, since closures may be compiled apart, without the instructions.
            let mut eight = [l.zero(); FEW];
            for (eight, lanes) in eight.iter_mut().zip(sums) {
                if let [a, b, c, d] = lanes.as_chunks::<8>().0 {
                    *eight = l.add(l.add(l.load(a), l.load(c)), l.add(l.load(b), l.load(d)));
                }
            }
            *out = l.sums(eight);
        }
        out
    }
}

#[cfg(test)]
#[path = "few_tests.rs"]
mod tests;

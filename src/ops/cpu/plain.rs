//! Products in double precision, as plain loops: gradients are checked with them, and nothing is timed.

use super::Columns;
use crate::kernels::{Left, Operand, Right};
use crate::quant::Format;

/// Weights decoded at once.
const PIECE: usize = 256;

/// Dot product of an encoded row with one activation row; not a number if the row cannot be decoded.
pub(super) fn dot_row(format: Format, row: &[u8], x: &[f64]) -> f64 {
    let mut sum = 0.0;
    let mut block = [0f32; 256];
    for (bytes, x) in row.chunks_exact(format.block_bytes()).zip(x.chunks(format.block_len())) {
        let block = &mut block[..format.block_len()];
        if format.decode(bytes, block).is_err() {
            return f64::NAN;
        }
        sum += block.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
    }
    sum
}

/// Dot product in a fixed order: eight running sums, then their tree.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut acc = [0.0; 8];
    let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
    let (ra, rb) = (ca.remainder(), cb.remainder());
    for (a, b) in ca.zip(cb) {
        for i in 0..8 {
            acc[i] += a[i] * b[i];
        }
    }
    let sum = ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]));
    ra.iter().zip(rb).fold(sum, |sum, (a, b)| sum + a * b)
}

/// y += a * x.
pub(super) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
}

/// Forward by dot products, one by one.
#[allow(clippy::too_many_arguments)]
pub(super) fn by_dots(
    w: Operand<'_, f64>,
    cols: usize,
    first: usize,
    x: &[f64],
    rows: usize,
    alpha: f64,
    accumulate: bool,
    y: &mut Columns<'_, f64>,
) {
    for i in 0..y.range.len() {
        let row = first + i;
        for t in 0..rows {
            let x = &x[t * cols..(t + 1) * cols];
            let dot = match &w {
                Operand::Encoded(w) => dot_row(w.format, w.row(row), x),
                Operand::Plain { values } => dot(&values[row * cols..(row + 1) * cols], x),
            };
            let y = &mut y.row_mut(t)[i];
            *y = alpha * dot + if accumulate { *y } else { 0.0 };
        }
    }
}

/// The product as plain loops, for double precision: weights are decoded once, a piece at a time.
pub(super) fn product(
    left: Left<'_, f64>,
    right: Right<'_, f64>,
    rows: usize,
    depth: usize,
    alpha: f64,
    accumulate: bool,
    y: &mut Columns<'_, f64>,
) {
    if !accumulate {
        (0..rows).for_each(|r| y.row_mut(r).fill(0.0));
    }
    let l = |i: usize, k: usize| left.values[i * left.row_stride + k * left.depth_stride];
    let width = y.range.len();
    let mut piece = [0.0; PIECE];
    if right.by_row {
        for j in 0..width {
            for k in (0..depth).step_by(PIECE) {
                let piece = &mut piece[..PIECE.min(depth - k)];
                load(&right, right.first + j, k, piece);
                for i in 0..rows {
                    let mut sum = 0.0;
                    piece.iter().enumerate().for_each(|(n, w)| sum += l(i, k + n) * *w);
                    y.row_mut(i)[j] += alpha * sum;
                }
            }
        }
        return;
    }
    for k in 0..depth {
        for j in (0..width).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(width - j)];
            load(&right, k, right.first + j, piece);
            for i in 0..rows {
                axpy(alpha * l(i, k), piece, &mut y.row_mut(i)[j..j + piece.len()]);
            }
        }
    }
}

/// At most [`PIECE`] weights from `start` on of a row.
fn load(right: &Right<'_, f64>, row: usize, start: usize, out: &mut [f64]) {
    match &right.w {
        Operand::Plain { values } => out.copy_from_slice(&values[row * right.cols + start..][..out.len()]),
        Operand::Encoded(w) => {
            let mut single = [0f32; PIECE];
            w.load(row, start, &mut single[..out.len()]);
            for (o, v) in out.iter_mut().zip(single) {
                *o = f64::from(v);
            }
        }
    }
}

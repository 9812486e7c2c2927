//! The three matrix products of a linear layer: forward, gradient of the input, gradient of the weights.
//!
//! Each part of a call makes its own columns of the output. Every element is summed in an order that depends on
//! neither the number of parts nor (but for the switch at [`FEW`] rows) the number of rows.

use super::cpu::{Columns, Matrix, Real};

/// Up to this many rows, [`matmul_nt`] takes dot products with encoded rows: decoding them would cost more.
pub const FEW: usize = 8;

/// Weights decoded at once: a multiple of every block length.
const PIECE: usize = 256;

/// The right-hand operand: rows of weights.
#[derive(Clone, Copy)]
pub enum Operand<'a, F> {
    /// In a block format.
    Encoded(Matrix<'a>),
    /// Row-major.
    Plain {
        /// All rows.
        values: &'a [F],
    },
}

impl<F: Real> Operand<'_, F> {
    /// The weights `start..start + out.len()` of a row of `cols`, all in one [`PIECE`] (counted from column 0).
    fn load(&self, row: usize, cols: usize, start: usize, out: &mut [F]) {
        match self {
            Operand::Plain { values } => out.copy_from_slice(&values[row * cols + start..][..out.len()]),
            Operand::Encoded(w) => {
                let (len, bytes) = (w.format.block_len(), w.format.block_bytes());
                let (first, last) = (start / len, (start + out.len()).div_ceil(len));
                let mut buffer = [0f32; PIECE];
                let buffer = &mut buffer[..(last - first) * len];
                if w.format.decode(&w.row(row)[first * bytes..last * bytes], buffer).is_err() {
                    buffer.fill(f32::NAN);
                }
                for (o, v) in out.iter_mut().zip(&buffer[start - first * len..]) {
                    *o = F::from_f32(*v);
                }
            }
        }
    }
}

/// Forward: `y[t][j] = (accumulate ? y[t][j] : 0) + alpha * sum_k x[t * cols + k] * w[j - offset][k]`.
///
/// `x` (rows, cols), `w` rows of `cols` weights; `offset` is the column of `y` that row 0 of `w` makes.
#[allow(clippy::too_many_arguments)]
pub fn matmul_nt<F: Real>(
    w: &Operand<'_, F>,
    cols: usize,
    offset: usize,
    x: &[F],
    rows: usize,
    alpha: F,
    accumulate: bool,
    y: &mut Columns<'_, F>,
) {
    clear(rows, accumulate, y);
    let mut piece = [F::ZERO; PIECE];
    for (i, column) in y.range.clone().enumerate() {
        for start in (0..cols).step_by(PIECE) {
            let piece = &mut piece[..PIECE.min(cols - start)];
            w.load(column - offset, cols, start, piece);
            for t in 0..rows {
                y.row_mut(t)[i] += alpha * F::dot(piece, &x[t * cols + start..][..piece.len()]);
            }
        }
    }
}

/// Gradient of the input: `y[t][c] = (accumulate ? y[t][c] : 0) + alpha * sum_o x[t * x_stride + x_offset + o] * w[o][c]`
/// with `o` in `0..outs`.
///
/// `w` rows of `cols` weights, of which column `c` makes column `c` of `y`.
#[allow(clippy::too_many_arguments)]
pub fn matmul_nn<F: Real>(
    w: &Operand<'_, F>,
    cols: usize,
    outs: usize,
    x: &[F],
    x_stride: usize,
    x_offset: usize,
    rows: usize,
    alpha: F,
    accumulate: bool,
    y: &mut Columns<'_, F>,
) {
    clear(rows, accumulate, y);
    let mut piece = [F::ZERO; PIECE];
    let range = y.range.clone();
    for o in 0..outs {
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min((start / PIECE + 1) * PIECE);
            let piece = &mut piece[..end - start];
            w.load(o, cols, start, piece);
            for t in 0..rows {
                let scale = alpha * x[t * x_stride + x_offset + o];
                F::axpy(scale, piece, &mut y.row_mut(t)[start - range.start..end - range.start]);
            }
            start = end;
        }
    }
}

/// Gradient of the weights: `y[i][j] = (accumulate ? y[i][j] : 0) + alpha * sum_t a[t * a_stride + a_offset + i] *
/// b[t * b_width + j]` with `t` in `0..rows` and `i` in `0..n`.
#[allow(clippy::too_many_arguments)]
pub fn matmul_tn<F: Real>(
    a: &[F],
    a_stride: usize,
    a_offset: usize,
    n: usize,
    b: &[F],
    b_width: usize,
    rows: usize,
    alpha: F,
    accumulate: bool,
    y: &mut Columns<'_, F>,
) {
    clear(n, accumulate, y);
    let range = y.range.clone();
    for t in 0..rows {
        let b = &b[t * b_width..][range.clone()];
        for i in 0..n {
            F::axpy(alpha * a[t * a_stride + a_offset + i], b, y.row_mut(i));
        }
    }
}

fn clear<F: Real>(rows: usize, accumulate: bool, y: &mut Columns<'_, F>) {
    if !accumulate {
        (0..rows).for_each(|r| y.row_mut(r).fill(F::ZERO));
    }
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;

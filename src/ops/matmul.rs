//! The three matrix products of a linear layer: forward, gradient of the input, gradient of the weights.
//!
//! Each part of a call makes its own columns of the output. Every element is summed in an order that depends on
//! neither the number of parts nor (but for the switch beyond [`FEW`] rows) the number of rows.

use super::cpu::{Columns, Real};
pub use crate::kernels::Operand;
use crate::kernels::{Left, Right};

/// Up to this many rows, [`matmul_nt`] takes dot products, whose bits are the same for any number of rows.
pub use crate::kernels::FEW;

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
    if rows <= FEW {
        return F::few(*w, cols, y.range.start - offset, x, rows, alpha, accumulate, y);
    }
    let left = Left { values: x, row_stride: cols, depth_stride: 1 };
    let right = Right { w: *w, cols, first: y.range.start - offset, by_row: true };
    F::product(left, right, rows, cols, alpha, accumulate, y);
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
    let left = Left { values: x.get(x_offset..).unwrap_or(&[]), row_stride: x_stride, depth_stride: 1 };
    let right = Right { w: *w, cols, first: y.range.start, by_row: false };
    F::product(left, right, rows, outs, alpha, accumulate, y);
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
    let left = Left { values: a.get(a_offset..).unwrap_or(&[]), row_stride: 1, depth_stride: a_stride };
    let w = Operand::Plain { values: b };
    let right = Right { w, cols: b_width, first: y.range.start, by_row: false };
    F::product(left, right, n, rows, alpha, accumulate, y);
}

#[cfg(test)]
#[path = "matmul_tests.rs"]
mod tests;

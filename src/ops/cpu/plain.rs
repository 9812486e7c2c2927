//! Double precision: products as plain loops, by which gradients are checked. Nothing here is timed.

use super::Columns;
use super::real::{Real, real};
use crate::kernels::{Left, Operand, Right};
use crate::quant::Format;
use crate::text::{Breakers, Choice, SamplerError, SamplerParams, choose_with_breakers};

/// Weights decoded at once.
const PIECE: usize = 256;

impl Real for f64 {
    real!(f64);

    /// Not a number if the row cannot be decoded.
    fn dot_row(format: Format, row: &[u8], x: &[f64]) -> f64 {
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

    /// Eight running sums, then their tree.
    fn dot(a: &[f64], b: &[f64]) -> f64 {
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

    fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y += a * x);
    }

    /// Dot products, one by one.
    fn few(
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
                    Operand::Encoded(w) => Self::dot_row(w.format, w.row(row), x),
                    Operand::Plain { values } => Self::dot(&values[row * cols..(row + 1) * cols], x),
                };
                let y = &mut y.row_mut(t)[i];
                *y = alpha * dot + if accumulate { *y } else { 0.0 };
            }
        }
    }

    /// Weights are decoded once, a piece at a time.
    fn product(
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
                    Self::axpy(alpha * l(i, k), piece, &mut y.row_mut(i)[j..j + piece.len()]);
                }
            }
        }
    }

    fn choose(
        logits: &[f64],
        history: &[u32],
        p: &SamplerParams,
        breakers: &Breakers,
        pos: u32,
    ) -> Result<Choice, SamplerError> {
        // The double-precision executor checks gradients, it is not timed: a copy is fine.
        let single: Vec<f32> = logits.iter().map(|l| *l as f32).collect();
        choose_with_breakers(&single, history, p, breakers, pos)
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

//! What a matrix product multiplies (strided floats on the left, rows of weights on the right), and where it goes.

use crate::quant::Format;

/// Weights decoded at once where they do not lie on block bounds: twice the longest block.
const WINDOW: usize = 512;

/// Where a product goes: the columns of each row.
pub trait Rows {
    /// The columns of row `r`.
    fn row(&mut self, r: usize) -> &mut [f32];
}

/// A weight matrix, rows of encoded bytes.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// Block format.
    pub format: Format,
    /// All rows.
    pub bytes: &'a [u8],
    /// Bytes of one row.
    pub row_bytes: usize,
    /// Whether products take activations as they are; otherwise they round them to 16 bits, which is faster.
    pub exact: bool,
}

impl<'a> Matrix<'a> {
    /// Encoded bytes of row `r`.
    pub fn row(&self, r: usize) -> &'a [u8] {
        &self.bytes[r * self.row_bytes..(r + 1) * self.row_bytes]
    }

    /// The same without the first rows.
    pub fn from_row(self, first: usize) -> Self {
        Self { bytes: &self.bytes[first * self.row_bytes..], ..self }
    }

    /// Decodes the weights from `start` on of a row; NaN for what the row does not have.
    pub fn load(&self, row: usize, start: usize, out: &mut [f32]) {
        let (len, bytes) = (self.format.block_len(), self.format.block_bytes());
        let row = self.row(row);
        let blocks =
            |first: usize, end: usize| row.get(first / len * bytes..end / len * bytes).unwrap_or(&[]);
        if start.is_multiple_of(len) && out.len().is_multiple_of(len) {
            if self.format.decode(blocks(start, start + out.len()), out).is_err() {
                out.fill(f32::NAN);
            }
            return;
        }
        let mut window = [0f32; WINDOW];
        let mut at = start;
        let mut rest = out;
        while !rest.is_empty() {
            let first = at / len * len;
            let end = (at + rest.len()).next_multiple_of(len).min(first + WINDOW);
            let window = &mut window[..end - first];
            if self.format.decode(blocks(first, end), window).is_err() {
                window.fill(f32::NAN);
            }
            let (now, later) = rest.split_at_mut(rest.len().min(end - at));
            now.copy_from_slice(&window[at - first..][..now.len()]);
            at += now.len();
            rest = later;
        }
    }
}

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

/// The left-hand operand: element (i, k) is `values[i * row_stride + k * depth_stride]`.
#[derive(Clone, Copy)]
pub struct Left<'a, F> {
    /// All elements, from (0, 0) on.
    pub values: &'a [F],
    /// From one row to the next.
    pub row_stride: usize,
    /// From one term of the sum to the next.
    pub depth_stride: usize,
}

/// The right-hand operand as the product sees it.
#[derive(Clone, Copy)]
pub struct Right<'a, F> {
    /// Rows of weights.
    pub w: Operand<'a, F>,
    /// Weights in a row.
    pub cols: usize,
    /// Row (if `by_row`) or column of the weights that makes the first column of the output.
    pub first: usize,
    /// Whether a row of weights makes a column of the output, or is a term of the sum of all columns.
    pub by_row: bool,
}

impl Right<'_, f32> {
    /// The weights from `start` on of a row.
    pub(super) fn load(&self, row: usize, start: usize, out: &mut [f32]) {
        match &self.w {
            Operand::Encoded(w) => w.load(row, start, out),
            Operand::Plain { values } => {
                out.copy_from_slice(&values[row * self.cols + start..][..out.len()]);
            }
        }
    }
}

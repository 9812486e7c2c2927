//! Matrix products on the CPU: floats or rounded activations with encoded weights.
//!
//! What a format's bytes mean is `quant`'s matter, which instructions there are `simd`'s. A format's kernels follow from its
//! description, by the same list.

mod dot;
mod few;
mod gemm;
mod lines;
mod many;
#[cfg(target_arch = "x86_64")]
mod one;
mod operand;
mod round;
#[cfg(test)]
mod tests;
mod tile;

pub use dot::{axpy_f32, dot_f32};
pub use few::FewRows;
pub use gemm::Product;
pub use lines::{add_lines, dot_lines};
pub use operand::{Left, Matrix, Operand, Right, Rows};
pub use tile::FEW;

use std::ops::Range;

use crate::quant::Format;
use crate::quant::codec::BlockCodec;

/// What a format's weights are multiplied by.
struct Kernels {
    dot: fn(&[u8], &[f32]) -> f32,
    /// With a few rows of activations, each as `dot` to the bit; of block formats.
    few: Option<tile::TileProduct>,
    /// With many; of block formats.
    many: Option<many::Many>,
}

/// [`Kernels::dot`] of a block format.
fn dot_of<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if one::suits(LEN) {
        return one::dot::<B, LEN, BYTES>(row, x);
    }
    tile::dot::<B, LEN, BYTES>(row, x)
}

/// [`Kernels::few`] of a block format.
fn rows_of<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    w: Matrix<'_>,
    columns: Range<usize>,
    (x, cols): (&[f32], usize),
    put: &mut dyn FnMut(usize, &[[f32; tile::STRIP]; FEW]),
) {
    #[cfg(target_arch = "x86_64")]
    if x.len() == cols && one::suits(LEN) {
        return one::rows::<B, LEN, BYTES>(w, columns, x, put);
    }
    tile::rows::<B, LEN, BYTES>(w, columns, (x, cols), put);
}

macro_rules! kernels {
    (block, $format:ty) => {
        Kernels {
            dot: dot_of::<$format, _, _>,
            few: Some(rows_of::<$format, _, _>),
            many: Some(many::many::<$format, _, _>()),
        }
    };
    (float, $format:ty) => {
        Kernels { dot: dot::float_dot::<$format, _>, few: None, many: None }
    };
}

macro_rules! formats {
    ($($(#[$doc:meta])* $f:ident = $name:literal, $stem:literal, $id:literal, $kind:ident, $file:ident::$codec:ident;)*) => {
        /// By format, in the order of the list.
        static KERNELS: [Kernels; Format::ALL.len()] = [$(kernels!($kind, crate::quant::$file::$codec)),*];
    };
}
include!("../quant/list.rs");

impl Format {
    fn kernels(self) -> &'static Kernels {
        &KERNELS[self as usize]
    }

    /// The dot product of an encoded row with as many activations, in f32 and in a fixed order.
    ///
    /// The lengths should agree; if they do not, the blocks that both have are used.
    pub fn dot(self, row: &[u8], x: &[f32]) -> f32 {
        debug_assert_eq!(self.row_bytes(x.len()), Ok(row.len()));
        (self.kernels().dot)(row, x)
    }
}

//! Block formats: how weights are stored in a file, on the CPU and on the device.
//!
//! Each format is one row of a const table: identity, block size, decoding, encoding, dot products and the device
//! layout. The byte layouts are those of GGUF files; decoding is bit-exact with the Python package `gguf`.
//! A format is added by one [`Format`] variant, one implementation and one row of the table.

mod codec;
mod device;
mod dot;
mod error;
mod exp;
mod few;
mod float;
mod gemm;
mod half;
mod ints;
mod iq4_nl;
mod k_affine;
mod k_symmetric;
mod legacy;
mod level;
mod many;
mod operand;
mod round;
mod search;
mod simd;
mod table;
#[cfg(test)]
mod tests;
mod tile;
mod wide;

pub use device::{GROUP_ROWS, MAX_PLANES, Planes};
pub use dot::{axpy_f32, dot_f32};
pub use error::QuantError;
pub use exp::{exp, exp_all, sum_exp};
pub use few::{FEW, FewRows};
pub use gemm::{Product, Rows};
pub use level::Level;
pub use operand::{Left, Matrix, Operand, Right};
pub(crate) use simd::prefetch_all;

use codec::Codec;
use table::TABLE;

/// A weight format of a GGUF file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half floats.
    F16,
    /// bfloat16.
    BF16,
    /// 32 weights: f16 scale, 4-bit codes around 8.
    Q4_0,
    /// 32 weights: f16 scale and minimum, 4-bit codes.
    Q4_1,
    /// 32 weights: f16 scale, 5-bit codes around 16.
    Q5_0,
    /// 32 weights: f16 scale and minimum, 5-bit codes.
    Q5_1,
    /// 32 weights: f16 scale, signed bytes.
    Q8_0,
    /// 256 weights in groups of 16: 4-bit scales and minima, 2-bit codes.
    Q2K,
    /// 256 weights in groups of 16: 6-bit scales, 3-bit codes around 4.
    Q3K,
    /// 256 weights in groups of 32: 6-bit scales and minima, 4-bit codes.
    Q4K,
    /// 256 weights in groups of 32: 6-bit scales and minima, 5-bit codes.
    Q5K,
    /// 256 weights in groups of 16: 8-bit scales, 6-bit codes around 32.
    Q6K,
    /// 32 weights: f16 scale, 4-bit indices into a fixed non-linear table.
    Iq4Nl,
}

impl Format {
    /// All formats, in the order of the table.
    pub const ALL: [Format; 14] = [
        Format::F32,
        Format::F16,
        Format::BF16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q2K,
        Format::Q3K,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
        Format::Iq4Nl,
    ];

    /// This format's row of the table.
    fn codec(self) -> &'static Codec {
        &TABLE[self as usize]
    }

    /// The name GGUF tools print, such as `Q4_1`, `Q4_K`, `IQ4_NL`.
    pub fn name(self) -> &'static str {
        self.codec().name
    }

    /// The stem of its shader file, such as `q4_1`, `q4_k`, `iq4_nl`.
    pub fn stem(self) -> &'static str {
        self.codec().stem
    }

    /// The tensor type number in a GGUF file.
    pub fn ggml_id(self) -> u32 {
        self.codec().ggml_id
    }

    /// The format of a GGUF tensor type number, if it is one of these.
    pub fn from_ggml_id(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.ggml_id() == id)
    }

    /// The format of a name, in any case.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|f| f.name().eq_ignore_ascii_case(name))
    }

    /// Weights in a block.
    pub fn block_len(self) -> usize {
        self.codec().block_len
    }

    /// Bytes of an encoded block.
    pub fn block_bytes(self) -> usize {
        self.codec().block_bytes
    }

    /// Bytes of an encoded row of `cols` weights.
    ///
    /// # Errors
    /// [`QuantError::RowLength`] if the row is not whole blocks, [`QuantError::TooLarge`] if the product overflows.
    pub fn row_bytes(self, cols: usize) -> Result<usize, QuantError> {
        let multiple = self.block_len();
        if !cols.is_multiple_of(multiple) {
            return Err(QuantError::RowLength { format: self, cols, multiple });
        }
        let bytes = (cols / multiple).checked_mul(self.block_bytes());
        bytes.ok_or(QuantError::TooLarge { format: self, rows: 1, cols })
    }

    /// Decodes whole blocks: `bytes` holds exactly `out.len()` weights.
    ///
    /// # Errors
    /// [`QuantError::RowLength`] or [`QuantError::Bytes`] if the lengths do not fit.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
        self.check_bytes(out.len(), bytes.len())?;
        (self.codec().decode)(bytes, out);
        Ok(())
    }

    /// Encodes whole blocks: `out` takes exactly `src.len()` weights.
    ///
    /// F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 give the bytes that ggml and the Python package `gguf` give; the others
    /// search for the scales with the least weighted error.
    ///
    /// # Errors
    /// [`QuantError::RowLength`] or [`QuantError::Bytes`] if the lengths do not fit, [`QuantError::OutOfRange`] for a
    /// weight that a block cannot carry (F32, F16 and BF16 carry any).
    pub fn encode(self, src: &[f32], out: &mut [u8]) -> Result<(), QuantError> {
        self.check_bytes(src.len(), out.len())?;
        if self.block_len() > 1 {
            let carried = |v: &f32| v.abs() <= codec::MAX_WEIGHT;
            if let Some((index, &value)) = src.iter().enumerate().find(|(_, v)| !carried(v)) {
                return Err(QuantError::OutOfRange { format: self, index, value });
            }
        }
        (self.codec().encode)(src, out);
        Ok(())
    }

    /// Checks that all of `src` are finite numbers that stay finite in a float format; encoding in blocks checks by itself.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`] naming the first that does not.
    pub fn check_finite(self, src: &[f32]) -> Result<(), QuantError> {
        // Half a step above the largest number rounds to infinity.
        let (largest, limit) = match self {
            Format::F32 => (f32::MAX, f32::INFINITY),
            Format::BF16 => (f32::from_bits(0x7f7f_0000), f32::from_bits(0x7f7f_8000)),
            Format::F16 => (65_504.0, 65_520.0),
            _ => return Ok(()),
        };
        match src.iter().position(|v| v.is_nan() || v.abs() >= limit) {
            Some(index) => Err(QuantError::NotFinite { format: self, index, value: src[index], largest }),
            None => Ok(()),
        }
    }

    /// The dot product of an encoded row with as many activations, in f32 and in a fixed order.
    ///
    /// The lengths should agree; if they do not, the blocks that both have are used.
    pub fn dot(self, row: &[u8], x: &[f32]) -> f32 {
        debug_assert_eq!(self.row_bytes(x.len()), Ok(row.len()));
        (self.codec().dot)(row, x)
    }

    /// Products with a few rows of activations, of block formats.
    fn product(self) -> Option<tile::Product> {
        self.codec().product
    }

    /// Products with many rows of activations, of block formats.
    fn many(self) -> Option<many::Many> {
        self.codec().many
    }

    fn check_bytes(self, weights: usize, found: usize) -> Result<(), QuantError> {
        let expected = self.row_bytes(weights)?;
        if expected != found {
            return Err(QuantError::Bytes { format: self, weights, expected, found });
        }
        Ok(())
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

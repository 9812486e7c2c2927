//! Block formats: how weights are stored in a file and on the device.
//!
//! Each format is one line of a list and one description: block size, decoding, encoding and the device layout. The byte
//! layouts are those of GGUF files; decoding is bit-exact with the Python package `gguf`. Products with encoded weights are in
//! [`kernels`](crate::kernels).

pub(crate) mod codec;
pub(crate) mod device;
mod error;
pub(crate) mod float;
pub(crate) mod iq4_nl;
pub(crate) mod k_affine;
pub(crate) mod k_symmetric;
pub(crate) mod legacy;
#[cfg(test)]
pub(crate) mod loss;
mod search;
#[cfg(test)]
pub(crate) mod tests;

pub use device::{GROUP_ROWS, MAX_PLANES, Planes};
pub use error::QuantError;

use codec::{Codec, block_codec};
use float::float_codec;

/// The table row of a format of each kind.
macro_rules! codec {
    (block, $format:ty) => {
        block_codec::<$format, _, _>()
    };
    (float, $format:ty) => {
        float_codec::<$format, _>()
    };
}

macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident = $name:literal, $stem:literal, $id:literal, $kind:ident, $file:ident::$codec:ident;)*) => {
        /// A weight format of a GGUF file.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Format {
            $($(#[$doc])* $format,)*
        }

        impl Format {
            /// All formats, in the order of the list.
            pub const ALL: [Format; [$($id),*].len()] = [$(Format::$format),*];

            /// The name GGUF tools print, such as `Q4_1`, `Q4_K`, `IQ4_NL`.
            pub fn name(self) -> &'static str {
                [$($name),*][self as usize]
            }

            /// The stem of its shader file, such as `q4_1`, `q4_k`, `iq4_nl`.
            pub fn stem(self) -> &'static str {
                [$($stem),*][self as usize]
            }

            /// The tensor type number in a GGUF file.
            pub fn ggml_id(self) -> u32 {
                [$($id),*][self as usize]
            }
        }

        /// By format, in the order of the list.
        static CODECS: [Codec; Format::ALL.len()] = [$(codec!($kind, crate::quant::$file::$codec)),*];
    };
}
include!("list.rs");

macro_rules! pairs {
    ($($first:literal and $second:literal;)*) => {
        /// Formats that a product takes together, by the stems of their shaders.
        const PAIRS: &[(&str, &str)] = &[$(($first, $second)),*];
    };
}
include!("pairs.rs");

impl Format {
    /// The pairs of formats that a product takes together: a matrix of the first, then one of the second.
    pub fn pairs() -> impl Iterator<Item = (Format, Format)> {
        let of = |stem: &str| Format::ALL.into_iter().find(|format| format.stem() == stem);
        PAIRS.iter().filter_map(move |(first, second)| of(first).zip(of(second)))
    }

    fn codec(self) -> &'static Codec {
        &CODECS[self as usize]
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

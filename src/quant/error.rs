//! What can be wrong with a request to the quantization layer.

use super::Format;

/// An error of the quantization layer: which format, what was asked, what would work.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A row does not divide into whole blocks (or, on the device, into groups of four weights).
    #[error("{} rows must be a multiple of {multiple} weights, and this one has {cols}; use a format with smaller blocks (Q8_0: 32, F16: 4)", .format.name())]
    RowLength {
        /// The format asked for.
        format: Format,
        /// Weights in a row.
        cols: usize,
        /// What `cols` must be a multiple of.
        multiple: usize,
    },
    /// The encoded side has the wrong number of bytes.
    #[error("{}: {weights} weights take {expected} bytes, but the buffer has {found}", .format.name())]
    Bytes {
        /// The format asked for.
        format: Format,
        /// Weights to be read or written.
        weights: usize,
        /// Bytes they take.
        expected: usize,
        /// Bytes the buffer has.
        found: usize,
    },
    /// The device words of a tensor have the wrong length.
    #[error("{}: a {rows} x {cols} tensor takes {expected} words on the device, but the buffer has {found}", .format.name())]
    Words {
        /// The format asked for.
        format: Format,
        /// Rows of the tensor.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// Words its planes take.
        expected: usize,
        /// Words the buffer has.
        found: usize,
    },
    /// The sizes multiply to more than this machine can address.
    #[error("{}: a {rows} x {cols} tensor is too large to address", .format.name())]
    TooLarge {
        /// The format asked for.
        format: Format,
        /// Rows of the tensor.
        rows: usize,
        /// Weights in a row.
        cols: usize,
    },
    /// A weight that a block with an f16 scale cannot carry.
    #[error("weight {index} is {value}: {} blocks have f16 scales, so weights must be finite and at most 65504 in size; repair the tensor or keep it in F32", .format.name())]
    OutOfRange {
        /// The format asked for.
        format: Format,
        /// Index of the weight in the slice given.
        index: usize,
        /// The weight.
        value: f32,
    },
    /// A weight that would become an infinity, or is none to begin with.
    #[error("weight {index} is {value}, and {} holds finite numbers up to {largest:e}; repair the tensor, or keep it in a format that holds it", .format.name())]
    NotFinite {
        /// The format asked for.
        format: Format,
        /// Index of the weight in the slice given.
        index: usize,
        /// The weight.
        value: f32,
        /// The largest number of that format.
        largest: f32,
    },
}

impl QuantError {
    /// The same error with an index into a whole tensor, of which the slice was the weights from `first` on.
    pub fn offset(self, first: usize) -> Self {
        match self {
            QuantError::OutOfRange { format, index, value } => {
                QuantError::OutOfRange { format, index: first + index, value }
            }
            QuantError::NotFinite { format, index, value, largest } => {
                QuantError::NotFinite { format, index: first + index, value, largest }
            }
            other => other,
        }
    }
}

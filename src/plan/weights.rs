//! Where a program's weights come from.

use std::sync::Arc;

use crate::quant::Format;

/// A tensor is missing, or has another shape.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("weight `{name}`: {why}")]
pub struct WeightError {
    /// Tensor name.
    pub name: String,
    /// What was wrong.
    pub why: String,
}

/// Shape and format of a tensor in the model file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WeightShape {
    /// Block format.
    pub format: Format,
    /// Rows (outputs).
    pub rows: usize,
    /// Columns (inputs).
    pub cols: usize,
}

/// Where weights come from: a mapped file, memory.
pub trait WeightSource: Send + Sync {
    /// Shape of a tensor, if there is one of that name.
    fn shape(&self, name: &str) -> Option<WeightShape>;
    /// Encoded bytes of the whole tensor.
    ///
    /// # Errors
    /// [`WeightError`] if there is none, or its bytes are not there.
    fn bytes(&self, name: &str) -> Result<&[u8], WeightError>;
}

/// Shared weights.
pub type Weights = Arc<dyn WeightSource>;

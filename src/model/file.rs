//! A model file: its numbers and its weights.

use std::path::Path;
use std::sync::Arc;

use crate::exec::{ExecError, WeightShape, WeightSource, Weights};
use crate::gguf::{Gguf, GgufFile};
use crate::model::{ModelConfig, ModelError};
use crate::quant::Format;

/// A GGUF model, mapped into memory. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    file: Arc<GgufFile>,
    config: ModelConfig,
}

impl Model {
    /// Opens and checks a model file; no weight is read yet.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        let config = ModelConfig::from_gguf(file.header())?;
        Ok(Self { file: Arc::new(file), config })
    }

    /// The model's numbers.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Header, metadata and tensor directory.
    pub fn gguf(&self) -> &Gguf {
        self.file.header()
    }

    /// The file itself.
    pub fn file(&self) -> &GgufFile {
        &self.file
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The weights, for an executor.
    pub fn weights(&self) -> Weights {
        Arc::clone(&self.file) as Weights
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.gguf().tensors.iter().map(|t| t.bytes).sum()
    }

    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.gguf().tensors.iter().map(crate::gguf::TensorInfo::elements).sum()
    }
}

impl WeightSource for GgufFile {
    fn shape(&self, name: &str) -> Option<WeightShape> {
        let tensor = self.header().tensor(name)?;
        let format = Format::from_ggml_id(tensor.type_id)?;
        let cols = tensor.dim(0) as usize;
        let rows = tensor.dims.iter().skip(1).product::<u64>() as usize;
        Some(WeightShape { format, rows, cols })
    }

    fn bytes(&self, name: &str) -> Result<&[u8], ExecError> {
        let fail = |why: String| ExecError::Weight { name: name.into(), why };
        let tensor = self.header().tensor(name).ok_or_else(|| fail("is missing in the model file".into()))?;
        self.tensor_bytes(tensor).map_err(|e| fail(e.to_string()))
    }
}

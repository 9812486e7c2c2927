//! A model file: its numbers and its weights.

use std::path::Path;
use std::sync::Arc;

use crate::gguf::{Gguf, GgufFile};
use crate::model::rope::YARN_FACTORS;
use crate::model::{ModelConfig, ModelError, Yarn, check};
use crate::plan::{WeightError, WeightShape, WeightSource, Weights};
use crate::quant::Format;

/// Divides the frequencies of rope, in some models.
const ROPE_FREQS: &str = "rope_freqs.weight";

/// A GGUF model, mapped into memory. Cheap to clone.
#[derive(Clone)]
pub struct Model {
    file: Arc<GgufFile>,
    config: ModelConfig,
    weights: Weights,
    notices: Vec<String>,
}

impl Model {
    /// Opens and checks a model file; no weight is read yet.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        check::refuse_other_kinds(file.header())?;
        let config = ModelConfig::from_gguf(file.header())?;
        let notices = check::understood(file.header(), &config)?;
        let file = Arc::new(file);
        let weights: Weights = match config.rope.yarn {
            Some(yarn) => Arc::new(WithYarn::new(Arc::clone(&file), &config, yarn)?),
            None => Arc::clone(&file) as Weights,
        };
        Ok(Self { file, config, weights, notices })
    }

    /// What of the file is not understood and may change what the model says: one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
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
        Arc::clone(&self.weights)
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

    fn bytes(&self, name: &str) -> Result<&[u8], WeightError> {
        let fail = |why: String| WeightError { name: name.into(), why };
        let tensor = self.header().tensor(name).ok_or_else(|| fail("is missing in the model file".into()))?;
        self.tensor_bytes(tensor).map_err(|e| fail(e.to_string()))
    }
}

/// A file's weights, and the factors that YaRN makes of its numbers.
struct WithYarn {
    file: Arc<GgufFile>,
    factors: Vec<u8>,
}

impl WithYarn {
    fn new(file: Arc<GgufFile>, c: &ModelConfig, yarn: Yarn) -> Result<Self, ModelError> {
        let mut factors = yarn.factors(c.rope_dim, c.rope.scale);
        if let Some(shape) = file.shape(ROPE_FREQS) {
            let fail = |why: String| ModelError::Tensor { name: ROPE_FREQS.into(), why };
            let mut own = vec![0.0; shape.rows * shape.cols];
            let bytes = file.bytes(ROPE_FREQS).map_err(|e| fail(e.to_string()))?;
            shape.format.decode(bytes, &mut own).map_err(|e| fail(e.to_string()))?;
            if own.len() != factors.len() {
                return Err(fail(format!("has {} factors for {} pairs", own.len(), factors.len())));
            }
            factors.iter_mut().zip(own).for_each(|(factor, own)| *factor *= own);
        }
        Ok(Self { file, factors: factors.iter().flat_map(|f| f.to_le_bytes()).collect() })
    }
}

impl WeightSource for WithYarn {
    fn shape(&self, name: &str) -> Option<WeightShape> {
        match name {
            YARN_FACTORS => Some(WeightShape { format: Format::F32, rows: 1, cols: self.factors.len() / 4 }),
            _ => self.file.shape(name),
        }
    }

    fn bytes(&self, name: &str) -> Result<&[u8], WeightError> {
        if name == YARN_FACTORS { Ok(&self.factors) } else { self.file.bytes(name) }
    }
}

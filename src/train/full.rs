//! A model whose own weights were trained, as a file: what the run began with, with the weights that it ended with.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::gguf::{FileType, Gguf, GgufWriter, Metadata, TensorInfo, TensorSpec};
use crate::io::{Access, Existing, Manner, write_file};
use crate::plan::TensorId;
use crate::quant::Format;
use crate::quantize::QuantizeError;
use crate::train::core::Core;
use crate::train::{Engine, TrainError};

/// What keys of a model's metadata begin with that say how it was trained.
pub const TRAINING: &str = "ember.training.";

/// What a model's metadata say of how it was trained; empty if it was trained elsewhere.
pub fn training_info(metadata: &Metadata) -> BTreeMap<String, String> {
    let text = |key: &str| metadata.find::<&str>(key).ok().flatten().map(str::to_owned);
    let notes =
        metadata.iter().filter_map(|(key, _)| Some((key.strip_prefix(TRAINING)?.to_owned(), text(key)?)));
    notes.collect()
}

impl Core {
    /// See [`Trainer::save_model`](crate::train::Trainer::save_model).
    pub fn save_model(
        &mut self,
        path: &Path,
        format: Format,
        existing: Existing,
        info: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, TrainError> {
        let mut info = info.clone();
        self.describe(&mut info);
        // Like an adapter, it may say things that its owner taught it.
        let manner = Manner { existing, access: Access::Private };
        self.with_best(|engine| {
            let written = write_file(path, manner, |sink| write(engine, sink, format, &info))?;
            Ok(written.backup)
        })
    }
}

/// Writes the model that an engine holds now.
fn write<W: embedded_io::Write>(
    engine: &mut Engine,
    sink: W,
    format: Format,
    info: &BTreeMap<String, String>,
) -> Result<(), TrainError> {
    let model = engine.model().clone();
    let trained: HashMap<String, TensorId> =
        engine.trained().into_iter().map(|(id, name, ..)| (name, id)).collect();
    let gguf = model.gguf();
    let kind = |tensor: &TensorInfo| match (trained.contains_key(&tensor.name), tensor.dims.len()) {
        (false, _) => tensor.type_id,
        (true, 0 | 1) => Format::F32.ggml_id(),
        (true, _) => format.ggml_id(),
    };
    let specs: Vec<TensorSpec> =
        gguf.tensors.iter().map(|t| TensorSpec::new(t.name.clone(), t.dims.clone(), kind(t))).collect();
    let mut writer =
        GgufWriter::new(sink, &metadata(gguf, format, info), &specs).map_err(QuantizeError::from)?;
    let mut bytes = Vec::new();
    for (tensor, spec) in gguf.tensors.iter().zip(&specs) {
        let Some(id) = trained.get(&tensor.name) else {
            let held = model.file().tensor_bytes(tensor).map_err(QuantizeError::from)?;
            writer.tensor(&tensor.name, held).map_err(QuantizeError::from)?;
            continue;
        };
        let fail = |source| QuantizeError::Values { tensor: tensor.name.clone(), source };
        let values = engine.read(*id)?;
        let to = Format::from_ggml_id(spec.type_id).unwrap_or(Format::F32);
        bytes.clear();
        bytes.resize(to.row_bytes(values.len()).map_err(fail)?, 0);
        to.check_finite(&values).and_then(|()| to.encode(&values, &mut bytes)).map_err(fail)?;
        writer.tensor(&tensor.name, &bytes).map_err(QuantizeError::from)?;
    }
    writer.finish().map_err(QuantizeError::from)?;
    Ok(())
}

/// The metadata of the file that training began with, with how it was trained.
fn metadata(gguf: &Gguf, format: Format, info: &BTreeMap<String, String>) -> Metadata {
    let mut metadata = gguf.metadata.clone();
    // What is said of an earlier training is that of another file.
    for key in training_info(&metadata).keys() {
        metadata.remove(&format!("{TRAINING}{key}"));
    }
    if let Some(file_type) = FileType::by_name(format.name()) {
        metadata.set("general.file_type", file_type.0);
    }
    for (key, value) in info {
        metadata.set(format!("{TRAINING}{key}"), value.as_str());
    }
    metadata
}

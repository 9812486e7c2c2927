//! Adapters of other programs: folders of PEFT (transformers) and of MLX (mlx-lm).
//!
//! Both name Hugging Face's modules and keep rows of queries and keys in its order. PEFT stores A (rank, inputs) and
//! B (outputs, rank) and scales by `lora_alpha / r`, or `/ sqrt(r)` with rsLoRA; MLX stores both transposed and uses
//! its `scale` as it is.

mod assemble;
mod copy;
mod mlx;
mod names;
mod peft;
mod rope;
mod tensors;

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::{Adapter, AdapterError, BaseFingerprint};
use crate::gguf::{Gguf, GgufFile};
use crate::io::{Access, Existing, IoError, Manner, MappedFile, output, private, write_file};

pub(super) const CONFIG: &str = "adapter_config.json";
/// No configuration in use comes near this many bytes.
const MAX_CONFIG: usize = 1 << 20;

/// Whose conventions a folder follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Hugging Face PEFT.
    Peft,
    /// Apple's mlx-lm.
    Mlx,
}

impl Layout {
    /// The file with the matrices.
    pub fn weights_file(self) -> &'static str {
        match self {
            Layout::Peft => "adapter_model.safetensors",
            Layout::Mlx => "adapters.safetensors",
        }
    }

    /// The name people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Peft => "PEFT",
            Layout::Mlx => "MLX",
        }
    }
}

/// Imports an adapter for `base`: a PEFT or MLX folder, a safetensors file (with `adapter_config.json` beside it, or
/// `alpha`), or a GGUF adapter made elsewhere. The result carries the fingerprint of `base`. `alpha` overrides the
/// configuration's scale by `alpha / rank`; `force` takes a GGUF adapter that was trained on another file.
///
/// # Errors
/// [`AdapterError`] if it cannot be read, uses what is not supported, or does not fit `base`.
pub fn import(
    path: &Path,
    base: &GgufFile,
    alpha: Option<f32>,
    force: bool,
) -> Result<Adapter, AdapterError> {
    let layouts = [Layout::Peft, Layout::Mlx].map(|layout| path.join(layout.weights_file()));
    let weights = if path.is_dir() {
        let found = layouts.into_iter().find(|file| file.is_file());
        found.ok_or_else(|| nothing_in(path))?
    } else {
        path.to_owned()
    };
    let mapped = MappedFile::open(&weights)?;
    let mut adapter = if mapped.bytes().starts_with(b"GGUF") {
        let mut adapter = Adapter::open(&weights)?;
        adapter.check_base(base, force)?;
        adapter.alpha = alpha.unwrap_or(adapter.alpha);
        adapter
    } else {
        let config = weights.with_file_name(CONFIG);
        let config = if config.is_file() { Some(MappedFile::open(config)?) } else { None };
        let made = read(mapped.bytes(), config.as_ref().map(MappedFile::bytes), alpha, base.header());
        let (adapter, copies) = made.map_err(|error| match error {
            AdapterError::WholeModel { .. } => AdapterError::WholeModel { path: weights.clone() },
            other => other,
        })?;
        copies.iter().try_for_each(|copy| copy::check(copy, base))?;
        adapter
    };
    if adapter.name.is_empty() {
        adapter.name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    }
    adapter.check()?;
    adapter.base = Some(BaseFingerprint::of(base)?);
    Ok(adapter)
}

/// The adapter in the bytes of a safetensors file and of its configuration; the tensors' names tell the layout.
/// Checked against the shapes of `base`, but without a fingerprint; copies of the base's own matrices are left out unseen.
///
/// # Errors
/// As [`import`].
pub fn from_bytes(
    weights: &[u8],
    config: Option<&[u8]>,
    alpha: Option<f32>,
    base: &Gguf,
) -> Result<Adapter, AdapterError> {
    read(weights, config, alpha, base).map(|(adapter, _)| adapter)
}

/// What is wrong with a folder without an adapter's files.
fn nothing_in(folder: &Path) -> AdapterError {
    let whole = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"];
    let path = folder.to_owned();
    if whole.iter().any(|file| folder.join(file).is_file()) {
        AdapterError::WholeModel { path }
    } else {
        AdapterError::NothingThere { path }
    }
}

/// The adapter, and copies of the base's matrices that came with it.
fn read(
    weights: &[u8],
    config: Option<&[u8]>,
    alpha: Option<f32>,
    base: &Gguf,
) -> Result<(Adapter, Vec<tensors::BaseCopy>), AdapterError> {
    if config.is_some_and(|config| config.len() > MAX_CONFIG) {
        return Err(config_error(format!("is larger than {MAX_CONFIG} bytes")));
    }
    // What the settings refuse is said better than what follows from it in the tensors' names.
    config.map_or(Ok(()), peft::refuse)?;
    let read = tensors::read(weights)?;
    let configured = match (read.layout, config) {
        (Layout::Peft, Some(config)) => Some(peft::scaling(config)?),
        (Layout::Mlx, Some(config)) => Some(mlx::scaling(config)?),
        (_, None) => None,
    };
    let scaling = match (alpha, configured) {
        (Some(alpha), _) => assemble::Scaling::Alpha(f64::from(alpha)),
        (None, Some(scaling)) => scaling,
        (None, None) => {
            return Err(AdapterError::NoAlpha { file: CONFIG });
        }
    };
    let mut adapter = assemble::adapter(read.pairs, &scaling, base)?;
    adapter.info.insert("imported_from".into(), read.layout.name().into());
    Ok((adapter, read.copies))
}

/// Writes `adapter` as a folder that PEFT or MLX loads on the Hugging Face form of `base`. The folder is made if it is
/// not there; `existing` says what becomes of files that are in it under these names. Training notes stay behind. Gives
/// the names under which files are kept.
///
/// # Errors
/// [`AdapterError`] if the adapter does not belong to `base` (see [`Adapter::check_base`]), adapts what has no name
/// there, or a file cannot be written.
pub fn export(
    adapter: &Adapter,
    base: &GgufFile,
    layout: Layout,
    folder: &Path,
    existing: Existing,
    force: bool,
) -> Result<Vec<PathBuf>, AdapterError> {
    adapter.check_base(base, force)?;
    let (weights, config) = to_bytes(adapter, base.header(), layout)?;
    check_export(layout, folder, existing)?;
    // Weights that were trained on somebody's words are theirs; a folder that is there may hold other things too.
    let made = private::make_folders(folder);
    made.map_err(|source| IoError::System { action: "make the folder", path: folder.to_owned(), source })?;
    let kept = [
        put(&folder.join(layout.weights_file()), &weights, existing)?,
        put(&folder.join(CONFIG), format!("{config:#}\n").as_bytes(), existing)?,
    ];
    Ok(kept.into_iter().flatten().collect())
}

/// Checks that the files of an export can be written in `folder`, before anything is.
///
/// # Errors
/// [`IoError`] naming what is in the way.
pub fn check_export(layout: Layout, folder: &Path, existing: Existing) -> Result<(), IoError> {
    match std::fs::metadata(folder) {
        Ok(there) if there.is_dir() => {
            output::check(folder.join(layout.weights_file()), existing)?;
            output::check(folder.join(CONFIG), existing).map(drop)
        }
        Ok(_) => Err(IoError::NoFolder { path: folder.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(IoError::system("write to", folder, error)),
    }
}

/// The safetensors file and the configuration of an adapter.
///
/// # Errors
/// As [`export`].
pub fn to_bytes(adapter: &Adapter, base: &Gguf, layout: Layout) -> Result<(Vec<u8>, Json), AdapterError> {
    adapter.check()?;
    adapter.check_shapes(base)?;
    let pairs = assemble::modules(adapter, base)?;
    match layout {
        Layout::Mlx
            if adapter.pair(crate::adapter::OUTPUT).is_some() && base.tensor("output.weight").is_none() =>
        {
            Err(AdapterError::unsupported(
                "a LoRA of an output that is tied to the embedding, in MLX's form,",
            ))
        }
        Layout::Mlx if adapter.head.is_some() => {
            Err(AdapterError::unsupported("the head of a reward model in MLX's form"))
        }
        Layout::Peft => peft::write(adapter, &pairs, base),
        Layout::Mlx => mlx::write(adapter, pairs, base),
    }
}

fn put(path: &Path, bytes: &[u8], existing: Existing) -> Result<Option<PathBuf>, AdapterError> {
    let written = write_file(path, Manner { existing, access: Access::Private }, |sink| {
        embedded_io::Write::write_all(sink, bytes).map_err(|source| {
            AdapterError::Io(IoError::System { action: "write", path: path.to_owned(), source })
        })
    })?;
    Ok(written.backup)
}

fn config_error(problem: String) -> AdapterError {
    AdapterError::Config { file: CONFIG, problem }
}

/// A configuration as a typed structure.
fn parse<'a, T: serde::Deserialize<'a>>(config: &'a [u8]) -> Result<T, AdapterError> {
    serde_json::from_slice(config).map_err(|e| config_error(super::error::short(&e.to_string())))
}

/// A number that reads back as the same f32, without a fraction where it has none.
fn json_number(value: f32) -> Json {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        return Json::from(value as i64);
    }
    value.to_string().parse::<f64>().map_or(Json::Null, Json::from)
}

#[cfg(test)]
mod tests;

//! Safetensors files: pairs of matrices by module path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};

use super::Layout;
use crate::adapter::error::short;
use crate::adapter::{AdapterError, LoraPair};
use crate::quant::Format;

/// Bytes of a header that are believed: it takes about ten times as many in memory, and no adapter in use has a tenth.
const MAX_HEADER: u64 = 4 << 20;

/// What a file holds: pairs whose targets are module paths, rows in Hugging Face's order, not yet scaled.
pub(super) struct Contents {
    pub layout: Layout,
    pub pairs: Vec<LoraPair>,
    /// Copies of the base's matrices that PEFT puts beside an adapter of the output.
    pub copies: Vec<BaseCopy>,
}

/// A matrix of the base, whose place in the base's file is `target`, as the adapter's file has it.
pub(super) struct BaseCopy {
    pub target: &'static str,
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

/// Names of such copies, behind `base_model.model.`.
const COPIES: [(&str, &str); 4] = [
    ("lm_head.base_layer.weight", "output"),
    ("lm_head.weight", "output"),
    ("model.embed_tokens.base_layer.weight", "token_embd"),
    ("model.embed_tokens.weight", "token_embd"),
];

/// Adaptations that are not LoRA, by what their tensors' names contain.
const OTHER_KINDS: [(&str, &str); 12] = [
    (".ia3_l", "IA3"),
    ("lora_magnitude_vector", "DoRA"),
    ("lora_embedding_", "a LoRA of the token embedding (embed_tokens)"),
    ("modules_to_save", "a fully trained module (modules_to_save)"),
    ("prompt_embeddings", "prompt tuning or prefix tuning"),
    (".hada_w", "LoHa"),
    (".lokr_w", "LoKr"),
    ("vera_lambda", "VeRA"),
    (".oft_", "OFT"),
    (".boft_", "BOFT"),
    ("trainable_tokens_delta", "trained tokens (trainable_token_indices)"),
    (".bias", "a trained bias"),
];

/// Reads a file of either layout.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, AdapterError> {
    let header = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    if header > MAX_HEADER {
        let problem = format!("its header claims {header} bytes, more than the {MAX_HEADER} that are read");
        return Err(AdapterError::Safetensors { problem });
    }
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let mut halves: BTreeMap<&str, [Option<TensorView<'_>>; 2]> = BTreeMap::new();
    let mut layout = None;
    let mut copies = Vec::new();
    refuse_models(&file)?;
    for (name, tensor) in file.iter() {
        if let Some((_, target)) = COPIES.iter().find(|(copy, _)| bare(name) == *copy) {
            let [rows, cols] = matrix(name, &tensor)?;
            copies.push(BaseCopy { target, rows, cols, values: values(name, &tensor)? });
            continue;
        }
        let part = Factor::of(name)?;
        if *layout.get_or_insert(part.layout) != part.layout {
            return Err(AdapterError::tensor(
                name,
                "is of another layout than the rest (`lora_A`, `lora_a`)",
            ));
        }
        let slot = &mut halves.entry(part.module).or_default()[usize::from(part.is_b)];
        if slot.replace(tensor).is_some() {
            return Err(AdapterError::tensor(name, "is there twice under two names"));
        }
    }
    let layout = layout.ok_or(AdapterError::Empty)?;
    let pairs = halves.into_iter().map(|(module, [a, b])| match (a, b) {
        (Some(a), Some(b)) => pair(module, layout, &a, &b),
        (a, _) => {
            let missing = if a.is_none() { "A" } else { "B" };
            Err(AdapterError::tensor(module, format!("its matrix {missing} is missing")))
        }
    });
    Ok(Contents { layout, pairs: pairs.collect::<Result<_, _>>()?, copies })
}

/// A file without any LoRA matrix is something else: named where it is known, else a whole model.
fn refuse_models(file: &SafeTensors<'_>) -> Result<(), AdapterError> {
    let names = file.names();
    if names.is_empty() || names.iter().any(|name| name.contains("lora_")) {
        return Ok(());
    }
    let named = names.iter().find_map(|name| {
        let known = OTHER_KINDS.iter().filter(|(mark, _)| *mark != ".bias");
        known.into_iter().find(|(mark, _)| name.contains(mark)).map(|(_, what)| (name, what))
    });
    match named {
        Some((name, what)) => Err(AdapterError::unsupported(format!("{what} (tensor `{}`)", short(name)))),
        None if names.iter().all(|name| !name.contains("base_model.model.")) => {
            Err(AdapterError::WholeModel { path: "the safetensors file".into() })
        }
        None => Ok(()),
    }
}

/// A name without what PEFT puts before all.
fn bare(name: &str) -> &str {
    name.strip_prefix("base_model.model.").unwrap_or(name)
}

fn damaged(error: &safetensors::SafeTensorError) -> AdapterError {
    AdapterError::Safetensors { problem: short(&error.to_string()) }
}

/// What a tensor's name says.
struct Factor<'a> {
    module: &'a str,
    is_b: bool,
    layout: Layout,
}

impl<'a> Factor<'a> {
    fn of(name: &'a str) -> Result<Self, AdapterError> {
        let bare = bare(name);
        let peft = |mark, is_b| {
            let (module, rest) = bare.split_once(mark)?;
            let layout = Layout::Peft;
            matches!(rest, "weight" | "default.weight").then_some(Factor { module, is_b, layout })
        };
        let mlx = |mark, is_b| Some(Factor { module: bare.strip_suffix(mark)?, is_b, layout: Layout::Mlx });
        let part = peft(".lora_A.", false)
            .or_else(|| peft(".lora_B.", true))
            .or_else(|| mlx(".lora_a", false))
            .or_else(|| mlx(".lora_b", true));
        part.ok_or_else(|| Self::refuse(name))
    }

    /// Why a tensor is not part of a plain LoRA adapter.
    fn refuse(name: &str) -> AdapterError {
        match OTHER_KINDS.iter().find(|(mark, _)| name.contains(mark)) {
            Some((_, what)) => AdapterError::unsupported(format!("{what} (tensor `{}`)", short(name))),
            None if name.starts_with("base_model.model.") && name.ends_with(".weight") => {
                AdapterError::unsupported(format!("a fully trained module (tensor `{}`)", short(name)))
            }
            None => AdapterError::tensor(name, "is neither `lora_A` nor `lora_B` (MLX: `lora_a`, `lora_b`)"),
        }
    }
}

fn pair(
    module: &str,
    layout: Layout,
    a: &TensorView<'_>,
    b: &TensorView<'_>,
) -> Result<LoraPair, AdapterError> {
    let (mut a_shape, mut b_shape) = (matrix(module, a)?, matrix(module, b)?);
    let (mut a, mut b) = (values(module, a)?, values(module, b)?);
    if layout == Layout::Mlx {
        (a, b) = (transposed(&a, a_shape[1]), transposed(&b, b_shape[1]));
        a_shape.reverse();
        b_shape.reverse();
    }
    let ([rank, inputs], [outputs, b_rank]) = (a_shape, b_shape);
    if rank != b_rank {
        let problem = format!("the rank of A is {rank} and that of B {b_rank}; is one of them transposed?");
        return Err(AdapterError::tensor(module, problem));
    }
    let pair = LoraPair { target: module.to_owned(), rank, inputs, outputs, a, b };
    pair.check()?;
    Ok(pair)
}

fn matrix(module: &str, tensor: &TensorView<'_>) -> Result<[usize; 2], AdapterError> {
    let problem = || AdapterError::tensor(module, format!("shape {:?} is not a matrix", tensor.shape()));
    <[usize; 2]>::try_from(tensor.shape()).map_err(|_| problem())
}

/// The numbers as f32: at most twice the bytes of the file.
fn values(module: &str, tensor: &TensorView<'_>) -> Result<Vec<f32>, AdapterError> {
    let format = match tensor.dtype() {
        Dtype::F32 => Format::F32,
        Dtype::F16 => Format::F16,
        Dtype::BF16 => Format::BF16,
        other => return Err(AdapterError::tensor(module, format!("{other:?} is not F32, F16 or BF16"))),
    };
    let bytes = tensor.data();
    let mut values = vec![0f32; bytes.len() / format.block_bytes()];
    format
        .decode(bytes, &mut values)
        .map_err(|source| AdapterError::Values { tensor: short(module), source })?;
    Ok(values)
}

/// A matrix of rows of `width` numbers, columns first.
pub(super) fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|col| values.iter().skip(col).step_by(width.max(1))).copied().collect()
}

/// A matrix to write.
pub(super) struct Matrix<'a> {
    pub shape: [usize; 2],
    pub values: Cow<'a, [f32]>,
}

impl View for Matrix<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.values.len()
    }
}

/// A safetensors file of f32 matrices; `format` is what loaders expect in its metadata.
pub(super) fn write(matrices: Vec<(String, Matrix<'_>)>, format: &str) -> Result<Vec<u8>, AdapterError> {
    let metadata = [("format".to_owned(), format.to_owned())].into_iter().collect();
    safetensors::serialize(matrices, Some(metadata)).map_err(|e| damaged(&e))
}

//! Adapters as GGUF files, as llama.cpp reads and writes them (`llama-adapter.cpp`, `convert_lora_to_gguf.py`).

use embedded_io::{Read, Seek, Write};

use super::error::short;
use super::{Adapter, AdapterError, BaseFingerprint, LoraPair, WEIGHT};
use crate::gguf::{FromValue, Gguf, GgufWriter, Metadata, TensorInfo, TensorSpec, Value, copy_tensor};
use crate::quant::Format;

pub(super) const ALPHA: &str = "adapter.lora.alpha";
const ARCHITECTURE: &str = "general.architecture";
/// The scalar head of a reward model, (1, width).
pub(super) const HEAD: &str = "score.weight";
const LORA_A: &str = ".lora_a";
const LORA_B: &str = ".lora_b";
const BASE_SHA256: &str = "ember.adapter.base.sha256";
const BASE_NAME: &str = "ember.adapter.base.name";
const BASE_LEN: &str = "ember.adapter.base.file_size";
const INFO: &str = "ember.adapter.info.";
/// llama.cpp's own notes, kept in `info` under their short names.
const NOTES: [(&str, &str); 2] =
    [("task_name", "adapter.lora.task_name"), ("prompt_prefix", "adapter.lora.prompt_prefix")];
/// An adapter that acts only after certain tokens.
const ACTIVATED: &str = "adapter.alora.invocation_tokens";
/// Formats of adapter tensors.
const FORMATS: [Format; 4] = [Format::F32, Format::F16, Format::BF16, Format::Q8_0];
/// Blocks decoded at once.
const PIECE: usize = 512;

impl Adapter {
    /// Reads a GGUF adapter (tensors in F32, F16, BF16 or Q8_0) from any stream.
    ///
    /// # Errors
    /// [`AdapterError`] if the stream fails or is not a sound adapter.
    pub fn read_gguf<S: Read + Seek>(stream: &mut S) -> Result<Self, AdapterError> {
        let gguf = Gguf::read(&mut *stream)?;
        let metadata = &gguf.metadata;
        expect(metadata, "general.type", "adapter")?;
        expect(metadata, "adapter.type", "lora")?;
        if metadata.value(ACTIVATED).is_some() {
            return Err(AdapterError::unsupported("an activated LoRA (adapter.alora.invocation_tokens)"));
        }
        let text = |key| metadata.find::<&str>(key).map(|text| text.unwrap_or_default().to_owned());
        let mut adapter = Adapter {
            name: text("general.name")?,
            architecture: metadata.get::<&str>(ARCHITECTURE)?.to_owned(),
            alpha: metadata.get(ALPHA)?,
            base: fingerprint(metadata)?,
            ..Adapter::default()
        };
        read_info(metadata, &mut adapter);
        for tensor in &gguf.tensors {
            match Factor::of(&tensor.name)? {
                Factor::Ignored => adapter.ignored.push(tensor.name.clone()),
                Factor::Head => adapter.head = Some(read_head(stream, tensor)?),
                Factor::A(base) => {
                    let b = partner(&gguf, tensor, base, LORA_B)?;
                    adapter.pairs.push(read_pair(stream, base, tensor, b)?);
                }
                Factor::B(base) => drop(partner(&gguf, tensor, base, LORA_A)?),
            }
        }
        adapter.check()?;
        Ok(adapter)
    }

    /// Writes it as GGUF in f32 and gives the stream back.
    ///
    /// # Errors
    /// [`AdapterError`] if it is not sound ([`Adapter::check`]) or the stream fails.
    pub fn write_gguf<W: Write>(&self, out: W) -> Result<W, AdapterError> {
        self.check()?;
        let parts = |pair: &LoraPair| {
            let name = |part| format!("{}{WEIGHT}{part}", pair.target);
            let (rank, inputs, outputs) = (pair.rank as u64, pair.inputs as u64, pair.outputs as u64);
            let spec = |part, dims: [u64; 2]| TensorSpec::new(name(part), dims, Format::F32.ggml_id());
            [spec(LORA_A, [inputs, rank]), spec(LORA_B, [rank, outputs])]
        };
        let head = self.head.iter();
        let heads = head.clone().map(|h| TensorSpec::new(HEAD, [h.len() as u64, 1], Format::F32.ggml_id()));
        let specs: Vec<TensorSpec> = self.pairs.iter().flat_map(parts).chain(heads).collect();
        let mut writer = GgufWriter::new(out, &self.metadata(), &specs)?;
        let values = self.pairs.iter().flat_map(|pair| [&pair.a, &pair.b]).chain(head);
        for (spec, values) in specs.iter().zip(values) {
            writer.begin(&spec.name)?;
            let mut bytes = [0u8; 4 * PIECE];
            for piece in values.chunks(PIECE) {
                let bytes = &mut bytes[..4 * piece.len()];
                let fail = |source| AdapterError::Values { tensor: spec.name.clone(), source };
                Format::F32.encode(piece, bytes).map_err(fail)?;
                writer.write(bytes)?;
            }
        }
        Ok(writer.finish()?)
    }

    fn metadata(&self) -> Metadata {
        let mut metadata = Metadata::new();
        metadata.set("general.type", "adapter");
        metadata.set(ARCHITECTURE, self.architecture.as_str());
        if !self.name.is_empty() {
            metadata.set("general.name", self.name.as_str());
        }
        metadata.set("general.file_type", 0u32);
        metadata.set("adapter.type", "lora");
        metadata.set(ALPHA, self.alpha);
        if let Some(base) = &self.base {
            metadata.set(BASE_SHA256, base.sha256.as_str());
            metadata.set(BASE_NAME, base.name.as_str());
            metadata.set(BASE_LEN, base.file_len);
        }
        for (key, value) in &self.info {
            let note = NOTES.iter().find(|(short, _)| short == key);
            let key = note.map_or_else(|| format!("{INFO}{key}"), |(_, full)| (*full).to_owned());
            metadata.set(key, value.as_str());
        }
        metadata
    }
}

fn expect(metadata: &Metadata, key: &'static str, expected: &'static str) -> Result<(), AdapterError> {
    match metadata.value(key) {
        Some(value) if <&str>::from_value(value) == Some(expected) => Ok(()),
        other => {
            let found = other.map_or("missing".into(), Value::to_string);
            Err(AdapterError::NotAnAdapter { key, found, expected })
        }
    }
}

fn fingerprint(metadata: &Metadata) -> Result<Option<BaseFingerprint>, AdapterError> {
    let Some(sha256) = metadata.find::<&str>(BASE_SHA256)? else { return Ok(None) };
    if sha256.len() != 64 || !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(AdapterError::setting(BASE_SHA256, "is not a SHA-256 in lower-case hexadecimal"));
    }
    let name = metadata.find::<&str>(BASE_NAME)?.unwrap_or_default().to_owned();
    let file_len = metadata.find(BASE_LEN)?.unwrap_or(0);
    Ok(Some(BaseFingerprint { sha256: sha256.to_owned(), name, file_len }))
}

fn read_info(metadata: &Metadata, adapter: &mut Adapter) {
    for (key, value) in metadata.iter() {
        let note = NOTES.iter().find(|(_, full)| *full == key).map(|(short, _)| *short);
        if let (Some(key), Value::Str(text)) = (note.or_else(|| key.strip_prefix(INFO)), value) {
            adapter.info.insert(key.to_owned(), text.to_string());
        }
    }
}

/// What a tensor's name says it is.
enum Factor<'a> {
    /// A of the named target.
    A(&'a str),
    /// B of the named target.
    B(&'a str),
    /// Without effect, as in llama.cpp.
    Ignored,
    /// A reward model's head.
    Head,
}

impl<'a> Factor<'a> {
    fn of(name: &'a str) -> Result<Self, AdapterError> {
        let target = |full: &'a str| {
            let no_matrix = || AdapterError::tensor(name, "does not update a matrix (`….weight`)");
            full.strip_suffix(WEIGHT).filter(|target| !target.is_empty()).ok_or_else(no_matrix)
        };
        if let Some(full) = name.strip_suffix(LORA_A) {
            Ok(Factor::A(target(full)?))
        } else if let Some(full) = name.strip_suffix(LORA_B) {
            Ok(Factor::B(target(full)?))
        } else if name == HEAD {
            Ok(Factor::Head)
        } else if name.ends_with("_norm.weight") {
            Ok(Factor::Ignored)
        } else {
            Err(AdapterError::tensor(name, "ends in neither `.lora_a` nor `.lora_b`"))
        }
    }
}

/// The other half of a pair.
fn partner<'a>(
    gguf: &'a Gguf,
    tensor: &TensorInfo,
    target: &str,
    part: &str,
) -> Result<&'a TensorInfo, AdapterError> {
    let name = format!("{target}{WEIGHT}{part}");
    gguf.tensor(&name)
        .ok_or_else(|| AdapterError::tensor(&tensor.name, format!("there is no `{}`", short(&name))))
}

fn read_pair<S: Read + Seek>(
    stream: &mut S,
    target: &str,
    a: &TensorInfo,
    b: &TensorInfo,
) -> Result<LoraPair, AdapterError> {
    if target == super::pair::EMBEDDING {
        return Err(AdapterError::unsupported("an adapter of the token embedding (token_embd)"));
    }
    let [inputs, rank] = matrix(a)?;
    let [b_rank, outputs] = matrix(b)?;
    if b_rank != rank {
        let problem = format!("its rank is {b_rank} and that of lora_a {rank}; is one of them transposed?");
        return Err(AdapterError::tensor(&b.name, problem));
    }
    let (a, b) = (values(stream, a)?, values(stream, b)?);
    Ok(LoraPair { target: target.to_owned(), rank, inputs, outputs, a, b })
}

fn read_head<S: Read + Seek>(stream: &mut S, tensor: &TensorInfo) -> Result<Vec<f32>, AdapterError> {
    match matrix(tensor)? {
        [_, 1] => values(stream, tensor),
        [_, rows] => Err(AdapterError::tensor(&tensor.name, format!("has {rows} rows, it must have one"))),
    }
}

/// The two dimensions of a matrix, contiguous first.
fn matrix(tensor: &TensorInfo) -> Result<[usize; 2], AdapterError> {
    let flat = tensor.dims.iter().skip(2).all(|&n| n == 1);
    let size = |axis| usize::try_from(tensor.dim(axis)).ok().filter(|_| flat);
    match (size(0), size(1)) {
        (Some(inner), Some(outer)) => Ok([inner, outer]),
        _ => Err(AdapterError::tensor(
            &tensor.name,
            format!("dims {:?} are not those of a matrix", tensor.dims),
        )),
    }
}

fn values<S: Read + Seek>(stream: &mut S, tensor: &TensorInfo) -> Result<Vec<f32>, AdapterError> {
    let known = || format!("must be {}", FORMATS.map(Format::name).join(", "));
    let format = Format::from_ggml_id(tensor.type_id)
        .filter(|format| FORMATS.contains(format))
        .ok_or_else(|| AdapterError::tensor(&tensor.name, known()))?;
    // The reader has checked that the file holds as many: at most four bytes here for one there.
    let count =
        usize::try_from(tensor.elements()).map_err(|_| AdapterError::tensor(&tensor.name, "is too large"))?;
    let mut values = vec![0f32; count];
    let mut buffer = [0u8; 34 * PIECE];
    let buffer = &mut buffer[..format.block_bytes() * PIECE];
    let mut rest = values.as_mut_slice();
    copy_tensor(stream, tensor, buffer, |piece| {
        let count = piece.len() / format.block_bytes() * format.block_len();
        let (now, later) = std::mem::take(&mut rest).split_at_mut(count);
        rest = later;
        format
            .decode(piece, now)
            .map_err(|source| AdapterError::Values { tensor: tensor.name.clone(), source })
    })?;
    Ok(values)
}

#[cfg(test)]
mod tests;

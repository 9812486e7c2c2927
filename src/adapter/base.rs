//! Which base model an adapter belongs to.

use std::fmt;

use sha2::{Digest, Sha256};

use super::error::short;
use super::pair::EMBEDDING;
use super::{Adapter, AdapterError, OUTPUT, WEIGHT};
use crate::gguf::{Gguf, GgufFile, TensorInfo};

/// Bytes hashed at either end of a tensor.
const SAMPLE: usize = 4096;
/// What the hash begins with: another way of hashing gets another number.
const DOMAIN: &[u8] = b"ember base fingerprint 1";

/// What identifies a model file to its adapters: the architecture, the tensors' names, shapes and formats, and a
/// sample of their bytes. Metadata, such as a chat template, does not count, nor does the order of tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseFingerprint {
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// `general.name` and the file's name, for messages.
    pub name: String,
    /// Bytes of the file, for people; not compared.
    pub file_len: u64,
}

impl BaseFingerprint {
    /// Of a model file. Reads at most 8 KiB of each tensor.
    ///
    /// # Errors
    /// [`AdapterError::Gguf`] if a tensor's bytes cannot be had.
    pub fn of(file: &GgufFile) -> Result<Self, AdapterError> {
        let gguf = file.header();
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        put_text(&mut hash, gguf.metadata.find::<&str>("general.architecture")?.unwrap_or_default());
        let mut tensors: Vec<&TensorInfo> = gguf.tensors.iter().collect();
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        put_number(&mut hash, tensors.len() as u64);
        for tensor in tensors {
            put_tensor(&mut hash, tensor, file.tensor_bytes(tensor)?);
        }
        let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(BaseFingerprint { sha256, name: display_name(file), file_len: gguf.file_len })
    }

    /// The first 12 digits of the hash: enough to tell one's own models apart.
    pub fn short(&self) -> &str {
        self.sha256.get(..12).unwrap_or(&self.sha256)
    }
}

impl fmt::Display for BaseFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", short(&self.name), self.short())
    }
}

fn put_number(hash: &mut Sha256, n: u64) {
    hash.update(n.to_le_bytes());
}

/// With its length, so that no two sequences of texts run together.
fn put_text(hash: &mut Sha256, text: &str) {
    put_number(hash, text.len() as u64);
    hash.update(text);
}

fn put_tensor(hash: &mut Sha256, tensor: &TensorInfo, bytes: &[u8]) {
    put_text(hash, &tensor.name);
    put_number(hash, tensor.dims.len() as u64);
    tensor.dims.iter().for_each(|&n| put_number(hash, n));
    put_number(hash, u64::from(tensor.type_id));
    if bytes.len() <= 2 * SAMPLE {
        hash.update(bytes);
    } else {
        hash.update(&bytes[..SAMPLE]);
        hash.update(&bytes[bytes.len() - SAMPLE..]);
    }
}

/// The matrix of a target. A model without an output matrix uses its embedding in that place, and an adapter of the
/// output changes that use alone.
pub(super) fn adapted<'a>(base: &'a Gguf, target: &str) -> Option<&'a TensorInfo> {
    let tied = || (target == OUTPUT).then(|| base.tensor(&format!("{EMBEDDING}{WEIGHT}"))).flatten();
    base.tensor(&format!("{target}{WEIGHT}")).or_else(tied)
}

/// The model's name and its file's, for people.
fn display_name(file: &GgufFile) -> String {
    let name = file.header().metadata.find::<&str>("general.name").ok().flatten().unwrap_or_default();
    let stem = file.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match (name.is_empty(), stem.is_empty()) {
        (true, _) => stem,
        (false, true) => name.into(),
        (false, false) => format!("{name}, {stem}"),
    }
}

impl Adapter {
    /// Checks that `base` is the model this adapter was trained on: the architecture, every shape and, where the
    /// adapter has one, the fingerprint. `force` leaves the fingerprint out.
    ///
    /// # Errors
    /// [`AdapterError::Architecture`], [`AdapterError::Shape`] or [`AdapterError::OtherBase`], which names both files.
    pub fn check_base(&self, base: &GgufFile, force: bool) -> Result<(), AdapterError> {
        self.check_shapes(base.header()).map_err(|error| match error {
            AdapterError::Architecture { adapter, base: found, .. } => {
                AdapterError::Architecture { adapter, base: found, file: display_name(base) }
            }
            other => other,
        })?;
        let Some(trained_on) = self.base.as_ref().filter(|_| !force) else { return Ok(()) };
        let given = BaseFingerprint::of(base)?;
        if given.sha256 == trained_on.sha256 {
            return Ok(());
        }
        Err(AdapterError::OtherBase { trained_on: trained_on.to_string(), given: given.to_string() })
    }

    /// Checks architecture and shapes only.
    ///
    /// # Errors
    /// [`AdapterError::Architecture`] or [`AdapterError::Shape`].
    pub fn check_shapes(&self, base: &Gguf) -> Result<(), AdapterError> {
        let found = base.metadata.find::<&str>("general.architecture")?.unwrap_or_default();
        if found != self.architecture {
            let (adapter, base) = (short(&self.architecture), short(found));
            return Err(AdapterError::Architecture { adapter, base, file: String::new() });
        }
        self.pairs.iter().try_for_each(|pair| {
            let fail = |problem| AdapterError::Shape { target: short(&pair.target), problem };
            let tensor =
                adapted(base, &pair.target).ok_or_else(|| fail("is not a matrix of the model".into()))?;
            let (inputs, outputs) = (pair.inputs as u64, pair.outputs as u64);
            if tensor.dims != [inputs, outputs] {
                let has =
                    format!("is {outputs} x {inputs} in the adapter, dims {:?} in the model", tensor.dims);
                return Err(fail(has));
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{adapter_for, golden, golden_path};
    use super::*;
    use crate::gguf::GgufWriter;
    use crate::gguf::TensorSpec;
    use crate::io::MemStream;

    type Tensors = Vec<(TensorSpec, Vec<u8>)>;

    /// A copy of a golden model with changed metadata, tensor order, or a changed byte.
    fn copy(dir: &std::path::Path, change: &dyn Fn(&mut Tensors), name: &str) -> GgufFile {
        let bytes = std::fs::read(golden_path("llama-tied")).unwrap();
        let gguf = Gguf::read(MemStream::new(&bytes)).unwrap();
        let mut tensors: Tensors = gguf
            .tensors
            .iter()
            .map(|t| (TensorSpec::from(t), bytes[t.offset as usize..(t.offset + t.bytes) as usize].to_vec()))
            .collect();
        change(&mut tensors);
        let mut metadata = gguf.metadata.clone();
        metadata.set("general.name", name);
        metadata.set("tokenizer.chat_template", "another");
        let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
        tensors.iter().for_each(|(spec, data)| writer.tensor(&spec.name, data).unwrap());
        let path = dir.join(format!("{name}.gguf"));
        std::fs::write(&path, writer.finish().unwrap()).unwrap();
        GgufFile::open(path).unwrap()
    }

    #[test]
    fn fingerprints_follow_tensors_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let base = golden("llama-tied");
        let of = |file: &GgufFile| BaseFingerprint::of(file).unwrap();
        let same = copy(dir.path(), &|tensors| tensors.reverse(), "renamed");
        assert_eq!(of(&same).sha256, of(&base).sha256);
        assert_ne!(of(&same).name, of(&base).name);
        let end = copy(dir.path(), &|t| *t[3].1.last_mut().unwrap() ^= 1, "last-byte");
        let shape = copy(dir.path(), &|t| t[3].0.dims.reverse(), "shape");
        let name = copy(dir.path(), &|t| t[3].0.name.push('x'), "tensor-name");
        for other in [&end, &shape, &name, &golden("llama-untied")] {
            assert_ne!(of(other).sha256, of(&base).sha256, "{}", other.path().display());
        }
    }

    #[test]
    fn another_base_is_refused_by_name_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let base = golden("llama-tied");
        let mut adapter = adapter_for(&base, 2);
        adapter.check_base(&base, false).unwrap();
        adapter.base = Some(BaseFingerprint::of(&base).unwrap());
        adapter.check_base(&base, false).unwrap();
        let other = copy(dir.path(), &|t| t[3].1[0] ^= 1, "other");
        let said = adapter.check_base(&other, false).unwrap_err().to_string();
        assert!(said.contains("llama-tied.gguf") && said.contains("other.gguf"), "{said}");
        adapter.check_base(&other, true).unwrap();
        let qwen = adapter.check_base(&golden("qwen2"), true).unwrap_err();
        assert!(
            matches!(&qwen, AdapterError::Architecture { file, .. } if file.contains("qwen2.gguf")),
            "{qwen}"
        );
        let shape = adapter.check_base(&golden("llama-untied"), true).unwrap_err();
        assert!(matches!(shape, AdapterError::Shape { .. }), "{shape}");
        adapter.pairs[0].target = "blk.77.attn_q".into();
        assert!(matches!(adapter.check_base(&base, true), Err(AdapterError::Shape { .. })));
    }
}

//! GGUF, the file format of llama.cpp's models: a bounded reader and a writer, versions 2 and 3, little-endian.
//!
//! A file is a header, typed key-value metadata, a directory of named tensors, and their data, aligned. The
//! specification is `docs/gguf.md` of ggml. [`Gguf::read`] takes any `embedded_io` stream and believes nothing
//! in it: it never takes more memory than four times the file (and a kilobyte), reads every byte at most twice,
//! and answers damage with a [`GgufError`] that names the offset, the key or the tensor.
//!
//! ```
//! use emberlm::gguf::{Gguf, GgufWriter, Metadata, TensorSpec};
//! use emberlm::io::MemStream;
//!
//! # fn main() -> Result<(), emberlm::gguf::GgufError> {
//! let mut metadata = Metadata::new();
//! metadata.set("general.architecture", "llama");
//! metadata.set("llama.block_count", 2u32);
//! let mut writer = GgufWriter::new(Vec::new(), &metadata, &[TensorSpec::new("scale", [3], 0)])?;
//! writer.tensor("scale", &[0; 12])?;
//! let file = writer.finish()?;
//!
//! let gguf = Gguf::read(MemStream::new(&file))?;
//! assert_eq!(gguf.get_u32("llama.block_count")?, 2);
//! assert_eq!(gguf.require_tensor("scale")?.dims, [3]);
//! # Ok(())
//! # }
//! ```

mod error;
mod file;
mod index;
mod metadata;
mod quoted;
mod read;
mod source;
mod split;
mod types;
mod value;
mod write;

pub use error::GgufError;
pub use file::{GgufFile, copy_tensor};
pub use metadata::{FromValue, Metadata};
pub use types::{FileType, TENSOR_TYPES, TensorType};
pub use value::{Array, StringArray, Value, ValueKind};
pub use write::{GgufWriter, TensorSpec};

use embedded_io::{Read, Seek};

use index::NameIndex;
use quoted::quoted;

/// The first four bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// The alignment of tensor data where `general.alignment` does not say otherwise.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The longest metadata key, in bytes (the specification's limit).
const MAX_KEY_BYTES: u64 = 65_535;
/// The longest tensor name, in bytes (the specification's limit).
const MAX_NAME_BYTES: u64 = 64;
/// The most dimensions of a tensor (ggml's limit).
const MAX_DIMS: u32 = 4;
/// How deep metadata arrays may nest. Files in use do not nest at all.
const MAX_DEPTH: u32 = 8;

/// Everything in a file but the tensors' data.
#[derive(Debug, Clone)]
pub struct Gguf {
    /// The format version, 2 or 3.
    pub version: u32,
    /// Every tensor's data starts at a multiple of this, counted from `data_offset`. A power of two, at least 8.
    pub alignment: u64,
    /// Where the tensor data starts, in bytes from the start of the file.
    pub data_offset: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// The key-value metadata, in the order of the file.
    pub metadata: Metadata,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    index: NameIndex,
}

/// What the directory says about a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, as in `blk.0.attn_q.weight`.
    pub name: String,
    /// The size in each dimension, in ggml's order: `dims[0]` numbers lie next to each other. At most four; none
    /// at all for a single number. A matrix that maps `n` numbers to `m` has dims `[n, m]`.
    pub dims: Vec<u64>,
    /// How the numbers are packed: an id in [`TENSOR_TYPES`].
    pub type_id: u32,
    /// Where the data starts, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes of data.
    pub bytes: u64,
}

impl Gguf {
    /// Reads the header, metadata and tensor directory from the start of `stream`, which may be a file
    /// ([`StdStream`](crate::io::StdStream)), memory ([`MemStream`](crate::io::MemStream)) or a device; pass
    /// `&mut stream` to keep it.
    ///
    /// # Errors
    /// [`GgufError`] if the stream fails or is anything but a sound GGUF file.
    pub fn read<S: Read + Seek>(stream: S) -> Result<Gguf, GgufError> {
        read::read(stream)
    }

    /// The tensor called `name`, in constant time.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let position = self.index.find(name, |i| self.tensors.get(i).map_or("", |tensor| &tensor.name))?;
        self.tensors.get(position)
    }

    /// The tensor called `name`, where there must be one.
    ///
    /// # Errors
    /// [`GgufError::MissingTensor`] if there is none.
    pub fn require_tensor(&self, name: &str) -> Result<&TensorInfo, GgufError> {
        self.tensor(name).ok_or_else(|| GgufError::MissingTensor { tensor: quoted(name) })
    }

    /// What `general.file_type` says most tensors are packed as, if it says anything.
    ///
    /// # Errors
    /// [`GgufError::WrongType`] if the key was changed since and is no longer a `u32`.
    pub fn file_type(&self) -> Result<Option<FileType>, GgufError> {
        Ok(self.metadata.find("general.file_type")?.map(FileType))
    }
}

impl TensorInfo {
    /// How the numbers are packed; none for an id this program does not know (the reader refuses those).
    pub fn tensor_type(&self) -> Option<&'static TensorType> {
        TensorType::by_id(self.type_id)
    }

    /// How many numbers the tensor holds.
    pub fn elements(&self) -> u64 {
        self.dims.iter().fold(1, |count, &n| count.saturating_mul(n))
    }

    /// The size in dimension `axis`; one beyond the last, as in ggml.
    pub fn dim(&self, axis: usize) -> u64 {
        self.dims.get(axis).copied().unwrap_or(1)
    }
}

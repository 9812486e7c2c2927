//! Tensor data: from a mapped file, or copied through a buffer from any stream.

use std::path::Path;

use embedded_io::{Read, Seek, SeekFrom};

use super::error::GgufError;
use super::quoted::quoted;
use super::{Gguf, TensorInfo, split};
use crate::io::{MappedFile, MemStream};

/// A GGUF file mapped into memory: its header, read and checked, and its tensors' bytes where they lie. A model in
/// several parts is read as one file: offsets count through all parts.
#[derive(Debug)]
pub struct GgufFile {
    pub(super) parts: Vec<PartFile>,
    pub(super) header: Gguf,
}

/// A mapped file, and where its bytes begin among those of all parts.
#[derive(Debug)]
pub(super) struct PartFile {
    pub mapped: MappedFile,
    pub start: u64,
}

impl PartFile {
    /// Maps a file and reads its header.
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Gguf), GgufError> {
        let mapped = MappedFile::open(path)?;
        let header = Gguf::read(MemStream::new(&mapped))?;
        Ok((Self { mapped, start: 0 }, header))
    }
}

impl GgufFile {
    /// Maps the file at `path` and reads its header; of a model in several parts, all of them, by the name of any. Tensor
    /// data is not touched.
    ///
    /// # Errors
    /// [`GgufError`], if the file cannot be opened or is not a sound GGUF file; [`GgufError::Part`] if it is one of
    /// several and the others do not lie beside it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        let (part, header) = PartFile::open(&path)?;
        split::join(path.as_ref(), part, header)
    }

    /// Version, metadata and tensor directory.
    pub fn header(&self) -> &Gguf {
        &self.header
    }

    /// The path of the file, or of its first part.
    pub fn path(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), |part| part.mapped.path())
    }

    /// The paths of all parts.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.parts.iter().map(|part| part.mapped.path())
    }

    /// The bytes of a tensor of this file, packed as its type says, rows one after another.
    ///
    /// # Errors
    /// [`GgufError::OutsideFile`] if `tensor` is of another file, one with bytes where this one has none.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Result<&[u8], GgufError> {
        let part = self.parts.iter().rev().find(|part| part.start <= tensor.offset);
        let start = part.and_then(|part| usize::try_from(tensor.offset - part.start).ok());
        let end =
            start.zip(usize::try_from(tensor.bytes).ok()).and_then(|(start, len)| start.checked_add(len));
        let range = part.and_then(|part| part.mapped.bytes().get(start?..end?));
        range.ok_or_else(|| GgufError::OutsideFile {
            tensor: quoted(&tensor.name),
            offset: tensor.offset.saturating_sub(self.header.data_offset),
            bytes: tensor.bytes,
            data_offset: self.header.data_offset,
            file_len: self.header.file_len,
        })
    }
}

/// Copies a tensor's bytes from a stream to `sink`, piece by piece through `buffer`: the way to load a model
/// from a device that cannot be mapped, in as little memory as the caller likes. All pieces but the last fill
/// the buffer, so a buffer of whole rows gives whole rows.
///
/// # Errors
/// [`GgufError`] if the stream fails or ends early or the buffer is empty, or whatever `sink` returns.
pub fn copy_tensor<S: Read + Seek, E: From<GgufError>>(
    stream: &mut S,
    tensor: &TensorInfo,
    buffer: &mut [u8],
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    if buffer.is_empty() {
        return Err(GgufError::EmptyBuffer { tensor: quoted(&tensor.name) }.into());
    }
    stream.seek(SeekFrom::Start(tensor.offset)).map_err(|e| GgufError::reading(tensor.offset, &e))?;
    let mut done = 0;
    while done < tensor.bytes {
        let count = usize::try_from(tensor.bytes - done).unwrap_or(usize::MAX).min(buffer.len());
        fill(stream, tensor, done, &mut buffer[..count])?;
        sink(&buffer[..count])?;
        done += count as u64;
    }
    Ok(())
}

/// Fills `piece` with the bytes that come after the first `done` of `tensor`.
fn fill<S: Read>(stream: &mut S, tensor: &TensorInfo, done: u64, piece: &mut [u8]) -> Result<(), GgufError> {
    let mut filled = 0;
    while filled < piece.len() {
        let at = done + filled as u64;
        let offset = tensor.offset.saturating_add(at);
        match stream.read(&mut piece[filled..]).map_err(|e| GgufError::reading(offset, &e))? {
            0 => {
                let what = format!("the data of tensor {}", quoted(&tensor.name));
                return Err(GgufError::Truncated { offset, what, needed: tensor.bytes - at, left: 0 });
            }
            count => filled += count,
        }
    }
    Ok(())
}

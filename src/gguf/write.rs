//! The writer: metadata, tensor directory, then each tensor's data as it comes, padded.

use embedded_io::Write;

use super::error::GgufError;
use super::index::NameIndex;
use super::metadata::Metadata;
use super::quoted::quoted;
use super::read::{alignment_of, tensor_bytes};
use super::value::{Array, Value};
use super::{MAGIC, MAX_DEPTH, MAX_DIMS, MAX_KEY_BYTES, MAX_NAME_BYTES, TensorInfo};

/// The version this writer writes.
const VERSION: u32 = 3;
/// Small fields are gathered into pieces of about this many bytes before they are written.
const PIECE: usize = 8192;

/// A tensor that will be written: all that the directory needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name, 1 to 64 bytes.
    pub name: String,
    /// The size in each dimension, contiguous first, as [`TensorInfo::dims`].
    pub dims: Vec<u64>,
    /// How the numbers are packed: an id in [`TENSOR_TYPES`](super::TENSOR_TYPES).
    pub type_id: u32,
}

impl TensorSpec {
    /// A tensor called `name` of dimensions `dims` (contiguous first), packed as `type_id` says.
    pub fn new(name: impl Into<String>, dims: impl Into<Vec<u64>>, type_id: u32) -> Self {
        TensorSpec { name: name.into(), dims: dims.into(), type_id }
    }
}

impl From<&TensorInfo> for TensorSpec {
    fn from(info: &TensorInfo) -> Self {
        TensorSpec::new(info.name.clone(), info.dims.clone(), info.type_id)
    }
}

/// Writes a GGUF file to any `embedded_io` stream in one pass and little memory. The tensors are announced at
/// the start; then the data of each follows in that order, in one piece ([`GgufWriter::tensor`]) or in many
/// ([`GgufWriter::begin`], [`GgufWriter::write`]). To a file, use it within
/// [`replace_file`](crate::io::replace_file), so that a failure leaves no half a model behind.
#[derive(Debug)]
pub struct GgufWriter<W> {
    out: Gather<W>,
    alignment: u64,
    /// Name and size of the tensors, in order.
    tensors: Vec<(String, u64)>,
    /// The tensor that is being written, or comes next.
    current: usize,
    /// Bytes written of it; none if it has not begun.
    given: Option<u64>,
}

impl<W: Write> GgufWriter<W> {
    /// Writes the header, the metadata and the directory of `tensors`. The data is aligned as the metadata's
    /// `general.alignment` says, or to 32 bytes.
    ///
    /// # Errors
    /// [`GgufError`] if the stream fails, or the reader would refuse what is to be written.
    pub fn new(out: W, metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Self, GgufError> {
        let alignment = alignment_of(metadata)?;
        let sizes = check_tensors(tensors)?;
        let mut out = Gather { out, piece: Vec::with_capacity(PIECE), written: 0 };
        out.put(&MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(&(tensors.len() as u64).to_le_bytes())?;
        out.put(&(metadata.len() as u64).to_le_bytes())?;
        for (key, value) in metadata.iter() {
            put_entry(&mut out, key, value)?;
        }
        let mut offset = 0u64;
        for (spec, &bytes) in tensors.iter().zip(&sizes) {
            put_tensor(&mut out, spec, offset)?;
            offset = padded_end(spec, offset, bytes, alignment)?;
        }
        out.pad(alignment)?;
        let tensors = tensors.iter().map(|spec| spec.name.clone()).zip(sizes).collect();
        Ok(GgufWriter { out, alignment, tensors, current: 0, given: None })
    }

    /// Writes the whole data of the next tensor, which must be `name`.
    ///
    /// # Errors
    /// As [`GgufWriter::begin`] and [`GgufWriter::write`].
    pub fn tensor(&mut self, name: &str, data: &[u8]) -> Result<(), GgufError> {
        self.begin(name)?;
        self.write(data)
    }

    /// Begins the data of the next tensor, which must be `name`.
    ///
    /// # Errors
    /// [`GgufError::Order`] if another one comes next, [`GgufError::DataLength`] if the one before is not complete.
    pub fn begin(&mut self, name: &str) -> Result<(), GgufError> {
        self.check_complete()?;
        match self.tensors.get(self.current) {
            Some((expected, _)) if expected == name => {
                self.given = Some(0);
                Ok(())
            }
            other => {
                let expected = other.map_or("(end)".to_string(), |(expected, _)| quoted(expected));
                Err(GgufError::Order { given: quoted(name), expected })
            }
        }
    }

    /// Writes the next piece of the tensor that was begun.
    ///
    /// # Errors
    /// [`GgufError::DataLength`] if that is more than its type and shape need, [`GgufError::Write`] if the stream
    /// fails, [`GgufError::Order`] if no tensor was begun.
    pub fn write(&mut self, data: &[u8]) -> Result<(), GgufError> {
        let (Some((name, promised)), Some(before)) = (self.tensors.get(self.current), self.given) else {
            let expected =
                self.tensors.get(self.current).map_or("(end)".to_string(), |(name, _)| quoted(name));
            return Err(GgufError::Order { given: "(none begun)".to_string(), expected });
        };
        let (given, promised) = (before.saturating_add(data.len() as u64), *promised);
        if given > promised {
            return Err(GgufError::DataLength { tensor: quoted(name), given, promised });
        }
        self.out.put(data)?;
        self.given = Some(given);
        if given == promised {
            self.out.pad(self.alignment)?;
            self.current += 1;
            self.given = None;
        }
        Ok(())
    }

    /// Ends the file, flushes the stream and gives it back.
    ///
    /// # Errors
    /// [`GgufError::DataLength`] or [`GgufError::Order`] if tensors are missing, [`GgufError::Write`] if the stream
    /// fails.
    pub fn finish(self) -> Result<W, GgufError> {
        self.check_complete()?;
        if let Some((expected, _)) = self.tensors.get(self.current) {
            return Err(GgufError::Order { given: "(end)".to_string(), expected: quoted(expected) });
        }
        self.out.finish()
    }

    /// Fails if a tensor was begun and not completed.
    fn check_complete(&self) -> Result<(), GgufError> {
        match (self.tensors.get(self.current), self.given) {
            (Some((name, promised)), Some(given)) => {
                Err(GgufError::DataLength { tensor: quoted(name), given, promised: *promised })
            }
            _ => Ok(()),
        }
    }
}

/// The sizes of the tensors, if the reader would take every one.
fn check_tensors(tensors: &[TensorSpec]) -> Result<Vec<u64>, GgufError> {
    let mut index = NameIndex::with_room(tensors.len());
    let mut sizes = Vec::with_capacity(tensors.len());
    for (position, spec) in (0u32..).zip(tensors) {
        check_name("tensor", &spec.name, MAX_NAME_BYTES)?;
        if !index.insert(&spec.name, position, |i| &tensors[i].name) {
            return Err(GgufError::DuplicateTensor { offset: 0, tensor: quoted(&spec.name) });
        }
        if spec.dims.len() > MAX_DIMS as usize {
            let problem = format!("it has {} dimensions, at most {MAX_DIMS} are allowed", spec.dims.len());
            return Err(GgufError::Shape { tensor: quoted(&spec.name), problem });
        }
        sizes.push(tensor_bytes(&spec.name, &spec.dims, spec.type_id)?);
    }
    Ok(sizes)
}

fn check_name(kind: &str, name: &str, max: u64) -> Result<(), GgufError> {
    let length = name.len() as u64;
    if length == 0 || length > max {
        return Err(GgufError::NameLength {
            offset: 0,
            what: format!("{kind} {}", quoted(name)),
            length,
            max,
        });
    }
    Ok(())
}

/// The offset after a tensor that starts at `offset`.
fn padded_end(spec: &TensorSpec, offset: u64, bytes: u64, alignment: u64) -> Result<u64, GgufError> {
    offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(alignment)).ok_or_else(|| {
        let problem = "the data up to its end does not fit in 64 bits".to_string();
        GgufError::Shape { tensor: quoted(&spec.name), problem }
    })
}

fn put_tensor<W: Write>(out: &mut Gather<W>, spec: &TensorSpec, offset: u64) -> Result<(), GgufError> {
    out.put_string(&spec.name)?;
    out.put(&(spec.dims.len() as u32).to_le_bytes())?;
    for n in &spec.dims {
        out.put(&n.to_le_bytes())?;
    }
    out.put(&spec.type_id.to_le_bytes())?;
    out.put(&offset.to_le_bytes())
}

fn put_entry<W: Write>(out: &mut Gather<W>, key: &str, value: &Value) -> Result<(), GgufError> {
    check_name("metadata key", key, MAX_KEY_BYTES)?;
    out.put_string(key)?;
    out.put(&value.kind().id().to_le_bytes())?;
    match value {
        Value::U8(n) => out.put(&n.to_le_bytes()),
        Value::I8(n) => out.put(&n.to_le_bytes()),
        Value::U16(n) => out.put(&n.to_le_bytes()),
        Value::I16(n) => out.put(&n.to_le_bytes()),
        Value::U32(n) => out.put(&n.to_le_bytes()),
        Value::I32(n) => out.put(&n.to_le_bytes()),
        Value::F32(n) => out.put(&n.to_le_bytes()),
        Value::Bool(b) => out.put(&[u8::from(*b)]),
        Value::Str(s) => out.put_string(s),
        Value::Array(array) => put_array(out, key, array, 1),
        Value::U64(n) => out.put(&n.to_le_bytes()),
        Value::I64(n) => out.put(&n.to_le_bytes()),
        Value::F64(n) => out.put(&n.to_le_bytes()),
    }
}

fn put_array<W: Write>(out: &mut Gather<W>, key: &str, array: &Array, depth: u32) -> Result<(), GgufError> {
    if depth > MAX_DEPTH {
        return Err(GgufError::WriteNesting { key: quoted(key), max: MAX_DEPTH });
    }
    out.put(&array.kind().id().to_le_bytes())?;
    out.put(&(array.len() as u64).to_le_bytes())?;
    match array {
        Array::U8(items) => out.put(items),
        Array::I8(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::U16(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::I16(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::U32(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::I32(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::F32(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::Bool(items) => items.iter().try_for_each(|&b| out.put(&[u8::from(b)])),
        Array::Str(items) => items.iter().try_for_each(|s| out.put_string(s)),
        Array::Array(items) => items.iter().try_for_each(|inner| put_array(out, key, inner, depth + 1)),
        Array::U64(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::I64(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
        Array::F64(items) => items.iter().try_for_each(|n| out.put(&n.to_le_bytes())),
    }
}

/// Gathers small writes into larger ones and counts bytes.
#[derive(Debug)]
struct Gather<W> {
    out: W,
    piece: Vec<u8>,
    written: u64,
}

impl<W: Write> Gather<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), GgufError> {
        if self.piece.len() + bytes.len() > PIECE {
            self.send_piece()?;
        }
        if bytes.len() > PIECE {
            return send(&mut self.out, &mut self.written, bytes);
        }
        self.piece.extend_from_slice(bytes);
        Ok(())
    }

    fn put_string(&mut self, text: &str) -> Result<(), GgufError> {
        self.put(&(text.len() as u64).to_le_bytes())?;
        self.put(text.as_bytes())
    }

    /// Zeros up to the next multiple of `alignment`.
    fn pad(&mut self, alignment: u64) -> Result<(), GgufError> {
        const ZEROS: [u8; 64] = [0; 64];
        let at = self.written + self.piece.len() as u64;
        let mut missing = at.next_multiple_of(alignment) - at;
        while missing > 0 {
            let count = missing.min(ZEROS.len() as u64);
            self.put(&ZEROS[..count as usize])?;
            missing -= count;
        }
        Ok(())
    }

    fn send_piece(&mut self) -> Result<(), GgufError> {
        send(&mut self.out, &mut self.written, &self.piece)?;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<W, GgufError> {
        self.send_piece()?;
        self.out.flush().map_err(|e| GgufError::writing(self.written, &e))?;
        Ok(self.out)
    }
}

/// Writes all of `bytes`. Not `embedded_io`'s `write_all`, which panics on a stream that takes nothing.
fn send<W: Write>(out: &mut W, written: &mut u64, mut bytes: &[u8]) -> Result<(), GgufError> {
    while !bytes.is_empty() {
        let count = out.write(bytes).map_err(|e| GgufError::writing(*written, &e))?.min(bytes.len());
        if count == 0 {
            return Err(GgufError::writing(*written, &embedded_io::ErrorKind::WriteZero));
        }
        *written += count as u64;
        bytes = &bytes[count..];
    }
    Ok(())
}

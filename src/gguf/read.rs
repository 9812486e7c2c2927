//! The reader: header, metadata, tensor directory, and every check a file has to pass.

use embedded_io::{Read, Seek};

use super::error::GgufError;
use super::index::NameIndex;
use super::metadata::Metadata;
use super::quoted::{Quoted, quoted};
use super::source::Source;
use super::types::TensorType;
use super::value::{Array, StringArray, Value, ValueKind};
use super::{DEFAULT_ALIGNMENT, Gguf, MAGIC, MAX_DEPTH, MAX_DIMS, MAX_KEY_BYTES, MAX_NAME_BYTES, TensorInfo};

/// More entries or tensors than this no model has: a real one has tens of entries and thousands of tensors.
const MAX_ENTRIES: u64 = 1 << 24;
/// The fewest bytes of a metadata entry: the key's length and one byte of it, a type, a value of one byte.
const MIN_ENTRY: u64 = 8 + 1 + 4 + 1;
/// The fewest bytes of a tensor: the name's length and one byte of it, the number of dimensions, type, offset.
const MIN_TENSOR: u64 = 8 + 1 + 4 + 4 + 8;
/// The fewest bytes of an array within an array: its type and its length.
const MIN_ARRAY: u64 = 4 + 8;

/// Reads everything up to the tensor data.
pub(super) fn read<S: Read + Seek>(stream: S) -> Result<Gguf, GgufError> {
    let mut source = Source::open(stream)?;
    let version = read_version(&mut source)?;
    let tensor_count = read_count(&mut source, MIN_TENSOR, "the tensor directory")?;
    let entry_count = read_count(&mut source, MIN_ENTRY, "the metadata")?;
    let metadata = read_metadata(&mut source, entry_count)?;
    let alignment = check_conventions(&metadata)?;
    let (mut tensors, index) = read_directory(&mut source, tensor_count)?;
    let file_len = source.len();
    let data_offset = source.pos().checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    for tensor in &mut tensors {
        place(tensor, data_offset, alignment, file_len)?;
    }
    check_overlap(&mut source, &tensors)?;
    Ok(Gguf { version, alignment, data_offset, file_len, metadata, tensors, index })
}

fn read_version<S: Read + Seek>(source: &mut Source<S>) -> Result<u32, GgufError> {
    let found = source.bytes(&"the magic number")?;
    if found != MAGIC {
        return Err(GgufError::Magic { found });
    }
    match source.u32(&"the version")? {
        version @ 2..=3 => Ok(version),
        version if (1..=3).contains(&version.swap_bytes()) => Err(GgufError::BigEndian),
        version => Err(GgufError::Version { version }),
    }
}

/// Reads how many things of at least `size` bytes each are to come.
fn read_count<S: Read + Seek>(source: &mut Source<S>, size: u64, what: &str) -> Result<u64, GgufError> {
    let offset = source.pos();
    let count = source.u64(&format_args!("the length of {what}"))?;
    let (needed, left) = (count.saturating_mul(size), source.left());
    if needed > left {
        let what = format!("{what}, which claims {count} entries,");
        return Err(GgufError::Truncated { offset, what, needed, left });
    }
    if count > MAX_ENTRIES {
        return Err(GgufError::Count { offset, what: what.to_string(), count, max: MAX_ENTRIES });
    }
    Ok(count)
}

fn read_metadata<S: Read + Seek>(source: &mut Source<S>, count: u64) -> Result<Metadata, GgufError> {
    let what = "the metadata";
    let entries = source.vec_for(count, &what)?;
    source.claim(NameIndex::bytes_for(entries.capacity()), &what)?;
    let mut metadata = Metadata::with_storage(entries);
    for index in 0..count {
        let offset = source.pos();
        let key = source.name(MAX_KEY_BYTES, &format_args!("the key of metadata entry {index}"))?;
        let value = read_value(source, &key)?;
        if metadata.value(&key).is_some() {
            return Err(GgufError::DuplicateKey { offset, key: quoted(&key) });
        }
        metadata.append(key, value);
    }
    Ok(metadata)
}

fn read_kind<S: Read + Seek>(source: &mut Source<S>, key: &str) -> Result<ValueKind, GgufError> {
    let offset = source.pos();
    let type_id = source.u32(&format_args!("the type of metadata key {}", Quoted(key)))?;
    ValueKind::by_id(type_id).ok_or_else(|| GgufError::ValueType { offset, key: quoted(key), type_id })
}

fn read_value<S: Read + Seek>(source: &mut Source<S>, key: &str) -> Result<Value, GgufError> {
    let kind = read_kind(source, key)?;
    let what = &format_args!("the value of metadata key {}", Quoted(key));
    Ok(match kind {
        ValueKind::U8 => Value::U8(source.u8(what)?),
        ValueKind::I8 => Value::I8(i8::from_le_bytes(source.bytes(what)?)),
        ValueKind::U16 => Value::U16(u16::from_le_bytes(source.bytes(what)?)),
        ValueKind::I16 => Value::I16(i16::from_le_bytes(source.bytes(what)?)),
        ValueKind::U32 => Value::U32(source.u32(what)?),
        ValueKind::I32 => Value::I32(i32::from_le_bytes(source.bytes(what)?)),
        ValueKind::F32 => Value::F32(f32::from_le_bytes(source.bytes(what)?)),
        ValueKind::Bool => Value::Bool(read_bool(source, key)?),
        ValueKind::Str => Value::Str(source.string(u64::MAX, what)?),
        ValueKind::Array => {
            source.claim(size_of::<Array>() as u64, what)?;
            Value::Array(Box::new(read_array(source, key, 1)?))
        }
        ValueKind::U64 => Value::U64(source.u64(what)?),
        ValueKind::I64 => Value::I64(i64::from_le_bytes(source.bytes(what)?)),
        ValueKind::F64 => Value::F64(f64::from_le_bytes(source.bytes(what)?)),
    })
}

fn read_bool<S: Read + Seek>(source: &mut Source<S>, key: &str) -> Result<bool, GgufError> {
    let offset = source.pos();
    let what = format_args!("the value of metadata key {}", Quoted(key));
    match source.u8(&what)? {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(GgufError::Bool { offset, what: what.to_string(), value }),
    }
}

/// Reads an array; `depth` is one for an array that is a value, one more for each array around it.
fn read_array<S: Read + Seek>(source: &mut Source<S>, key: &str, depth: u32) -> Result<Array, GgufError> {
    if depth > MAX_DEPTH {
        return Err(GgufError::Nesting { offset: source.pos(), key: quoted(key), max: MAX_DEPTH });
    }
    let kind = read_kind(source, key)?;
    let count = source.u64(&format_args!("the length of the array of metadata key {}", Quoted(key)))?;
    Ok(match kind {
        ValueKind::U8 => Array::U8(read_numbers(source, key, count, u8::from_le_bytes)?),
        ValueKind::I8 => Array::I8(read_numbers(source, key, count, i8::from_le_bytes)?),
        ValueKind::U16 => Array::U16(read_numbers(source, key, count, u16::from_le_bytes)?),
        ValueKind::I16 => Array::I16(read_numbers(source, key, count, i16::from_le_bytes)?),
        ValueKind::U32 => Array::U32(read_numbers(source, key, count, u32::from_le_bytes)?),
        ValueKind::I32 => Array::I32(read_numbers(source, key, count, i32::from_le_bytes)?),
        ValueKind::F32 => Array::F32(read_numbers(source, key, count, f32::from_le_bytes)?),
        ValueKind::U64 => Array::U64(read_numbers(source, key, count, u64::from_le_bytes)?),
        ValueKind::I64 => Array::I64(read_numbers(source, key, count, i64::from_le_bytes)?),
        ValueKind::F64 => Array::F64(read_numbers(source, key, count, f64::from_le_bytes)?),
        ValueKind::Bool => Array::Bool(read_items(source, key, count, 1, read_bool)?),
        ValueKind::Str => Array::Str(read_strings(source, key, count)?),
        ValueKind::Array => Array::Array(read_items(source, key, count, MIN_ARRAY, |source, key| {
            read_array(source, key, depth + 1)
        })?),
    })
}

/// Reads `count` elements of at least `size` bytes each.
fn read_items<S: Read + Seek, T>(
    source: &mut Source<S>,
    key: &str,
    count: u64,
    size: u64,
    read: impl Fn(&mut Source<S>, &str) -> Result<T, GgufError>,
) -> Result<Box<[T]>, GgufError> {
    let what = format_args!("the array of {count} elements of metadata key {}", Quoted(key));
    source.check_room(count, size, &what)?;
    let mut items = source.vec_for(count, &what)?;
    for _ in 0..count {
        items.push(read(source, key)?);
    }
    Ok(items.into_boxed_slice())
}

fn read_numbers<S: Read + Seek, T, const N: usize>(
    source: &mut Source<S>,
    key: &str,
    count: u64,
    decode: fn([u8; N]) -> T,
) -> Result<Box<[T]>, GgufError> {
    read_items(source, key, count, N as u64, |source, _| Ok(decode(source.bytes(&"an array element")?)))
}

/// Reads an array of strings in two passes: the lengths first, so that the text takes exactly the memory it
/// needs, then the text.
fn read_strings<S: Read + Seek>(
    source: &mut Source<S>,
    key: &str,
    count: u64,
) -> Result<StringArray, GgufError> {
    let what = format_args!("the array of {count} strings of metadata key {}", Quoted(key));
    source.check_room(count, 8, &what)?;
    let start = source.pos();
    let mut ends: Vec<u64> = source.vec_for(count, &what)?;
    let mut total = 0;
    for index in 0..count {
        let what = format_args!("string {index} of metadata key {}", Quoted(key));
        let length = source.u64(&what)?;
        source.skip(length, &what)?;
        total += length;
        ends.push(total);
    }
    source.seek(start)?;
    let mut text: Vec<u8> = source.vec_for(total, &what)?;
    text.resize(total as usize, 0);
    let mut from = 0;
    for &end in &ends {
        source.skip(8, &what)?;
        source.read(&mut text[from..end as usize], &what)?;
        from = end as usize;
    }
    join_strings(text, ends, start, key)
}

/// Checks that each of the strings that end at `ends` is UTF-8; `start` is where the first one's length is.
fn join_strings(text: Vec<u8>, ends: Vec<u64>, start: u64, key: &str) -> Result<StringArray, GgufError> {
    let bad_string = |index: usize, ends: &[u64]| {
        let before = if index == 0 { 0 } else { ends[index - 1] };
        let what = format!("string {index} of metadata key {}", Quoted(key));
        GgufError::Utf8 { offset: start + 8 * (index as u64 + 1) + before, what }
    };
    let text = match String::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let good = error.utf8_error().valid_up_to() as u64;
            return Err(bad_string(ends.partition_point(|&end| end <= good), &ends));
        }
    };
    // Each string is UTF-8 by itself exactly where all together are and none ends inside a character.
    if let Some(index) = ends.iter().position(|&end| !text.is_char_boundary(end as usize)) {
        return Err(bad_string(index, &ends));
    }
    let count = ends.len();
    StringArray::from_parts(text.into_boxed_str(), ends.into_boxed_slice())
        .ok_or_else(|| GgufError::Utf8 { offset: start, what: format!("an array of {count} strings") })
}

/// Checks the few keys whose type the format itself fixes, and gives the alignment.
fn check_conventions(metadata: &Metadata) -> Result<u64, GgufError> {
    metadata.find::<&str>("general.architecture")?;
    metadata.find::<u32>("general.file_type")?;
    alignment_of(metadata)
}

/// The alignment of tensor data that `metadata` asks for.
pub(super) fn alignment_of(metadata: &Metadata) -> Result<u64, GgufError> {
    match metadata.find::<u32>("general.alignment")? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(value) if value.is_power_of_two() && value % 8 == 0 => Ok(value.into()),
        Some(value) => Err(GgufError::Alignment { value }),
    }
}

/// Reads the tensor directory. The offsets of the tensors are still from the start of the data section.
fn read_directory<S: Read + Seek>(
    source: &mut Source<S>,
    count: u64,
) -> Result<(Vec<TensorInfo>, NameIndex), GgufError> {
    let what = "the tensor directory";
    let mut tensors: Vec<TensorInfo> = source.vec_for(count, &what)?;
    source.claim(NameIndex::bytes_for(tensors.capacity()), &what)?;
    let mut index = NameIndex::with_room(tensors.capacity());
    for position in 0..count as u32 {
        let offset = source.pos();
        let tensor = read_tensor(source, position)?;
        if !index.insert(&tensor.name, position, |i| &tensors[i].name) {
            return Err(GgufError::DuplicateTensor { offset, tensor: quoted(&tensor.name) });
        }
        tensors.push(tensor);
    }
    Ok((tensors, index))
}

fn read_tensor<S: Read + Seek>(source: &mut Source<S>, position: u32) -> Result<TensorInfo, GgufError> {
    let name = source.name(MAX_NAME_BYTES, &format_args!("the name of tensor {position}"))?.into_string();
    let what = format_args!("the directory entry of tensor {}", Quoted(&name));
    let dim_count = source.u32(&what)?;
    if dim_count > MAX_DIMS {
        let problem = format!("it claims {dim_count} dimensions, at most {MAX_DIMS} are allowed");
        return Err(GgufError::Shape { tensor: quoted(&name), problem });
    }
    let mut dims = source.vec_for(dim_count.into(), &what)?;
    for _ in 0..dim_count {
        dims.push(source.u64(&what)?);
    }
    let type_id = source.u32(&what)?;
    let offset = source.u64(&what)?;
    let bytes = tensor_bytes(&name, &dims, type_id)?;
    Ok(TensorInfo { name, dims, type_id, offset, bytes })
}

/// The size of a tensor's data, or why it cannot be.
pub(super) fn tensor_bytes(name: &str, dims: &[u64], type_id: u32) -> Result<u64, GgufError> {
    let ty =
        TensorType::by_id(type_id).ok_or_else(|| GgufError::TensorType { tensor: quoted(name), type_id })?;
    ty.size_of(dims).map_err(|problem| GgufError::Shape { tensor: quoted(name), problem })
}

/// Turns a tensor's offset from the start of the data section into one from the start of the file.
fn place(tensor: &mut TensorInfo, data_offset: u64, alignment: u64, file_len: u64) -> Result<(), GgufError> {
    let (offset, bytes) = (tensor.offset, tensor.bytes);
    if offset % alignment != 0 {
        return Err(GgufError::Misaligned { tensor: quoted(&tensor.name), offset, alignment });
    }
    let start = data_offset.checked_add(offset);
    match start.filter(|start| start.checked_add(bytes).is_some_and(|end| end <= file_len)) {
        Some(start) => {
            tensor.offset = start;
            Ok(())
        }
        None => {
            Err(GgufError::OutsideFile { tensor: quoted(&tensor.name), offset, bytes, data_offset, file_len })
        }
    }
}

fn check_overlap<S: Read + Seek>(source: &mut Source<S>, tensors: &[TensorInfo]) -> Result<(), GgufError> {
    let mut order: Vec<u32> = source.vec_for(tensors.len() as u64, &"the tensor directory")?;
    order.extend(0..tensors.len() as u32);
    order.sort_unstable_by_key(|&i| tensors[i as usize].offset);
    for pair in order.windows(2) {
        let (first, second) = (&tensors[pair[0] as usize], &tensors[pair[1] as usize]);
        if first.offset + first.bytes > second.offset {
            return Err(GgufError::Overlap { first: quoted(&first.name), second: quoted(&second.name) });
        }
    }
    Ok(())
}

//! What can be wrong with a GGUF file, and what to do about it.

use embedded_io::{Error, ErrorKind};

use super::quoted::quoted;
use super::value::ValueKind;
use crate::io::IoError;

/// Why a GGUF file could not be read or written. Each message names the byte offset, the metadata key or the
/// tensor at fault, and says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// The file could not be opened, mapped or replaced.
    #[error(transparent)]
    File(#[from] IoError),
    /// The stream under the reader failed.
    #[error(
        "offset {offset}: reading failed ({kind}: {detail}); check the disk or the connection and try again"
    )]
    Read {
        /// Where in the stream, in bytes.
        offset: u64,
        /// The stream's error, by kind.
        kind: ErrorKind,
        /// The stream's error, in its own words.
        detail: String,
    },
    /// The stream under the writer failed.
    #[error("offset {offset}: writing failed ({kind}: {detail}); check that the disk has room and try again")]
    Write {
        /// How many bytes had been written.
        offset: u64,
        /// The stream's error, by kind.
        kind: ErrorKind,
        /// The stream's error, in its own words.
        detail: String,
    },
    /// The file does not start with `GGUF`.
    #[error(
        "offset 0: the file starts with {found:02x?} and not with \"GGUF\"; give a GGUF file, or convert the model with llama.cpp's convert_hf_to_gguf.py"
    )]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The version is not 2 or 3.
    #[error(
        "offset 4: GGUF version {version} is not supported, only 2 and 3 are; convert the model again with a current llama.cpp, or use a newer release of this program"
    )]
    Version {
        /// The version in the file.
        version: u32,
    },
    /// The version field makes sense only read from the other end.
    #[error("offset 4: the file is big-endian; convert it with llama.cpp's gguf_convert_endian.py")]
    BigEndian,
    /// Something claims more bytes than the file has left.
    #[error(
        "offset {offset}: {what} needs {needed} bytes and the file has {left} left; it is damaged or cut off: fetch it again"
    )]
    Truncated {
        /// Where it starts.
        offset: u64,
        /// What it is.
        what: String,
        /// Bytes it needs at least.
        needed: u64,
        /// Bytes from `offset` to the end of the file.
        left: u64,
    },
    /// More metadata entries or tensors than any model has.
    #[error(
        "offset {offset}: {what} claims {count} entries, more than the {max} that are read; it is damaged or hostile: fetch it again from a source you trust"
    )]
    Count {
        /// Where the count is.
        offset: u64,
        /// Of what.
        what: String,
        /// The count in the file.
        count: u64,
        /// The most that are read.
        max: u64,
    },
    /// Reading on would take more memory than a file of this size can call for.
    #[error(
        "offset {offset}: {what} would need {needed} more bytes of memory than a file of this size may claim; it is damaged or hostile: fetch it again from a source you trust"
    )]
    Memory {
        /// Where it starts.
        offset: u64,
        /// What it is.
        what: String,
        /// Bytes of memory asked for.
        needed: u64,
    },
    /// A string is not UTF-8.
    #[error("offset {offset}: {what} is not UTF-8; the file is damaged: fetch it again")]
    Utf8 {
        /// Where the string starts.
        offset: u64,
        /// Which string.
        what: String,
    },
    /// A key or a name is empty or too long.
    #[error(
        "offset {offset}: {what} is {length} bytes long, allowed are 1 to {max}; the file is damaged: fetch it again"
    )]
    NameLength {
        /// Where the name starts (when writing: zero).
        offset: u64,
        /// Which key or name.
        what: String,
        /// Its length in bytes.
        length: u64,
        /// The longest allowed.
        max: u64,
    },
    /// A metadata value has a type id that GGUF does not define.
    #[error(
        "offset {offset}: metadata key {key} has value type {type_id}, which GGUF does not define; the file is damaged or newer than this program"
    )]
    ValueType {
        /// Where the type id is.
        offset: u64,
        /// The key, quoted.
        key: String,
        /// The type id.
        type_id: u32,
    },
    /// A boolean is neither 0 nor 1.
    #[error(
        "offset {offset}: {what} holds {value} where a boolean must be 0 or 1; the file is damaged: fetch it again"
    )]
    Bool {
        /// Where the byte is.
        offset: u64,
        /// Which value.
        what: String,
        /// The byte.
        value: u8,
    },
    /// Arrays within arrays within arrays, beyond any use.
    #[error(
        "offset {offset}: metadata key {key} nests arrays more than {max} deep; the file is damaged or hostile"
    )]
    Nesting {
        /// Where the array one too deep starts.
        offset: u64,
        /// The key, quoted.
        key: String,
        /// The depth allowed.
        max: u32,
    },
    /// The same metadata key twice.
    #[error(
        "offset {offset}: metadata key {key} appears a second time; the file is damaged: fetch or convert it again"
    )]
    DuplicateKey {
        /// Where the second one starts.
        offset: u64,
        /// The key, quoted.
        key: String,
    },
    /// `general.alignment` is unusable.
    #[error(
        "metadata key \"general.alignment\" is {value}, it must be a power of two and a multiple of 8; convert the model again"
    )]
    Alignment {
        /// The alignment in the file.
        value: u32,
    },
    /// The same tensor name twice.
    #[error(
        "offset {offset}: tensor {tensor} appears a second time; the file is damaged: fetch or convert it again"
    )]
    DuplicateTensor {
        /// Where the second one starts (when writing: zero).
        offset: u64,
        /// The name, quoted.
        tensor: String,
    },
    /// A tensor's shape is impossible.
    #[error("tensor {tensor}: {problem}; the file is damaged: fetch or convert it again")]
    Shape {
        /// The name, quoted.
        tensor: String,
        /// What is wrong with the shape.
        problem: String,
    },
    /// A tensor type that is not in [`TENSOR_TYPES`](super::TENSOR_TYPES).
    #[error(
        "tensor {tensor}: type id {type_id} is unknown or was removed from GGUF; convert the model again in a current format"
    )]
    TensorType {
        /// The name, quoted.
        tensor: String,
        /// The type id.
        type_id: u32,
    },
    /// A tensor's data is not aligned as `general.alignment` (or the default) says.
    #[error(
        "tensor {tensor}: its data starts at {offset} in the data section, which is not a multiple of the alignment {alignment}; the file is damaged: convert it again"
    )]
    Misaligned {
        /// The name, quoted.
        tensor: String,
        /// The offset from the start of the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor's data does not lie within the file.
    #[error(
        "tensor {tensor}: its {bytes} bytes at {offset} in the data section (which starts at offset {data_offset}) end past the end of the file ({file_len} bytes); it is cut off: fetch it again"
    )]
    OutsideFile {
        /// The name, quoted.
        tensor: String,
        /// The offset from the start of the data section.
        offset: u64,
        /// The tensor's size.
        bytes: u64,
        /// Where the data section starts.
        data_offset: u64,
        /// The file's size.
        file_len: u64,
    },
    /// Two tensors claim the same bytes.
    #[error(
        "tensor {second}: its data overlaps that of tensor {first}; the file is damaged: fetch or convert it again"
    )]
    Overlap {
        /// The tensor that starts first, quoted.
        first: String,
        /// The tensor that starts inside it, quoted.
        second: String,
    },
    /// A metadata key that is needed is not there.
    #[error("metadata key {key} is missing; the file is not a complete model: fetch or convert it again")]
    MissingKey {
        /// The key, quoted.
        key: String,
    },
    /// A metadata value cannot be read as what is needed.
    #[error(
        "metadata key {key} should be {expected} but is {found}; the file does not follow the GGUF conventions: convert it again"
    )]
    WrongType {
        /// The key, quoted.
        key: String,
        /// The type that was asked for.
        expected: &'static str,
        /// The type, and for numbers the value, in the file.
        found: String,
    },
    /// A tensor that is needed is not there.
    #[error("tensor {tensor} is missing; the file is not a complete model: fetch or convert it again")]
    MissingTensor {
        /// The name, quoted.
        tensor: String,
    },
    /// The file is one of several that make a model, and the others are not there or do not belong to it.
    #[error(
        "this is part {number} of {count} of a split model, and {problem}; put all parts into one folder under the names they came with, or merge them (llama-gguf-split --merge)"
    )]
    Part {
        /// Which part, from 1 on.
        number: u32,
        /// Of how many.
        count: u32,
        /// What is wrong.
        problem: String,
    },
    /// A buffer of no bytes was given to copy through.
    #[error("tensor {tensor}: the buffer to copy it through is empty; give one of at least one byte")]
    EmptyBuffer {
        /// The name, quoted.
        tensor: String,
    },
    /// The writer was given tensors in another order, too many, or too few.
    #[error(
        "tensor {given}: the writer was promised tensor {expected} next; write the tensors in the order they were announced"
    )]
    Order {
        /// The tensor that was begun, quoted, or `(end)`.
        given: String,
        /// The tensor that comes next, quoted, or `(end)`.
        expected: String,
    },
    /// The writer was given more or fewer bytes for a tensor than its shape and type need.
    #[error(
        "tensor {tensor}: {given} bytes were written where its type and shape need {promised}; write exactly that many"
    )]
    DataLength {
        /// The name, quoted.
        tensor: String,
        /// Bytes given so far.
        given: u64,
        /// Bytes promised by the header.
        promised: u64,
    },
    /// A metadata array to write nests too deep.
    #[error("metadata key {key}: an array of arrays cannot be written deeper than {max} levels; flatten it")]
    WriteNesting {
        /// The key, quoted.
        key: String,
        /// The depth allowed.
        max: u32,
    },
}

impl GgufError {
    /// The error of a stream that failed to read or seek at `offset`.
    pub(super) fn reading(offset: u64, error: &impl Error) -> GgufError {
        GgufError::Read { offset, kind: error.kind(), detail: format!("{error:?}") }
    }

    /// The error of a stream that failed to write at `offset`.
    pub(super) fn writing(offset: u64, error: &impl Error) -> GgufError {
        GgufError::Write { offset, kind: error.kind(), detail: format!("{error:?}") }
    }

    /// The error of a value that is there but is not what was asked for.
    pub(super) fn wrong_type(key: &str, expected: &'static str, kind: ValueKind, value: &str) -> GgufError {
        GgufError::WrongType { key: quoted(key), expected, found: format!("{} {value}", kind.name()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_or_odd_names_stay_readable() {
        assert_eq!(quoted("a\n\u{1b}[0m"), "\"a\\n\\u{1b}[0m\"");
        let long = quoted(&"é".repeat(1000));
        assert!(long.ends_with("… (2000 bytes)") && long.chars().count() < 110, "{long}");
    }
}

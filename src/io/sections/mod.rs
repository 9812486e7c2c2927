//! A small self-describing container: named sections in order, each an array of numbers, bytes or text. It is
//! what a checkpoint is written as. It has no checksum of its own: the commit store that it lies in has.
//!
//! Little-endian. The container starts with 64 bytes: `EMBRSECT`, version (u32, 1), number of sections (u32), total length
//! (u64, a multiple of 64), zeros. Each section starts at a multiple of 64: kind (u32: 1 f32, 2 u32, 3 u64, 4
//! bytes, 5 UTF-8 text), length of the name (u32), length of the data in bytes (u64), name, zeros up to a multiple of 64,
//! data, zeros up to a multiple of 64. So the arrays of a container that is mapped into memory are used where
//! they lie. A reader keeps sections of kinds that it does not know, and writes them again unchanged.
//!
//! ```
//! use emberlm::io::{MemStream, Sections, SectionsError};
//!
//! # fn main() -> Result<(), SectionsError> {
//! let adapter = vec![0.5f32; 1000];
//! let mut sections = Sections::new();
//! sections.text("settings", r#"{"rank":8}"#).f32s("adapter", &adapter).u64s("random", vec![1, 2]);
//! let mut file = Vec::new();
//! sections.write(&mut file)?;
//! assert_eq!(file.len() as u64, sections.len_bytes());
//!
//! let read = Sections::read(&mut MemStream::new(&file), file.len() as u64)?;
//! assert_eq!(read.get_f32s("adapter")?, &adapter[..]);
//! assert_eq!(read.get_text("settings")?, r#"{"rank":8}"#);
//! assert!(matches!(read.get_u64s("cursor"), Err(SectionsError::Missing { .. })));
//! # Ok(())
//! # }
//! ```

mod error;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use error::SectionsError;

use std::borrow::Cow;

/// The most sections a container may have.
pub const MAX_SECTIONS: usize = 4096;
/// The most bytes a section's name may have.
pub const MAX_NAME: usize = 255;
/// Everything starts at a multiple of this: a cache line, enough for any vector unit.
const ALIGN: u64 = 64;
const MAGIC: [u8; 8] = *b"EMBRSECT";
const VERSION: u32 = 1;

/// What a section holds. Borrowed where it can be: large arrays are written from, and read in, the place where
/// they lie.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SectionData<'a> {
    /// Single-precision numbers.
    F32(Cow<'a, [f32]>),
    /// 32-bit numbers.
    U32(Cow<'a, [u32]>),
    /// 64-bit numbers.
    U64(Cow<'a, [u64]>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// UTF-8 text, such as JSON.
    Text(Cow<'a, str>),
    /// A kind that this release does not know.
    Unknown {
        /// The number of the kind in the file.
        kind: u32,
        /// The section's bytes as they are.
        bytes: Cow<'a, [u8]>,
    },
}

impl SectionData<'_> {
    /// The kind in words.
    pub fn kind(&self) -> &'static str {
        match self {
            SectionData::F32(_) => "f32",
            SectionData::U32(_) => "u32",
            SectionData::U64(_) => "u64",
            SectionData::Bytes(_) => "bytes",
            SectionData::Text(_) => "text",
            SectionData::Unknown { .. } => "an unknown kind",
        }
    }

    /// The kind in the file.
    fn kind_id(&self) -> u32 {
        match self {
            SectionData::F32(_) => 1,
            SectionData::U32(_) => 2,
            SectionData::U64(_) => 3,
            SectionData::Bytes(_) => 4,
            SectionData::Text(_) => 5,
            SectionData::Unknown { kind, .. } => *kind,
        }
    }

    /// The data's length in bytes.
    pub fn len_bytes(&self) -> u64 {
        let bytes = match self {
            SectionData::F32(values) => size_of_val(&**values),
            SectionData::U32(values) => size_of_val(&**values),
            SectionData::U64(values) => size_of_val(&**values),
            SectionData::Bytes(bytes) | SectionData::Unknown { bytes, .. } => bytes.len(),
            SectionData::Text(text) => text.len(),
        };
        bytes as u64
    }
}

/// A named section.
#[derive(Debug, Clone, PartialEq)]
pub struct Section<'a> {
    /// 1 to 255 bytes; no two sections of a container have the same.
    pub name: Cow<'a, str>,
    /// What it holds.
    pub data: SectionData<'a>,
}

impl Section<'_> {
    /// Bytes from the section's start to its data.
    fn head_bytes(&self) -> u64 {
        (16 + self.name.len() as u64).next_multiple_of(ALIGN)
    }
}

/// Named sections in order: what is to be written, or what was read. See the [module](self).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sections<'a> {
    sections: Vec<Section<'a>>,
}

impl<'a> Sections<'a> {
    /// A container without sections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a section. Names are checked when the container is written.
    pub fn push(&mut self, name: impl Into<Cow<'a, str>>, data: SectionData<'a>) -> &mut Self {
        self.sections.push(Section { name: name.into(), data });
        self
    }

    /// Adds an f32 array, borrowed or owned.
    pub fn f32s(&mut self, name: impl Into<Cow<'a, str>>, values: impl Into<Cow<'a, [f32]>>) -> &mut Self {
        self.push(name, SectionData::F32(values.into()))
    }

    /// Adds a u32 array, borrowed or owned.
    pub fn u32s(&mut self, name: impl Into<Cow<'a, str>>, values: impl Into<Cow<'a, [u32]>>) -> &mut Self {
        self.push(name, SectionData::U32(values.into()))
    }

    /// Adds a u64 array, borrowed or owned.
    pub fn u64s(&mut self, name: impl Into<Cow<'a, str>>, values: impl Into<Cow<'a, [u64]>>) -> &mut Self {
        self.push(name, SectionData::U64(values.into()))
    }

    /// Adds bytes, borrowed or owned.
    pub fn bytes(&mut self, name: impl Into<Cow<'a, str>>, bytes: impl Into<Cow<'a, [u8]>>) -> &mut Self {
        self.push(name, SectionData::Bytes(bytes.into()))
    }

    /// Adds text, borrowed or owned.
    pub fn text(&mut self, name: impl Into<Cow<'a, str>>, text: impl Into<Cow<'a, str>>) -> &mut Self {
        self.push(name, SectionData::Text(text.into()))
    }

    /// All sections in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Section<'a>> {
        self.sections.iter()
    }

    /// Whether there is a section of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.sections.iter().any(|section| section.name == name)
    }

    /// The section of this name.
    ///
    /// # Errors
    /// [`SectionsError::Missing`].
    pub fn get(&self, name: &str) -> Result<&SectionData<'a>, SectionsError> {
        let found = self.sections.iter().find(|section| section.name == name);
        found.map(|section| &section.data).ok_or_else(|| SectionsError::Missing { name: name.to_owned() })
    }

    /// An f32 array.
    ///
    /// # Errors
    /// [`SectionsError::Missing`], [`SectionsError::WrongKind`].
    pub fn get_f32s(&self, name: &str) -> Result<&[f32], SectionsError> {
        match self.get(name)? {
            SectionData::F32(values) => Ok(values),
            other => Err(wrong_kind(name, "f32", other)),
        }
    }

    /// A u32 array.
    ///
    /// # Errors
    /// [`SectionsError::Missing`], [`SectionsError::WrongKind`].
    pub fn get_u32s(&self, name: &str) -> Result<&[u32], SectionsError> {
        match self.get(name)? {
            SectionData::U32(values) => Ok(values),
            other => Err(wrong_kind(name, "u32", other)),
        }
    }

    /// A u64 array.
    ///
    /// # Errors
    /// [`SectionsError::Missing`], [`SectionsError::WrongKind`].
    pub fn get_u64s(&self, name: &str) -> Result<&[u64], SectionsError> {
        match self.get(name)? {
            SectionData::U64(values) => Ok(values),
            other => Err(wrong_kind(name, "u64", other)),
        }
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`SectionsError::Missing`], [`SectionsError::WrongKind`].
    pub fn get_bytes(&self, name: &str) -> Result<&[u8], SectionsError> {
        match self.get(name)? {
            SectionData::Bytes(bytes) => Ok(bytes),
            other => Err(wrong_kind(name, "bytes", other)),
        }
    }

    /// Text.
    ///
    /// # Errors
    /// [`SectionsError::Missing`], [`SectionsError::WrongKind`].
    pub fn get_text(&self, name: &str) -> Result<&str, SectionsError> {
        match self.get(name)? {
            SectionData::Text(text) => Ok(text),
            other => Err(wrong_kind(name, "text", other)),
        }
    }
}

fn wrong_kind(name: &str, wanted: &'static str, found: &SectionData<'_>) -> SectionsError {
    SectionsError::WrongKind { name: name.to_owned(), wanted, found: found.kind() }
}

/// A type of array element, stored little-endian.
trait Number: bytemuck::Pod {
    /// To or from little-endian: the same on either way.
    fn little(self) -> Self;
}

impl Number for f32 {
    fn little(self) -> Self {
        f32::from_bits(self.to_bits().to_le())
    }
}

impl Number for u32 {
    fn little(self) -> Self {
        self.to_le()
    }
}

impl Number for u64 {
    fn little(self) -> Self {
        self.to_le()
    }
}

impl Number for u8 {
    fn little(self) -> Self {
        self
    }
}

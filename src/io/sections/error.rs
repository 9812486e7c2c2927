//! What can be wrong with a container of named sections.

use embedded_io::{Error, ErrorKind};

/// Why a container could not be read or written, with the section and the byte offset at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SectionsError {
    /// The stream under the reader failed.
    #[error("offset {offset}, {section}: reading failed ({kind}: {detail}); check the disk and try again")]
    Read {
        /// The section at work.
        section: String,
        /// Where in the container, in bytes.
        offset: u64,
        /// The stream's error, by kind.
        kind: ErrorKind,
        /// The stream's error, in its own words.
        detail: String,
    },
    /// The stream under the writer failed.
    #[error("offset {offset}, {section}: writing failed ({kind}: {detail}); check that the disk has room")]
    Write {
        /// The section at work.
        section: String,
        /// Where in the container, in bytes.
        offset: u64,
        /// The stream's error, by kind.
        kind: ErrorKind,
        /// The stream's error, in its own words.
        detail: String,
    },
    /// These bytes are no container.
    #[error(
        "offset 0: starts with {found:02x?} and not with \"EMBRSECT\"; give a file that this program wrote"
    )]
    Magic {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// Made by another release.
    #[error("offset 8: container version {version}, this program knows 1; use the release that wrote it")]
    Version {
        /// The version found.
        version: u32,
    },
    /// Something claims more bytes than there are.
    #[error(
        "offset {offset}, {section}: {needed} bytes claimed, {left} left; the file is damaged or cut short"
    )]
    Truncated {
        /// The section at fault.
        section: String,
        /// Where in the container, in bytes.
        offset: u64,
        /// Bytes claimed.
        needed: u64,
        /// Bytes there are.
        left: u64,
    },
    /// There are bytes that belong to no section.
    #[error("offset {offset}: {extra} bytes after the last section; the file is damaged")]
    Trailing {
        /// Where they begin.
        offset: u64,
        /// How many.
        extra: u64,
    },
    /// More sections than a container may have.
    #[error(
        "{count} sections, at most {} are allowed; the file is damaged, or join sections",
        super::MAX_SECTIONS
    )]
    TooMany {
        /// How many there are or are claimed.
        count: u64,
    },
    /// Two sections have one name.
    #[error("offset {offset}: a second section named {name:?}; names must differ")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the second one begins.
        offset: u64,
    },
    /// A name is empty, too long or not UTF-8.
    #[error("offset {offset}, {section}: the name {reason}; use 1 to 255 bytes of UTF-8")]
    Name {
        /// The section at fault.
        section: String,
        /// Where it begins.
        offset: u64,
        /// What is wrong with the name.
        reason: &'static str,
    },
    /// Bytes that must be zero are not.
    #[error("offset {offset}, {section}: padding is not zero; the file is damaged")]
    Padding {
        /// The section at fault.
        section: String,
        /// Where the padding begins.
        offset: u64,
    },
    /// The length is no whole number of elements.
    #[error(
        "offset {offset}, {section}: {bytes} bytes are no whole number of {kind} values; the file is damaged"
    )]
    Ragged {
        /// The section at fault.
        section: String,
        /// Where it begins.
        offset: u64,
        /// Its length in bytes.
        bytes: u64,
        /// What it holds.
        kind: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("offset {offset}, {section}: the text is not UTF-8; the file is damaged")]
    NotText {
        /// The section at fault.
        section: String,
        /// Where the first bad byte is.
        offset: u64,
    },
    /// Not enough memory for a section.
    #[error("{section}: no memory for {bytes} bytes; free memory or map the file")]
    Memory {
        /// The section at fault.
        section: String,
        /// Its length in bytes.
        bytes: u64,
    },
    /// A section that is needed is not there.
    #[error("there is no section {name:?}; the file is of another kind or release")]
    Missing {
        /// The name asked for.
        name: String,
    },
    /// A section holds something else than it is asked for.
    #[error("section {name:?} holds {found}, not {wanted}; the file is of another kind or release")]
    WrongKind {
        /// The section's name.
        name: String,
        /// What it was asked for.
        wanted: &'static str,
        /// What it holds.
        found: &'static str,
    },
}

impl SectionsError {
    pub(super) fn read(section: &str, offset: u64, error: &impl Error) -> SectionsError {
        let (section, detail) = (section.to_owned(), error.to_string());
        SectionsError::Read { section, offset, kind: error.kind(), detail }
    }

    pub(super) fn write(section: &str, offset: u64, error: &impl Error) -> SectionsError {
        let (section, detail) = (section.to_owned(), error.to_string());
        SectionsError::Write { section, offset, kind: error.kind(), detail }
    }

    pub(super) fn truncated(section: &str, offset: u64, needed: u64, left: u64) -> SectionsError {
        SectionsError::Truncated { section: section.to_owned(), offset, needed, left }
    }
}

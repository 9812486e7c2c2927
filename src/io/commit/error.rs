//! What can go wrong with a commit, and what a damaged slot is reported as.

use std::fmt;

use embedded_io::{Error, ErrorKind};

use super::Slot;
use crate::io::IoError;

/// Why a state could not be committed or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The folder or one of its files could not be opened.
    #[error(transparent)]
    File(#[from] IoError),
    /// The storage under a slot failed. What was committed before is still there.
    #[error(
        "{slot}, offset {offset}: {action} failed ({kind}: {detail}); the state committed before is untouched: check the disk and its free space and try again"
    )]
    Storage {
        /// The slot at work.
        slot: Slot,
        /// Where in the slot, in bytes.
        offset: u64,
        /// What was attempted.
        action: &'static str,
        /// The storage's error, by kind.
        kind: ErrorKind,
        /// The storage's error, in its own words.
        detail: String,
    },
    /// Neither slot holds a sound state, though one of them did.
    #[error(
        "no sound state is left: {first} {}, {second} {}; restore a copy, or erase the store to start anew",
        states[0], states[1], first = Slot::A, second = Slot::B
    )]
    Corrupted {
        /// What each slot holds.
        states: [SlotState; 2],
    },
    /// A state made by a newer (or much older) release.
    #[error(
        "{slot}: written in version {version} of the format, this program knows version 1; use the release that wrote it, or erase the store"
    )]
    Version {
        /// The slot at fault.
        slot: Slot,
        /// The version found.
        version: u32,
    },
    /// The payload does not fit into a slot. Nothing was written.
    #[error(
        "the state needs {needed} bytes in each of two slots, there is room for {room}; use larger storage"
    )]
    TooSmall {
        /// Bytes needed per slot, header included.
        needed: u64,
        /// Bytes a slot has.
        room: u64,
    },
    /// There is not enough memory to hold the payload.
    #[error("no memory for a state of {bytes} bytes; read it as a stream or free memory")]
    Memory {
        /// The payload's length.
        bytes: u64,
    },
    /// What is read differs from what was verified when the store was opened.
    #[error("{slot}: the state of commit {sequence} changed while it was read; open the store again")]
    Changed {
        /// The slot read.
        slot: Slot,
        /// The commit's number.
        sequence: u64,
    },
    /// A bug of the caller: more or fewer bytes than declared. What was committed before is still there.
    #[error("bug: a state of {declared} bytes was declared and {written} were written; please report it")]
    WrongLength {
        /// Bytes declared.
        declared: u64,
        /// Bytes written; when too many, the first count above `declared`.
        written: u64,
    },
    /// A bug of the caller: a failed write was not passed on. What was committed before is still there.
    #[error("bug: a write failed and the commit went on; please report it")]
    FailureIgnored,
    /// The sequence number stands at its largest value, which no honest store reaches.
    #[error(
        "the store was tampered with: no sequence number is left after {sequence}; erase it to start anew"
    )]
    NoSequenceLeft {
        /// The current number.
        sequence: u64,
    },
}

impl CommitError {
    /// A failure of the storage.
    pub(super) fn storage(slot: Slot, offset: u64, action: &'static str, error: &impl Error) -> CommitError {
        CommitError::Storage { slot, offset, action, kind: error.kind(), detail: error.to_string() }
    }
}

impl Error for CommitError {
    fn kind(&self) -> ErrorKind {
        match self {
            CommitError::Storage { kind, .. } => *kind,
            CommitError::File(error) => error.kind(),
            CommitError::Corrupted { .. } | CommitError::Version { .. } | CommitError::Changed { .. } => {
                ErrorKind::InvalidData
            }
            CommitError::Memory { .. } => ErrorKind::OutOfMemory,
            CommitError::TooSmall { .. } | CommitError::WrongLength { .. } => ErrorKind::InvalidInput,
            CommitError::FailureIgnored | CommitError::NoSequenceLeft { .. } => ErrorKind::Other,
        }
    }
}

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// Nothing was ever written, or it was erased.
    Empty,
    /// A complete commit by its header. Only the payload of the current slot has been verified.
    Sealed {
        /// The commit's number.
        sequence: u64,
    },
    /// A commit that was begun and not completed.
    CutShort {
        /// The number it would have had.
        sequence: u64,
    },
    /// The header is torn or damaged: a commit cut short in the middle of its header, or a fault of the storage.
    HeaderDamaged,
    /// The header is sound and complete, the payload is not what was written.
    PayloadDamaged {
        /// The commit's number.
        sequence: u64,
    },
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotState::Empty => write!(f, "is empty"),
            SlotState::Sealed { sequence } => write!(f, "holds commit {sequence}"),
            SlotState::CutShort { sequence } => write!(f, "holds commit {sequence}, cut short"),
            SlotState::HeaderDamaged => write!(f, "has a torn or damaged header"),
            SlotState::PayloadDamaged { sequence } => {
                write!(f, "holds commit {sequence} with a damaged payload")
            }
        }
    }
}

/// Something to tell the user after a store was opened: the state in use is sound, but not all is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A commit newer than the one in use was begun and not completed: the power or the process went away.
    CutShort {
        /// The number it would have had; `None` if its header is torn.
        sequence: Option<u64>,
    },
    /// A complete commit newer than the one in use is damaged: the storage lost or changed bytes.
    NewerDamaged {
        /// Its number.
        sequence: u64,
    },
    /// Both slots are complete and have the same number, which this program never writes; slot A is used.
    SameSequence {
        /// That number.
        sequence: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::CutShort { .. } => write!(f, "the last save was cut short"),
            Notice::NewerDamaged { sequence } => {
                write!(f, "the last save (number {sequence}) is damaged, check the disk")
            }
            Notice::SameSequence { sequence } => {
                write!(f, "both slots claim to be save {sequence}, somebody copied or changed them")
            }
        }
    }
}

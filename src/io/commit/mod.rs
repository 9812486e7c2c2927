//! The two-slot commit store: a state (a stream of bytes of known length, up to gigabytes) is committed whole or
//! not at all, on two files of a folder or on a bare block device.
//!
//! Commits go to two slots in turn, always over the older one. A commit marks its slot as being written, writes
//! the payload, and only then, with the payload flushed to the medium, writes the sealed header: sequence number,
//! length, sha256 of the payload and sha256 of the header. So at any moment at least one slot is as it was, and a
//! slot that is not complete cannot pass for one: its header is marked, torn (its own checksum fails) or, on
//! storage that lies about flushing, does not fit the payload. The checksum is sha256 and not a CRC because a torn
//! write leaves a mixture of two states that resemble each other, on media that lie: with sha256 "always
//! detected" needs no probability in it, it costs less than the medium does, and the crate is there already.
//!
//! ```
//! use embedded_io::{Read, Write};
//! use emberlm::io::{CommitError, CommitStore, FolderSlots};
//!
//! # fn main() -> Result<(), CommitError> {
//! # let folder = tempfile::tempdir().map_err(|_| CommitError::Memory { bytes: 0 })?;
//! # let folder = folder.path();
//! let mut store = CommitStore::open(FolderSlots::open(folder, "adapter")?)?;
//! assert!(store.current().is_none());
//! store.commit(10, |out| {
//!     out.write_all(b"step ")?;
//!     out.write_all(b"00001")
//! })?;
//! drop(store);
//!
//! let mut store = CommitStore::open(FolderSlots::open_to_read(folder, "adapter")?)?;
//! if let Some(notice) = store.notice() {
//!     println!("{notice}; going on from the save before");
//! }
//! assert_eq!(store.read_all()?.as_deref(), Some(&b"step 00001"[..]));
//! # Ok(())
//! # }
//! ```

mod error;
mod folder;
mod header;
mod slot;
mod slots;
mod stream;
#[cfg(test)]
mod tests;

pub use error::{CommitError, Notice, SlotState};
pub use folder::FolderSlots;
pub use header::HEADER_BYTES;
pub use slot::Slot;
pub use slots::{Halves, Slots};
pub use stream::{SlotReader, SlotWriter};

use header::{Header, Parsed};

/// A committed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Counts the commits of a store, from 1.
    pub sequence: u64,
    /// The payload's length in bytes.
    pub len: u64,
    /// Where it lies.
    pub slot: Slot,
}

/// See the [module](self) for what it guarantees.
#[derive(Debug)]
pub struct CommitStore<S> {
    slots: S,
    current: Option<(Slot, Header)>,
    states: [SlotState; 2],
    /// Whether the current state is known to be on the medium: one that an earlier process left may still be in
    /// the system's cache only.
    settled: bool,
}

impl<S: Slots> CommitStore<S> {
    /// Looks at both slots and verifies the newest complete state, which means reading it once. An empty store
    /// has no [`CommitStore::current`] state; neither has one whose very first commit was cut short.
    ///
    /// # Errors
    /// [`CommitError::Corrupted`] if there must have been a state and none is sound, [`CommitError::Version`],
    /// and [`CommitError::Storage`] if a slot cannot be read.
    pub fn open(mut slots: S) -> Result<Self, CommitError> {
        let (mut states, headers) = look(&mut slots)?;
        let mut candidates: Vec<(Slot, Header)> = headers.into_iter().flatten().collect();
        // The sort is stable: of two with the same number, slot A comes first.
        candidates.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
        for (slot, header) in candidates {
            if is_sound(&mut slots, slot, header)? {
                return Ok(CommitStore { slots, current: Some((slot, header)), states, settled: false });
            }
            states[slot.index()] = SlotState::PayloadDamaged { sequence: header.sequence };
        }
        // The first commit goes to slot A, so only these remains can be those of a first commit cut short.
        let never_complete = matches!(
            states[0],
            SlotState::Empty | SlotState::HeaderDamaged | SlotState::CutShort { sequence: 1 }
        ) && states[1] == SlotState::Empty;
        if !never_complete {
            return Err(CommitError::Corrupted { states });
        }
        Ok(CommitStore { slots, current: None, states, settled: false })
    }

    /// Makes the store empty, whatever it holds, and opens it. Afterwards the next commit has number 1. A power
    /// cut meanwhile leaves the newest state or none; if it falls into the last header the store may be
    /// [`CommitError::Corrupted`] until it is erased again.
    ///
    /// # Errors
    /// [`CommitError::Storage`] if the slots cannot be written.
    pub fn erase(mut slots: S) -> Result<Self, CommitError> {
        let newest = match look(&mut slots) {
            Ok((_, [Some((_, a)), Some((_, b))])) if b.sequence > a.sequence => Slot::B,
            Ok((_, [None, Some(_)])) => Slot::B,
            _ => Slot::A,
        };
        // The newest state goes last: a power cut in between leaves it, and not an older one.
        for slot in [newest.other(), newest] {
            let size = slots.size(slot).map_err(|e| CommitError::storage(slot, 0, "finding its size", &e))?;
            if size > 0 {
                write_flushed(&mut slots, slot, &[0; HEADER_BYTES as usize])?;
                let trimmed = slots.trim(slot, HEADER_BYTES);
                trimmed.map_err(|e| CommitError::storage(slot, HEADER_BYTES, "shortening it", &e))?;
            }
        }
        Self::open(slots)
    }

    /// The state in use: the newest sound one.
    pub fn current(&self) -> Option<Commit> {
        let (slot, header) = self.current?;
        Some(Commit { sequence: header.sequence, len: header.len, slot })
    }

    /// What both slots hold, slot A first.
    pub fn states(&self) -> [SlotState; 2] {
        self.states
    }

    /// What the user should be told: above all that a newer commit was cut short.
    pub fn notice(&self) -> Option<Notice> {
        let (other, newest) = match self.current {
            Some((slot, header)) => (self.states[slot.other().index()], header.sequence),
            None => (self.states[0], 0),
        };
        match other {
            SlotState::CutShort { sequence } => Some(Notice::CutShort { sequence: Some(sequence) }),
            SlotState::HeaderDamaged => Some(Notice::CutShort { sequence: None }),
            SlotState::PayloadDamaged { sequence } if sequence >= newest => {
                Some(Notice::NewerDamaged { sequence })
            }
            SlotState::Sealed { sequence } if sequence == newest => Some(Notice::SameSequence { sequence }),
            _ => None,
        }
    }

    /// Commits a state of `len` bytes, which `fill` writes to the stream it is given. When this returns without
    /// an error the state survives a power cut; with an error, or when the power goes meanwhile, the state
    /// committed before is the current one still, and the next commit tries the same slot again.
    ///
    /// The one exception is an error of the very last flush: in this process the state before stays current, but
    /// whoever opens the store next may find the new one, if it reached the medium after all.
    ///
    /// # Errors
    /// What `fill` returns; [`CommitError::TooSmall`] before anything is written; [`CommitError::Storage`];
    /// [`CommitError::WrongLength`] and [`CommitError::FailureIgnored`] for a `fill` that breaks its promise.
    pub fn commit<E: From<CommitError>>(
        &mut self,
        len: u64,
        fill: impl FnOnce(&mut SlotWriter<'_, S>) -> Result<(), E>,
    ) -> Result<Commit, E> {
        let (slot, sequence) = self.next(len)?;
        self.settle()?;
        self.states[slot.index()] = SlotState::CutShort { sequence };
        let mut header = Header { sequence, len, digest: None };
        write_flushed(&mut self.slots, slot, &header.encode())?;
        let end = HEADER_BYTES + len;
        let trimmed = self.slots.trim(slot, end);
        trimmed.map_err(|e| CommitError::storage(slot, end, "shortening it", &e))?;

        let mut writer = SlotWriter::new(&mut self.slots, slot, len);
        fill(&mut writer)?;
        header.digest = Some(writer.finish()?);
        flush(&mut self.slots, slot)?;

        write_flushed(&mut self.slots, slot, &header.encode())?;
        self.states[slot.index()] = SlotState::Sealed { sequence };
        self.current = Some((slot, header));
        self.settled = true;
        Ok(Commit { sequence, len, slot })
    }

    /// Commits a state that is in memory.
    ///
    /// # Errors
    /// As [`CommitStore::commit`].
    pub fn commit_bytes(&mut self, state: &[u8]) -> Result<Commit, CommitError> {
        self.commit(state.len() as u64, |out| embedded_io::Write::write_all(out, state))
    }

    /// The current state as a stream; `None` if there is none. It is hashed again while it is read.
    pub fn reader(&mut self) -> Option<SlotReader<'_, S>> {
        let (slot, header) = self.current?;
        Some(SlotReader::new(&mut self.slots, slot, header))
    }

    /// The current state in memory; `None` if there is none.
    ///
    /// # Errors
    /// [`CommitError::Memory`], [`CommitError::Storage`], and [`CommitError::Changed`] if the state was changed
    /// since the store was opened.
    pub fn read_all(&mut self) -> Result<Option<Vec<u8>>, CommitError> {
        let Some(mut reader) = self.reader() else { return Ok(None) };
        // The slot was seen to hold this many bytes when it was verified.
        let bytes = reader.remaining();
        let mut state = Vec::new();
        let len = usize::try_from(bytes).map_err(|_| CommitError::Memory { bytes })?;
        state.try_reserve_exact(len).map_err(|_| CommitError::Memory { bytes })?;
        state.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            filled += embedded_io::Read::read(&mut reader, &mut state[filled..])?;
        }
        Ok(Some(state))
    }

    /// The storage.
    pub fn into_slots(self) -> S {
        self.slots
    }

    /// Where the next commit of `len` bytes goes and which number it gets.
    fn next(&self, len: u64) -> Result<(Slot, u64), CommitError> {
        let needed = len.saturating_add(HEADER_BYTES);
        if let Some(room) = self.slots.room().or(Some(i64::MAX as u64))
            && needed > room
        {
            return Err(CommitError::TooSmall { needed, room });
        }
        match self.current {
            None => Ok((Slot::A, 1)),
            Some((slot, Header { sequence, .. })) => {
                let next = sequence.checked_add(1).ok_or(CommitError::NoSequenceLeft { sequence })?;
                Ok((slot.other(), next))
            }
        }
    }

    /// Forces the current state to the medium before the other slot is touched for the first time. A process
    /// that was killed may have left it in the system's cache only, and it is about to be the only one.
    fn settle(&mut self) -> Result<(), CommitError> {
        if let Some((slot, _)) = self.current
            && !self.settled
        {
            flush(&mut self.slots, slot)?;
        }
        self.settled = true;
        Ok(())
    }
}

/// What the headers say, and the complete ones.
type Look = ([SlotState; 2], [Option<(Slot, Header)>; 2]);

/// Reads both headers.
fn look<S: Slots>(slots: &mut S) -> Result<Look, CommitError> {
    let mut states = [SlotState::Empty; 2];
    let mut headers = [None; 2];
    for slot in [Slot::A, Slot::B] {
        let size = slots.size(slot).map_err(|e| CommitError::storage(slot, 0, "finding its size", &e))?;
        if size == 0 {
            continue;
        }
        let mut block = [0; HEADER_BYTES as usize];
        let read = slots.read_at(slot, 0, &mut block);
        let read = read.map_err(|e| CommitError::storage(slot, 0, "reading the header", &e))?;
        let parsed = if read < block.len() { Parsed::Damaged } else { Header::parse(&block) };
        states[slot.index()] = match parsed {
            Parsed::Blank => SlotState::Empty,
            Parsed::Damaged => SlotState::HeaderDamaged,
            Parsed::Version(version) => return Err(CommitError::Version { slot, version }),
            Parsed::Sound(Header { sequence, digest: None, .. }) => SlotState::CutShort { sequence },
            Parsed::Sound(header) => {
                headers[slot.index()] = Some((slot, header));
                SlotState::Sealed { sequence: header.sequence }
            }
        };
    }
    Ok((states, headers))
}

/// Whether the payload is there and is what the header says.
fn is_sound<S: Slots>(slots: &mut S, slot: Slot, header: Header) -> Result<bool, CommitError> {
    let size = slots.size(slot).map_err(|e| CommitError::storage(slot, 0, "finding its size", &e))?;
    if header.len > size.saturating_sub(HEADER_BYTES) {
        return Ok(false);
    }
    match SlotReader::new(slots, slot, header).verify() {
        Ok(()) => Ok(true),
        Err(CommitError::Changed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a header and returns when it is on the medium.
fn write_flushed<S: Slots>(
    slots: &mut S,
    slot: Slot,
    block: &header::HeaderBytes,
) -> Result<(), CommitError> {
    let written = slots.write_at(slot, 0, block);
    written.map_err(|e| CommitError::storage(slot, 0, "writing the header", &e))?;
    flush(slots, slot)
}

fn flush<S: Slots>(slots: &mut S, slot: Slot) -> Result<(), CommitError> {
    slots.flush(slot).map_err(|e| CommitError::storage(slot, 0, "flushing", &e))
}

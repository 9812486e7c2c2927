//! The payload of a slot as a stream, hashed on the way.

use embedded_io::{ErrorType, Read, Write};
use sha2::{Digest, Sha256};

use super::header::{HEADER_BYTES, Header};
use super::{CommitError, Slot, Slots};

/// Small writes are gathered up to this many bytes; also the step in which a payload is verified.
pub(super) const CHUNK: usize = 64 * 1024;

/// Takes the payload of a commit: exactly as many bytes as were declared.
#[derive(Debug)]
pub struct SlotWriter<'a, S> {
    slots: &'a mut S,
    slot: Slot,
    declared: u64,
    accepted: u64,
    /// Accepted and not yet handed to the storage.
    buffer: Vec<u8>,
    hash: Sha256,
    failed: bool,
}

impl<'a, S: Slots> SlotWriter<'a, S> {
    pub(super) fn new(slots: &'a mut S, slot: Slot, declared: u64) -> Self {
        SlotWriter {
            slots,
            slot,
            declared,
            accepted: 0,
            buffer: Vec::new(),
            hash: Sha256::new(),
            failed: false,
        }
    }

    /// How many bytes of the declared length are still to come.
    pub fn remaining(&self) -> u64 {
        self.declared - self.accepted
    }

    /// Hands `bytes`, which end at `accepted`, to the storage.
    fn store(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        let offset = HEADER_BYTES + self.accepted - bytes.len() as u64;
        self.hash.update(bytes);
        self.slots.write_at(self.slot, offset, bytes).map_err(|error| {
            self.failed = true;
            CommitError::storage(self.slot, offset, "writing the state", &error)
        })
    }

    /// Hands over what has gathered.
    fn drain(&mut self) -> Result<(), CommitError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let stored = if buffer.is_empty() { Ok(()) } else { self.store(&buffer) };
        buffer.clear();
        self.buffer = buffer;
        stored
    }

    /// Ends the payload and gives its sha256.
    pub(super) fn finish(mut self) -> Result<[u8; 32], CommitError> {
        if self.failed {
            return Err(CommitError::FailureIgnored);
        }
        if self.accepted != self.declared {
            return Err(CommitError::WrongLength { declared: self.declared, written: self.accepted });
        }
        self.drain()?;
        Ok(self.hash.finalize().into())
    }
}

impl<S> ErrorType for SlotWriter<'_, S> {
    type Error = CommitError;
}

impl<S: Slots> Write for SlotWriter<'_, S> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, CommitError> {
        if buf.len() as u64 > self.remaining() {
            self.failed = true;
            let written = self.accepted.saturating_add(buf.len() as u64);
            return Err(CommitError::WrongLength { declared: self.declared, written });
        }
        if self.buffer.len() + buf.len() > CHUNK {
            self.drain()?;
        }
        self.accepted += buf.len() as u64;
        if buf.len() >= CHUNK {
            self.store(buf)?
        } else {
            self.buffer.extend_from_slice(buf)
        }
        Ok(buf.len())
    }

    /// Hands what has gathered to the storage. The commit itself forces it to the medium.
    fn flush(&mut self) -> Result<(), CommitError> {
        self.drain()
    }
}

/// Reads the payload of the current state. The last bytes are only given if all were what was committed.
#[derive(Debug)]
pub struct SlotReader<'a, S> {
    slots: &'a mut S,
    slot: Slot,
    header: Header,
    position: u64,
    hash: Sha256,
}

impl<'a, S: Slots> SlotReader<'a, S> {
    pub(super) fn new(slots: &'a mut S, slot: Slot, header: Header) -> Self {
        SlotReader { slots, slot, header, position: 0, hash: Sha256::new() }
    }

    /// How many bytes are still to come.
    pub fn remaining(&self) -> u64 {
        self.header.len - self.position
    }

    /// Reads what is left, in steps, to verify it.
    pub(super) fn verify(mut self) -> Result<(), CommitError> {
        let mut buffer = vec![0; CHUNK.min(usize::try_from(self.header.len).unwrap_or(CHUNK))];
        while self.remaining() > 0 {
            self.read(&mut buffer)?;
        }
        self.check()
    }

    fn changed(&self) -> CommitError {
        CommitError::Changed { slot: self.slot, sequence: self.header.sequence }
    }

    /// Compares the hash of all bytes read with the header's.
    fn check(&self) -> Result<(), CommitError> {
        let digest: [u8; 32] = self.hash.clone().finalize().into();
        if Some(digest) == self.header.digest { Ok(()) } else { Err(self.changed()) }
    }
}

impl<S> ErrorType for SlotReader<'_, S> {
    type Error = CommitError;
}

impl<S: Slots> Read for SlotReader<'_, S> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, CommitError> {
        let wanted = buf.len().min(usize::try_from(self.remaining()).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let offset = HEADER_BYTES + self.position;
        let read = self.slots.read_at(self.slot, offset, &mut buf[..wanted]);
        let read =
            read.map_err(|error| CommitError::storage(self.slot, offset, "reading the state", &error))?;
        if read == 0 {
            return Err(self.changed());
        }
        self.hash.update(&buf[..read]);
        self.position += read as u64;
        if self.remaining() == 0 {
            self.check()?;
        }
        Ok(read)
    }
}

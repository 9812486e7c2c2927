//! Where the two slots lie: the storage trait, and a block device cut in halves.

use embedded_io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};

use super::header::HEADER_BYTES;
use super::{CommitError, Slot};

/// Storage for two slots of bytes. All the commit store asks of it: after [`Slots::flush`] returns, what was
/// written to that slot before is there after a power cut; and a write to one slot never harms the other.
/// Writes that are not flushed may be lost, torn or reordered at will.
pub trait Slots {
    /// The storage's own error.
    type Error: Error;

    /// How many bytes of `slot` can be read.
    ///
    /// # Errors
    /// The storage's.
    fn size(&mut self, slot: Slot) -> Result<u64, Self::Error>;

    /// The most bytes a slot can hold; `None` if it grows.
    fn room(&self) -> Option<u64>;

    /// Fills `buf` from `offset` on and gives how many bytes there were: fewer only at the end of the slot.
    ///
    /// # Errors
    /// The storage's.
    fn read_at(&mut self, slot: Slot, offset: u64, buf: &mut [u8]) -> Result<usize, Self::Error>;

    /// Writes all of `bytes` at `offset`, which is at most the slot's present size.
    ///
    /// # Errors
    /// The storage's.
    fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Says that a slot will hold `len` bytes, so that storage which grows may give back the rest.
    ///
    /// # Errors
    /// The storage's.
    fn trim(&mut self, slot: Slot, len: u64) -> Result<(), Self::Error>;

    /// Returns when all that was written to `slot` would survive a power cut.
    ///
    /// # Errors
    /// The storage's.
    fn flush(&mut self, slot: Slot) -> Result<(), Self::Error>;
}

impl<S: Slots> Slots for &mut S {
    type Error = S::Error;

    fn size(&mut self, slot: Slot) -> Result<u64, Self::Error> {
        (**self).size(slot)
    }

    fn room(&self) -> Option<u64> {
        (**self).room()
    }

    fn read_at(&mut self, slot: Slot, offset: u64, buf: &mut [u8]) -> Result<usize, Self::Error> {
        (**self).read_at(slot, offset, buf)
    }

    fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), Self::Error> {
        (**self).write_at(slot, offset, bytes)
    }

    fn trim(&mut self, slot: Slot, len: u64) -> Result<(), Self::Error> {
        (**self).trim(slot, len)
    }

    fn flush(&mut self, slot: Slot) -> Result<(), Self::Error> {
        (**self).flush(slot)
    }
}

/// A block device (or a file, or memory) whose two halves are the slots. Needs no file system.
///
/// The device's `flush` has to reach the medium: for a raw device or a file of a computer wrap it in
/// [`SyncedFile`](crate::io::SyncedFile), because [`std::fs::File`]'s own `flush` does nothing.
#[derive(Debug, Clone)]
pub struct Halves<D> {
    device: D,
    half: u64,
}

impl<D: Read + Write + Seek> Halves<D> {
    /// Cuts `device` in two. The second half starts at a multiple of `block` bytes: give the size of what the
    /// device erases or writes at once (4096 for a disk; the erase block of flash), so that writing one half
    /// never touches the other.
    ///
    /// # Errors
    /// [`CommitError::TooSmall`] if not even an empty state would fit, [`CommitError::Storage`] if the device
    /// does not say how large it is.
    pub fn new(mut device: D, block: u32) -> Result<Self, CommitError> {
        let total = device
            .seek(SeekFrom::End(0))
            .map_err(|error| CommitError::storage(Slot::A, 0, "finding the device's size", &error))?;
        let block = u64::from(block.max(1));
        let half = total / 2 / block * block;
        if half < HEADER_BYTES {
            return Err(CommitError::TooSmall { needed: HEADER_BYTES, room: half });
        }
        Ok(Halves { device, half })
    }

    /// The device.
    pub fn into_inner(self) -> D {
        self.device
    }

    /// Moves to `offset` within `slot` and gives how many bytes are left there.
    fn go(&mut self, slot: Slot, offset: u64) -> Result<u64, ErrorKind> {
        let left = self.half.checked_sub(offset).ok_or(ErrorKind::InvalidInput)?;
        let start = self.half * slot.index() as u64;
        self.device.seek(SeekFrom::Start(start + offset)).map_err(|error| error.kind())?;
        Ok(left)
    }
}

impl<D: Read + Write + Seek> Slots for Halves<D> {
    type Error = ErrorKind;

    fn size(&mut self, _slot: Slot) -> Result<u64, ErrorKind> {
        Ok(self.half)
    }

    fn room(&self) -> Option<u64> {
        Some(self.half)
    }

    fn read_at(&mut self, slot: Slot, offset: u64, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let left = self.go(slot, offset)?;
        let wanted = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        fill(&mut self.device, &mut buf[..wanted])
    }

    fn write_at(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), ErrorKind> {
        if self.go(slot, offset)? < bytes.len() as u64 {
            return Err(ErrorKind::WriteZero);
        }
        self.device.write_all(bytes).map_err(|error| error.kind())
    }

    fn trim(&mut self, _slot: Slot, _len: u64) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn flush(&mut self, _slot: Slot) -> Result<(), ErrorKind> {
        self.device.flush().map_err(|error| error.kind())
    }
}

/// Reads until `buf` is full or the stream ends.
fn fill(stream: &mut impl Read, buf: &mut [u8]) -> Result<usize, ErrorKind> {
    let mut filled = 0;
    while filled < buf.len() {
        match stream.read(&mut buf[filled..]).map_err(|error| error.kind())? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

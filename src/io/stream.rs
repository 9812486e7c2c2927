//! Adapters from `std::io` types and from memory to `embedded_io` streams.

use embedded_io::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

/// Lends a `std::io` reader, writer or seeker to code written against `embedded_io`.
///
/// Interrupted system calls are retried, as `std`'s own helpers do.
#[derive(Debug, Clone)]
pub struct StdStream<T>(pub T);

impl<T> ErrorType for StdStream<T> {
    type Error = std::io::Error;
}

/// Repeats a call for as long as the system says it was interrupted by a signal.
fn uninterrupted<T>(mut call: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl<T: std::io::Read> Read for StdStream<T> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        uninterrupted(|| self.0.read(buf))
    }
}

impl<T: std::io::Write> Write for StdStream<T> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        // `embedded_io` forbids `Ok(0)` for a non-empty buffer (its `write_all` panics on it).
        match uninterrupted(|| self.0.write(buf))? {
            0 if !buf.is_empty() => Err(std::io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        }
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        uninterrupted(|| self.0.flush())
    }
}

impl<T: std::io::Seek> Seek for StdStream<T> {
    fn seek(&mut self, pos: SeekFrom) -> Result<u64, Self::Error> {
        self.0.seek(pos.into())
    }
}

/// A file, or a raw device of a computer, whose `flush` forces what was written to the medium, which the one of
/// [`std::fs::File`] does not.
#[derive(Debug)]
pub struct SyncedFile(pub std::fs::File);

impl ErrorType for SyncedFile {
    type Error = std::io::Error;
}

impl Read for SyncedFile {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        StdStream(&self.0).read(buf)
    }
}

impl Write for SyncedFile {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        StdStream(&self.0).write(buf)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        self.0.sync_data()
    }
}

impl Seek for SyncedFile {
    fn seek(&mut self, pos: SeekFrom) -> Result<u64, Self::Error> {
        StdStream(&self.0).seek(pos)
    }
}

/// Reads and seeks over bytes in memory: a `Vec<u8>`, a slice, or a mapped file.
#[derive(Debug, Clone)]
pub struct MemStream<B> {
    bytes: B,
    position: u64,
}

impl<B: AsRef<[u8]>> MemStream<B> {
    /// A stream at the start of `bytes`.
    pub fn new(bytes: B) -> Self {
        MemStream { bytes, position: 0 }
    }
}

impl<B> ErrorType for MemStream<B> {
    type Error = ErrorKind;
}

impl<B: AsRef<[u8]>> Read for MemStream<B> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let bytes = self.bytes.as_ref();
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(bytes.len());
        let count = buf.len().min(bytes.len() - start);
        buf[..count].copy_from_slice(&bytes[start..start + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<B: AsRef<[u8]>> Seek for MemStream<B> {
    /// Seeking past the end is allowed, as in `std`; reading there gives no bytes.
    fn seek(&mut self, pos: SeekFrom) -> Result<u64, Self::Error> {
        let target = match pos {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => (self.bytes.as_ref().len() as u64).checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_reads_and_seeks_like_a_file() {
        let bytes: Vec<u8> = (0..100).collect();
        let file = {
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, &bytes).unwrap();
            file
        };
        let mut file = StdStream(file);
        let mut memory = MemStream::new(&bytes);
        let moves = [
            SeekFrom::Start(0),
            SeekFrom::End(-3),
            SeekFrom::Current(-1),
            SeekFrom::Start(500),
            SeekFrom::Current(-470),
            SeekFrom::End(0),
        ];
        for step in moves {
            assert_eq!(memory.seek(step).unwrap(), file.seek(step).unwrap(), "{step:?}");
            let (mut a, mut b) = ([0u8; 7], [0u8; 7]);
            assert_eq!(memory.read(&mut a).unwrap(), file.read(&mut b).unwrap(), "{step:?}");
            assert_eq!(a, b, "{step:?}");
        }
        assert_eq!(memory.seek(SeekFrom::End(-101)), Err(ErrorKind::InvalidInput));
        assert!(file.seek(SeekFrom::End(-101)).is_err());
    }

    #[test]
    fn a_writer_that_takes_nothing_is_an_error() {
        let mut full = StdStream(std::io::Cursor::new([0u8; 2]));
        assert_eq!(full.write(b"abc").unwrap(), 2);
        assert_eq!(full.write(b"c").unwrap_err().kind(), std::io::ErrorKind::WriteZero);
        assert_eq!(full.write(b"").unwrap(), 0);
    }
}

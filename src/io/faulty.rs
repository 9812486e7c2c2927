//! A stream that fails on demand, for tests of what happens when a disk or a cable gives up.

use embedded_io::{Error, ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

/// Wraps a stream and, after a given number of bytes, fails or ends; it may also stutter, giving only a few
/// bytes per call. A write that crosses the limit lands up to the limit first, as a power cut would leave it.
#[derive(Debug, Clone)]
pub struct Faulty<S> {
    inner: S,
    left: u64,
    ends_quietly: bool,
    chunk: usize,
}

impl<S> Faulty<S> {
    /// The stream as it is, until one of the other methods breaks it.
    pub fn new(inner: S) -> Self {
        Faulty { inner, left: u64::MAX, ends_quietly: false, chunk: usize::MAX }
    }

    /// After `bytes` bytes have been read or written in all, every call gives [`ErrorKind::Other`].
    pub fn fail_after(self, bytes: u64) -> Self {
        Faulty { left: bytes, ends_quietly: false, ..self }
    }

    /// After `bytes` bytes, reads give the end of the stream and writes give [`ErrorKind::WriteZero`].
    pub fn end_after(self, bytes: u64) -> Self {
        Faulty { left: bytes, ends_quietly: true, ..self }
    }

    /// No call moves more than `bytes` bytes (at least one).
    pub fn at_most(self, bytes: usize) -> Self {
        Faulty { chunk: bytes.max(1), ..self }
    }

    /// The wrapped stream.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// How many of `wanted` bytes this call may move.
    fn allowed(&self, wanted: usize) -> usize {
        wanted.min(self.chunk).min(usize::try_from(self.left).unwrap_or(usize::MAX))
    }
}

impl<S> ErrorType for Faulty<S> {
    type Error = ErrorKind;
}

impl<S: Read> Read for Faulty<S> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let allowed = self.allowed(buf.len());
        if allowed == 0 && !buf.is_empty() {
            return if self.ends_quietly { Ok(0) } else { Err(ErrorKind::Other) };
        }
        let read = self.inner.read(&mut buf[..allowed]).map_err(|error| error.kind())?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl<S: Write> Write for Faulty<S> {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let allowed = self.allowed(buf.len());
        if allowed == 0 && !buf.is_empty() {
            return Err(if self.ends_quietly { ErrorKind::WriteZero } else { ErrorKind::Other });
        }
        let written = self.inner.write(&buf[..allowed]).map_err(|error| error.kind())?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        self.inner.flush().map_err(|error| error.kind())
    }
}

impl<S: Seek> Seek for Faulty<S> {
    fn seek(&mut self, pos: SeekFrom) -> Result<u64, ErrorKind> {
        self.inner.seek(pos).map_err(|error| error.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::MemStream;

    #[test]
    fn reads_stutter_then_fail_or_end() {
        let mut buf = [0u8; 8];
        let mut failing = Faulty::new(MemStream::new([7u8; 8])).at_most(3).fail_after(5);
        assert_eq!(failing.read(&mut buf), Ok(3));
        assert_eq!(failing.read(&mut buf), Ok(2));
        assert_eq!(failing.read(&mut buf), Err(ErrorKind::Other));
        let mut ending = Faulty::new(MemStream::new([7u8; 8])).end_after(5);
        assert_eq!(ending.read(&mut buf), Ok(5));
        assert_eq!(ending.read(&mut buf), Ok(0));
    }

    #[test]
    fn a_write_across_the_limit_lands_up_to_it() {
        let mut out = Faulty::new(Vec::new()).fail_after(4);
        assert_eq!(out.write(b"abc"), Ok(3));
        assert_eq!(out.write(b"def"), Ok(1));
        assert_eq!(out.write(b"ef"), Err(ErrorKind::Other));
        assert_eq!(out.into_inner(), b"abcd");
    }
}

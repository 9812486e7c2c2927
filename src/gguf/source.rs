//! Reading little-endian fields from a stream without believing what they claim.

use std::fmt::Display;

use embedded_io::{Read, Seek, SeekFrom};

use super::error::GgufError;

/// Bytes fetched at a time.
const BUFFER: usize = 4096;
/// Memory that a header may take: this many times the size of its file, ...
const MEMORY_FACTOR: u64 = 4;
/// ... and this much besides, so that rounding cannot fail a file of a few bytes.
const MEMORY_SLACK: u64 = 1024;

/// A buffered reader that knows how long its stream is and how much memory may still be taken for it. Every
/// method checks a claim against the bytes left before it acts on it; `what` names the claim in the error.
pub(super) struct Source<S> {
    inner: S,
    len: u64,
    /// The offset of the next byte to give out.
    pos: u64,
    /// The offset of `buffer[0]` in the stream.
    base: u64,
    /// How much of the buffer holds bytes. The inner stream stands at `base + filled`.
    filled: usize,
    buffer: [u8; BUFFER],
    memory_left: u64,
}

impl<S: Read + Seek> Source<S> {
    /// Measures the stream and stands at its start.
    pub fn open(mut inner: S) -> Result<Self, GgufError> {
        let len = inner.seek(SeekFrom::End(0)).map_err(|e| GgufError::reading(0, &e))?;
        inner.seek(SeekFrom::Start(0)).map_err(|e| GgufError::reading(0, &e))?;
        let memory_left = len.saturating_mul(MEMORY_FACTOR).saturating_add(MEMORY_SLACK);
        Ok(Source { inner, len, pos: 0, base: 0, filled: 0, buffer: [0; BUFFER], memory_left })
    }

    /// Bytes in the stream.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The offset of the next byte.
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// Bytes from here to the end.
    pub fn left(&self) -> u64 {
        self.len.saturating_sub(self.pos)
    }

    /// Fails unless `count` things of at least `size` bytes each can follow.
    pub fn check_room(&self, count: u64, size: u64, what: &dyn Display) -> Result<(), GgufError> {
        let needed = count.saturating_mul(size);
        if needed > self.left() {
            let (offset, what, left) = (self.pos, what.to_string(), self.left());
            return Err(GgufError::Truncated { offset, what, needed, left });
        }
        Ok(())
    }

    /// Takes `bytes` from the memory that may be used for this stream. Never given back: the promise is about
    /// all that is ever taken.
    pub fn claim(&mut self, bytes: u64, what: &dyn Display) -> Result<(), GgufError> {
        match self.memory_left.checked_sub(bytes) {
            Some(left) => {
                self.memory_left = left;
                Ok(())
            }
            None => Err(self.no_memory(bytes, what)),
        }
    }

    fn no_memory(&self, needed: u64, what: &dyn Display) -> GgufError {
        GgufError::Memory { offset: self.pos, what: what.to_string(), needed }
    }

    /// An empty vector with room for exactly `count` elements, claimed.
    pub fn vec_for<T>(&mut self, count: u64, what: &dyn Display) -> Result<Vec<T>, GgufError> {
        let bytes = count.saturating_mul(size_of::<T>() as u64);
        self.claim(bytes, what)?;
        let mut vec = Vec::new();
        let count = usize::try_from(count).map_err(|_| self.no_memory(bytes, what))?;
        vec.try_reserve_exact(count).map_err(|_| self.no_memory(bytes, what))?;
        Ok(vec)
    }

    /// Moves to `target`, which must lie within the stream.
    pub fn seek(&mut self, target: u64) -> Result<(), GgufError> {
        let buffered = target >= self.base && target - self.base <= self.filled as u64;
        if !buffered {
            self.inner.seek(SeekFrom::Start(target)).map_err(|e| GgufError::reading(target, &e))?;
            self.base = target;
            self.filled = 0;
        }
        self.pos = target;
        Ok(())
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64, what: &dyn Display) -> Result<(), GgufError> {
        self.check_room(count, 1, what)?;
        self.seek(self.pos + count)
    }

    /// Fills `out`.
    pub fn read(&mut self, out: &mut [u8], what: &dyn Display) -> Result<(), GgufError> {
        self.check_room(out.len() as u64, 1, what)?;
        let mut done = 0;
        while done < out.len() {
            let at = (self.pos - self.base) as usize;
            if at == self.filled {
                self.refill(what)?;
                continue;
            }
            let count = (out.len() - done).min(self.filled - at);
            out[done..done + count].copy_from_slice(&self.buffer[at..at + count]);
            done += count;
            self.pos += count as u64;
        }
        Ok(())
    }

    /// Fetches the next bytes into an exhausted buffer.
    fn refill(&mut self, what: &dyn Display) -> Result<(), GgufError> {
        let count = self.inner.read(&mut self.buffer).map_err(|e| GgufError::reading(self.pos, &e))?;
        if count == 0 {
            // The stream was longer a moment ago.
            let what = what.to_string();
            return Err(GgufError::Truncated { offset: self.pos, what, needed: 1, left: 0 });
        }
        self.base = self.pos;
        self.filled = count.min(BUFFER);
        Ok(())
    }

    /// The next `N` bytes.
    pub fn bytes<const N: usize>(&mut self, what: &dyn Display) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.read(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self, what: &dyn Display) -> Result<u8, GgufError> {
        Ok(u8::from_le_bytes(self.bytes(what)?))
    }

    /// The next four bytes.
    pub fn u32(&mut self, what: &dyn Display) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    /// The next eight bytes.
    pub fn u64(&mut self, what: &dyn Display) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    /// The next `length` bytes, in memory of exactly that size.
    pub fn blob(&mut self, length: u64, what: &dyn Display) -> Result<Vec<u8>, GgufError> {
        self.check_room(length, 1, what)?;
        let mut blob = self.vec_for(length, what)?;
        blob.resize(length as usize, 0);
        self.read(&mut blob, what)?;
        Ok(blob)
    }

    /// The next string: its length in eight bytes, then UTF-8 of at most `max` bytes.
    pub fn string(&mut self, max: u64, what: &dyn Display) -> Result<Box<str>, GgufError> {
        let offset = self.pos;
        let length = self.u64(what)?;
        self.check_room(length, 1, what)?;
        if length > max {
            return Err(GgufError::NameLength { offset, what: what.to_string(), length, max });
        }
        let text = String::from_utf8(self.blob(length, what)?);
        text.map(String::into_boxed_str).map_err(|_| GgufError::Utf8 { offset, what: what.to_string() })
    }

    /// The next string, which must be a name: not empty, at most `max` bytes.
    pub fn name(&mut self, max: u64, what: &dyn Display) -> Result<Box<str>, GgufError> {
        let offset = self.pos;
        let name = self.string(max, what)?;
        if name.is_empty() {
            return Err(GgufError::NameLength { offset, what: what.to_string(), length: 0, max });
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Faulty, MemStream};

    /// Whatever the order of reads and moves, the bytes are those of the stream.
    #[test]
    fn gives_the_bytes_of_the_stream() {
        let bytes: Vec<u8> = (0..3 * BUFFER + 17).map(|i| (i * 7 + i / 251) as u8).collect();
        for chunk in [1, 13, usize::MAX] {
            let mut source = Source::open(Faulty::new(MemStream::new(&bytes)).at_most(chunk)).unwrap();
            let mut state = 1u64;
            for _ in 0..400 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let target = (state >> 33) % (bytes.len() as u64 + 1);
                match state >> 62 {
                    0 => source.seek(target).unwrap(),
                    1 if target <= source.left() => source.skip(target, &"x").unwrap(),
                    _ => {
                        let mut out = vec![0; (target % 5000).min(source.left()) as usize];
                        let at = source.pos() as usize;
                        source.read(&mut out, &"x").unwrap();
                        assert_eq!(out, &bytes[at..at + out.len()]);
                    }
                }
            }
        }
    }

    #[test]
    fn claims_are_checked_before_anything_is_taken() {
        let mut source = Source::open(MemStream::new([0xffu8; 16])).unwrap();
        let error = source.string(u64::MAX, &"a name").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "offset 8: a name needs {} bytes and the file has 8 left; it is damaged or cut off: fetch it again",
                u64::MAX
            )
        );
        assert!(matches!(source.vec_for::<u64>(u64::MAX, &"v"), Err(GgufError::Memory { .. })));
        assert!(source.vec_for::<u8>(4 * 16, &"v").is_ok());
        assert!(matches!(source.claim(MEMORY_SLACK + 1, &"v"), Err(GgufError::Memory { .. })));
    }

    #[test]
    fn a_failing_stream_is_named_with_its_offset() {
        let mut source = Source::open(Faulty::new(MemStream::new([0u8; 100])).fail_after(10)).unwrap();
        let error = source.blob(50, &"x").unwrap_err();
        assert!(matches!(error, GgufError::Read { offset: 10, .. }), "{error}");
        let mut source = Source::open(Faulty::new(MemStream::new([0u8; 100])).end_after(10)).unwrap();
        assert!(matches!(source.blob(50, &"x"), Err(GgufError::Truncated { offset: 10, left: 0, .. })));
    }
}

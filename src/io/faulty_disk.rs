//! A disk in memory that loses its power, for tests of what survives.

use std::collections::BTreeMap;

use embedded_io::{ErrorKind, ErrorType, Read, Seek, SeekFrom, Write};

/// What becomes of blocks that were written and not flushed when the power goes.
#[derive(Debug, Clone, Copy)]
pub enum Unflushed {
    /// All of them reached the medium.
    Kept,
    /// None did.
    Lost,
    /// Each block by itself: kept, lost, one of several versions written, torn at some byte, or noise.
    Random(u64),
}

/// A disk with a write cache and a switch. Reads see what was written; [`FaultyDisk::power_cut`] gives what is
/// on the medium. Power is counted in units: one per byte written and one per flush.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    medium: Vec<u8>,
    cache: Vec<u8>,
    /// By block: what it held after each write since the last flush.
    pending: BTreeMap<usize, Vec<Vec<u8>>>,
    block: usize,
    position: u64,
    power: u64,
    used: u64,
}

impl FaultyDisk {
    /// A disk of `size` bytes, all zero, that writes blocks of `block` bytes.
    pub fn new(size: usize, block: usize) -> Self {
        Self::with_contents(vec![0; size], block)
    }

    /// A disk that holds `medium`.
    pub fn with_contents(medium: Vec<u8>, block: usize) -> Self {
        FaultyDisk {
            cache: medium.clone(),
            medium,
            pending: BTreeMap::new(),
            block: block.max(1),
            position: 0,
            power: u64::MAX,
            used: 0,
        }
    }

    /// From now on there is power for `units`. A write that crosses the limit lands up to it; a flush at the
    /// limit does not happen. Then every write and flush fails with [`ErrorKind::Other`].
    pub fn power_for(mut self, units: u64) -> Self {
        self.power = units;
        self.used = 0;
        self
    }

    /// Units used since [`FaultyDisk::power_for`], or since the beginning.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Cuts the power and gives the disk as it is when the power is back, with power for ever.
    pub fn power_cut(mut self, unflushed: Unflushed) -> Self {
        for (&index, versions) in &self.pending {
            let start = index * self.block;
            let end = (start + self.block).min(self.medium.len());
            let old = &mut self.medium[start..end];
            match unflushed {
                Unflushed::Kept => old.copy_from_slice(&self.cache[start..end]),
                Unflushed::Lost => {}
                Unflushed::Random(seed) => settle(old, versions, seed ^ (index as u64) << 32),
            }
        }
        Self::with_contents(self.medium, self.block)
    }

    /// Takes one write up to the limit into the cache, block by block.
    fn put(&mut self, bytes: &[u8]) {
        let mut at = self.position as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let index = at / self.block;
            let (start, end) = (index * self.block, ((index + 1) * self.block).min(self.cache.len()));
            let count = rest.len().min(end - at);
            self.cache[at..at + count].copy_from_slice(&rest[..count]);
            self.pending.entry(index).or_default().push(self.cache[start..end].to_vec());
            at += count;
            rest = &rest[count..];
        }
        self.position = at as u64;
    }
}

/// What the power cut makes of one block, decided by `seed`.
fn settle(old: &mut [u8], versions: &[Vec<u8>], seed: u64) {
    let mut state = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut random = |below: usize| {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    };
    let Some(newest) = versions.last() else { return };
    let any = &versions[random(versions.len())];
    let tear = random(old.len() + 1);
    match random(6) {
        0 | 1 => old.copy_from_slice(newest),
        2 => {}
        3 => old[..tear].copy_from_slice(&any[..tear]),
        4 => old[tear..].copy_from_slice(&any[tear..]),
        _ => old.iter_mut().for_each(|byte| *byte = random(256) as u8),
    }
}

impl ErrorType for FaultyDisk {
    type Error = ErrorKind;
}

impl Read for FaultyDisk {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let start = usize::try_from(self.position).unwrap_or(usize::MAX).min(self.cache.len());
        let count = buf.len().min(self.cache.len() - start);
        buf[..count].copy_from_slice(&self.cache[start..start + count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Write for FaultyDisk {
    fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let room = (self.cache.len() as u64).saturating_sub(self.position);
        let allowed = (buf.len() as u64).min(room).min(self.power - self.used) as usize;
        if allowed == 0 && !buf.is_empty() {
            return Err(if room == 0 { ErrorKind::WriteZero } else { ErrorKind::Other });
        }
        self.put(&buf[..allowed]);
        self.used += allowed as u64;
        Ok(allowed)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        if self.used == self.power {
            return Err(ErrorKind::Other);
        }
        self.used += 1;
        self.medium.copy_from_slice(&self.cache);
        self.pending.clear();
        Ok(())
    }
}

impl Seek for FaultyDisk {
    fn seek(&mut self, pos: SeekFrom) -> Result<u64, ErrorKind> {
        let target = match pos {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => (self.cache.len() as u64).checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = target.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(disk: &FaultyDisk) -> &[u8] {
        &disk.cache
    }

    #[test]
    fn only_what_was_flushed_is_sure_to_stay() {
        let mut disk = FaultyDisk::new(8, 2);
        disk.write_all(b"abcd").unwrap();
        disk.flush().unwrap();
        disk.write_all(b"efg").unwrap();
        assert_eq!(contents(&disk), b"abcdefg\0");
        assert_eq!(contents(&disk.clone().power_cut(Unflushed::Lost)), b"abcd\0\0\0\0");
        assert_eq!(contents(&disk.clone().power_cut(Unflushed::Kept)), b"abcdefg\0");
        let outcomes: std::collections::BTreeSet<Vec<u8>> =
            (0..100).map(|seed| disk.clone().power_cut(Unflushed::Random(seed)).cache).collect();
        assert!(outcomes.iter().all(|bytes| bytes.starts_with(b"abcd")));
        // Each of two blocks kept, lost and torn, among others; also the later one without the earlier.
        for expected in [&b"abcd\0\0\0\0"[..], b"abcdefg\0", b"abcd\0\0g\0", b"abcdef\0\0", b"abcde\0g\0"] {
            assert!(outcomes.contains(expected), "{expected:?}");
        }
    }

    #[test]
    fn power_runs_out_within_a_write_and_before_a_flush() {
        let mut disk = FaultyDisk::new(8, 4).power_for(3);
        assert_eq!(disk.write(b"abcd"), Ok(3));
        assert_eq!((disk.write(b"d"), disk.flush()), (Err(ErrorKind::Other), Err(ErrorKind::Other)));
        assert_eq!(disk.used(), 3);
        let mut disk = disk.power_cut(Unflushed::Kept);
        assert_eq!(contents(&disk), b"abc\0\0\0\0\0");
        disk.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(disk.write(b"x"), Err(ErrorKind::WriteZero));
    }
}

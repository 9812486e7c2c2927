//! The first 512 bytes of a slot.

use sha2::{Digest, Sha256};

/// Bytes in front of a slot's payload.
pub const HEADER_BYTES: u64 = 512;
const SIZE: usize = HEADER_BYTES as usize;
const MAGIC: [u8; 8] = *b"EMBRSLOT";
const VERSION: u32 = 1;
const WRITING: u32 = 1;
const SEALED: u32 = 2;
/// Where the checksum of the bytes before it lies.
const CHECKSUM: usize = SIZE - 32;

/// A header block as bytes.
pub type HeaderBytes = [u8; SIZE];

/// What a slot says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The number of the commit, counted from 1.
    pub sequence: u64,
    /// Bytes of payload behind the header.
    pub len: u64,
    /// The payload's sha256 once the commit is complete; `None` while it is being written.
    pub digest: Option<[u8; 32]>,
}

/// What a header block turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Never written, or erased: all zeros or all ones (erased flash).
    Blank,
    /// Sound.
    Sound(Header),
    /// Sound, but made by another version of the format.
    Version(u32),
    /// Torn or damaged.
    Damaged,
}

impl Header {
    /// Little-endian: magic, version, state (1 writing, 2 sealed), sequence, length, the payload's sha256, zeros,
    /// and the sha256 of all this.
    pub fn encode(&self) -> HeaderBytes {
        let mut block = [0; SIZE];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let state = if self.digest.is_some() { SEALED } else { WRITING };
        block[12..16].copy_from_slice(&state.to_le_bytes());
        block[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        block[24..32].copy_from_slice(&self.len.to_le_bytes());
        block[32..64].copy_from_slice(&self.digest.unwrap_or_default());
        let checksum = Sha256::digest(&block[..CHECKSUM]);
        block[CHECKSUM..].copy_from_slice(&checksum);
        block
    }

    /// Reads a block back.
    pub fn parse(block: &HeaderBytes) -> Parsed {
        if block.iter().all(|&byte| byte == 0) || block.iter().all(|&byte| byte == 0xff) {
            return Parsed::Blank;
        }
        let checksum = Sha256::digest(&block[..CHECKSUM]);
        if block[..8] != MAGIC || block[CHECKSUM..] != checksum[..] {
            return Parsed::Damaged;
        }
        match u32_at(block, 8) {
            VERSION => {}
            other => return Parsed::Version(other),
        }
        let digest = match u32_at(block, 12) {
            WRITING => None,
            SEALED => Some(std::array::from_fn(|i| block[32 + i])),
            _ => return Parsed::Damaged,
        };
        Parsed::Sound(Header { sequence: u64_at(block, 16), len: u64_at(block, 24), digest })
    }
}

fn u32_at(block: &HeaderBytes, at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| block[at + i]))
}

fn u64_at(block: &HeaderBytes, at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| block[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        for digest in [None, Some([7; 32])] {
            let header = Header { sequence: 9, len: 1 << 40, digest };
            let block = header.encode();
            assert_eq!(Header::parse(&block), Parsed::Sound(header));
            for at in 0..SIZE {
                for bit in 0..8 {
                    let mut flipped = block;
                    flipped[at] ^= 1 << bit;
                    assert_eq!(Header::parse(&flipped), Parsed::Damaged, "byte {at}, bit {bit}");
                }
            }
        }
        assert_eq!(Header::parse(&[0; SIZE]), Parsed::Blank);
        assert_eq!(Header::parse(&[0xff; SIZE]), Parsed::Blank);
    }

    #[test]
    fn another_version_is_not_taken_for_damage() {
        let mut block = Header { sequence: 1, len: 0, digest: None }.encode();
        block[8] = 2;
        let checksum = Sha256::digest(&block[..CHECKSUM]);
        block[CHECKSUM..].copy_from_slice(&checksum);
        assert_eq!(Header::parse(&block), Parsed::Version(2));
    }
}

//! A map from pairs of symbols, for the innermost loop of BPE.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A map whose keys are two symbols packed in 64 bits, see [`pack`].
pub(crate) type PairMap<V> = HashMap<u64, V, PairHash>;

/// Two symbols in one key.
pub(crate) fn pack(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// One wide multiplication with a random factor: a few times faster than the standard hash, and still nobody can
/// prepare a vocabulary whose pairs all collide.
#[derive(Clone)]
pub(crate) struct PairHash {
    offset: u64,
    factor: u64,
}

impl Default for PairHash {
    fn default() -> Self {
        let random = RandomState::new();
        Self { offset: random.hash_one(0), factor: random.hash_one(1) | 1 }
    }
}

impl BuildHasher for PairHash {
    type Hasher = PairHasher;

    fn build_hasher(&self) -> PairHasher {
        PairHasher { state: self.offset, factor: self.factor }
    }
}

/// The hash of one key.
pub(crate) struct PairHasher {
    state: u64,
    factor: u64,
}

impl Hasher for PairHasher {
    fn write_u64(&mut self, key: u64) {
        let wide = u128::from(self.state ^ key) * u128::from(self.factor);
        self.state = (wide >> 64) as u64 ^ wide as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(u64::from(b)));
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_the_low_and_the_high_bits() {
        let hash = PairHash::default();
        for shift in [0, 57] {
            let mut seen = [0u32; 128];
            for left in 0..128 {
                for right in 0..100 {
                    seen[(hash.hash_one(pack(left, right * 64)) >> shift) as usize & 127] += 1;
                }
            }
            assert!(seen.iter().all(|&n| (20..400).contains(&n)), "{seen:?}");
        }
    }
}

//! A random order of numbers that takes no memory.

use crate::train::data::mix;

/// Rounds of the network. Four make it look random to those who may ask (Luby and Rackoff, "How to construct pseudorandom
/// permutations", 1988); two more are for halves of a bit or two.
const ROUNDS: usize = 6;

/// A permutation of `0..len`: a Feistel network over the next even number of bits, and walking along its cycles until the result is
/// below `len` (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Fewer than four steps on average.
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    /// Bits of half a number.
    half: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` for a seed and one of its streams, such as an epoch.
    pub fn new(len: u64, seed: u64, stream: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let base = mix(mix(seed ^ 0x5045_524d_5554_4531) ^ mix(stream.wrapping_add(0x9E37_79B9_7F4A_7C15)));
        let keys = std::array::from_fn(|round| mix(base.wrapping_add(round as u64 + 1)));
        Self { len, half: bits.div_ceil(2).max(1), keys }
    }

    /// Where `index` goes; numbers from the length on stay where they are.
    pub fn at(&self, index: u64) -> u64 {
        if index >= self.len {
            return index;
        }
        let mut place = self.network(index);
        // The network is one to one over a larger domain, so that this comes back to `index` at the latest.
        while place >= self.len {
            place = self.network(place);
        }
        place
    }

    fn network(&self, number: u64) -> u64 {
        let mask = (1u64 << self.half) - 1;
        let (mut left, mut right) = (number >> self.half, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half | right
    }
}

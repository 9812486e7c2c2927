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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn permutations_are_permutations() {
        for len in 1..=2000u64 {
            let order = Permutation::new(len, 7, len % 3);
            let all: BTreeSet<u64> = (0..len).map(|i| order.at(i)).collect();
            assert!(all.len() as u64 == len && all.last() < Some(&len), "{len}");
        }
        for len in [1 << 16, 100_003, (1 << 20) + 1] {
            let order = Permutation::new(len, 1, 2);
            let mut seen = vec![false; len as usize];
            (0..len)
                .for_each(|i| assert!(!std::mem::replace(&mut seen[order.at(i) as usize], true), "{len}"));
        }
        for len in [1 << 40, (1 << 40) + 1, u64::MAX / 3, u64::MAX] {
            let order = Permutation::new(len, 3, 4);
            let some: BTreeSet<u64> = (0..5000).map(|i| order.at(i * (len / 5000))).collect();
            assert!(some.len() == 5000 && some.iter().all(|p| *p < len));
        }
        // Neighbours do not stay neighbours, and seeds and streams differ.
        let order = |seed, stream| {
            (0..1000).map(move |i| Permutation::new(1000, seed, stream).at(i)).collect::<Vec<_>>()
        };
        let near = order(1, 1).windows(2).filter(|p| p[0].abs_diff(p[1]) == 1).count();
        assert!(near < 12, "{near}");
        assert!(order(1, 1) != order(1, 2) && order(1, 1) != order(2, 1));
        assert_eq!(Permutation::new(0, 1, 1).at(5), 5);
    }
}

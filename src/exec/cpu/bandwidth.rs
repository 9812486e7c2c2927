//! How fast this machine reads memory: what the weights could stream at, at best.

use std::time::Instant;

/// Read at least so much, so that it does not fit the caches.
const LEAST: u64 = 128 << 20;
/// And at most so much.
const MOST: u64 = 512 << 20;
/// The best of so many passes counts.
const PASSES: usize = 5;

/// GB/s of `threads` that read about `bytes` together.
pub fn measure(bytes: u64, threads: usize) -> f64 {
    best_pass(bytes.clamp(LEAST, MOST) as usize, threads.max(1))
}

/// Threads sum a buffer together.
fn best_pass(bytes: usize, threads: usize) -> f64 {
    let buffer: Vec<u64> = (0..bytes as u64 / 8).collect();
    let share = buffer.len().div_ceil(threads);
    let pass = || {
        let start = Instant::now();
        let sum = std::thread::scope(|scope| {
            let parts: Vec<_> = buffer.chunks(share).map(|part| scope.spawn(move || sum(part))).collect();
            parts.into_iter().filter_map(|part| part.join().ok()).fold(0, u64::wrapping_add)
        });
        std::hint::black_box(sum);
        start.elapsed().as_secs_f64()
    };
    let best = (0..PASSES).map(|_| pass()).fold(f64::INFINITY, f64::min);
    (buffer.len() * 8) as f64 / best / 1e9
}

/// Eight sums, so that the additions do not wait for each other.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 8];
    let (blocks, rest) = words.as_chunks::<8>();
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block) {
            *sum = sum.wrapping_add(*word);
        }
    }
    rest.iter().chain(&sums).fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_words_are_read() {
        let words: Vec<u64> = (0..1003).collect();
        assert_eq!(sum(&words), 1003 * 1002 / 2);
        assert!(best_pass(1 << 20, 2) > 0.0);
    }
}

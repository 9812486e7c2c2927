//! The 16-bit number format of the KV cache: blocks of four values with a shared exponent (`shaders/kv/block16.wgsl` mirrors it).
//!
//! A block is four 16-bit lanes. The upper 14 bits of a lane are a mantissa `m` in two's complement; the lower two are
//! bits 2i and 2i + 1 of the block's exponent byte `t`, i being the lane. The value is `m * 2^(t - 109)`: a lane with its
//! lower bits cleared, moved to the top of a word, read as an integer, times the float whose exponent field is `t`.
//!
//! `t` follows from the largest of the four, which gets 13 significant bits, ties to even: half a step is 2^-13 to
//! 2^-14 of it, where an IEEE half float is off by up to 2^-11 to 2^-12. Steps end at 2^-108. Four zero words are
//! four zeros. A block with an infinity or a NaN reads as four NaN (`t` = 255, no mantissas); a device that computes
//! without NaN may read zeros.

#[cfg(target_arch = "x86_64")]
use crate::simd::Level;

/// Values that share an exponent.
pub const BLOCK: usize = 4;
/// Least exponent field of a block's largest value; below it the step stays the same.
const LEAST: u32 = 31;
/// Exponent field of the largest value less that of the step, counted for mantissas at the top of a word.
const TOP: u32 = 30;
/// Exponent fields of a float and of 2^18 times its inverse add up to this.
const INVERSE: u32 = 2 * 127 - 18;
/// Mantissas are symmetric, so that no value grows beyond its binade.
const LARGEST: f32 = 8191.0;

/// Adding and taking this off rounds what is smaller than 2^22 to an integer, ties to even, in any instruction set.
const ROUND: f32 = 12_582_912.0;

/// Four values as lanes.
pub fn pack(x: [f32; BLOCK]) -> [u16; BLOCK] {
    let exponent = x.iter().fold(0, |largest, v| largest.max(v.to_bits() & 0x7fff_ffff)) >> 23;
    if exponent == 255 {
        return [3; BLOCK];
    }
    let step = exponent.max(LEAST) - TOP;
    let inverse = f32::from_bits((INVERSE - step) << 23);
    std::array::from_fn(|i| {
        let mantissa = ((x[i] * inverse + ROUND) - ROUND).clamp(-LARGEST, LARGEST) as i32 as i16;
        (mantissa << 2) as u16 | (step >> (2 * i)) as u16 & 3
    })
}

/// The four values of a block.
pub fn unpack(lanes: [u16; BLOCK]) -> [f32; BLOCK] {
    let bits = |i: usize| u32::from(lanes[i] & 3) << (2 * i);
    let step = f32::from_bits((bits(0) | bits(1) | bits(2) | bits(3)) << 23);
    lanes.map(|lane| ((u32::from(lane & !3) << 16) as i32) as f32 * step)
}

/// The values of whole blocks.
pub fn unpack_row(lanes: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if Level::in_use() >= Level::Avx2 {
        // SAFETY: that level is in use on CPUs that have AVX2 alone.
        return unsafe { unpack_row_avx2(lanes, out) };
    }
    unpack_pairs(lanes, out);
}

/// Two blocks at a time.
fn unpack_pairs(lanes: &[u16], out: &mut [f32]) {
    let (pairs, lanes) = lanes.as_chunks::<{ 2 * BLOCK }>();
    let (out_pairs, out) = out.as_chunks_mut::<{ 2 * BLOCK }>();
    for (out, lanes) in out_pairs.iter_mut().zip(pairs) {
        *out = unpack_pair(*lanes);
    }
    for (out, lanes) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(lanes.as_chunks::<BLOCK>().0) {
        *out = unpack(*lanes);
    }
}

/// Two blocks at once.
#[cfg(target_arch = "x86_64")]
fn unpack_pair(lanes: [u16; 2 * BLOCK]) -> [f32; 2 * BLOCK] {
    // SAFETY: every x86-64 CPU has SSE2.
    unsafe { unpack_pair_sse2(lanes) }
}

/// Attention reads the cache once a query head, and the compiler does not find this by itself (0.16 against 0.34 ns a value).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn unpack_pair_sse2(lanes: [u16; 2 * BLOCK]) -> [f32; 2 * BLOCK] {
    use std::arch::x86_64::*;
    let lanes: __m128i = bytemuck::cast(lanes);
    let bits = _mm_and_si128(lanes, _mm_set1_epi16(3));
    let halves = _mm_madd_epi16(bits, _mm_set_epi16(64, 16, 4, 1, 64, 16, 4, 1));
    let swapped = _mm_shuffle_epi32::<0b10_11_00_01>(halves);
    // Each block's step, twice.
    let steps = _mm_slli_epi32::<23>(_mm_add_epi32(halves, swapped));
    let mantissas = _mm_and_si128(lanes, _mm_set1_epi16(!3));
    let zero = _mm_setzero_si128();
    let low = _mm_cvtepi32_ps(_mm_unpacklo_epi16(zero, mantissas));
    let high = _mm_cvtepi32_ps(_mm_unpackhi_epi16(zero, mantissas));
    bytemuck::cast([
        _mm_mul_ps(low, _mm_castsi128_ps(_mm_unpacklo_epi32(steps, steps))),
        _mm_mul_ps(high, _mm_castsi128_ps(_mm_unpackhi_epi32(steps, steps))),
    ])
}

/// Four blocks at a time, to the same bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unpack_row_avx2(lanes: &[u16], out: &mut [f32]) {
    use std::arch::x86_64::*;
    let (fours, lanes) = lanes.as_chunks::<{ 4 * BLOCK }>();
    let (out_fours, out) = out.as_chunks_mut::<{ 4 * BLOCK }>();
    for (out, lanes) in out_fours.iter_mut().zip(fours) {
        let lanes: __m256i = bytemuck::cast(*lanes);
        let bits = _mm256_and_si256(lanes, _mm256_set1_epi16(3));
        let halves = _mm256_madd_epi16(bits, _mm256_set1_epi64x(0x0040_0010_0004_0001));
        let swapped = _mm256_shuffle_epi32::<0b10_11_00_01>(halves);
        let steps = _mm256_slli_epi32::<23>(_mm256_add_epi32(halves, swapped));
        let mantissas = _mm256_and_si256(lanes, _mm256_set1_epi16(!3));
        let zero = _mm256_setzero_si256();
        let low = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(zero, mantissas));
        let high = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(zero, mantissas));
        // The first and third block, then the second and fourth.
        let low = _mm256_mul_ps(low, _mm256_castsi256_ps(_mm256_unpacklo_epi32(steps, steps)));
        let high = _mm256_mul_ps(high, _mm256_castsi256_ps(_mm256_unpackhi_epi32(steps, steps)));
        let (first, second) =
            (_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high));
        *out = bytemuck::cast([first, second]);
    }
    unpack_pairs(lanes, out);
}

/// Two blocks at once.
#[cfg(not(target_arch = "x86_64"))]
fn unpack_pair(lanes: [u16; 2 * BLOCK]) -> [f32; 2 * BLOCK] {
    let [a, b, c, d, e, f, g, h] = lanes;
    bytemuck::cast([unpack([a, b, c, d]), unpack([e, f, g, h])])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of every size, their values of either sign and within a factor of 2^5, from a fixed sequence of bits.
    fn blocks(count: usize) -> impl Iterator<Item = [f32; BLOCK]> {
        let mut state = 1u32;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state ^ state >> 15
        };
        let block = move || {
            let exponent = next() % 255;
            std::array::from_fn(|_| {
                let (bits, below) = (next(), next() % 5);
                f32::from_bits(bits & 0x807f_ffff | exponent.saturating_sub(below) << 23)
            })
        };
        std::iter::repeat_with(block).take(count)
    }

    #[test]
    fn a_value_is_off_by_half_a_step_of_the_largest() {
        for x in blocks(100_000) {
            let largest = x.iter().fold(0f32, |a, v| a.max(v.abs()));
            // The step is 2^-12 of the power of two at or below the largest.
            let step =
                f64::from(f32::from_bits(largest.to_bits() & 0x7f80_0000)).max(2f64.powi(-96)) / 4096.0;
            for (x, y) in x.iter().zip(unpack(pack(x))) {
                let (x, y) = (f64::from(*x), f64::from(y));
                // Rounding up to the next binade is cut short by at most another half.
                let bound = if x.abs() > 8191.0 * step { step } else { step / 2.0 };
                assert!((x - y).abs() <= bound, "{x:e} became {y:e}, step {step:e}");
            }
        }
    }

    #[test]
    fn what_was_unpacked_packs_to_the_same_values() {
        for x in blocks(10_000) {
            let once = unpack(pack(x));
            assert_eq!(unpack(pack(once)), once, "{x:?}");
        }
    }

    #[test]
    fn known_words() {
        // 1.0 has exponent field 127, so t = 97 = 0b01100001, step 2^-12, mantissas 4096, 2048, -1024 and 0 (a tie).
        let lanes = pack([1.0, 0.5, -0.25, 2f32.powi(-13)]);
        assert_eq!(lanes, [4096 << 2 | 1, 2048 << 2, (-1024i16 << 2) as u16 | 2, 1]);
        assert_eq!(unpack(lanes), [1.0, 0.5, -0.25, 0.0]);
        assert_eq!(unpack(pack([1.0, 3.0 * 2f32.powi(-13), 0.0, 0.0]))[1], 2f32.powi(-11), "ties go to even");
    }

    #[test]
    fn zeros_subnormals_and_the_largest() {
        assert_eq!(unpack([0; BLOCK]), [0.0; BLOCK]);
        assert_eq!(unpack(pack([0.0, -0.0, f32::MIN_POSITIVE, 1e-45])), [0.0; BLOCK]);
        let [most, least, ..] = unpack(pack([f32::MAX, f32::MIN, 0.0, 0.0]));
        assert!(most.is_finite() && f64::from(most) > 0.9998 * f64::from(f32::MAX) && least == -most);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(unpack(pack([1.0, bad, -2.0, 0.0])).iter().all(|v| v.is_nan()));
        }
    }

    #[test]
    fn rows_are_their_blocks() {
        for length in [4, 8, 12, 16, 28, 64, 68] {
            let x: Vec<[f32; BLOCK]> = blocks(length / BLOCK).collect();
            let lanes: Vec<u16> = x.iter().flat_map(|x| pack(*x)).collect();
            let mut row = vec![f32::NAN; length];
            unpack_row(&lanes, &mut row);
            let expected: Vec<f32> = x.iter().flat_map(|x| unpack(pack(*x))).collect();
            assert_eq!(row, expected);
            unpack_pairs(&lanes, &mut row);
            assert_eq!(row, expected);
        }
    }
}

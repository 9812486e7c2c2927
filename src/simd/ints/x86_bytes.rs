//! [`Bytes`] by AVX2 and by AVX-512's VNNI. SAFETY is as in `x86.rs`.

use std::arch::x86_64::*;

use super::Ints;
use super::bytes::{Bytes, Pair};
use super::x86::Even;
use crate::simd::avx2::Avx2;

/// Where the scales of both halves of a group lie in a register of 128 bits, for each lane of 16 bits, or of 32 with zeros
/// above.
const fn word<const WIDE: bool>(group: usize) -> i32 {
    let word = 0x0100 + 0x0202 * group as i32;
    if WIDE { word | 0x8080_0000_u32 as i32 } else { word | word << 16 }
}

impl Bytes for Avx2<false> {
    type Sums = [__m256i; 2];
    type Whole = __m256i;

    #[inline(always)]
    fn split(self, rounded: &[i16; 32], half: usize, to: &mut Pair) {
        unsafe {
            let at = |i: usize| _mm256_loadu_si256(rounded[16 * i..].as_ptr().cast());
            let (even, odd) = (at(0), at(1));
            let (byte, up) = (_mm256_set1_epi16(255), _mm256_set1_epi16(128));
            let high = _mm256_srli_epi16::<8>(_mm256_add_epi16(even, up));
            let high = _mm256_or_si256(high, _mm256_andnot_si256(byte, _mm256_add_epi16(odd, up)));
            let low = _mm256_or_si256(_mm256_and_si256(even, byte), _mm256_slli_epi16::<8>(odd));
            _mm256_storeu_si256(to.high[32 * half..][..32].as_mut_ptr().cast(), high);
            _mm256_storeu_si256(to.low[32 * half..][..32].as_mut_ptr().cast(), low);
        }
    }

    #[inline(always)]
    fn take_off(self, middle: u8, from: &mut Pair) {
        unsafe {
            let middle = _mm256_set1_epi8(middle as i8);
            for (x, less) in [&from.high, &from.low].into_iter().zip(&mut from.less) {
                for half in [0, 32] {
                    let x = _mm256_loadu_si256(x[half..].as_ptr().cast());
                    let less_by = _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_maddubs_epi16(middle, x));
                    _mm256_storeu_si256(less[half..].as_mut_ptr().cast(), less_by);
                }
            }
        }
    }

    #[inline(always)]
    fn whole(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> __m256i {
        Even(self).scales(first, second)
    }

    #[inline(always)]
    fn no_sums(self) -> [__m256i; 2] {
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn products<const P: usize, const LESS: bool>(
        self,
        mut sums: [__m256i; 2],
        codes: [__m256i; 2],
        x: &Pair,
        by: __m256i,
    ) -> [__m256i; 2] {
        unsafe {
            for (half, codes) in codes.into_iter().enumerate() {
                let scale = _mm256_shuffle_epi8(by, _mm256_set1_epi32(word::<false>(2 * P + half)));
                for ((sums, x), less) in sums.iter_mut().zip([&x.high, &x.low]).zip(&x.less) {
                    let x = _mm256_load_si256(x[32 * half..].as_ptr().cast());
                    let less = _mm256_load_si256(less[32 * half..].as_ptr().cast());
                    let two = _mm256_maddubs_epi16(codes, x);
                    let two = if LESS { _mm256_add_epi16(two, less) } else { two };
                    *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(two, scale));
                }
            }
            sums
        }
    }

    #[inline(always)]
    fn eight(self, sums: [__m256i; 2]) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_slli_epi32::<8>(sums[0]), sums[1])) }
    }
}

impl Bytes for Avx2<true> {
    type Sums = [__m512i; 2];
    type Whole = __m512i;

    #[inline(always)]
    fn split(self, rounded: &[i16; 32], half: usize, to: &mut Pair) {
        unsafe {
            let x = _mm512_loadu_si512(rounded.as_ptr().cast());
            let high = _mm512_srli_epi16::<8>(_mm512_add_epi16(x, _mm512_set1_epi16(128)));
            _mm256_storeu_si256(to.high[32 * half..][..32].as_mut_ptr().cast(), _mm512_cvtepi16_epi8(high));
            _mm256_storeu_si256(to.low[32 * half..][..32].as_mut_ptr().cast(), _mm512_cvtepi16_epi8(x));
        }
    }

    #[inline(always)]
    fn take_off(self, middle: u8, from: &mut Pair) {
        unsafe {
            let middle = _mm512_set1_epi8(middle as i8);
            for (x, less) in [&from.high, &from.low].into_iter().zip(&mut from.less) {
                let x = _mm512_loadu_si512(x.as_ptr().cast());
                let off = _mm512_dpbusd_epi32(_mm512_setzero_si512(), middle, x);
                _mm512_storeu_si512(less.as_mut_ptr().cast(), _mm512_sub_epi32(_mm512_setzero_si512(), off));
            }
        }
    }

    #[inline(always)]
    fn whole(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> __m512i {
        unsafe {
            let first = _mm_loadu_si128(first.as_ptr().cast());
            let second = second.map_or(first, |second| _mm_loadu_si128(second.as_ptr().cast()));
            _mm512_broadcast_i64x4(_mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second))
        }
    }

    #[inline(always)]
    fn no_sums(self) -> [__m512i; 2] {
        unsafe { [_mm512_setzero_si512(); 2] }
    }

    #[inline(always)]
    fn products<const P: usize, const LESS: bool>(
        self,
        mut sums: [__m512i; 2],
        codes: [__m256i; 2],
        x: &Pair,
        by: __m512i,
    ) -> [__m512i; 2] {
        unsafe {
            let codes = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(codes[0]), codes[1]);
            let first = _mm512_set1_epi32(word::<true>(2 * P));
            let places = _mm512_inserti64x4::<1>(first, _mm256_set1_epi32(word::<true>(2 * P + 1)));
            let scale = _mm512_shuffle_epi8(by, places);
            for ((sums, x), less) in sums.iter_mut().zip([&x.high, &x.low]).zip(&x.less) {
                let x = _mm512_load_si512(x.as_ptr().cast());
                let less =
                    if LESS { _mm512_load_si512(less.as_ptr().cast()) } else { _mm512_setzero_si512() };
                // The sum of four fits 16 bits, and what lies above it meets a zero.
                *sums = _mm512_dpwssd_epi32(*sums, _mm512_dpbusd_epi32(less, codes, x), scale);
            }
            sums
        }
    }

    #[inline(always)]
    fn eight(self, sums: [__m512i; 2]) -> __m256 {
        unsafe {
            let all = _mm512_add_epi32(_mm512_slli_epi32::<8>(sums[0]), sums[1]);
            let half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64::<1>(all));
            _mm256_cvtepi32_ps(half)
        }
    }
}

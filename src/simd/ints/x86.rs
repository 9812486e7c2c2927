//! [`Ints`] by AVX2 and by AVX-512's VNNI.
//!
//! An [`Even`] or [`Wide`] exists only as part of lanes of CPUs that have the instructions; loads and stores touch exactly
//! the array behind the reference, at any alignment: that is the SAFETY of every block here.

use std::arch::x86_64::*;

use super::Ints;
use crate::simd::avx2::Avx2;

/// 256 bits: the numbers of even places, then those of odd ones.
#[derive(Clone, Copy)]
pub(crate) struct Even(pub(crate) Avx2<false>);

/// 512 bits, in order.
#[derive(Clone, Copy)]
pub(crate) struct Wide(pub(crate) Avx2<true>);

impl Ints<Avx2<false>> for Even {
    const TALL: usize = 4;
    type W = [__m256i; 2];
    type I = __m256i;
    type F = __m256;
    type S = __m256i;

    #[inline(always)]
    fn words(self, b: __m256i, centre: u8) -> [__m256i; 2] {
        unsafe {
            let (even, odd) = (_mm256_and_si256(b, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(b));
            if centre == 0 {
                return [even, odd];
            }
            let centre = _mm256_set1_epi16(i16::from(centre));
            [_mm256_sub_epi16(even, centre), _mm256_sub_epi16(odd, centre)]
        }
    }

    #[inline(always)]
    fn scales(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> __m256i {
        unsafe {
            let second = _mm_loadu_si128(second.unwrap_or(first).as_ptr().cast());
            let first = _mm_loadu_si128(first.as_ptr().cast());
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second)
        }
    }

    #[inline(always)]
    fn times<const G: usize>(self, w: [__m256i; 2], scales: __m256i) -> [__m256i; 2] {
        unsafe {
            let word = 0x0100 + 0x0202 * G as i16;
            let scale = _mm256_shuffle_epi8(scales, _mm256_set1_epi16(word));
            [_mm256_mullo_epi16(w[0], scale), _mm256_mullo_epi16(w[1], scale)]
        }
    }

    #[inline(always)]
    fn pairs(self, w: [__m256i; 2]) -> [i32; 16] {
        let mut out = [0; 16];
        unsafe {
            _mm256_storeu_si256(out.as_mut_ptr().cast(), w[0]);
            _mm256_storeu_si256(out[8..].as_mut_ptr().cast(), w[1]);
        }
        out
    }

    #[inline(always)]
    fn rounded(self, x: [__m256; 4], by: f32) -> [i16; 32] {
        unsafe {
            let by = _mm256_set1_ps(by);
            let whole = |v| _mm256_castsi256_ps(_mm256_cvtps_epi32(_mm256_mul_ps(v, by)));
            let [a, b, c, d] = [whole(x[0]), whole(x[1]), whole(x[2]), whole(x[3])];
            let (low, high) = (_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0x88>(c, d));
            let even = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
            let (low, high) = (_mm256_shuffle_ps::<0xDD>(a, b), _mm256_shuffle_ps::<0xDD>(c, d));
            let odd = _mm256_packs_epi32(_mm256_castps_si256(low), _mm256_castps_si256(high));
            // Both steps worked on halves of their own.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let mut out = [0; 32];
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(even, order));
            _mm256_storeu_si256(out[16..].as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(odd, order));
            out
        }
    }

    #[inline(always)]
    fn none(self) -> __m256i {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn products(self, sums: __m256i, w: [__m256i; 2], x: &[i16; 32]) -> __m256i {
        unsafe {
            let half = |i: usize| _mm256_madd_epi16(w[i], _mm256_loadu_si256(x[16 * i..].as_ptr().cast()));
            _mm256_add_epi32(_mm256_add_epi32(sums, half(0)), half(1))
        }
    }

    #[inline(always)]
    fn zero(self) -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    fn add(self, sums: __m256, step: f32, products: __m256i) -> __m256 {
        unsafe { _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(step), sums) }
    }

    #[inline(always)]
    fn add_eight(self, sums: __m256, a: __m256, b: &[f32; 8]) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, _mm256_loadu_ps(b.as_ptr()), sums) }
    }

    #[inline(always)]
    fn fold(self, sums: __m256) -> __m256 {
        sums
    }
}

impl Ints<Avx2<true>> for Wide {
    type W = __m512i;
    type I = __m512i;
    type F = __m512;
    type S = __m512i;

    #[inline(always)]
    fn words(self, b: __m256i, centre: u8) -> __m512i {
        unsafe {
            let words = _mm512_cvtepu8_epi16(b);
            if centre == 0 {
                return words;
            }
            _mm512_sub_epi16(words, _mm512_set1_epi16(i16::from(centre)))
        }
    }

    #[inline(always)]
    fn scales(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> __m512i {
        unsafe {
            let both = |x: &[i16; 8]| _mm256_broadcastsi128_si256(_mm_loadu_si128(x.as_ptr().cast()));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(both(first)), both(second.unwrap_or(first)))
        }
    }

    #[inline(always)]
    fn times<const G: usize>(self, w: __m512i, scales: __m512i) -> __m512i {
        unsafe {
            let word = 0x0100 + 0x0202 * G as i16;
            _mm512_mullo_epi16(w, _mm512_shuffle_epi8(scales, _mm512_set1_epi16(word)))
        }
    }

    #[inline(always)]
    fn pairs(self, w: __m512i) -> [i32; 16] {
        let mut out = [0; 16];
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), w) };
        out
    }

    #[inline(always)]
    fn rounded(self, x: [__m256; 4], by: f32) -> [i16; 32] {
        unsafe {
            let by = _mm256_set1_ps(by);
            let whole = |v| _mm256_cvtps_epi32(_mm256_mul_ps(v, by));
            let two = |a, b| _mm256_permute4x64_epi64::<0xD8>(_mm256_packs_epi32(whole(a), whole(b)));
            let mut out = [0; 32];
            _mm256_storeu_si256(out.as_mut_ptr().cast(), two(x[0], x[1]));
            _mm256_storeu_si256(out[16..].as_mut_ptr().cast(), two(x[2], x[3]));
            out
        }
    }

    #[inline(always)]
    fn none(self) -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn products(self, sums: __m512i, w: __m512i, x: &[i16; 32]) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(sums, w, _mm512_loadu_si512(x.as_ptr().cast())) }
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn add(self, sums: __m512, step: f32, products: __m512i) -> __m512 {
        unsafe { _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), _mm512_set1_ps(step), sums) }
    }

    #[inline(always)]
    fn add_neighbours(self, sums: __m512, step: f32, products: __m512i) -> __m512 {
        unsafe {
            let two = _mm512_add_epi32(products, _mm512_srli_epi64::<32>(products));
            let eight = _mm256_cvtepi32_ps(_mm512_cvtepi64_epi32(two));
            let sum = _mm256_fmadd_ps(eight, _mm256_set1_ps(step), _mm512_castps512_ps256(sums));
            _mm512_zextps256_ps512(sum)
        }
    }

    #[inline(always)]
    fn add_eight(self, sums: __m512, a: __m256, b: &[f32; 8]) -> __m512 {
        unsafe {
            let b = _mm512_zextps256_ps512(_mm256_loadu_ps(b.as_ptr()));
            _mm512_fmadd_ps(_mm512_zextps256_ps512(a), b, sums)
        }
    }

    #[inline(always)]
    fn fold(self, sums: __m512) -> __m256 {
        unsafe { _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps::<1>(sums)) }
    }
}

//! [`Lanes`] by AVX2, FMA and F16C, and the same with AVX-512's registers.

use std::arch::asm;
use std::arch::x86_64::*;

use super::ints::bytes::BytesJob;
use super::ints::x86::{Even, Wide};
use super::{Job, Lanes, Level};

/// Proof that this CPU has AVX2, FMA and F16C; and products added in one instruction, if so said.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<const VNNI: bool = false>(());

/// Proof that this CPU has AVX-512 and its VNNI too.
#[derive(Clone, Copy)]
pub(crate) struct Vnni(Avx2<true>);

/// How a job is run: `$features` are those that the CPU has if `$name` exists, at a `$level`; the loops are the same, and
/// the compiler makes use of them.
macro_rules! level {
    ($name:ty, $level:ident, $lanes:ty, $new:expr, $self:ident => $inner:expr, $features:literal) => {
        impl $name {
            /// If the CPU has the features and they are to be used.
            #[inline(always)]
            pub(crate) fn detect() -> Option<Self> {
                (Level::in_use() >= Level::$level).then_some($new)
            }

            #[inline(always)]
            pub(crate) fn run<J: Job>($self, job: J) -> J::Out {
                #[target_feature(enable = $features)]
                fn compiled<J: Job>(job: J, lanes: $lanes) -> J::Out {
                    job.run(lanes)
                }
                // SAFETY: `self` proves that the CPU has the features `compiled` is compiled for.
                unsafe { compiled(job, $inner) }
            }

            #[inline(always)]
            pub(crate) fn run_bytes<J: BytesJob>($self, job: J) -> J::Out {
                #[target_feature(enable = $features)]
                fn compiled<J: BytesJob>(job: J, lanes: $lanes) -> J::Out {
                    job.run(lanes)
                }
                // SAFETY: as in `run`.
                unsafe { compiled(job, $inner) }
            }
        }
    };
}
level!(Avx2, Avx2, Avx2, Avx2(()), self => self, "avx2,fma,f16c");
level!(
    Vnni,
    Vnni,
    Avx2<true>,
    Vnni(Avx2(())),
    self => self.0,
    "avx512vnni,avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"
);

// SAFETY of every block below: `self` proves that the CPU has the features of the intrinsics, and loads and stores
// touch exactly the array behind the reference, at any alignment.
macro_rules! lanes {
    ($vnni:literal, $ints:ident) => {
        impl Lanes for Avx2<$vnni> {
            type V = __m256;
            type B = __m256i;
            type Ints = $ints;

            #[inline(always)]
            fn ints(self) -> $ints {
                $ints(self)
            }

            #[inline(always)]
            fn zero(self) -> __m256 {
                unsafe { _mm256_setzero_ps() }
            }

            #[inline(always)]
            fn splat(self, value: f32) -> __m256 {
                unsafe { _mm256_set1_ps(value) }
            }

            #[inline(always)]
            fn load(self, x: &[f32; 8]) -> __m256 {
                unsafe { _mm256_loadu_ps(x.as_ptr()) }
            }

            #[inline(always)]
            fn small(self, bytes: &[u8; 8]) -> __m256 {
                unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast()))) }
            }

            #[inline(always)]
            fn words(self, bytes: &[u8; 8]) -> [i16; 8] {
                let mut out = [0; 8];
                unsafe {
                    let words = _mm_cvtepu8_epi16(_mm_loadl_epi64(bytes.as_ptr().cast()));
                    _mm_storeu_si128(out.as_mut_ptr().cast(), words);
                }
                out
            }

            #[inline(always)]
            fn bytes(self, bytes: &[u8; 32]) -> __m256i {
                unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
            }

            #[inline(always)]
            fn nibbles(self, bytes: &[u8; 16]) -> __m256i {
                unsafe {
                    let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
                    let high = _mm256_srlv_epi32(twice, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
                    _mm256_and_si256(high, _mm256_set1_epi8(15))
                }
            }

            #[inline(always)]
            fn shift(self, b: __m256i, right: i32, mask: u8) -> __m256i {
                unsafe {
                    let count = _mm_cvtsi32_si128(right.abs());
                    let shifted = match right {
                        0 => b,
                        1.. => _mm256_srl_epi16(b, count),
                        _ => _mm256_sll_epi16(b, count),
                    };
                    _mm256_and_si256(shifted, _mm256_set1_epi8(mask as i8))
                }
            }

            #[inline(always)]
            fn or(self, a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_or_si256(a, b) }
            }

            #[inline(always)]
            fn xor(self, b: __m256i, with: u8) -> __m256i {
                unsafe { _mm256_xor_si256(b, _mm256_set1_epi8(with as i8)) }
            }

            #[inline(always)]
            fn table(self, index: __m256i, table: &[u8; 16]) -> __m256i {
                unsafe {
                    let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
                    _mm256_shuffle_epi8(table, index)
                }
            }

            #[inline(always)]
            fn bits(self, word: u32, bit: u8) -> __m256i {
                unsafe {
                    // Each byte of the word eight times, then one bit of each.
                    let (one, three) = (0x0101_0101_0101_0101, 0x0303_0303_0303_0303);
                    let spread = _mm256_setr_epi64x(0, one, one << 1, three);
                    let word = _mm256_shuffle_epi8(_mm256_set1_epi32(word as i32), spread);
                    let each = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
                    let set = _mm256_cmpeq_epi8(_mm256_and_si256(word, each), each);
                    _mm256_and_si256(set, _mm256_set1_epi8(bit as i8))
                }
            }

            #[inline(always)]
            fn eighth<const Q: usize>(self, b: __m256i) -> __m256 {
                unsafe {
                    let half =
                        if Q < 2 { _mm256_castsi256_si128(b) } else { _mm256_extracti128_si256::<1>(b) };
                    let half = if Q % 2 == 1 { _mm_unpackhi_epi64(half, half) } else { half };
                    _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(half))
                }
            }

            #[inline(always)]
            fn largest(self, x: [__m256; 4]) -> u32 {
                unsafe {
                    let size = |v| _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(i32::MAX));
                    let two = |a, b| _mm256_max_epu32(size(a), size(b));
                    let all = _mm256_max_epu32(two(x[0], x[1]), two(x[2], x[3]));
                    let four = _mm_max_epu32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
                    let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0x4E>(four));
                    _mm_cvtsi128_si32(_mm_max_epu32(two, _mm_shuffle_epi32::<0xB1>(two))).cast_unsigned()
                }
            }

            #[inline(always)]
            fn fours(self, x: [__m256; 4]) -> __m256 {
                unsafe {
                    let sums = _mm256_hadd_ps(_mm256_hadd_ps(x[0], x[1]), _mm256_hadd_ps(x[2], x[3]));
                    _mm256_permutevar8x32_ps(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
                }
            }

            #[inline(always)]
            fn f16(self, bits: u16) -> f32 {
                let word: __m128i;
                unsafe {
                    // By hand: the compiler would insert it into whatever register, and wait for what is summed up in that.
                    asm!("vmovd {0}, {1:e}", lateout(xmm_reg) word, in(reg) u32::from(bits),
                        options(pure, nomem, nostack, preserves_flags));
                    _mm_cvtss_f32(_mm_cvtph_ps(word))
                }
            }

            #[inline(always)]
            fn halves(self, bytes: &[[u8; 2]; 8]) -> __m256 {
                unsafe { _mm256_cvtph_ps(_mm_loadu_si128(bytes.as_ptr().cast())) }
            }

            #[inline(always)]
            fn brains(self, bytes: &[[u8; 2]; 8]) -> __m256 {
                unsafe {
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(bytes.as_ptr().cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
                }
            }

            #[inline(always)]
            fn add(self, a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_add_ps(a, b) }
            }

            #[inline(always)]
            fn sub(self, a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_sub_ps(a, b) }
            }

            #[inline(always)]
            fn mul(self, a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_mul_ps(a, b) }
            }

            #[inline(always)]
            fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
                unsafe { _mm256_fmadd_ps(a, b, c) }
            }

            #[inline(always)]
            fn to_array(self, v: __m256) -> [f32; 8] {
                let mut out = [0.0; 8];
                unsafe { _mm256_storeu_ps(out.as_mut_ptr(), v) };
                out
            }

            #[inline(always)]
            fn transpose(self, v: [__m256; 8]) -> [__m256; 8] {
                unsafe {
                    // Pairs of rows, then of pairs, then the halves.
                    let low = |i: usize| _mm256_unpacklo_ps(v[i], v[i + 1]);
                    let high = |i: usize| _mm256_unpackhi_ps(v[i], v[i + 1]);
                    let (a, b) = ([low(0), low(2), low(4), low(6)], [high(0), high(2), high(4), high(6)]);
                    let first = |p: [__m256; 4], i: usize| _mm256_shuffle_ps::<0x44>(p[i], p[i + 1]);
                    let last = |p: [__m256; 4], i: usize| _mm256_shuffle_ps::<0xEE>(p[i], p[i + 1]);
                    let top = [first(a, 0), last(a, 0), first(b, 0), last(b, 0)];
                    let bottom = [first(a, 2), last(a, 2), first(b, 2), last(b, 2)];
                    let left = |i: usize| _mm256_permute2f128_ps::<0x20>(top[i], bottom[i]);
                    let right = |i: usize| _mm256_permute2f128_ps::<0x31>(top[i], bottom[i]);
                    [left(0), left(1), left(2), left(3), right(0), right(1), right(2), right(3)]
                }
            }

            #[inline(always)]
            fn sums(self, v: [__m256; 8]) -> [f32; 8] {
                unsafe {
                    // Halves added to halves, then quarters, then eighths: four vectors, two, one.
                    let halves = |i: usize| {
                        let low = _mm256_permute2f128_ps::<0x20>(v[i], v[i + 4]);
                        _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[i], v[i + 4]))
                    };
                    let pairs = |a: __m256, b: __m256| {
                        _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xEE>(a, b))
                    };
                    let (a, b) = (pairs(halves(0), halves(1)), pairs(halves(2), halves(3)));
                    let even = _mm256_shuffle_ps::<0x88>(a, b);
                    self.to_array(_mm256_add_ps(even, _mm256_shuffle_ps::<0xDD>(a, b)))
                }
            }
        }
    };
}
lanes!(false, Even);
lanes!(true, Wide);

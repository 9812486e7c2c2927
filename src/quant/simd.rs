//! Eight float lanes, with AVX2, FMA and F16C where the CPU has them, and with plain arrays everywhere.
//!
//! Loops are written once over [`Lanes`], as a [`Job`], and [`run`] compiles and picks the version for this machine.
//! All `unsafe` of the layer is here. It rests on one rule: an [`Avx2`] exists only on a CPU that was asked and said yes.

use super::half::from_f16;

/// Eight lanes of f32 or i32. The methods take the implementation as a token, `self`.
pub(super) trait Lanes: Copy {
    /// Eight f32.
    type V: Copy;
    /// Eight i32.
    type I: Copy;
    fn zero(self) -> Self::V;
    fn splat(self, value: f32) -> Self::V;
    fn load(self, x: &[f32; 8]) -> Self::V;
    /// Eight bytes, zero-extended.
    fn bytes(self, bytes: &[u8; 8]) -> Self::I;
    /// Eight signed bytes.
    fn signed(self, bytes: &[u8; 8]) -> Self::I;
    /// Bits `first .. first + 8` of a word, one a lane.
    fn bits(self, word: u32, first: u32) -> Self::I;
    /// `(v >> shift) & mask`.
    fn field(self, v: Self::I, shift: u32, mask: i32) -> Self::I;
    /// `low | high << shift`.
    fn join(self, low: Self::I, high: Self::I, shift: u32) -> Self::I;
    fn float(self, v: Self::I) -> Self::V;
    /// The entries of a table at eight indices of 0 to 15.
    fn lookup(self, index: Self::I, table: &[f32; 16]) -> Self::V;
    /// The value of f16 bits.
    fn f16(self, bits: u16) -> f32;
    /// Eight little-endian f16.
    fn halves(self, bytes: &[[u8; 2]; 8]) -> Self::V;
    /// Eight little-endian bf16.
    fn brains(self, bytes: &[[u8; 2]; 8]) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b - c`, fused where the CPU does it in one instruction.
    fn mul_sub(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a * b + c`, fused where the CPU does it in one instruction.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn to_array(self, v: Self::V) -> [f32; 8];
    /// Lane `j` of vector `i` becomes lane `i` of vector `j`.
    fn transpose(self, v: [Self::V; 8]) -> [Self::V; 8];

    /// Thirty-two weights from their nibbles, byte `j` holding weight `j` low and `j + 16` high:
    /// `nibble * scale - min`, as by [`Lanes::mul_sub`].
    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16], scale: f32, min: f32, out: &mut [f32; 32]) {
        let (scale, min) = (self.splat(scale), self.splat(min));
        for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            if let Some(eight) = bytes.as_chunks::<8>().0.get(i % 2) {
                let codes = self.field(self.bytes(eight), 4 * (i as u32 / 2), 15);
                *out = self.to_array(self.mul_sub(self.float(codes), scale, min));
            }
        }
    }

    /// [`Lanes::sum`] of eight vectors.
    #[inline(always)]
    fn sums(self, v: [Self::V; 8]) -> [f32; 8] {
        let s = self.transpose(v);
        let even = self.add(self.add(s[0], s[4]), self.add(s[2], s[6]));
        let odd = self.add(self.add(s[1], s[5]), self.add(s[3], s[7]));
        self.to_array(self.add(even, odd))
    }

    /// The sum of the lanes, in a fixed order.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let s = self.to_array(v);
        ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
    }
}

/// A loop to be compiled for the instructions at hand.
pub(super) trait Job {
    type Out;
    /// Must be `#[inline(always)]`, as must all it calls, or it is not compiled for those instructions.
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Runs a job on the best instructions of this machine.
#[inline(always)]
pub(super) fn run<J: Job>(job: J) -> J::Out {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = avx2::Avx2::detect() {
        return avx2.run(job);
    }
    run_portable(job)
}

/// Starts to fetch the cache line of a byte that will be read soon.
#[inline(always)]
pub(super) fn prefetch(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction; it changes nothing but the caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

/// Starts to fetch the cache lines of values that will be read soon.
#[inline(always)]
pub fn prefetch_all<T: bytemuck::Pod>(values: &[T]) {
    for line in bytemuck::cast_slice::<T, u8>(values).chunks(64) {
        prefetch(&line[0]);
    }
}

/// Runs a job on what every CPU of this architecture has.
pub(super) fn run_portable<J: Job>(job: J) -> J::Out {
    job.run(Portable)
}

/// Arrays of eight, left to the compiler's vectoriser.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Lanes for Portable {
    type V = [f32; 8];
    type I = [i32; 8];

    #[inline(always)]
    fn zero(self) -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> [f32; 8] {
        *x
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 8]) -> [i32; 8] {
        bytes.map(i32::from)
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; 8]) -> [i32; 8] {
        bytes.map(|b| i32::from(b as i8))
    }

    #[inline(always)]
    fn bits(self, word: u32, first: u32) -> [i32; 8] {
        std::array::from_fn(|i| ((word >> (first + i as u32)) & 1) as i32)
    }

    #[inline(always)]
    fn field(self, v: [i32; 8], shift: u32, mask: i32) -> [i32; 8] {
        v.map(|v| (v >> shift) & mask)
    }

    #[inline(always)]
    fn join(self, low: [i32; 8], high: [i32; 8], shift: u32) -> [i32; 8] {
        std::array::from_fn(|i| low[i] | (high[i] << shift))
    }

    #[inline(always)]
    fn float(self, v: [i32; 8]) -> [f32; 8] {
        v.map(|v| v as f32)
    }

    #[inline(always)]
    fn lookup(self, index: [i32; 8], table: &[f32; 16]) -> [f32; 8] {
        index.map(|i| table[(i & 15) as usize])
    }

    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        from_f16(bits)
    }

    #[inline(always)]
    fn halves(self, bytes: &[[u8; 2]; 8]) -> [f32; 8] {
        bytes.map(|b| from_f16(u16::from_le_bytes(b)))
    }

    #[inline(always)]
    fn brains(self, bytes: &[[u8; 2]; 8]) -> [f32; 8] {
        bytes.map(super::float::from_bf16_le)
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_sub(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        self.mul_add(a, b, c.map(|c| -c))
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        if cfg!(target_arch = "aarch64") {
            return std::array::from_fn(|i| a[i].mul_add(b[i], c[i]));
        }
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn to_array(self, v: [f32; 8]) -> [f32; 8] {
        v
    }

    #[inline(always)]
    fn transpose(self, v: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
        std::array::from_fn(|j| std::array::from_fn(|i| v[i][j]))
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::super::level::Level;
    use super::{Job, Lanes};

    /// Proof that this CPU has AVX2, FMA and F16C.
    #[derive(Clone, Copy)]
    pub(super) struct Avx2(());

    impl Avx2 {
        /// If the CPU has the features and they are to be used.
        #[inline(always)]
        pub(super) fn detect() -> Option<Avx2> {
            (Level::in_use() >= Level::Avx2).then_some(Avx2(()))
        }

        #[inline(always)]
        pub(super) fn run<J: Job>(self, job: J) -> J::Out {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn compiled<J: Job>(job: J, lanes: Avx2) -> J::Out {
                job.run(lanes)
            }
            // SAFETY: `self` proves that the CPU has the features `compiled` is compiled for.
            unsafe { compiled(job, self) }
        }
    }

    // SAFETY of every block below: `self` proves that the CPU has the features of the intrinsics, and loads and stores
    // touch exactly the array behind the reference, at any alignment.
    impl Lanes for Avx2 {
        type V = __m256;
        type I = __m256i;

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
        fn bytes(self, bytes: &[u8; 8]) -> __m256i {
            unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn signed(self, bytes: &[u8; 8]) -> __m256i {
            unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast())) }
        }

        #[inline(always)]
        fn bits(self, word: u32, first: u32) -> __m256i {
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                let word = _mm256_set1_epi32((word >> first) as i32);
                _mm256_and_si256(_mm256_srlv_epi32(word, lanes), _mm256_set1_epi32(1))
            }
        }

        #[inline(always)]
        fn field(self, v: __m256i, shift: u32, mask: i32) -> __m256i {
            unsafe {
                let v = _mm256_srl_epi32(v, _mm_cvtsi32_si128(shift as i32));
                _mm256_and_si256(v, _mm256_set1_epi32(mask))
            }
        }

        #[inline(always)]
        fn join(self, low: __m256i, high: __m256i, shift: u32) -> __m256i {
            unsafe { _mm256_or_si256(low, _mm256_sll_epi32(high, _mm_cvtsi32_si128(shift as i32))) }
        }

        #[inline(always)]
        fn float(self, v: __m256i) -> __m256 {
            unsafe { _mm256_cvtepi32_ps(v) }
        }

        #[inline(always)]
        fn lookup(self, index: __m256i, table: &[f32; 16]) -> __m256 {
            unsafe {
                let low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table.as_ptr()), index);
                let high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table[8..].as_ptr()), index);
                _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index)))
            }
        }

        #[inline(always)]
        fn f16(self, bits: u16) -> f32 {
            unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
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
        fn mul_sub(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmsub_ps(a, b, c) }
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
}

//! Vectors of the machine's full width, for tiles of products that are summed in registers.
//!
//! As with [`Lanes`](super::Lanes), loops are written once, over [`Wide`], and compiled for the instructions at hand. An [`Avx2`] or
//! [`Avx512`] exists only on a CPU that was asked and said yes.

/// One vector of f32, and the tile sizes that fit the registers.
pub(crate) trait Wide: Copy {
    /// Lanes.
    const W: usize;
    /// Most rows of a tile.
    const ROWS: usize;
    type V: Copy;
    fn zero(self) -> Self::V;
    fn splat(self, value: f32) -> Self::V;
    /// The first `W` elements.
    fn load(self, x: &[f32]) -> Self::V;
    /// To the first `W` elements.
    fn store(self, v: Self::V, x: &mut [f32]);
    /// `a * b + c`, fused where the CPU does it in one instruction.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// As many i32, or twice as many i16.
    type I: Copy;
    fn no_ints(self) -> Self::I;
    /// The first `W` elements.
    fn ints(self, x: &[i32]) -> Self::I;
    fn pair(self, value: i32) -> Self::I;
    /// Adds the products of two numbers of 16 bits to each sum.
    fn products(self, sums: Self::I, a: Self::I, b: Self::I) -> Self::I;
    fn float(self, v: Self::I) -> Self::V;
    /// Adds up what lies eight lanes apart.
    fn fold(self, v: Self::V, lanes: &mut [f32; 8]);
    /// A tile of the fewest rows that hold so many, at most `ROWS`, two vectors wide.
    fn tall<J: TileJob>(self, rows: usize, job: J);
    /// The same, one vector wide.
    fn slim<J: TileJob>(self, rows: usize, job: J);
    /// A tile of as many of these rows as fit the registers beside other rows, one vector wide: how many.
    fn few<J: TileJob>(self, rows: usize, job: J) -> usize;
}

/// A tile to be compiled for a size: `ROWS` rows and `VECTORS` vectors, that is `COLS` columns.
pub(crate) trait TileJob {
    /// Must be `#[inline(always)]`.
    fn run<S: Wide, const ROWS: usize, const VECTORS: usize, const COLS: usize>(self, s: S);
}

macro_rules! tiles {
    ($small:literal, $medium:literal, $large:literal, $one:literal, $two:literal, [$($few:literal),*]) => {
        const ROWS: usize = $large;

        #[inline(always)]
        fn tall<J: TileJob>(self, rows: usize, job: J) {
            match rows {
                ..=$small => job.run::<Self, $small, 2, $two>(self),
                ..=$medium => job.run::<Self, $medium, 2, $two>(self),
                _ => job.run::<Self, $large, 2, $two>(self),
            }
        }

        #[inline(always)]
        fn slim<J: TileJob>(self, rows: usize, job: J) {
            match rows {
                ..=$small => job.run::<Self, $small, 1, $one>(self),
                ..=$medium => job.run::<Self, $medium, 1, $one>(self),
                _ => job.run::<Self, $large, 1, $one>(self),
            }
        }

        #[inline(always)]
        fn few<J: TileJob>(self, rows: usize, job: J) -> usize {
            // The tallest tile that is not too tall; the last in the list has one row.
            $(
                if rows >= $few {
                    job.run::<Self, $few, 1, $one>(self);
                    return $few;
                }
            )*
            rows
        }
    };
}

#[cfg(target_arch = "aarch64")]
mod arm;

/// A loop to be compiled for the instructions at hand; see [`Job`](super::Job).
pub(crate) trait WideJob {
    fn run<S: Wide>(self, s: S);
}

/// Runs a job on the best instructions of this machine.
pub(crate) fn run<J: WideJob>(job: J) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(vnni) = x86::Vnni::detect() {
            return vnni.run(job);
        }
        if let Some(avx512) = x86::Avx512::detect() {
            return avx512.run(job);
        }
        if let Some(avx2) = x86::Avx2::detect() {
            return avx2.run(job);
        }
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(neon) = super::neon::Neon::<false>::detect() {
        return job.run(neon);
    }
    job.run(Portable)
}

/// Every set of instructions that this machine has, for tests.
#[cfg(test)]
pub(crate) fn run_each<J: WideJob>(mut job: impl FnMut() -> J) {
    job().run(Portable);
    #[cfg(target_arch = "x86_64")]
    {
        x86::Avx2::detect().into_iter().for_each(|s| s.run(job()));
        x86::Avx512::detect().into_iter().for_each(|s| s.run(job()));
        x86::Vnni::detect().into_iter().for_each(|s| s.run(job()));
    }
    #[cfg(target_arch = "aarch64")]
    super::neon::Neon::<false>::detect().into_iter().for_each(|s| job().run(s));
}

/// Arrays of eight, left to the compiler's vectoriser.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Wide for Portable {
    const W: usize = 8;
    type V = [f32; 8];
    tiles!(1, 2, 4, 8, 16, [1]);

    #[inline(always)]
    fn zero(self) -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> [f32; 8] {
        x.first_chunk().copied().unwrap_or_default()
    }

    #[inline(always)]
    fn store(self, v: [f32; 8], x: &mut [f32]) {
        x[..8].copy_from_slice(&v);
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        if cfg!(target_arch = "aarch64") {
            return std::array::from_fn(|i| a[i].mul_add(b[i], c[i]));
        }
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    type I = [i32; 8];

    #[inline(always)]
    fn no_ints(self) -> [i32; 8] {
        [0; 8]
    }

    #[inline(always)]
    fn ints(self, x: &[i32]) -> [i32; 8] {
        x.first_chunk().copied().unwrap_or_default()
    }

    #[inline(always)]
    fn pair(self, value: i32) -> [i32; 8] {
        [value; 8]
    }

    #[inline(always)]
    fn products(self, sums: [i32; 8], a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        let low = |v: i32| i32::from(v as i16);
        std::array::from_fn(|i| sums[i] + (low(a[i]) * low(b[i]) + (a[i] >> 16) * (b[i] >> 16)))
    }

    #[inline(always)]
    fn float(self, v: [i32; 8]) -> [f32; 8] {
        v.map(|v| v as f32)
    }

    #[inline(always)]
    fn fold(self, v: [f32; 8], lanes: &mut [f32; 8]) {
        *lanes = v;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{TileJob, Wide, WideJob};
    use crate::simd::Level;

    /// Proof that this CPU has AVX2, FMA and F16C.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    /// Proof that this CPU has AVX-512F and BW (and AVX2 and FMA, for what the compiler makes of the rest).
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(());

    /// Proof that it has VNNI too.
    #[derive(Clone, Copy)]
    pub(crate) struct Vnni(());

    macro_rules! wide {
        ($name:ident, $features:literal, $v:ty, $w:literal, $tiles:tt,
         $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident, $add:ident, $fold:expr,
         $mul:ident, $i:ty, $none:ident, $ints:ident, $pair:ident, $float:ident,
         |$sums:ident, $x:ident, $y:ident| $products:expr) => {
            impl $name {
                /// If the CPU has the features and they are to be used.
                pub(crate) fn detect() -> Option<Self> {
                    (Level::in_use() >= Level::$name).then_some($name(()))
                }

                pub(crate) fn run<J: WideJob>(self, job: J) {
                    #[target_feature(enable = $features)]
                    fn compiled<J: WideJob>(job: J, s: $name) {
                        job.run(s);
                    }
                    // SAFETY: `self` proves that the CPU has the features `compiled` is compiled for.
                    unsafe { compiled(job, self) }
                }
            }

            // SAFETY of every block below: `self` proves that the CPU has the features of the intrinsics; loads and
            // stores touch `W` elements of a slice checked to have them, at any alignment.
            impl Wide for $name {
                const W: usize = $w;
                type V = $v;
                tiles! $tiles;

                #[inline(always)]
                fn zero(self) -> $v {
                    unsafe { $zero() }
                }

                #[inline(always)]
                fn splat(self, value: f32) -> $v {
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                fn load(self, x: &[f32]) -> $v {
                    unsafe { $load(x[..$w].as_ptr()) }
                }

                #[inline(always)]
                fn store(self, v: $v, x: &mut [f32]) {
                    unsafe { $store(x[..$w].as_mut_ptr(), v) }
                }

                #[inline(always)]
                fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                    unsafe { $fma(a, b, c) }
                }

                #[inline(always)]
                fn add(self, a: $v, b: $v) -> $v {
                    unsafe { $add(a, b) }
                }

                #[inline(always)]
                fn mul(self, a: $v, b: $v) -> $v {
                    unsafe { $mul(a, b) }
                }

                type I = $i;

                #[inline(always)]
                fn no_ints(self) -> $i {
                    unsafe { $none() }
                }

                #[inline(always)]
                fn ints(self, x: &[i32]) -> $i {
                    unsafe { $ints(x[..$w].as_ptr().cast()) }
                }

                #[inline(always)]
                fn pair(self, value: i32) -> $i {
                    unsafe { $pair(value) }
                }

                #[inline(always)]
                fn products(self, $sums: $i, $x: $i, $y: $i) -> $i {
                    unsafe { $products }
                }

                #[inline(always)]
                fn float(self, v: $i) -> $v {
                    unsafe { $float(v) }
                }

                #[inline(always)]
                fn fold(self, v: $v, lanes: &mut [f32; 8]) {
                    unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), $fold(v)) }
                }
            }
        };
    }

    wide!(
        Avx2,
        "avx2,fma",
        __m256,
        8,
        (2, 4, 6, 8, 16, [3, 2, 1]),
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps,
        std::convert::identity,
        _mm256_mul_ps,
        __m256i,
        _mm256_setzero_si256,
        _mm256_loadu_si256,
        _mm256_set1_epi32,
        _mm256_cvtepi32_ps,
        |sums, a, b| _mm256_add_epi32(sums, _mm256_madd_epi16(a, b))
    );
    macro_rules! avx512 {
        ($name:ident, $features:literal, |$sums:ident, $a:ident, $b:ident| $products:expr) => {
            wide!(
                $name,
                $features,
                __m512,
                16,
                (4, 8, 14, 16, 32, [4, 3, 2, 1]),
                _mm512_setzero_ps,
                _mm512_set1_ps,
                _mm512_loadu_ps,
                _mm512_storeu_ps,
                _mm512_fmadd_ps,
                _mm512_add_ps,
                halves,
                _mm512_mul_ps,
                __m512i,
                _mm512_setzero_si512,
                _mm512_loadu_si512,
                _mm512_set1_epi32,
                _mm512_cvtepi32_ps,
                |$sums, $a, $b| $products
            );
        };
    }
    avx512!(Avx512, "avx512f,avx512bw,avx2,fma", |sums, a, b| _mm512_add_epi32(
        sums,
        _mm512_madd_epi16(a, b)
    ));
    avx512!(Vnni, "avx512vnni,avx512f,avx512bw,avx2,fma", |sums, a, b| _mm512_dpwssd_epi32(sums, a, b));

    /// The sum of both halves. Through f64, as AVX-512F has no instruction of its own to take half of the floats.
    #[inline]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn halves(v: __m512) -> __m256 {
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
        _mm256_add_ps(_mm512_castps512_ps256(v), high)
    }
}

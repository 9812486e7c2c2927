//! The CPU's instruction sets behind small traits: eight float lanes, sums of integers, registers of the full width.
//!
//! Loops are written once over `Lanes`, as a `Job`, and `run` compiles and picks the version for this machine; those over
//! `wide::Wide` likewise. What every CPU has are plain arrays. All `unsafe` of these loops is in this folder, and rests on one
//! rule: a type such as `Avx2` exists only on a CPU that was asked and said yes.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod exp;
pub(crate) mod half;
mod ints;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod wide;

pub use exp::{exp, exp_all, sum_exp};
pub(crate) use ints::Ints;
#[cfg(target_arch = "x86_64")]
pub(crate) use ints::bytes::{Bytes, BytesJob, Pair};
pub use level::Level;

use half::{from_bf16_le, from_f16};

/// Eight lanes of f32, and 32 bytes. The methods take the implementation as a token, `self`.
pub(crate) trait Lanes: Copy {
    /// Eight f32.
    type V: Copy;
    /// Thirty-two bytes, or sixteen numbers of 16 bits.
    type B: Copy;
    /// Products of integers.
    type Ints: Ints<Self>;
    fn ints(self) -> Self::Ints;
    fn zero(self) -> Self::V;
    fn splat(self, value: f32) -> Self::V;
    fn load(self, x: &[f32; 8]) -> Self::V;
    /// Eight bytes as numbers.
    fn small(self, bytes: &[u8; 8]) -> Self::V;
    /// Eight bytes as numbers of 16 bits.
    #[inline(always)]
    fn words(self, bytes: &[u8; 8]) -> [i16; 8] {
        bytes.map(i16::from)
    }
    fn bytes(self, bytes: &[u8; 32]) -> Self::B;
    /// The low nibbles of sixteen bytes, then the high ones.
    fn nibbles(self, bytes: &[u8; 16]) -> Self::B;
    /// Each byte shifted `right` bits (to the left, if negative), of which the mask's are kept.
    fn shift(self, b: Self::B, right: i32, mask: u8) -> Self::B;
    fn or(self, a: Self::B, b: Self::B) -> Self::B;
    fn xor(self, b: Self::B, with: u8) -> Self::B;
    /// The entries of a table at indices of 0 to 15.
    fn table(self, index: Self::B, table: &[u8; 16]) -> Self::B;
    /// `bit`, or 0, for each bit of a word.
    fn bits(self, word: u32, bit: u8) -> Self::B;
    /// Bytes `8 * Q .. 8 * Q + 8`.
    fn eighth<const Q: usize>(self, b: Self::B) -> Self::V;
    /// The bits of the largest size among them.
    fn largest(self, x: [Self::V; 4]) -> u32;
    /// The sums of four values each.
    fn fours(self, x: [Self::V; 4]) -> Self::V;
    /// The value of f16 bits.
    fn f16(self, bits: u16) -> f32;
    /// Eight little-endian f16.
    fn halves(self, bytes: &[[u8; 2]; 8]) -> Self::V;
    /// Eight little-endian bf16.
    fn brains(self, bytes: &[[u8; 2]; 8]) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the CPU does it in one instruction.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn to_array(self, v: Self::V) -> [f32; 8];
    /// Lane `j` of vector `i` becomes lane `i` of vector `j`.
    fn transpose(self, v: [Self::V; 8]) -> [Self::V; 8];

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
pub(crate) trait Job {
    type Out;
    /// Must be `#[inline(always)]`, as must all it calls, or it is not compiled for those instructions.
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Runs a job on the best instructions of this machine.
#[inline(always)]
pub(crate) fn run<J: Job>(job: J) -> J::Out {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(vnni) = avx2::Vnni::detect() {
            return vnni.run(job);
        }
        if let Some(avx2) = avx2::Avx2::detect() {
            return avx2.run(job);
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        if let Some(dotprod) = neon::Neon::<true>::detect() {
            return dotprod.run(job);
        }
        if let Some(neon) = neon::Neon::<false>::detect() {
            return neon.run(job);
        }
    }
    run_portable(job)
}

/// Runs a loop over bytes on the best instructions of this machine; `None`: it has none for them.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn run_bytes<J: BytesJob>(job: J) -> Option<J::Out> {
    if let Some(vnni) = avx2::Vnni::detect() {
        return Some(vnni.run_bytes(job));
    }
    avx2::Avx2::detect().map(|avx2| avx2.run_bytes(job))
}

/// Starts to fetch the cache line of a byte that will be read soon.
#[inline(always)]
pub(crate) fn prefetch(byte: &u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction; it changes nothing but the caches.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = byte;
}

/// Starts to fetch the cache line that lies so many bytes behind these, if there is one.
#[inline(always)]
pub(crate) fn prefetch_ahead(bytes: &[u8], distance: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        for line in (0..bytes.len()).step_by(64) {
            let address = bytes.as_ptr().wrapping_add(distance + line);
            // SAFETY: it changes nothing but the caches, and addresses without memory do no harm.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (bytes, distance);
}

/// Starts to fetch the cache lines of values that will be read soon.
#[inline(always)]
pub fn prefetch_all<T: bytemuck::Pod>(values: &[T]) {
    for line in bytemuck::cast_slice::<T, u8>(values).chunks(64) {
        prefetch(&line[0]);
    }
}

/// Runs a job on what every CPU of this architecture has.
pub(crate) fn run_portable<J: Job>(job: J) -> J::Out {
    job.run(Portable)
}

/// Arrays of eight, left to the compiler's vectoriser.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Lanes for Portable {
    type V = [f32; 8];
    type B = [u8; 32];
    type Ints = Portable;

    #[inline(always)]
    fn ints(self) -> Portable {
        self
    }

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
    fn small(self, bytes: &[u8; 8]) -> [f32; 8] {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 32]) -> [u8; 32] {
        *bytes
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> [u8; 32] {
        std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
    }

    #[inline(always)]
    fn shift(self, b: [u8; 32], right: i32, mask: u8) -> [u8; 32] {
        if right < 0 { b.map(|b| (b << -right) & mask) } else { b.map(|b| (b >> right) & mask) }
    }

    #[inline(always)]
    fn or(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn xor(self, b: [u8; 32], with: u8) -> [u8; 32] {
        b.map(|b| b ^ with)
    }

    #[inline(always)]
    fn table(self, index: [u8; 32], table: &[u8; 16]) -> [u8; 32] {
        index.map(|i| table[usize::from(i & 15)])
    }

    #[inline(always)]
    fn bits(self, word: u32, bit: u8) -> [u8; 32] {
        std::array::from_fn(|i| if word >> i & 1 == 1 { bit } else { 0 })
    }

    #[inline(always)]
    fn eighth<const Q: usize>(self, b: [u8; 32]) -> [f32; 8] {
        std::array::from_fn(|i| f32::from(b[8 * Q + i]))
    }

    #[inline(always)]
    fn largest(self, x: [[f32; 8]; 4]) -> u32 {
        x.as_flattened().iter().fold(0, |most, x| most.max(x.abs().to_bits()))
    }

    #[inline(always)]
    fn fours(self, x: [[f32; 8]; 4]) -> [f32; 8] {
        let x = x.as_flattened().as_chunks::<4>().0;
        std::array::from_fn(|i| (x[i][0] + x[i][1]) + (x[i][2] + x[i][3]))
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
        bytes.map(from_bf16_le)
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

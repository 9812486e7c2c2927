//! [`Lanes`] by NEON, which every 64-bit ARM has.
//!
//! A `Neon<true>` exists only on a CPU that was asked for dotprod and said yes. Loads and stores touch exactly the array behind
//! the reference, at any alignment: that is the SAFETY of every block here.

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Job, Lanes, Level};

/// Eight lanes as two vectors; sums of products by dotprod, if so said.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool = false>(());

impl Neon {
    /// If it is to be used.
    #[inline(always)]
    pub(super) fn detect() -> Option<Self> {
        (Level::in_use() >= Level::Neon).then_some(Neon(()))
    }

    #[inline(always)]
    pub(super) fn run<J: Job>(self, job: J) -> J::Out {
        job.run(self)
    }
}

impl Neon<true> {
    /// If the CPU has dotprod and it is to be used.
    #[inline(always)]
    pub(super) fn detect() -> Option<Self> {
        (Level::in_use() >= Level::Dotprod).then_some(Neon(()))
    }

    #[inline(always)]
    pub(super) fn run<J: Job>(self, job: J) -> J::Out {
        job.run(self)
    }
}

/// Both halves of a vector of eight.
#[inline(always)]
fn both<A: Copy, B: Copy, C>(a: [A; 2], b: [B; 2], f: impl Fn(A, B) -> C) -> [C; 2] {
    [f(a[0], b[0]), f(a[1], b[1])]
}

/// Sixteen bytes shifted to the right, or to the left.
#[inline(always)]
fn shifted(b: uint8x16_t, right: i32) -> uint8x16_t {
    unsafe {
        match right {
            ..=-4 => vshlq_n_u8::<4>(b),
            -3 => vshlq_n_u8::<3>(b),
            -2 => vshlq_n_u8::<2>(b),
            -1 => vshlq_n_u8::<1>(b),
            0 => b,
            1 => vshrq_n_u8::<1>(b),
            2 => vshrq_n_u8::<2>(b),
            3 => vshrq_n_u8::<3>(b),
            4 => vshrq_n_u8::<4>(b),
            5 => vshrq_n_u8::<5>(b),
            6 => vshrq_n_u8::<6>(b),
            7.. => vshrq_n_u8::<7>(b),
        }
    }
}

/// Eight numbers of 16 bits as floats.
#[inline(always)]
fn floats(v: uint16x8_t) -> [float32x4_t; 2] {
    unsafe { [vcvtq_f32_u32(vmovl_u16(vget_low_u16(v))), vcvtq_f32_u32(vmovl_high_u16(v))] }
}

/// A square of sixteen, turned.
#[inline(always)]
fn turned(v: [float32x4_t; 4]) -> [float32x4_t; 4] {
    unsafe {
        let pair = |a, b| {
            let (even, odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
            (vreinterpretq_f64_f32(even), vreinterpretq_f64_f32(odd))
        };
        let ((a, b), (c, d)) = (pair(v[0], v[1]), pair(v[2], v[3]));
        let low = |a, b| vreinterpretq_f32_f64(vtrn1q_f64(a, b));
        let high = |a, b| vreinterpretq_f32_f64(vtrn2q_f64(a, b));
        [low(a, c), low(b, d), high(a, c), high(b, d)]
    }
}

impl<const DOT: bool> Lanes for Neon<DOT> {
    type V = [float32x4_t; 2];
    type B = [uint8x16_t; 2];
    type Ints = Self;

    #[inline(always)]
    fn ints(self) -> Self {
        self
    }

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        unsafe { [vdupq_n_f32(value); 2] }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> Self::V {
        unsafe { [vld1q_f32(x.as_ptr()), vld1q_f32(x[4..].as_ptr())] }
    }

    #[inline(always)]
    fn small(self, bytes: &[u8; 8]) -> Self::V {
        unsafe { floats(vmovl_u8(vld1_u8(bytes.as_ptr()))) }
    }

    #[inline(always)]
    fn bytes(self, bytes: &[u8; 32]) -> Self::B {
        unsafe { [vld1q_u8(bytes.as_ptr()), vld1q_u8(bytes[16..].as_ptr())] }
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> Self::B {
        unsafe {
            let both = vld1q_u8(bytes.as_ptr());
            [vandq_u8(both, vdupq_n_u8(15)), vshrq_n_u8::<4>(both)]
        }
    }

    #[inline(always)]
    fn shift(self, b: Self::B, right: i32, mask: u8) -> Self::B {
        b.map(|b| unsafe { vandq_u8(shifted(b, right), vdupq_n_u8(mask)) })
    }

    #[inline(always)]
    fn or(self, a: Self::B, b: Self::B) -> Self::B {
        both(a, b, |a, b| unsafe { vorrq_u8(a, b) })
    }

    #[inline(always)]
    fn xor(self, b: Self::B, with: u8) -> Self::B {
        b.map(|b| unsafe { veorq_u8(b, vdupq_n_u8(with)) })
    }

    #[inline(always)]
    fn table(self, index: Self::B, table: &[u8; 16]) -> Self::B {
        index.map(|index| unsafe { vqtbl1q_u8(vld1q_u8(table.as_ptr()), index) })
    }

    #[inline(always)]
    fn bits(self, word: u32, bit: u8) -> Self::B {
        // Each byte of the word eight times, then one bit of each.
        const EACH: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        const PLACES: [[u8; 16]; 2] = [
            [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1],
            [2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3],
        ];
        PLACES.map(|places| unsafe {
            let word = vreinterpretq_u8_u32(vdupq_n_u32(word));
            let spread = vqtbl1q_u8(word, vld1q_u8(places.as_ptr()));
            vandq_u8(vtstq_u8(spread, vld1q_u8(EACH.as_ptr())), vdupq_n_u8(bit))
        })
    }

    #[inline(always)]
    fn eighth<const Q: usize>(self, b: Self::B) -> Self::V {
        unsafe {
            let half = b[Q / 2];
            floats(if Q % 2 == 0 { vmovl_u8(vget_low_u8(half)) } else { vmovl_high_u8(half) })
        }
    }

    #[inline(always)]
    fn largest(self, x: [Self::V; 4]) -> u32 {
        unsafe {
            let size = |v| vreinterpretq_u32_f32(vabsq_f32(v));
            let eight = x.map(|[a, b]| vmaxq_u32(size(a), size(b)));
            vmaxvq_u32(vmaxq_u32(vmaxq_u32(eight[0], eight[1]), vmaxq_u32(eight[2], eight[3])))
        }
    }

    #[inline(always)]
    fn fours(self, x: [Self::V; 4]) -> Self::V {
        unsafe {
            let twos = x.map(|[a, b]| vpaddq_f32(a, b));
            [vpaddq_f32(twos[0], twos[1]), vpaddq_f32(twos[2], twos[3])]
        }
    }

    #[inline(always)]
    fn f16(self, bits: u16) -> f32 {
        let value: f32;
        // Every ARM converts half floats; the intrinsic is younger than the oldest Rust that will do.
        unsafe {
            asm!("fcvt {0:s}, {1:h}", out(vreg) value, in(vreg) bits, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }

    #[inline(always)]
    fn halves(self, bytes: &[[u8; 2]; 8]) -> Self::V {
        let (low, high): (float32x4_t, float32x4_t);
        unsafe {
            let bits = vld1q_u8(bytes.as_ptr().cast());
            asm!(
                "fcvtl {0:v}.4s, {2:v}.4h",
                "fcvtl2 {1:v}.4s, {2:v}.8h",
                out(vreg) low,
                lateout(vreg) high,
                in(vreg) bits,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        [low, high]
    }

    #[inline(always)]
    fn brains(self, bytes: &[[u8; 2]; 8]) -> Self::V {
        unsafe {
            let bits = vreinterpretq_u16_u8(vld1q_u8(bytes.as_ptr().cast()));
            let (low, high) = (vshll_n_u16::<16>(vget_low_u16(bits)), vshll_high_n_u16::<16>(bits));
            [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        both(a, b, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        both(a, b, |a, b| unsafe { vsubq_f32(a, b) })
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        both(a, b, |a, b| unsafe { vmulq_f32(a, b) })
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }

    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; 8] {
        let mut out = [0.0; 8];
        unsafe {
            vst1q_f32(out.as_mut_ptr(), v[0]);
            vst1q_f32(out[4..].as_mut_ptr(), v[1]);
        }
        out
    }

    #[inline(always)]
    fn transpose(self, v: [Self::V; 8]) -> [Self::V; 8] {
        let square = |row: usize, half: usize| {
            turned([v[row][half], v[row + 1][half], v[row + 2][half], v[row + 3][half]])
        };
        let (a, b, c, d) = (square(0, 0), square(4, 0), square(0, 1), square(4, 1));
        std::array::from_fn(|i| if i < 4 { [a[i], b[i]] } else { [c[i - 4], d[i - 4]] })
    }

    #[inline(always)]
    fn sums(self, v: [Self::V; 8]) -> [f32; 8] {
        unsafe {
            // Halves added to halves, then quarters, then eighths.
            let four = v.map(|[a, b]| vreinterpretq_f64_f32(vaddq_f32(a, b)));
            let two = |i: usize| {
                let low = vreinterpretq_f32_f64(vtrn1q_f64(four[i], four[i + 1]));
                vaddq_f32(low, vreinterpretq_f32_f64(vtrn2q_f64(four[i], four[i + 1])))
            };
            self.to_array([vpaddq_f32(two(0), two(2)), vpaddq_f32(two(4), two(6))])
        }
    }
}

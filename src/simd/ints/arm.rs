//! [`Ints`] by NEON and by its dotprod: SAFETY is as in `neon.rs`.
//!
//! NEON multiplies numbers of 16 bits. Dotprod multiplies bytes, four at a time: an activation is an upper byte and a lower one,
//! both with a sign, and what the upper ones give is worth 256 times as much. The sums are the same whole numbers.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Ints;
use crate::simd::Lanes;
use crate::simd::neon::Neon;

/// Thirty-two codes, from which a centre is to be taken, and what their products are multiplied by: one scale or two.
#[derive(Clone, Copy)]
pub(crate) struct Codes {
    bytes: [uint8x16_t; 2],
    centre: u8,
    scales: Scales,
}

/// Scales of one vector of sums, or of the first and second sixteen codes.
#[derive(Clone, Copy)]
enum Scales {
    None,
    One(int32x4_t),
    Two(int32x4_t, int32x4_t),
}

/// Element `I` of eight, everywhere.
#[inline(always)]
fn lane<const I: usize>(v: [int32x4_t; 2]) -> int32x4_t {
    let v = v[I / 4 % 2];
    unsafe {
        match I % 4 {
            0 => vdupq_laneq_s32::<0>(v),
            1 => vdupq_laneq_s32::<1>(v),
            2 => vdupq_laneq_s32::<2>(v),
            _ => vdupq_laneq_s32::<3>(v),
        }
    }
}

impl<const DOT: bool> Neon<DOT> {
    /// Sums, four at a time or four apart, of the products of sixteen or 32 codes with activations.
    #[inline(always)]
    fn sixteens<const N: usize>(self, codes: [uint8x16_t; N], centre: u8, x: &[[i16; 16]]) -> int32x4_t {
        unsafe {
            let mut sums = vdupq_n_s32(0);
            let centre = vdupq_n_u8(centre);
            if DOT {
                // Upper bytes first, then what 256 of them are worth, then lower ones.
                let codes = codes.map(|codes| vreinterpretq_s8_u8(vsubq_u8(codes, centre)));
                for half in [16, 0] {
                    sums = vshlq_n_s32::<8>(sums);
                    for (codes, x) in codes.iter().zip(x) {
                        let x = &bytemuck::cast_ref::<[i16; 16], [i8; 32]>(x)[half..];
                        sums = dot(sums, *codes, vld1q_s8(x.as_ptr()));
                    }
                }
                return sums;
            }
            for (codes, x) in codes.iter().zip(x) {
                let low = vreinterpretq_s16_u16(vsubl_u8(vget_low_u8(*codes), vget_low_u8(centre)));
                let high = vreinterpretq_s16_u16(vsubl_high_u8(*codes, centre));
                for (codes, x) in [low, high].into_iter().zip(x.as_chunks::<8>().0) {
                    let x = vld1q_s16(x.as_ptr());
                    sums = vmlal_s16(sums, vget_low_s16(codes), vget_low_s16(x));
                    sums = vmlal_high_s16(sums, codes, x);
                }
            }
            sums
        }
    }
}

/// Adds to each sum four products of bytes: dotprod's instruction, whose intrinsic is not stable.
#[inline(always)]
unsafe fn dot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: who calls this knows that the CPU has dotprod.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {0:v}.4s, {1:v}.16b, {2:v}.16b",
            inout(vreg) sums,
            in(vreg) a,
            in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

impl<const DOT: bool> Ints<Neon<DOT>> for Neon<DOT> {
    type W = Codes;
    type I = int32x4_t;
    type F = float32x4_t;
    type S = ([int32x4_t; 2], Option<[int32x4_t; 2]>);

    #[inline(always)]
    fn words(self, b: [uint8x16_t; 2], centre: u8) -> Codes {
        Codes { bytes: b, centre, scales: Scales::None }
    }

    #[inline(always)]
    fn scales(self, first: &[i16; 8], second: Option<&[i16; 8]>) -> Self::S {
        let wide = |x: &[i16; 8]| unsafe {
            let x = vld1q_s16(x.as_ptr());
            [vmovl_s16(vget_low_s16(x)), vmovl_high_s16(x)]
        };
        (wide(first), second.map(wide))
    }

    #[inline(always)]
    fn times<const G: usize>(self, w: Codes, (first, second): Self::S) -> Codes {
        let first = lane::<G>(first);
        let scales = match second {
            None => Scales::One(first),
            Some(second) => Scales::Two(first, lane::<G>(second)),
        };
        Codes { scales, ..w }
    }

    #[inline(always)]
    fn pairs(self, w: Codes) -> [i32; 16] {
        let scale = match w.scales {
            Scales::None => None,
            Scales::One(scale) => Some([scale; 2]),
            Scales::Two(first, second) => Some([first, second]),
        };
        let mut out = [[0; 8]; 4];
        for (i, (bytes, out)) in w.bytes.into_iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
            unsafe {
                let centre = vdupq_n_u8(w.centre);
                let low = vsubl_u8(vget_low_u8(bytes), vget_low_u8(centre));
                let words = [low, vsubl_high_u8(bytes, centre)].map(|v| {
                    let v = vreinterpretq_s16_u16(v);
                    let times = |s: [_; 2]| vmulq_s16(v, vdupq_laneq_s16::<0>(vreinterpretq_s16_s32(s[i])));
                    scale.map_or(v, times)
                });
                words.into_iter().zip(out).for_each(|(v, out)| vst1q_s16(out.as_mut_ptr(), v));
            }
        }
        bytemuck::cast(out)
    }

    #[inline(always)]
    fn rounded(self, x: [[float32x4_t; 2]; 4], by: f32) -> [i16; 32] {
        let mut out = [[0; 8]; 4];
        for (x, out) in x.into_iter().zip(&mut out) {
            unsafe {
                let [a, b] = x.map(|v| vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(v, by))));
                vst1q_s16(out.as_mut_ptr(), vcombine_s16(a, b));
            }
        }
        bytemuck::cast(out)
    }

    /// For dotprod: of each sixteen first the lower bytes, then the upper ones, both with a sign.
    #[inline(always)]
    fn arranged(self, x: [i16; 32]) -> [i16; 32] {
        if !DOT {
            return x;
        }
        let mut out = [[0i8; 16]; 4];
        for (x, out) in x.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<2>().0) {
            unsafe {
                let (a, b) = (vld1q_s16(x.as_ptr()), vld1q_s16(x[8..].as_ptr()));
                vst1q_s8(out[0].as_mut_ptr(), vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
                vst1q_s8(out[1].as_mut_ptr(), vcombine_s8(vrshrn_n_s16::<8>(a), vrshrn_n_s16::<8>(b)));
            }
        }
        bytemuck::cast(out)
    }

    #[inline(always)]
    fn none(self) -> int32x4_t {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    fn products(self, sums: int32x4_t, w: Codes, x: &[i16; 32]) -> int32x4_t {
        let x = x.as_chunks::<16>().0;
        unsafe {
            match w.scales {
                Scales::None => vaddq_s32(sums, self.sixteens(w.bytes, w.centre, x)),
                Scales::One(scale) => vmlaq_s32(sums, self.sixteens(w.bytes, w.centre, x), scale),
                Scales::Two(first, second) => {
                    let sums = vmlaq_s32(sums, self.sixteens([w.bytes[0]], w.centre, x), first);
                    vmlaq_s32(sums, self.sixteens([w.bytes[1]], w.centre, &x[1..]), second)
                }
            }
        }
    }

    #[inline(always)]
    fn zero(self) -> float32x4_t {
        unsafe { vdupq_n_f32(0.0) }
    }

    #[inline(always)]
    fn add(self, sums: float32x4_t, step: f32, products: int32x4_t) -> float32x4_t {
        unsafe { vfmaq_n_f32(sums, vcvtq_f32_s32(products), step) }
    }

    #[inline(always)]
    fn add_eight(self, sums: float32x4_t, a: [float32x4_t; 2], b: &[f32; 8]) -> float32x4_t {
        let b = self.load(b);
        unsafe { vfmaq_f32(vfmaq_f32(sums, a[0], b[0]), a[1], b[1]) }
    }

    #[inline(always)]
    fn fold(self, sums: float32x4_t) -> [float32x4_t; 2] {
        unsafe { [sums, vdupq_n_f32(0.0)] }
    }
}

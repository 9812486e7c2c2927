//! [`Wide`] by NEON: vectors of eight, for which 32 registers have room as AVX2's sixteen have.
//!
//! SAFETY is as in `neon.rs`: loads and stores touch eight elements of a slice checked to have them.

use std::arch::aarch64::*;

use super::{TileJob, Wide};
use crate::simd::Lanes;
use crate::simd::neon::Neon;

impl Wide for Neon {
    const W: usize = 8;
    type V = [float32x4_t; 2];
    tiles!(2, 4, 6, 8, 16, [2, 1]);

    #[inline(always)]
    fn zero(self) -> Self::V {
        Lanes::zero(self)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        Lanes::splat(self, value)
    }

    #[inline(always)]
    fn load(self, x: &[f32]) -> Self::V {
        let x = &x[..8];
        unsafe { [vld1q_f32(x.as_ptr()), vld1q_f32(x[4..].as_ptr())] }
    }

    #[inline(always)]
    fn store(self, v: Self::V, x: &mut [f32]) {
        let x = &mut x[..8];
        unsafe {
            vst1q_f32(x.as_mut_ptr(), v[0]);
            vst1q_f32(x[4..].as_mut_ptr(), v[1]);
        }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        Lanes::mul_add(self, a, b, c)
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        Lanes::add(self, a, b)
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        Lanes::mul(self, a, b)
    }

    /// Eight sums; or of eight pairs the first numbers, then the second ones.
    type I = [int32x4_t; 2];

    #[inline(always)]
    fn no_ints(self) -> Self::I {
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    fn ints(self, x: &[i32]) -> Self::I {
        unsafe {
            let int16x8x2_t(first, second) = vld2q_s16(x[..8].as_ptr().cast());
            [vreinterpretq_s32_s16(first), vreinterpretq_s32_s16(second)]
        }
    }

    #[inline(always)]
    fn pair(self, value: i32) -> Self::I {
        unsafe { [vdupq_n_s32(value); 2] }
    }

    #[inline(always)]
    fn products(self, sums: Self::I, a: Self::I, b: Self::I) -> Self::I {
        unsafe {
            let a = vget_low_s16(vreinterpretq_s16_s32(a[0]));
            let [first, second] = b.map(|b| vreinterpretq_s16_s32(b));
            let low = vmlal_lane_s16::<0>(sums[0], vget_low_s16(first), a);
            let high = vmlal_high_lane_s16::<0>(sums[1], first, a);
            let low = vmlal_lane_s16::<1>(low, vget_low_s16(second), a);
            [low, vmlal_high_lane_s16::<1>(high, second, a)]
        }
    }

    #[inline(always)]
    fn float(self, v: Self::I) -> Self::V {
        v.map(|v| unsafe { vcvtq_f32_s32(v) })
    }

    #[inline(always)]
    fn fold(self, v: Self::V, lanes: &mut [f32; 8]) {
        *lanes = self.to_array(v);
    }
}

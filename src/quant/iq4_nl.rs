//! IQ4_NL: 32 weights, an f16 scale and 4-bit indices into a fixed table of sixteen unevenly spaced integers
//! (ggml's `kvalues_iq4nl`).

use super::codec::{BlockCodec, Scales, all_codes, f16_at, join_nibbles, part};
use super::device::{View, pack_bits};
use super::search::{importance, sums};
use crate::simd::Lanes;
use crate::simd::half::{through_f16, to_f16_le};

/// The integers that the sixteen codes stand for.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Scales tried on either side of the one that maps the largest weight to the end of the table.
const STEPS: i32 = 12;

/// f16 scale, 16 bytes of nibbles.
pub(crate) struct Iq4Nl;

impl BlockCodec<32, 18> for Iq4Nl {
    const PLANES: &'static [usize] = &[16, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 127;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 18]) -> L::B {
        l.nibbles(part(block, 2))
    }

    #[inline(always)]
    fn values<L: Lanes>(l: L, codes: L::B) -> L::B {
        l.table(codes, &VALUES.map(|v| (i16::from(v) + 127) as u8))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 18], out: &mut Scales) {
        out.scale[0] = f16_at(l, block, 0);
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 18]) {
        let d = through_f16(best_scale(x));
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block[..2].copy_from_slice(&to_f16_le(d));
        join_nibbles(&x.map(|v| nearest(v * inverse)), &mut block[2..]);
    }

    fn to_planes(block: &[u8; 18], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..16]);
        out[16..18].copy_from_slice(&block[..2]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let d = view.f16(1, row, oct / 4);
        view.ints(0, row, oct, 0, 4).map(|c| d * f32::from(VALUES[c as usize & 15]))
    }
}

/// Halfway between neighbours of the table.
const MIDPOINTS: [f32; 15] = {
    let mut midpoints = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        midpoints[i] = 0.5 * (VALUES[i] as f32 + VALUES[i + 1] as f32);
        i += 1;
    }
    midpoints
};

/// The code whose value is nearest, by bisection: how many midpoints lie below.
#[inline(always)]
fn nearest(v: f32) -> u8 {
    let mut code = 0;
    for step in [8, 4, 2, 1] {
        code += if v > MIDPOINTS[code + step - 1] { step } else { 0 };
    }
    code as u8
}

/// The least-squares scale of the best of a row of starting scales, of either sign.
#[inline(always)]
fn best_scale(x: &[f32; 32]) -> f32 {
    let largest = x.iter().fold(0.0f32, |a, &v| if v.abs() > a.abs() { v } else { a });
    if largest == 0.0 {
        return 0.0;
    }
    let mut weights = [0.0; 32];
    importance(x, &mut weights);
    let (mut best, mut best_gain) = (0.0, 0.0);
    for end in [f32::from(VALUES[0]), f32::from(VALUES[15])] {
        for step in -STEPS..=STEPS {
            let inverse = (end + 2.0 * step as f32) / largest;
            let [xy, yy] = sums(x, &weights, |v, w| {
                let y = f32::from(VALUES[usize::from(nearest(v * inverse))]);
                [w * v * y, w * y * y]
            });
            if xy * xy > best_gain * yy {
                (best, best_gain) = (xy / yy, xy * xy / yy);
            }
        }
    }
    best
}

//! The formats of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Layouts and encoders follow ggml (`ggml-common.h`, `quantize_row_*_ref`), to the byte.

use super::codec::{BlockCodec, Scales, all_codes, f16_at, join_nibbles, part};
use super::device::{View, pack_bits};
use crate::simd::Lanes;
use crate::simd::half::{from_f16, to_f16_le};

/// f16 scale, 16 bytes of nibbles.
pub(crate) struct Q4_0;
/// f16 scale, f16 minimum, 16 bytes of nibbles.
pub(crate) struct Q4_1;
/// f16 scale, 32 fifth bits, 16 bytes of nibbles.
pub(crate) struct Q5_0;
/// f16 scale, f16 minimum, 32 fifth bits, 16 bytes of nibbles.
pub(crate) struct Q5_1;
/// f16 scale, 32 signed bytes.
pub(crate) struct Q8_0;

impl BlockCodec<32, 18> for Q4_0 {
    const PLANES: &'static [usize] = &[16, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 8;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 18]) -> L::B {
        l.nibbles(part(block, 2))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 18], out: &mut Scales) {
        out.scale[0] = f16_at(l, block, 0);
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 18]) {
        let (d, codes) = encode_centred(x, 8.0);
        block[..2].copy_from_slice(&to_f16_le(d));
        join_nibbles(&codes, &mut block[2..]);
    }

    fn to_planes(block: &[u8; 18], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..16]);
        out[16..18].copy_from_slice(&block[..2]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let d = view.f16(1, row, oct / 4);
        view.ints(0, row, oct, 0, 4).map(|c| d * (c as f32 - 8.0))
    }
}

impl BlockCodec<32, 20> for Q4_1 {
    const PLANES: &'static [usize] = &[16, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const MIDDLE: u8 = 8;
    const PLUS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 20]) -> L::B {
        l.nibbles(part(block, 4))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 20], out: &mut Scales) {
        (out.scale[0], out.plus[0]) = (f16_at(l, block, 0), f16_at(l, block, 2));
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 20]) {
        let (d, min, codes) = encode_from_minimum(x, 15.0);
        block[..2].copy_from_slice(&to_f16_le(d));
        block[2..4].copy_from_slice(&to_f16_le(min));
        join_nibbles(&codes, &mut block[4..]);
    }

    fn to_planes(block: &[u8; 20], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..16]);
        out[16..20].copy_from_slice(&block[..4]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let (d, m) = pair(view.word(1, row, oct / 4));
        view.ints(0, row, oct, 0, 4).map(|c| d * c as f32 + m)
    }
}

impl BlockCodec<32, 22> for Q5_0 {
    const PLANES: &'static [usize] = &[16, 4, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 16;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 22]) -> L::B {
        codes5(l, &block[2..])
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 22], out: &mut Scales) {
        out.scale[0] = f16_at(l, block, 0);
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 22]) {
        let (d, codes) = encode_centred(x, 16.0);
        block[..2].copy_from_slice(&to_f16_le(d));
        pack_bits(&codes, 4, 1, &mut block[2..6]);
        join_nibbles(&codes, &mut block[6..]);
    }

    fn to_planes(block: &[u8; 22], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..16]);
        out[16..20].copy_from_slice(&block[2..6]);
        out[20..22].copy_from_slice(&block[..2]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let d = view.f16(2, row, oct / 4);
        codes5_device(view, row, oct).map(|c| d * (c as f32 - 16.0))
    }
}

impl BlockCodec<32, 24> for Q5_1 {
    const PLANES: &'static [usize] = &[16, 4, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const MIDDLE: u8 = 16;
    const PLUS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 24]) -> L::B {
        codes5(l, &block[4..])
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 24], out: &mut Scales) {
        (out.scale[0], out.plus[0]) = (f16_at(l, block, 0), f16_at(l, block, 2));
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 24]) {
        let (d, min, codes) = encode_from_minimum(x, 31.0);
        block[..2].copy_from_slice(&to_f16_le(d));
        block[2..4].copy_from_slice(&to_f16_le(min));
        pack_bits(&codes, 4, 1, &mut block[4..8]);
        join_nibbles(&codes, &mut block[8..]);
    }

    fn to_planes(block: &[u8; 24], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..16]);
        out[16..20].copy_from_slice(&block[4..8]);
        out[20..24].copy_from_slice(&block[..4]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let (d, m) = pair(view.word(2, row, oct / 4));
        codes5_device(view, row, oct).map(|c| d * c as f32 + m)
    }
}

impl BlockCodec<32, 34> for Q8_0 {
    const PLANES: &'static [usize] = &[32, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 128;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 34]) -> L::B {
        l.bytes(part(block, 2))
    }

    /// Signed codes, from their lowest on.
    #[inline(always)]
    fn values<L: Lanes>(l: L, codes: L::B) -> L::B {
        l.xor(codes, 128)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 34], out: &mut Scales) {
        out.scale[0] = f16_at(l, block, 0);
    }

    #[inline(always)]
    fn encode(x: &[f32; 32], block: &mut [u8; 34]) {
        let largest = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        block[..2].copy_from_slice(&to_f16_le(d));
        for (b, &v) in block[2..].iter_mut().zip(x) {
            *b = (v * inverse).round() as i8 as u8;
        }
    }

    fn to_planes(block: &[u8; 34], out: &mut [u8]) {
        out[..32].copy_from_slice(&block[2..]);
        out[32..34].copy_from_slice(&block[..2]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let d = view.f16(1, row, oct / 4);
        std::array::from_fn(|i| d * f32::from(view.byte(0, row, 8 * oct + i) as i8))
    }
}

/// Fifth bits in four bytes, then nibbles: byte j holds weight j low and weight j + 16 high.
#[inline(always)]
fn codes5<L: Lanes>(l: L, bytes: &[u8]) -> L::B {
    l.or(l.nibbles(part(bytes, 4)), l.bits(u32::from_le_bytes(*part(bytes, 0)), 16))
}

fn codes5_device(view: &View<'_>, row: usize, oct: usize) -> [u32; 8] {
    let low = view.ints(0, row, oct, 0, 4);
    let high = view.ints(1, row, oct / 4, 8 * (oct % 4), 1);
    std::array::from_fn(|i| low[i] | (high[i] << 4))
}

/// Two f16 in a word, low half first.
pub(crate) fn pair(word: u32) -> (f32, f32) {
    (from_f16(word as u16), from_f16((word >> 16) as u16))
}

/// ggml's choice: the weight of the largest size gets the lowest code, so that all sixteen (or 32) are used.
#[inline(always)]
fn encode_centred(x: &[f32; 32], centre: f32) -> (f32, [u8; 32]) {
    let largest = x.iter().fold(x[0], |a, &v| if v.abs() > a.abs() { v } else { a });
    let d = largest / -centre;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let top = 2.0 * centre - 1.0;
    (d, x.map(|v| (v * inverse + (centre + 0.5)).trunc().min(top) as u8))
}

#[inline(always)]
fn encode_from_minimum(x: &[f32; 32], top: f32) -> (f32, f32, [u8; 32]) {
    let min = x.iter().fold(f32::INFINITY, |a, &v| a.min(v));
    let max = x.iter().fold(f32::NEG_INFINITY, |a, &v| a.max(v));
    let d = (max - min) / top;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    (d, min, x.map(|v| ((v - min) * inverse + 0.5).trunc().min(top) as u8))
}

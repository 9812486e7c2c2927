//! The formats of 32 weights with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
//!
//! Layouts and encoders follow ggml (`ggml-common.h`, `quantize_row_*_ref`), to the byte.

use super::codec::{Block, Identity, Scales, all_codes, eight, f16_at, f16_of_each, join_nibbles};
use super::device::{View, pack_bits};
use super::half::{from_f16, to_f16_le};
use super::simd::Lanes;

/// f16 scale, 16 bytes of nibbles.
pub(super) struct Q4_0;
/// f16 scale, f16 minimum, 16 bytes of nibbles.
pub(super) struct Q4_1;
/// f16 scale, 32 fifth bits, 16 bytes of nibbles.
pub(super) struct Q5_0;
/// f16 scale, f16 minimum, 32 fifth bits, 16 bytes of nibbles.
pub(super) struct Q5_1;
/// f16 scale, 32 signed bytes.
pub(super) struct Q8_0;

impl Block<32, 18> for Q4_0 {
    const IDENTITY: Identity = Identity("Q4_0", "q4_0", 2);
    const PLANES: &'static [usize] = &[16, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 8;
    const MINS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes>(l: L, block: &[u8; 18], oct: usize) -> L::I {
        codes4(l, &block[2..], oct)
    }

    #[inline(always)]
    fn nibbles<L: Lanes>(l: L, block: &[u8; 18]) -> Option<(f32, f32, &[u8; 16])> {
        let scale = f16_at(l, block, 0);
        block.last_chunk().map(|nibbles| (scale, scale * f32::from(Self::CENTRE), nibbles))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, blocks: &[[u8; 18]], out: &mut Scales) {
        f16_of_each(l, blocks, 0, &mut out.scale);
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

impl Block<32, 20> for Q4_1 {
    const IDENTITY: Identity = Identity("Q4_1", "q4_1", 3);
    const PLANES: &'static [usize] = &[16, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const MINS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes>(l: L, block: &[u8; 20], oct: usize) -> L::I {
        codes4(l, &block[4..], oct)
    }

    #[inline(always)]
    fn nibbles<L: Lanes>(l: L, block: &[u8; 20]) -> Option<(f32, f32, &[u8; 16])> {
        let (scale, min) = (f16_at(l, block, 0), -f16_at(l, block, 2));
        block.last_chunk().map(|nibbles| (scale, min, nibbles))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, blocks: &[[u8; 20]], out: &mut Scales) {
        scales_and_minima(l, blocks, out);
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

impl Block<32, 22> for Q5_0 {
    const IDENTITY: Identity = Identity("Q5_0", "q5_0", 6);
    const PLANES: &'static [usize] = &[16, 4, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 16;
    const MINS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes>(l: L, block: &[u8; 22], oct: usize) -> L::I {
        codes5(l, &block[2..], oct)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, blocks: &[[u8; 22]], out: &mut Scales) {
        f16_of_each(l, blocks, 0, &mut out.scale);
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

impl Block<32, 24> for Q5_1 {
    const IDENTITY: Identity = Identity("Q5_1", "q5_1", 7);
    const PLANES: &'static [usize] = &[16, 4, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const MINS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes>(l: L, block: &[u8; 24], oct: usize) -> L::I {
        codes5(l, &block[4..], oct)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, blocks: &[[u8; 24]], out: &mut Scales) {
        scales_and_minima(l, blocks, out);
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

impl Block<32, 34> for Q8_0 {
    const IDENTITY: Identity = Identity("Q8_0", "q8_0", 8);
    const PLANES: &'static [usize] = &[32, 2];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const MINS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes>(l: L, block: &[u8; 34], oct: usize) -> L::I {
        l.signed(eight(block, 2 + 8 * oct))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, blocks: &[[u8; 34]], out: &mut Scales) {
        f16_of_each(l, blocks, 0, &mut out.scale);
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

/// Minima are stored with their sign, so that a weight is `d * q + m`.
#[inline(always)]
fn scales_and_minima<L: Lanes, const BYTES: usize>(l: L, blocks: &[[u8; BYTES]], out: &mut Scales) {
    f16_of_each(l, blocks, 0, &mut out.scale);
    f16_of_each(l, blocks, 2, &mut out.min);
    out.min = out.min.map(|m| -m);
}

/// Nibbles: byte j holds weight j low and weight j + 16 high.
#[inline(always)]
pub(super) fn codes4<L: Lanes>(l: L, nibbles: &[u8], oct: usize) -> L::I {
    l.field(l.bytes(eight(nibbles, 8 * (oct % 2))), 4 * (oct as u32 / 2), 15)
}

/// Fifth bits in four bytes, then nibbles.
#[inline(always)]
fn codes5<L: Lanes>(l: L, bytes: &[u8], oct: usize) -> L::I {
    let fifth = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    l.join(codes4(l, &bytes[4..], oct), l.bits(fifth, 8 * oct as u32), 4)
}

fn codes5_device(view: &View<'_>, row: usize, oct: usize) -> [u32; 8] {
    let low = view.ints(0, row, oct, 0, 4);
    let high = view.ints(1, row, oct / 4, 8 * (oct % 4), 1);
    std::array::from_fn(|i| low[i] | (high[i] << 4))
}

/// Two f16 in a word, low half first.
pub(super) fn pair(word: u32) -> (f32, f32) {
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

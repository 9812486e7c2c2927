//! The super-block formats with minima: Q2_K, Q4_K, Q5_K. A weight is `d * scale * code - dmin * min`.
//!
//! Layouts follow ggml (`block_q2_K`, `block_q4_K`, `block_q5_K`); the encoders are a search of our own.

use std::hint::black_box;

use super::codec::{BlockCodec, Factors, Scales, all_codes, f16_at, join_nibbles, part};
use super::device::{View, pack_bits};
use super::legacy::pair;
use super::search::affine;
use crate::simd::Lanes;
use crate::simd::half::to_f16_le;

/// 16 bytes of 4-bit scales and minima, 64 bytes of 2-bit codes, f16 d, f16 dmin.
pub(crate) struct Q2K;
/// f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles.
pub(crate) struct Q4K;
/// As Q4_K, with 32 bytes of fifth bits before the nibbles.
pub(crate) struct Q5K;

impl BlockCodec<256, 84> for Q2K {
    const PLANES: &'static [usize] = &[64, 16, 4];
    const GROUP: usize = 16;
    const CENTRE: u8 = 0;
    const PLUS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 84]) -> L::B {
        codes2(l, &block[16..], G, 0)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 84], out: &mut Scales) {
        let (d, less) = (f16_at(l, block, 80), -f16_at(l, block, 82));
        for (i, &b) in block[..16].iter().enumerate() {
            out.scale[i] = d * f32::from(b & 15);
            out.plus[i] = less * f32::from(b >> 4);
        }
    }

    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; 84], out: &mut Factors) {
        let less = -f16_at(l, block, 82);
        out.scale = f16_at(l, block, 80);
        let mut scales = [0; 16];
        for (i, &b) in block[..16].iter().enumerate() {
            scales[i] = (b & 15) as i8;
            out.plus[i] = less * f32::from(b >> 4);
        }
        out.sixteens(&scales);
    }

    #[inline(always)]
    fn encode(x: &[f32; 256], block: &mut [u8; 84]) {
        let fit = affine(x, 16, 3, 15);
        for (b, (scale, min)) in block[..16].iter_mut().zip(fit.scale.iter().zip(&fit.min)) {
            *b = scale | (min << 4);
        }
        for (half, codes) in block[16..80].chunks_exact_mut(32).zip(fit.codes.chunks_exact(128)) {
            for (l, b) in half.iter_mut().enumerate() {
                *b = (0..4).fold(0, |byte, j| byte | (codes[32 * j + l] << (2 * j)));
            }
        }
        block[80..82].copy_from_slice(&to_f16_le(fit.d));
        block[82..].copy_from_slice(&to_f16_le(fit.dmin));
    }

    fn to_planes(block: &[u8; 84], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 2, &mut out[..64]);
        out[64..80].copy_from_slice(&block[..16]);
        out[80..84].copy_from_slice(&block[80..]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let (d, dmin) = pair(view.word(2, row, oct / 32));
        let b = view.byte(1, row, oct / 2);
        let (scale, min) = (d * f32::from(b & 15), dmin * f32::from(b >> 4));
        view.ints(0, row, oct / 2, 16 * (oct % 2), 2).map(|c| scale * c as f32 - min)
    }
}

impl BlockCodec<256, 144> for Q4K {
    const PLANES: &'static [usize] = &[128, 16, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const PLUS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 144]) -> L::B {
        codes4(l, &block[16..], G)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 144], out: &mut Scales) {
        scales6(l, block, out);
    }

    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; 144], out: &mut Factors) {
        factors6(l, block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32; 256], block: &mut [u8; 144]) {
        let fit = affine(x, 32, 15, 63);
        block[..2].copy_from_slice(&to_f16_le(fit.d));
        block[2..4].copy_from_slice(&to_f16_le(fit.dmin));
        join_six(&fit.scale, &fit.min, &mut block[4..16]);
        join_nibbles64(&fit.codes, &mut block[16..]);
    }

    fn to_planes(block: &[u8; 144], out: &mut [u8]) {
        pack_bits(&all_codes::<Self, _, _>(block), 0, 4, &mut out[..128]);
        scale_planes(&block[..16], &mut out[128..148]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let (scale, min) = device_scale(view, 1, row, oct);
        view.ints(0, row, oct, 0, 4).map(|c| scale * c as f32 - min)
    }
}

impl BlockCodec<256, 176> for Q5K {
    const PLANES: &'static [usize] = &[128, 32, 16, 4];
    const GROUP: usize = 32;
    const CENTRE: u8 = 0;
    const PLUS: bool = true;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 176]) -> L::B {
        // Bit G of each byte.
        let fifth = l.shift(l.bytes(part(block, 16)), G as i32 - 4, 16);
        l.or(codes4(l, &block[48..], G), fifth)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 176], out: &mut Scales) {
        scales6(l, block, out);
    }

    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; 176], out: &mut Factors) {
        factors6(l, block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32; 256], block: &mut [u8; 176]) {
        let fit = affine(x, 32, 31, 63);
        block[..2].copy_from_slice(&to_f16_le(fit.d));
        block[2..4].copy_from_slice(&to_f16_le(fit.dmin));
        join_six(&fit.scale, &fit.min, &mut block[4..16]);
        for (l, b) in block[16..48].iter_mut().enumerate() {
            *b = (0..8).fold(0, |byte, j| byte | ((fit.codes[32 * j + l] >> 4) << j));
        }
        join_nibbles64(&fit.codes, &mut block[48..]);
    }

    fn to_planes(block: &[u8; 176], out: &mut [u8]) {
        let codes = all_codes::<Self, _, _>(block);
        pack_bits(&codes, 0, 4, &mut out[..128]);
        pack_bits(&codes, 4, 1, &mut out[128..160]);
        scale_planes(&block[..16], &mut out[160..180]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let (scale, min) = device_scale(view, 2, row, oct);
        let low = view.ints(0, row, oct, 0, 4);
        let high = view.ints(1, row, oct / 4, 8 * (oct % 4), 1);
        std::array::from_fn(|i| scale * (low[i] | (high[i] << 4)) as f32 - min)
    }
}

/// 2-bit codes, raised by some bits: in each 128 weights, byte l holds the weights l, l + 32, l + 64, l + 96.
#[inline(always)]
pub(crate) fn codes2<L: Lanes>(l: L, bytes: &[u8], group: usize, raise: i32) -> L::B {
    l.shift(l.bytes(part(bytes, 32 * (group / 4))), 2 * (group as i32 % 4) - raise, 3 << raise)
}

/// Nibbles: in each 64 weights, byte l holds weight l low and weight l + 32 high.
#[inline(always)]
fn codes4<L: Lanes>(l: L, bytes: &[u8], group: usize) -> L::B {
    l.shift(l.bytes(part(bytes, 32 * (group / 2))), 4 * (group as i32 % 2), 15)
}

fn join_nibbles64(codes: &[u8; 256], bytes: &mut [u8]) {
    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        join_nibbles(codes, bytes);
    }
}

/// The eight 6-bit scales and minima in twelve bytes: four at a time, as words.
#[inline(always)]
fn split_six(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let [s, m, both] = [0, 4, 8].map(|at| u32::from_le_bytes(*part(packed, at)));
    let (six, low, high) = (0x3F3F_3F3F, 0x0F0F_0F0F, 0x3030_3030);
    let join = |first: u32, second: u32| (u64::from(first) | (u64::from(second) << 32)).to_le_bytes();
    (join(s & six, (both & low) | ((s >> 2) & high)), join(m & six, ((both >> 4) & low) | ((m >> 2) & high)))
}

fn join_six(scale: &[u8], min: &[u8], packed: &mut [u8]) {
    for i in 0..4 {
        packed[i] = scale[i] | ((scale[i + 4] >> 4) << 6);
        packed[i + 4] = min[i] | ((min[i + 4] >> 4) << 6);
        packed[i + 8] = (scale[i + 4] & 15) | ((min[i + 4] & 15) << 4);
    }
}

#[inline(always)]
fn scales6<L: Lanes>(l: L, head: &[u8], out: &mut Scales) {
    let (d, less) = (l.splat(f16_at(l, head, 0)), l.splat(-f16_at(l, head, 2)));
    let (scale, min) = split_six(&head[4..16]);
    if let ([scales, _], [plus, _]) = (out.scale.as_chunks_mut::<8>().0, out.plus.as_chunks_mut::<8>().0) {
        *scales = l.to_array(l.mul(d, l.small(&scale)));
        *plus = l.to_array(l.mul(less, l.small(&min)));
    }
}

#[inline(always)]
fn factors6<L: Lanes>(l: L, head: &[u8], out: &mut Factors) {
    // Through memory: the compiler would take bytes that it knows apart, one by one.
    let (scale, min) = split_six(&head[4..16]);
    let (scale, min) = (black_box(scale), black_box(min));
    out.scale = f16_at(l, head, 0);
    out.whole = [l.words(&scale); 2];
    if let [plus, _] = out.plus.as_chunks_mut::<8>().0 {
        *plus = l.to_array(l.mul(l.splat(-f16_at(l, head, 2)), l.small(&min)));
    }
}

/// The scale plane (scale and minimum bytes alternating), then d and dmin.
fn scale_planes(head: &[u8], out: &mut [u8]) {
    let (scale, min) = split_six(&head[4..16]);
    for (pair, (scale, min)) in out.chunks_exact_mut(2).zip(scale.iter().zip(&min)) {
        pair.copy_from_slice(&[*scale, *min]);
    }
    out[16..20].copy_from_slice(&head[..4]);
}

fn device_scale(view: &View<'_>, plane: usize, row: usize, oct: usize) -> (f32, f32) {
    let (d, dmin) = pair(view.word(plane + 1, row, oct / 32));
    let both = view.word(plane, row, oct / 8) >> (16 * ((oct / 4) % 2));
    (d * (both & 255) as f32, dmin * ((both >> 8) & 255) as f32)
}

//! The super-block formats without minima: Q3_K, Q6_K. A weight is `d * scale * (code - centre)`.
//!
//! Layouts follow ggml (`block_q3_K`, `block_q6_K`); the encoders are a search of our own.

use super::codec::{BlockCodec, Factors, Scales, all_codes, f16_at, join_nibbles, part};
use super::device::{View, pack_bits};
use super::k_affine::codes2;
use super::search::symmetric;
use crate::simd::Lanes;
use crate::simd::half::to_f16_le;

/// 32 bytes of third bits, 64 bytes of 2-bit codes, 12 bytes of 6-bit scales around 32, f16 d.
pub(crate) struct Q3K;
/// 128 bytes of nibbles, 64 bytes of upper 2-bit codes, 16 signed scales, f16 d.
pub(crate) struct Q6K;

impl BlockCodec<256, 110> for Q3K {
    const PLANES: &'static [usize] = &[64, 32, 16, 2];
    const GROUP: usize = 16;
    const CENTRE: u8 = 4;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 110]) -> L::B {
        // The third bit of weight i is bit i / 32 of byte i % 32: bit G of each byte.
        let third = l.shift(l.bytes(part(block, 0)), G as i32 - 2, 4);
        l.or(codes2(l, &block[32..], G, 0), third)
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 110], out: &mut Scales) {
        let d = f16_at(l, block, 108);
        for (out, scale) in out.scale.iter_mut().zip(split_scales(&block[96..108])) {
            *out = d * f32::from(scale);
        }
    }

    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; 110], out: &mut Factors) {
        out.scale = f16_at(l, block, 108);
        out.sixteens(&split_scales(&block[96..108]));
    }

    #[inline(always)]
    fn encode(x: &[f32; 256], block: &mut [u8; 110]) {
        let fit = symmetric(x, 4, 32);
        for (l, b) in block[..32].iter_mut().enumerate() {
            *b = (0..8).fold(0, |byte, j| byte | ((fit.codes[32 * j + l] >> 2) << j));
        }
        for (half, codes) in block[32..96].chunks_exact_mut(32).zip(fit.codes.chunks_exact(128)) {
            for (l, b) in half.iter_mut().enumerate() {
                *b = (0..4).fold(0, |byte, j| byte | ((codes[32 * j + l] & 3) << (2 * j)));
            }
        }
        join_scales(&fit.scale, &mut block[96..108]);
        block[108..].copy_from_slice(&to_f16_le(fit.d));
    }

    fn to_planes(block: &[u8; 110], out: &mut [u8]) {
        let codes = all_codes::<Self, _, _>(block);
        pack_bits(&codes, 0, 2, &mut out[..64]);
        pack_bits(&codes, 2, 1, &mut out[64..96]);
        for (out, scale) in out[96..112].iter_mut().zip(split_scales(&block[96..108])) {
            *out = scale as u8;
        }
        out[112..114].copy_from_slice(&block[108..]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let scale = view.f16(3, row, oct / 32) * f32::from(view.byte(2, row, oct / 2) as i8);
        let low = view.ints(0, row, oct / 2, 16 * (oct % 2), 2);
        let high = view.ints(1, row, oct / 4, 8 * (oct % 4), 1);
        std::array::from_fn(|i| scale * ((low[i] | (high[i] << 2)) as f32 - 4.0))
    }
}

impl BlockCodec<256, 210> for Q6K {
    // Times 32 * 128, and that 32 times, it stays below 2^31.
    const MOST: f32 = 16383.0;
    const PLANES: &'static [usize] = &[128, 64, 16, 2];
    const GROUP: usize = 16;
    const CENTRE: u8 = 32;
    const PLUS: bool = false;

    #[inline(always)]
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; 210]) -> L::B {
        // In each 128 weights a nibble byte holds the weights l and l + 64.
        let nibbles = l.bytes(part(block, 64 * (G / 4) + 32 * (G % 2)));
        let low = l.shift(nibbles, 4 * (G as i32 / 2 % 2), 15);
        l.or(low, codes2(l, &block[128..], G, 4))
    }

    #[inline(always)]
    fn scales<L: Lanes>(l: L, block: &[u8; 210], out: &mut Scales) {
        let d = f16_at(l, block, 208);
        for (out, &scale) in out.scale.iter_mut().zip(&block[192..208]) {
            *out = d * f32::from(scale as i8);
        }
    }

    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; 210], out: &mut Factors) {
        out.scale = f16_at(l, block, 208);
        out.sixteens(&part::<16>(block, 192).map(|b| b as i8));
    }

    #[inline(always)]
    fn encode(x: &[f32; 256], block: &mut [u8; 210]) {
        let fit = symmetric(x, 32, 128);
        let (nibbles, rest) = block.split_at_mut(128);
        for (half, codes) in nibbles.chunks_exact_mut(64).zip(fit.codes.chunks_exact(128)) {
            join_nibbles(codes, half);
        }
        for (half, codes) in rest[..64].chunks_exact_mut(32).zip(fit.codes.chunks_exact(128)) {
            for (l, b) in half.iter_mut().enumerate() {
                *b = (0..4).fold(0, |byte, j| byte | ((codes[32 * j + l] >> 4) << (2 * j)));
            }
        }
        for (b, &scale) in rest[64..80].iter_mut().zip(&fit.scale) {
            *b = scale as u8;
        }
        rest[80..].copy_from_slice(&to_f16_le(fit.d));
    }

    fn to_planes(block: &[u8; 210], out: &mut [u8]) {
        let codes = all_codes::<Self, _, _>(block);
        pack_bits(&codes, 0, 4, &mut out[..128]);
        pack_bits(&codes, 4, 2, &mut out[128..192]);
        out[192..210].copy_from_slice(&block[192..]);
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        let scale = view.f16(3, row, oct / 32) * f32::from(view.byte(2, row, oct / 2) as i8);
        let low = view.ints(0, row, oct, 0, 4);
        let high = view.ints(1, row, oct / 2, 16 * (oct % 2), 2);
        std::array::from_fn(|i| scale * ((low[i] | (high[i] << 4)) as f32 - 32.0))
    }
}

/// The sixteen scales of Q3_K: low nibbles in eight bytes, upper bits of scale i in byte 8 + i % 4.
#[inline(always)]
fn split_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|i| {
        let low = (packed[i % 8] >> (4 * (i / 8))) & 15;
        let high = (packed[8 + i % 4] >> (2 * (i / 4))) & 3;
        (low | (high << 4)) as i8 - 32
    })
}

fn join_scales(scales: &[i8; 16], packed: &mut [u8]) {
    packed.fill(0);
    for (i, &scale) in scales.iter().enumerate() {
        let code = (scale + 32) as u8;
        packed[i % 8] |= (code & 15) << (4 * (i / 8));
        packed[8 + i % 4] |= (code >> 4) << (2 * (i / 4));
    }
}

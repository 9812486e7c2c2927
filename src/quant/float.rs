//! F32, F16 and BF16: no blocks, any row length (on the device a multiple of four).

use super::codec::Codec;
use super::device::View;
use super::dot::{Brain, Half, Single, float_dot, float_load};
use super::half::{from_f16, to_bf16, to_f16_le};

/// The table row of F32.
pub(super) const F32: Codec = Codec {
    name: "F32",
    stem: "f32",
    ggml_id: 0,
    block_len: 1,
    block_bytes: 4,
    plane_bytes: &[4],
    decode: |bytes, out| {
        for (b, out) in bytes.as_chunks().0.iter().zip(out) {
            *out = f32::from_le_bytes(*b);
        }
    },
    encode: |src, out| encode(src, out, f32::to_le_bytes),
    dot: float_dot::<Single, 4>,
    product: None,
    many: None,
    to_planes: copy,
    oct: |view, row, oct| std::array::from_fn(|i| f32::from_bits(view.word(0, row, 8 * oct + i))),
};

/// The table row of F16.
pub(super) const F16: Codec = Codec {
    name: "F16",
    stem: "f16",
    ggml_id: 1,
    block_len: 1,
    block_bytes: 2,
    plane_bytes: &[2],
    decode: float_load::<Half, 2>,
    encode: |src, out| encode(src, out, to_f16_le),
    dot: float_dot::<Half, 2>,
    product: None,
    many: None,
    to_planes: copy,
    oct: |view, row, oct| std::array::from_fn(|i| from_f16(half_word(view, row, oct, i))),
};

/// The table row of BF16.
pub(super) const BF16: Codec = Codec {
    name: "BF16",
    stem: "bf16",
    ggml_id: 30,
    block_len: 1,
    block_bytes: 2,
    plane_bytes: &[2],
    decode: float_load::<Brain, 2>,
    encode: |src, out| encode(src, out, |v| to_bf16(v).to_le_bytes()),
    dot: float_dot::<Brain, 2>,
    product: None,
    many: None,
    to_planes: copy,
    oct: |view, row, oct| {
        std::array::from_fn(|i| f32::from_bits(u32::from(half_word(view, row, oct, i)) << 16))
    },
};

/// The value of little-endian bf16 bytes.
#[inline(always)]
pub(super) fn from_bf16_le(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

fn half_word(view: &View<'_>, row: usize, oct: usize, i: usize) -> u16 {
    (view.word(0, row, 4 * oct + i / 2) >> (16 * (i % 2))) as u16
}

fn copy(block: &[u8], out: &mut [u8]) {
    for (out, b) in out.iter_mut().zip(block) {
        *out = *b;
    }
}

fn encode<const N: usize>(src: &[f32], out: &mut [u8], bytes: impl Fn(f32) -> [u8; N]) {
    for (&x, out) in src.iter().zip(out.as_chunks_mut::<N>().0) {
        *out = bytes(x);
    }
}

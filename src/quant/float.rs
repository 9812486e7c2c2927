//! F32, F16 and BF16: no blocks, any row length (on the device a multiple of four).

use std::marker::PhantomData;

use super::codec::Codec;
use super::device::View;
use crate::simd::half::{from_f16, to_bf16, to_f16_le};
use crate::simd::{Job, Lanes, run};

/// How a float is stored in `BYTES` bytes.
pub(crate) trait Float<const BYTES: usize> {
    /// Bytes that a float adds to the device's plane.
    const PLANES: &'static [usize];
    fn load<L: Lanes>(l: L, bytes: &[[u8; BYTES]; 8]) -> L::V;
    fn bytes(value: f32) -> [u8; BYTES];
    /// The shader's `w_oct`.
    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8];
}

/// f32.
pub(crate) struct Single;
/// f16.
pub(crate) struct Half;
/// bf16.
pub(crate) struct Brain;

impl Float<4> for Single {
    const PLANES: &'static [usize] = &[4];

    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 4]; 8]) -> L::V {
        l.load(&bytes.map(f32::from_le_bytes))
    }

    fn bytes(value: f32) -> [u8; 4] {
        value.to_le_bytes()
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        std::array::from_fn(|i| f32::from_bits(view.word(0, row, 8 * oct + i)))
    }
}

impl Float<2> for Half {
    const PLANES: &'static [usize] = &[2];

    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 2]; 8]) -> L::V {
        l.halves(bytes)
    }

    fn bytes(value: f32) -> [u8; 2] {
        to_f16_le(value)
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        std::array::from_fn(|i| from_f16(half_word(view, row, oct, i)))
    }
}

impl Float<2> for Brain {
    const PLANES: &'static [usize] = &[2];

    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 2]; 8]) -> L::V {
        l.brains(bytes)
    }

    fn bytes(value: f32) -> [u8; 2] {
        to_bf16(value).to_le_bytes()
    }

    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8] {
        std::array::from_fn(|i| f32::from_bits(u32::from(half_word(view, row, oct, i)) << 16))
    }
}

/// The table row of a float format.
pub(super) const fn float_codec<F: Float<BYTES>, const BYTES: usize>() -> Codec {
    Codec {
        block_len: 1,
        block_bytes: BYTES,
        plane_bytes: F::PLANES,
        decode: decode::<F, BYTES>,
        encode: encode::<F, BYTES>,
        to_planes: copy,
        oct: F::oct,
    }
}

/// Floats to be decoded.
struct Decode<'a, F, const BYTES: usize> {
    bytes: &'a [u8],
    out: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Float<BYTES>, const BYTES: usize> Job for Decode<'_, F, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (octs, rest) = self.bytes.as_chunks::<BYTES>().0.as_chunks::<8>();
        let (out, out_rest) = self.out.as_chunks_mut::<8>();
        for (out, bytes) in out.iter_mut().zip(octs) {
            *out = l.to_array(F::load(l, bytes));
        }
        let mut tail = [[0; BYTES]; 8];
        tail[..rest.len()].copy_from_slice(rest);
        for (out, value) in out_rest.iter_mut().zip(l.to_array(F::load(l, &tail))) {
            *out = value;
        }
    }
}

fn decode<F: Float<BYTES>, const BYTES: usize>(bytes: &[u8], out: &mut [f32]) {
    run(Decode::<F, BYTES> { bytes, out, format: PhantomData });
}

fn encode<F: Float<BYTES>, const BYTES: usize>(src: &[f32], out: &mut [u8]) {
    for (&x, out) in src.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        *out = F::bytes(x);
    }
}

fn half_word(view: &View<'_>, row: usize, oct: usize, i: usize) -> u16 {
    (view.word(0, row, 4 * oct + i / 2) >> (16 * (i % 2))) as u16
}

fn copy(block: &[u8], out: &mut [u8]) {
    for (out, b) in out.iter_mut().zip(block) {
        *out = *b;
    }
}

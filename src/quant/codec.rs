//! What a format must provide, and what every block format gets for it.

use super::device::View;
use super::dot;

/// The largest weight a block format takes: its scales and minima are f16.
pub(super) const MAX_WEIGHT: f32 = 65504.0;

/// One row of the format table.
pub(super) struct Codec {
    /// The name GGUF tools print.
    pub name: &'static str,
    /// The stem of its shader file.
    pub stem: &'static str,
    /// The tensor type number in a GGUF file.
    pub ggml_id: u32,
    /// Weights in a block.
    pub block_len: usize,
    /// Bytes of an encoded block.
    pub block_bytes: usize,
    /// Bytes that a block adds to each device plane; all are even.
    pub plane_bytes: &'static [usize],
    pub(super) decode: fn(&[u8], &mut [f32]),
    pub(super) encode: fn(&[f32], &mut [u8]),
    pub(super) dot: fn(&[u8], &[f32]) -> f32,
    pub(super) dot4: fn(&[u8], [&[f32]; 4]) -> [f32; 4],
    pub(super) to_planes: fn(&[u8], &mut [u8]),
    pub(super) oct: fn(&View<'_>, usize, usize) -> [f32; 8],
}

/// Name, shader stem and GGUF type number.
pub(super) struct Identity(pub &'static str, pub &'static str, pub u32);

/// The scales and minima of a block's groups: a weight is `scale * q - min`.
pub(super) struct Scales {
    pub scale: [f32; 16],
    pub min: [f32; 16],
}

impl Scales {
    pub(super) const ZERO: Scales = Scales { scale: [0.0; 16], min: [0.0; 16] };
}

/// A format of `LEN` integers in `BYTES` bytes with a scale, and perhaps a minimum, for each group.
pub(super) trait Block<const LEN: usize, const BYTES: usize> {
    const IDENTITY: Identity;
    /// Bytes that a block adds to each device plane.
    const PLANES: &'static [usize];
    /// Weights that share a scale.
    const GROUP: usize;
    /// Whether there are minima.
    const MINS: bool;

    /// The integers, in the order of the weights.
    fn values(block: &[u8; BYTES], q: &mut [i8; LEN]);
    /// Scales and minima of the groups, in the order of the weights.
    fn scales(block: &[u8; BYTES], out: &mut Scales);
    fn encode(x: &[f32; LEN], block: &mut [u8; BYTES]);
    /// The block's bytes in the order of the device planes, one plane after the other.
    fn to_planes(block: &[u8; BYTES], out: &mut [u8]);
    /// The shader's `w_oct`, with the same addresses and the same order of operations.
    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8];
}

/// The table row of a block format.
pub(super) const fn block_codec<B, const LEN: usize, const BYTES: usize>() -> Codec
where
    B: Block<LEN, BYTES>,
{
    let Identity(name, stem, ggml_id) = B::IDENTITY;
    Codec {
        name,
        stem,
        ggml_id,
        block_len: LEN,
        block_bytes: BYTES,
        plane_bytes: B::PLANES,
        decode: decode::<B, LEN, BYTES>,
        encode: encode::<B, LEN, BYTES>,
        dot: dot::dot::<B, LEN, BYTES>,
        dot4: dot::dot4::<B, LEN, BYTES>,
        to_planes: to_planes::<B, LEN, BYTES>,
        oct: B::oct,
    }
}

fn decode<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(bytes: &[u8], out: &mut [f32]) {
    let mut q = [0i8; LEN];
    let mut s = Scales::ZERO;
    for (block, out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.as_chunks_mut::<LEN>().0) {
        B::values(block, &mut q);
        B::scales(block, &mut s);
        let groups = out.chunks_exact_mut(B::GROUP).zip(q.chunks_exact(B::GROUP));
        for ((out, q), (&scale, &min)) in groups.zip(s.scale.iter().zip(&s.min)) {
            for (out, &q) in out.iter_mut().zip(q) {
                let product = scale * f32::from(q);
                *out = if B::MINS { product - min } else { product };
            }
        }
    }
}

fn encode<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(src: &[f32], out: &mut [u8]) {
    for (x, block) in src.as_chunks::<LEN>().0.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        B::encode(x, block);
    }
}

fn to_planes<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(block: &[u8], out: &mut [u8]) {
    if let Some(block) = block.first_chunk::<BYTES>() {
        B::to_planes(block, out);
    }
}

/// Codes to integers around `centre`.
#[inline(always)]
pub(super) fn centred<const LEN: usize>(codes: &[u8; LEN], centre: i8, q: &mut [i8; LEN]) {
    for (q, &c) in q.iter_mut().zip(codes) {
        *q = (c as i8).wrapping_sub(centre);
    }
}

/// 4-bit codes of 32 weights: byte j holds weight j low and weight j + 16 high.
#[inline(always)]
pub(super) fn split_nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((low, high), &b) in low.iter_mut().zip(high).zip(bytes) {
        *low = b & 15;
        *high = b >> 4;
    }
}

/// The inverse of [`split_nibbles`].
pub(super) fn join_nibbles(codes: &[u8], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(bytes.len());
    for ((low, high), b) in low.iter().zip(high).zip(bytes) {
        *b = (low & 15) | (high << 4);
    }
}

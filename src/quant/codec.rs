//! What a format must provide, and what every block format gets for it here; its products are in `kernels`.

use std::marker::PhantomData;

use super::device::View;
use crate::simd::{Job, Lanes, Portable, run};

/// The largest weight a block format takes: its scales and minima are f16.
pub(crate) const MAX_WEIGHT: f32 = 65504.0;

/// One row of the format table.
pub(crate) struct Codec {
    /// Weights in a block.
    pub block_len: usize,
    /// Bytes of an encoded block.
    pub block_bytes: usize,
    /// Bytes that a block adds to each device plane; all are even.
    pub plane_bytes: &'static [usize],
    pub(crate) decode: fn(&[u8], &mut [f32]),
    pub(crate) encode: fn(&[f32], &mut [u8]),
    pub(crate) to_planes: fn(&[u8], &mut [u8]),
    pub(crate) oct: fn(&View<'_>, usize, usize) -> [f32; 8],
}

/// What makes weights of a block's values, by group: a weight is `scale * (value - CENTRE) + plus`.
pub(crate) struct Scales {
    pub scale: [f32; 16],
    pub plus: [f32; 16],
}

impl Scales {
    pub(crate) const ZERO: Scales = Scales { scale: [0.0; 16], plus: [0.0; 16] };
}

/// What makes weights of a block's values in whole numbers: a weight is `scale * whole * (value - CENTRE) + plus`.
pub(crate) struct Factors {
    pub scale: f32,
    /// Of the first sixteen of each 32 weights, and of the second.
    pub whole: [[i16; 8]; 2],
    /// By group.
    pub plus: [f32; 16],
}

impl Factors {
    pub(crate) const NONE: Factors = Factors { scale: 0.0, whole: [[1; 8]; 2], plus: [0.0; 16] };

    /// Sets the scales of groups of sixteen, in order.
    #[inline(always)]
    pub(crate) fn sixteens(&mut self, scales: &[i8; 16]) {
        let [first, second] = &mut self.whole;
        for (i, [a, b]) in scales.as_chunks::<2>().0.iter().enumerate() {
            (first[i], second[i]) = (i16::from(*a), i16::from(*b));
        }
    }
}

/// Does something for each 32 weights of a block, whose number is a constant there.
macro_rules! each_group {
    ($len:expr, $g:ident => $body:block) => {{
        each_group!(@ $g $body 0);
        if $len > 32 {
            each_group!(@ $g $body 1 2 3 4 5 6 7);
        }
    }};
    (@ $g:ident $body:block $($n:literal)*) => {
        $({
            const $g: usize = $n;
            $body
        })*
    };
}
pub(crate) use each_group;

/// A format of `LEN` integer codes in `BYTES` bytes with a scale, and perhaps a summand, for each group.
pub(crate) trait BlockCodec<const LEN: usize, const BYTES: usize> {
    /// Bytes that a block adds to each device plane.
    const PLANES: &'static [usize];
    /// Weights that share a scale: 16 or 32.
    const GROUP: usize;
    /// What is taken off each value.
    const CENTRE: u8;
    /// Whether something is added to the products.
    const PLUS: bool;

    /// The codes of the weights `32 * G .. 32 * G + 32`.
    fn codes<L: Lanes, const G: usize>(l: L, block: &[u8; BYTES]) -> L::B;

    /// What codes stand for, before the centre is taken off.
    #[inline(always)]
    fn values<L: Lanes>(_l: L, codes: L::B) -> L::B {
        codes
    }

    /// The largest integer that an activation may become: 32 products with the largest whole numbers of a block have to fit
    /// 31 bits, and it is two bytes with a sign each, 127 * 256 + 127, as dotprod of ARM multiplies bytes.
    const MOST: f32 = 32639.0;

    /// What is taken off each value where activations were rounded: from there the codes' products are smallest, and
    /// what rounding adds to them is.
    const MIDDLE: u8 = Self::CENTRE;

    /// The same where a few rows of activations are met: what is added anyway takes the middle with it on x86, where taking it
    /// off codes costs time. What rounding adds is twice as much then: still under a hundredth of what eight bits would add.
    const FEW_MIDDLE: u8 =
        if Self::PLUS && cfg!(target_arch = "x86_64") { Self::CENTRE } else { Self::MIDDLE };

    /// [`BlockCodec::factors`], of values less `middle` instead of the centre.
    #[inline(always)]
    fn about<L: Lanes>(l: L, block: &[u8; BYTES], middle: u8, out: &mut Factors) {
        Self::factors(l, block, out);
        if middle > Self::CENTRE {
            let more = out.scale * f32::from(middle - Self::CENTRE);
            for i in 0..LEN / Self::GROUP {
                let whole = if Self::GROUP == 16 { out.whole[i % 2][i / 2 % 8] } else { out.whole[0][i % 8] };
                out.plus[i % 16] += more * f32::from(whole);
            }
        }
    }

    /// The scales of up to eight blocks of 32 weights, and what is added to values less their middle: zeros past the last.
    /// Such a block begins with its scale, as f16; what is added follows it, where there is such a thing.
    #[inline(always)]
    fn heads<L: Lanes>(l: L, blocks: &[[u8; BYTES]]) -> (L::V, L::V) {
        let at = |at: usize| {
            let head =
                |i: usize| blocks.get(i).map_or(0, |block| u64::from(u16::from_le_bytes(*part(block, at))));
            // Words, not an array: that would come to its register through memory, or bytes one by one.
            let four = |i: usize| head(i) | head(i + 1) << 16 | head(i + 2) << 32 | head(i + 3) << 48;
            l.halves(&bytemuck::cast([four(0).to_le(), four(4).to_le()]))
        };
        let scale = at(0);
        let middle = f32::from(Self::FEW_MIDDLE - Self::CENTRE);
        (scale, if Self::PLUS { l.mul_add(scale, l.splat(middle), at(2)) } else { l.zero() })
    }

    /// See [`Factors`].
    #[inline(always)]
    fn factors<L: Lanes>(l: L, block: &[u8; BYTES], out: &mut Factors) {
        let mut s = Scales::ZERO;
        Self::scales(l, block, &mut s);
        (out.scale, out.plus) = (s.scale[0], s.plus);
    }

    /// What makes weights of values, by group, in the order of the weights.
    fn scales<L: Lanes>(l: L, block: &[u8; BYTES], out: &mut Scales);
    /// Encodes one block; `#[inline(always)]`, to be compiled for AVX2 as well.
    fn encode(x: &[f32; LEN], block: &mut [u8; BYTES]);
    /// The block's bytes in the order of the device planes, one plane after the other.
    fn to_planes(block: &[u8; BYTES], out: &mut [u8]);
    /// The shader's `w_oct`, with the same addresses and the same order of operations.
    fn oct(view: &View<'_>, row: usize, oct: usize) -> [f32; 8];
}

/// The table row of a block format.
pub(crate) const fn block_codec<B, const LEN: usize, const BYTES: usize>() -> Codec
where
    B: BlockCodec<LEN, BYTES>,
{
    Codec {
        block_len: LEN,
        block_bytes: BYTES,
        plane_bytes: B::PLANES,
        decode: decode::<B, LEN, BYTES>,
        encode: encode::<B, LEN, BYTES>,
        to_planes: to_planes::<B, LEN, BYTES>,
        oct: B::oct,
    }
}

/// Whole blocks, to be decoded with the roundings of ggml: product, then difference, never fused.
pub(crate) struct Decode<'a, B, const LEN: usize, const BYTES: usize> {
    pub bytes: &'a [u8],
    pub out: &'a mut [f32],
    pub format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Decode<'_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let mut s = Scales::ZERO;
        for (block, out) in self.bytes.as_chunks::<BYTES>().0.iter().zip(self.out.as_chunks_mut::<LEN>().0) {
            B::scales(l, block, &mut s);
            each_group!(LEN, G => {
                let values = B::values(l, B::codes::<L, G>(l, block));
                let all = [l.eighth::<0>(values), l.eighth::<1>(values), l.eighth::<2>(values), l.eighth::<3>(values)];
                for (i, values) in all.into_iter().enumerate() {
                    let group = (32 * G + 8 * i) / B::GROUP % s.scale.len();
                    let values =
                        if B::CENTRE > 0 { l.sub(values, l.splat(f32::from(B::CENTRE))) } else { values };
                    let product = l.mul(l.splat(s.scale[group]), values);
                    let weights = if B::PLUS { l.add(product, l.splat(s.plus[group])) } else { product };
                    if let Some(out) = out.as_chunks_mut::<8>().0.get_mut(4 * G + i) {
                        *out = l.to_array(weights);
                    }
                }
            });
        }
    }
}

fn decode<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(bytes: &[u8], out: &mut [f32]) {
    run(Decode::<B, LEN, BYTES> { bytes, out, format: PhantomData });
}

/// Whole blocks to be encoded.
pub(crate) struct Encode<'a, B, const LEN: usize, const BYTES: usize> {
    pub src: &'a [f32],
    pub out: &'a mut [u8],
    pub format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Encode<'_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for (x, block) in self.src.as_chunks::<LEN>().0.iter().zip(self.out.as_chunks_mut::<BYTES>().0) {
            B::encode(x, block);
        }
    }
}

fn encode<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(src: &[f32], out: &mut [u8]) {
    run(Encode::<B, LEN, BYTES> { src, out, format: PhantomData });
}

fn to_planes<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(block: &[u8], out: &mut [u8]) {
    if let Some(block) = block.first_chunk::<BYTES>() {
        B::to_planes(block, out);
    }
}

/// `N` bytes from `at`; the formats never ask beyond their block.
#[inline(always)]
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes.get(at..).and_then(|b| b.first_chunk()).unwrap_or(&[0; N])
}

/// The f16 at `at` of a block.
#[inline(always)]
pub(crate) fn f16_at<L: Lanes>(l: L, block: &[u8], at: usize) -> f32 {
    l.f16(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// All codes of a block, as bytes.
pub(crate) fn all_codes<B, const LEN: usize, const BYTES: usize>(block: &[u8; BYTES]) -> [u8; LEN]
where
    B: BlockCodec<LEN, BYTES>,
{
    let mut codes = [0; LEN];
    each_group!(LEN, G => {
        if let Some(codes) = codes.as_chunks_mut::<32>().0.get_mut(G) {
            *codes = B::codes::<Portable, G>(Portable, block);
        }
    });
    codes
}

/// Nibbles: byte j holds code j low and code j + `bytes.len()` high.
pub(crate) fn join_nibbles(codes: &[u8], bytes: &mut [u8]) {
    let (low, high) = codes.split_at(bytes.len());
    for ((low, high), b) in low.iter().zip(high).zip(bytes) {
        *b = (low & 15) | (high << 4);
    }
}

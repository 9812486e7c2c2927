//! Dot products of encoded rows with float activations: f32 sums in a fixed order.
//!
//! Weight `i` goes to lane `i % 8` of one of a few running sums, which are added up at the end.

use std::marker::PhantomData;

use super::codec::{Block, RUN, Scales};
use super::simd::{Job, Lanes, run};

/// One row of a block format, and activations.
pub(super) struct Blocks<'a, B, const LEN: usize, const BYTES: usize> {
    pub row: &'a [u8],
    pub x: &'a [f32],
    pub format: PhantomData<B>,
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Blocks<'_, B, LEN, BYTES> {
    type Out = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> f32 {
        let (blocks, x) = (self.row.as_chunks::<BYTES>().0, self.x.as_chunks::<LEN>().0);
        let len = blocks.len().min(x.len());
        let (blocks, x) = (&blocks[..len], &x[..len]);
        // Four sums hide the latency of adding.
        let mut sums = [l.zero(); 4];
        let mut s = Scales::ZERO;
        let (runs, rest) = in_runs::<LEN, BYTES>(blocks);
        for (r, run) in runs.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, run, &mut s);
            for (b, block) in run.iter().enumerate() {
                add_block::<B, L, LEN, BYTES>(l, block, &s, b * LEN / B::GROUP, &x[8 * r + b], &mut sums);
            }
        }
        for (b, block) in rest.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, std::slice::from_ref(block), &mut s);
            add_block::<B, L, LEN, BYTES>(l, block, &s, 0, &x[8 * runs.len() + b], &mut sums);
        }
        let [a, b, c, d] = sums;
        l.sum(l.add(l.add(a, c), l.add(b, d)))
    }
}

/// Runs of blocks that read their scales together, and blocks that do not: of short blocks, eight at a time; of
/// super-blocks, none.
#[inline(always)]
fn in_runs<const LEN: usize, const BYTES: usize>(
    blocks: &[[u8; BYTES]],
) -> (&[[[u8; BYTES]; 8]], &[[u8; BYTES]]) {
    if RUN / LEN == 8 { blocks.as_chunks::<8>() } else { (&[], blocks) }
}

/// Adds the products of one block, whose first group is `group` of the scales, to the sums.
#[inline(always)]
fn add_block<B: Block<LEN, BYTES>, L: Lanes, const LEN: usize, const BYTES: usize>(
    l: L,
    block: &[u8; BYTES],
    s: &Scales,
    group: usize,
    x: &[f32; LEN],
    sums: &mut [L::V; 4],
) {
    for unit in 0..LEN / 32 {
        for (way, sum) in sums.iter_mut().enumerate() {
            let oct = 4 * unit + way;
            let group = (group + 8 * oct / B::GROUP) % s.scale.len();
            let w = weights::<B, L, LEN, BYTES>(l, block, oct, s.scale[group], s.min[group]);
            *sum = l.mul_add(w, l.load(eight_floats(x, oct)), *sum);
        }
    }
}

/// Whole blocks, to be decoded as [`Blocks`] sees them: what each weight is multiplied as, to the last bit.
pub(super) struct Operands<'a, B, const LEN: usize, const BYTES: usize> {
    pub bytes: &'a [u8],
    pub out: &'a mut [f32],
    pub format: PhantomData<B>,
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Operands<'_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (blocks, out) = (self.bytes.as_chunks::<BYTES>().0, self.out.as_chunks_mut::<LEN>().0);
        let len = blocks.len().min(out.len());
        let (blocks, out) = (&blocks[..len], &mut out[..len]);
        let mut s = Scales::ZERO;
        if blocks.first().is_some_and(|block| B::nibbles(l, block).is_some()) {
            for (block, out) in blocks.iter().zip(out) {
                if let (Some((scale, min, nibbles)), Some(out)) =
                    (B::nibbles(l, block), out.first_chunk_mut())
                {
                    l.nibbles(nibbles, scale, min, out);
                }
            }
            return;
        }
        let (runs, rest) = in_runs::<LEN, BYTES>(blocks);
        for (r, run) in runs.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, run, &mut s);
            for (b, block) in run.iter().enumerate() {
                operands::<B, L, LEN, BYTES>(l, block, &s, b * LEN / B::GROUP, &mut out[8 * r + b]);
            }
        }
        for (b, block) in rest.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, std::slice::from_ref(block), &mut s);
            operands::<B, L, LEN, BYTES>(l, block, &s, 0, &mut out[8 * runs.len() + b]);
        }
    }
}

/// Decodes one block, whose first group is `group` of the scales.
#[inline(always)]
fn operands<B: Block<LEN, BYTES>, L: Lanes, const LEN: usize, const BYTES: usize>(
    l: L,
    block: &[u8; BYTES],
    s: &Scales,
    group: usize,
    out: &mut [f32; LEN],
) {
    for (oct, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let group = (group + 8 * oct / B::GROUP) % s.scale.len();
        *out = l.to_array(weights::<B, L, LEN, BYTES>(l, block, oct, s.scale[group], s.min[group]));
    }
}

#[inline(always)]
fn eight_floats<const LEN: usize>(x: &[f32; LEN], oct: usize) -> &[f32; 8] {
    x.as_chunks::<8>().0.get(oct).unwrap_or(&[0.0; 8])
}

/// The scales of a run of blocks, with the centre turned into a minimum. `scale * CENTRE` is exact, so taking it off in
/// a fused step rounds once, as multiplying the difference does.
#[inline(always)]
fn scales<B: Block<LEN, BYTES>, L: Lanes, const LEN: usize, const BYTES: usize>(
    l: L,
    blocks: &[[u8; BYTES]],
    s: &mut Scales,
) {
    B::scales(l, blocks, s);
    if B::CENTRE > 0 {
        s.min = s.scale.map(|scale| scale * f32::from(B::CENTRE));
    }
}

/// The eight weights at `8 * oct` of a block.
#[inline(always)]
fn weights<B: Block<LEN, BYTES>, L: Lanes, const LEN: usize, const BYTES: usize>(
    l: L,
    block: &[u8; BYTES],
    oct: usize,
    scale: f32,
    min: f32,
) -> L::V {
    let values = B::values(l, B::codes(l, block, oct));
    if B::MINS || B::CENTRE > 0 {
        l.mul_sub(values, l.splat(scale), l.splat(min))
    } else {
        l.mul(values, l.splat(scale))
    }
}

/// Dot product of a row of a block format.
pub(super) fn dot<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    run(Blocks::<B, LEN, BYTES> { row, x, format: PhantomData })
}

/// See [`Operands`].
pub(super) fn load<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    bytes: &[u8],
    out: &mut [f32],
) {
    run(Operands::<B, LEN, BYTES> { bytes, out, format: PhantomData });
}

/// How a float is stored in `BYTES` bytes.
pub(super) trait Float<const BYTES: usize> {
    fn load<L: Lanes>(l: L, bytes: &[[u8; BYTES]; 8]) -> L::V;
}

/// f32.
pub(super) struct Single;
/// f16.
pub(super) struct Half;
/// bf16.
pub(super) struct Brain;

impl Float<4> for Single {
    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 4]; 8]) -> L::V {
        l.load(&bytes.map(f32::from_le_bytes))
    }
}

impl Float<2> for Half {
    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 2]; 8]) -> L::V {
        l.halves(bytes)
    }
}

impl Float<2> for Brain {
    #[inline(always)]
    fn load<L: Lanes>(l: L, bytes: &[[u8; 2]; 8]) -> L::V {
        l.brains(bytes)
    }
}

/// One row of floats and activations, over the shorter length.
pub(super) struct Floats<'a, F, const BYTES: usize> {
    pub row: &'a [u8],
    pub x: &'a [f32],
    pub format: PhantomData<F>,
}

impl<F: Float<BYTES>, const BYTES: usize> Job for Floats<'_, F, BYTES> {
    type Out = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> f32 {
        let (row, _) = self.row.as_chunks::<BYTES>();
        let len = row.len().min(self.x.len());
        let (octs, rest) = row[..len].as_chunks::<8>();
        let (x_octs, x_rest) = self.x[..len].as_chunks::<8>();
        let mut sums = [l.zero(); 4];
        for (i, (bytes, x)) in octs.iter().zip(x_octs).enumerate() {
            sums[i % 4] = l.mul_add(F::load(l, bytes), l.load(x), sums[i % 4]);
        }
        if !rest.is_empty() {
            // The last few weights, filled up with zeros.
            let (mut tail, mut x_tail) = ([[0; BYTES]; 8], [0.0; 8]);
            tail[..rest.len()].copy_from_slice(rest);
            x_tail[..rest.len()].copy_from_slice(x_rest);
            let sum = &mut sums[octs.len() % 4];
            *sum = l.mul_add(F::load(l, &tail), l.load(&x_tail), *sum);
        }
        let [a, b, c, d] = sums;
        l.sum(l.add(l.add(a, c), l.add(b, d)))
    }
}

/// Dot product of a row of floats.
pub(super) fn float_dot<F: Float<BYTES>, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    run(Floats::<F, BYTES> { row, x, format: PhantomData })
}

/// Floats to be decoded.
struct FloatOperands<'a, F, const BYTES: usize> {
    bytes: &'a [u8],
    out: &'a mut [f32],
    format: PhantomData<F>,
}

impl<F: Float<BYTES>, const BYTES: usize> Job for FloatOperands<'_, F, BYTES> {
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

/// Decodes floats.
pub(super) fn float_load<F: Float<BYTES>, const BYTES: usize>(bytes: &[u8], out: &mut [f32]) {
    run(FloatOperands::<F, BYTES> { bytes, out, format: PhantomData });
}

/// Dot product of two slices of floats over the shorter length, in a fixed order.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    float_dot::<Single, 4>(bytemuck::cast_slice(a), b)
}

/// y += a x.
struct Axpy<'a> {
    a: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Job for Axpy<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (octs, rest) = self.y.as_chunks_mut::<8>();
        let (x_octs, x_rest) = self.x.as_chunks::<8>();
        let a = l.splat(self.a);
        for (y, x) in octs.iter_mut().zip(x_octs) {
            *y = l.to_array(l.mul_add(a, l.load(x), l.load(y)));
        }
        for (y, x) in rest.iter_mut().zip(x_rest) {
            *y += self.a * x;
        }
    }
}

/// y += a x, over the shorter length.
pub fn axpy_f32(a: f32, x: &[f32], y: &mut [f32]) {
    let len = x.len().min(y.len());
    run(Axpy { a, x: &x[..len], y: &mut y[..len] });
}

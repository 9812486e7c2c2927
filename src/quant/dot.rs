//! Dot products of encoded rows with float activations: f32 sums in a fixed order.
//!
//! Weight `i` goes to lane `i % 8` of one of a few running sums, which are added up at the end.

use std::marker::PhantomData;

use super::codec::{Block, RUN, Scales};
use super::simd::{Job, Lanes, run};

/// One row of a block format, and `N` slices of activations.
pub(super) struct Blocks<'a, B, const N: usize, const LEN: usize, const BYTES: usize> {
    pub row: &'a [u8],
    pub x: [&'a [f32]; N],
    pub format: PhantomData<B>,
}

impl<B: Block<LEN, BYTES>, const N: usize, const LEN: usize, const BYTES: usize> Job
    for Blocks<'_, B, N, LEN, BYTES>
{
    type Out = [f32; N];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; N] {
        let x = self.x.map(|x| x.as_chunks::<LEN>().0);
        let (blocks, _) = self.row.as_chunks::<BYTES>();
        let len = x.iter().fold(blocks.len(), |n, x| n.min(x.len()));
        let (blocks, x) = (&blocks[..len], x.map(|x| &x[..len]));
        // One activation needs four sums to hide the latency of adding; four need two each.
        let mut sums = [[l.zero(); N]; 4];
        let mut s = Scales::ZERO;
        // Of short blocks, eight at a time; of super-blocks, none here.
        let (runs, rest) = if RUN / LEN == 8 { blocks.as_chunks::<8>() } else { (&[][..], blocks) };
        for (r, run) in runs.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, run, &mut s);
            for (b, block) in run.iter().enumerate() {
                let x = x.map(|x| &x[8 * r + b]);
                add_block::<B, L, N, LEN, BYTES>(l, block, &s, b * LEN / B::GROUP, x, &mut sums);
            }
        }
        for (b, block) in rest.iter().enumerate() {
            scales::<B, L, LEN, BYTES>(l, std::slice::from_ref(block), &mut s);
            let x = x.map(|x| &x[8 * runs.len() + b]);
            add_block::<B, L, N, LEN, BYTES>(l, block, &s, 0, x, &mut sums);
        }
        let [a, b, c, d] = sums;
        std::array::from_fn(|i| l.sum(l.add(l.add(a[i], c[i]), l.add(b[i], d[i]))))
    }
}

/// Adds the products of one block, whose first group is `group` of the scales, to the sums.
#[inline(always)]
fn add_block<B: Block<LEN, BYTES>, L: Lanes, const N: usize, const LEN: usize, const BYTES: usize>(
    l: L,
    block: &[u8; BYTES],
    s: &Scales,
    group: usize,
    x: [&[f32; LEN]; N],
    sums: &mut [[L::V; N]; 4],
) {
    let ways = if N == 1 { 4 } else { 2 };
    for unit in 0..LEN / (8 * ways) {
        for (way, sums) in sums.iter_mut().take(ways).enumerate() {
            let oct = ways * unit + way;
            let group = (group + 8 * oct / B::GROUP) % s.scale.len();
            let w = weights::<B, L, LEN, BYTES>(l, block, oct, s.scale[group], s.min[group]);
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = l.mul_add(w, l.load(eight_floats(x, oct)), *sum);
            }
        }
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
    run(Blocks::<B, 1, LEN, BYTES> { row, x: [x], format: PhantomData })[0]
}

/// Four dot products with a row of a block format.
pub(super) fn dot4<B, const LEN: usize, const BYTES: usize>(row: &[u8], x: [&[f32]; 4]) -> [f32; 4]
where
    B: Block<LEN, BYTES>,
{
    run(Blocks::<B, 4, LEN, BYTES> { row, x, format: PhantomData })
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

/// One row of floats and `N` slices of activations, over the shortest length.
pub(super) struct Floats<'a, F, const N: usize, const BYTES: usize> {
    pub row: &'a [u8],
    pub x: [&'a [f32]; N],
    pub format: PhantomData<F>,
}

impl<F: Float<BYTES>, const N: usize, const BYTES: usize> Job for Floats<'_, F, N, BYTES> {
    type Out = [f32; N];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; N] {
        let (row, _) = self.row.as_chunks::<BYTES>();
        let len = self.x.iter().fold(row.len(), |n, x| n.min(x.len()));
        let (row, x) = (&row[..len], self.x.map(|x| &x[..len]));
        let mut sums = [[l.zero(); N]; 4];
        let (octs, rest) = row.as_chunks::<8>();
        let x_octs = x.map(|x| &x.as_chunks::<8>().0[..octs.len()]);
        for (i, bytes) in octs.iter().enumerate() {
            let w = F::load(l, bytes);
            for (sum, x) in sums[i % 4].iter_mut().zip(x_octs) {
                *sum = l.mul_add(w, l.load(&x[i]), *sum);
            }
        }
        if !rest.is_empty() {
            // The last few weights, filled up with zeros.
            let mut tail = [[0; BYTES]; 8];
            tail[..rest.len()].copy_from_slice(rest);
            let w = F::load(l, &tail);
            for (sum, x) in sums[0].iter_mut().zip(x) {
                let mut tail = [0.0; 8];
                tail[..rest.len()].copy_from_slice(&x[8 * octs.len()..]);
                *sum = l.mul_add(w, l.load(&tail), *sum);
            }
        }
        std::array::from_fn(|i| l.sum(l.add(l.add(sums[0][i], sums[2][i]), l.add(sums[1][i], sums[3][i]))))
    }
}

/// Dot product of a row of floats.
pub(super) fn float_dot<F: Float<BYTES>, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    run(Floats::<F, 1, BYTES> { row, x: [x], format: PhantomData })[0]
}

/// Four dot products with a row of floats.
pub(super) fn float_dot4<F: Float<BYTES>, const BYTES: usize>(row: &[u8], x: [&[f32]; 4]) -> [f32; 4] {
    run(Floats::<F, 4, BYTES> { row, x, format: PhantomData })
}

/// Dot product of two slices of floats over the shorter length, in a fixed order.
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    float_dot::<Single, 4>(bytemuck::cast_slice(a), b)
}

/// Four dot products with one slice of floats, over the shortest length, in a fixed order.
pub fn dot4_f32(a: &[f32], x: [&[f32]; 4]) -> [f32; 4] {
    float_dot4::<Single, 4>(bytemuck::cast_slice(a), x)
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

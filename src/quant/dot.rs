//! Dot products of encoded rows with float activations: f32 sums in a fixed order.
//!
//! Weight `i` goes to lane `i % 8` of one of a few running sums, which are added up at the end.

use std::marker::PhantomData;

use super::codec::{Block, Scales};
use super::simd::{Job, Lanes, run};

/// One row of a block format, and `N` slices of activations.
pub(super) struct Blocks<'a, B, const N: usize, const LEN: usize, const BYTES: usize> {
    pub row: &'a [u8],
    pub x: [&'a [f32]; N],
    pub format: PhantomData<B>,
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Blocks<'_, B, 1, LEN, BYTES> {
    type Out = [f32; 1];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; 1] {
        let mut sums = [l.zero(); 4];
        let mut s = Scales::ZERO;
        for (block, x) in self.row.as_chunks::<BYTES>().0.iter().zip(self.x[0].as_chunks::<LEN>().0) {
            B::scales(l, block, &mut s);
            for (unit, x) in x.as_chunks::<32>().0.iter().enumerate() {
                for (i, (sum, x)) in sums.iter_mut().zip(x.as_chunks::<8>().0).enumerate() {
                    let w = weights::<B, L, LEN, BYTES>(l, block, &s, 4 * unit + i);
                    *sum = l.mul_add(w, l.load(x), *sum);
                }
            }
        }
        [l.sum(l.add(l.add(sums[0], sums[2]), l.add(sums[1], sums[3])))]
    }
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Blocks<'_, B, 4, LEN, BYTES> {
    type Out = [f32; 4];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; 4] {
        let mut sums = [[l.zero(); 4]; 2];
        let mut s = Scales::ZERO;
        let [a, b, c, d] = self.x.map(|x| x.as_chunks::<LEN>().0.iter());
        let x = a.zip(b).zip(c.zip(d));
        for (block, ((a, b), (c, d))) in self.row.as_chunks::<BYTES>().0.iter().zip(x) {
            B::scales(l, block, &mut s);
            let x = [a, b, c, d].map(|x| x.as_chunks::<16>().0);
            for i in 0..LEN / 16 {
                for (half, sums) in sums.iter_mut().enumerate() {
                    let w = weights::<B, L, LEN, BYTES>(l, block, &s, 2 * i + half);
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = l.mul_add(w, l.load(&x[i].as_chunks::<8>().0[half]), *sum);
                    }
                }
            }
        }
        std::array::from_fn(|i| l.sum(l.add(sums[0][i], sums[1][i])))
    }
}

/// The eight weights at `8 * oct` of a block. `CENTRE * scale` is exact, so taking it off in a fused step rounds once,
/// as multiplying the difference does.
#[inline(always)]
fn weights<B, L, const LEN: usize, const BYTES: usize>(
    l: L,
    block: &[u8; BYTES],
    s: &Scales,
    oct: usize,
) -> L::V
where
    B: Block<LEN, BYTES>,
    L: Lanes,
{
    let group = (8 * oct / B::GROUP) % s.scale.len();
    let values = B::values(l, B::codes(l, block, oct));
    let scale = s.scale[group];
    match (B::MINS, B::CENTRE) {
        (true, _) => l.mul_add(values, l.splat(scale), l.splat(-s.min[group])),
        (false, 0) => l.mul(values, l.splat(scale)),
        (false, centre) => l.mul_add(values, l.splat(scale), l.splat(-(scale * f32::from(centre)))),
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

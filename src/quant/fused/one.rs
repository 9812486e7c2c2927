//! One row of activations, in the order in which a batch's sums are made: weight `i` goes to lane `i % 32`, and the lanes are
//! added up at the end. A sequence gets the same bits alone and in any batch.

use std::marker::PhantomData;
use std::ops::Range;

use super::Fused;
use crate::quant::codec::{Block, Scales};
use crate::quant::few::FEW;
use crate::quant::operand::Matrix;
use crate::quant::simd::{Job, Lanes, prefetch_ahead, run};
use crate::quant::tile::{self, STRIP};

/// Rows of weights whose sums are made together: four vectors each.
const TOGETHER: usize = 2;

/// Eight rows of blocks of 32, and activations.
struct One<'a, B, const BYTES: usize> {
    w: [&'a [u8]; STRIP],
    x: &'a [f32],
    /// From a row of weights to the one that is read next.
    stride: usize,
    format: PhantomData<B>,
}

impl<B: Block<32, BYTES>, const BYTES: usize> Job for One<'_, B, BYTES> {
    type Out = [f32; STRIP];

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) -> [f32; STRIP] {
        let x = self.x.as_chunks::<32>().0;
        let len = self.w.iter().map(|w| w.len() / BYTES).fold(x.len(), usize::min);
        let (x, w) = (&x[..len], self.w.map(|w| &w.as_chunks::<BYTES>().0[..len]));
        let mut dots = [l.zero(); STRIP];
        for (w, dots) in w.as_chunks::<TOGETHER>().0.iter().zip(dots.as_chunks_mut::<TOGETHER>().0) {
            let mut sums = [[l.zero(); 4]; TOGETHER];
            let mut s = Scales::ZERO;
            for (b, x) in x.iter().enumerate() {
                let x = x.as_chunks::<8>().0;
                for r in 0..TOGETHER {
                    prefetch_ahead(&w[r][b], self.stride);
                    B::scales(l, &w[r][b], &mut s);
                    let added = if B::PLUS { s.plus[0] } else { -s.scale[0] * f32::from(B::CENTRE) };
                    let (scale, added) = (l.splat(s.scale[0]), l.splat(added));
                    let values = B::values(l, B::codes::<L, 0>(l, &w[r][b]));
                    let values = [
                        l.eighth::<0>(values),
                        l.eighth::<1>(values),
                        l.eighth::<2>(values),
                        l.eighth::<3>(values),
                    ];
                    for q in 0..4 {
                        sums[r][q] = l.mul_add(l.mul_add(values[q], scale, added), l.load(&x[q]), sums[r][q]);
                    }
                }
            }
            for (dot, [a, b, c, d]) in dots.iter_mut().zip(sums) {
                *dot = l.add(l.add(a, c), l.add(b, d));
            }
        }
        l.sums(dots)
    }
}

/// As [`tile::rows`] on CPUs without these ways, and for rows that are not as long as the activations.
pub(in crate::quant) fn rows<B: Block<32, BYTES>, const BYTES: usize>(
    w: Matrix<'_>,
    columns: Range<usize>,
    (x, cols): (&[f32], usize),
    put: &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]),
) {
    let fits = w.format.row_bytes(cols).is_ok_and(|bytes| bytes == w.row_bytes);
    if Fused::detect().is_none() || !fits || x.len() != cols {
        return tile::rows::<B, 32, BYTES>(w, columns, (x, cols), put);
    }
    let mut out = [[0.0; STRIP]; FEW];
    for first in columns.clone().step_by(STRIP) {
        let w8 = std::array::from_fn(|i| w.row((first + i).min(columns.end - 1)));
        out[0] = run(One::<B, BYTES> { w: w8, x, stride: TOGETHER * w.row_bytes, format: PhantomData });
        put(first - columns.start, &out);
    }
}

/// Dot product of a row, over the blocks that both have.
pub(in crate::quant) fn dot<B: Block<32, BYTES>, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    if Fused::detect().is_none() {
        return tile::dot::<B, 32, BYTES>(row, x);
    }
    run(One::<B, BYTES> { w: [row; STRIP], x, stride: 0, format: PhantomData })[0]
}

//! Dot products of rows of floats with activations: f32 sums in a fixed order.
//!
//! Weight `i` goes to lane `i % 8` of one of a few running sums, which are added up at the end.

use std::marker::PhantomData;

use crate::quant::float::{Float, Single};
use crate::simd::{Job, Lanes, run};

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

//! Products compiled for this CPU against the portable ones and against sums in f64.

use std::marker::PhantomData;

use super::dot::Floats;
#[cfg(target_arch = "x86_64")]
use super::one;
use super::tile::{Columns, FEW, STRIP, Tiles, prepared_by};
use crate::quant::codec::{BlockCodec, Decode, Encode, Factors, each_group};
use crate::quant::float::Float;
use crate::quant::tests::noise;
use crate::simd::{Portable, run, run_portable};

/// Products with one to eight rows of activations, of rows of blocks of any number.
fn products_agree<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    row: &[u8],
    activations: impl Fn(usize) -> Vec<f32>,
) {
    for (rows, blocks) in (1..=FEW).flat_map(|rows| [1, 2, 5].map(|blocks| (rows, blocks))) {
        let (row, cols) = (&row[..blocks * BYTES], blocks * LEN);
        let x = activations(rows * cols);
        let mut weights = vec![0.0; cols];
        run_portable(Decode::<B, LEN, BYTES> { bytes: row, out: &mut weights, format: PhantomData });
        let [mut out, mut portable] = [(); 2].map(|()| [[f32::NAN; STRIP]; FEW]);
        prepared_by::<B, LEN, BYTES, _>(
            |job| run(job),
            &x,
            cols,
            |x| {
                let columns = Columns { w: [row; STRIP], x, rows, stride: 0 };
                run(Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut out, format: PhantomData });
            },
        );
        #[cfg(target_arch = "x86_64")]
        if rows == 1 && one::suits(LEN) {
            let byte_by_byte = one::dot::<B, LEN, BYTES>(row, &x);
            assert_eq!(byte_by_byte.to_bits(), out[0][0].to_bits(), "{blocks} blocks");
        }
        prepared_by::<B, LEN, BYTES, _>(
            |job| run_portable(job),
            &x,
            cols,
            |x| {
                let columns = Columns { w: [row; STRIP], x, rows, stride: 0 };
                let job =
                    Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut portable, format: PhantomData };
                run_portable(job);
            },
        );
        for (t, x) in x.chunks(cols).enumerate() {
            let terms = || weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
            let exact: f64 = terms().sum();
            // Centres and minima are taken off sums, which may be as much larger as the block's values are.
            let largest = weights.iter().fold(0.0f64, |a, w| a.max(f64::from(w.abs())));
            let sizes: f64 = x.iter().map(|x| 2.0 * largest * f64::from(x.abs())).sum();
            let bound = sizes * (cols as f64 / 8.0 + 16.0) * f64::from(f32::EPSILON) / 2.0
                + rounding::<B, LEN, BYTES>(row, x);
            for found in out[t].iter().chain(&portable[t]) {
                let off = (f64::from(*found) - exact).abs();
                assert!(
                    off <= bound + 1e-42,
                    "{:?} {rows} {blocks}: {found} {exact} {bound}",
                    std::any::type_name::<B>()
                );
            }
        }
    }
}

/// The most that rounding activations changes: half of what one is worth, of each, times what its code is multiplied by.
fn rounding<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(row: &[u8], x: &[f32]) -> f64 {
    let mut all = 0.0;
    for (block, x) in row.as_chunks::<BYTES>().0.iter().zip(x.as_chunks::<LEN>().0) {
        let largest = x.iter().fold(0.0f64, |a, x| a.max(f64::from(x.abs())));
        let off = if largest < 2e-30 { largest } else { largest * 0.501 / f64::from(B::MOST) };
        let mut f = Factors::NONE;
        B::about(Portable, block, B::FEW_MIDDLE, &mut f);
        each_group!(LEN, G => {
            let values = B::values(Portable, B::codes::<Portable, G>(Portable, block));
            for (i, value) in values.iter().enumerate() {
                let whole = f64::from(f.whole[i / 16][G]) * (f64::from(*value) - f64::from(B::FEW_MIDDLE));
                all += (f64::from(f.scale) * whole).abs() * off;
            }
        });
    }
    all
}

/// Blocks of nothing but extremes, whatever their bytes mean: the largest and smallest scales, zeros and denormals, and
/// activations from denormals to large.
fn extremes_agree<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>() {
    let n = 5 * LEN;
    for scale in [0.0, 1e-7, 3e-5, 1.0, 3e4] {
        let src: Vec<f32> = noise(n, 3).into_iter().map(|v| v * scale).collect();
        let mut row = vec![0; 5 * BYTES];
        run_portable(Encode::<B, LEN, BYTES> { src: &src, out: &mut row, format: PhantomData });
        for size in [0.0, 1e-40, 1e-30, 1.0, 1e20] {
            products_agree::<B, LEN, BYTES>(&row, |n| noise(n, 5).into_iter().map(|v| v * size).collect());
        }
    }
}

/// Blocks as an encoder makes them.
fn blocks_agree<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>() {
    let (src, mut row) = (noise(5 * LEN, 1), vec![0; 5 * BYTES]);
    run(Encode::<B, LEN, BYTES> { src: &src, out: &mut row, format: PhantomData });
    products_agree::<B, LEN, BYTES>(&row, |n| noise(n, 2));
}

fn floats_agree<F: Float<BYTES>, const BYTES: usize>() {
    for n in [0, 5, 8, 61, 256] {
        let row: Vec<u8> = noise(n, 6).into_iter().flat_map(F::bytes).collect();
        let x = noise(n, 7);
        let job = || Floats::<F, BYTES> { row: &row, x: &x, format: PhantomData };
        let (found, portable) = (run(job()), run_portable(job()));
        // Sums of products of at most one, in any order and with any fusing.
        let bound = 2.0 * n as f32 * (n as f32 / 8.0 + 8.0) * f32::EPSILON;
        assert!((found - portable).abs() <= bound, "{found} {portable} {bound}");
    }
}

macro_rules! agree {
    (block, $format:ty) => {
        blocks_agree::<$format, _, _>();
        extremes_agree::<$format, _, _>();
    };
    (float, $format:ty) => {
        floats_agree::<$format, _>()
    };
}

macro_rules! formats {
    ($($(#[$doc:meta])* $f:ident = $name:literal, $stem:literal, $id:literal, $kind:ident, $file:ident::$codec:ident;)*) => {
        #[test]
        fn compiled_variants_agree() {
            $(agree!($kind, crate::quant::$file::$codec);)*
        }
    };
}
include!("../quant/list.rs");

//! The code compiled for this CPU against the portable code, which is its oracle.

use std::marker::PhantomData;

use super::codec::{Block, Decode, Encode, Factors, each_group};
use super::dot::{Brain, Float, Floats, Half, Single};
use super::few::FEW;
use super::iq4_nl::Iq4Nl;
use super::k_affine::{Q2K, Q4K, Q5K};
use super::k_symmetric::{Q3K, Q6K};
use super::legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use super::simd::{Portable, run, run_portable};
use super::tile::{Columns, STRIP, Tiles, prepared_by};

/// Reproducible numbers in -1 .. 1.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Sums of products of at most 2 x 1, in any order and with any fusing.
fn assert_near(found: &[f32], expected: &[f32], terms: usize) {
    for (f, e) in found.iter().zip(expected) {
        let bound = 2.0 * terms as f32 * (terms as f32 / 8.0 + 8.0) * f32::EPSILON;
        assert!((f - e).abs() <= bound, "{f} {e} {bound}");
    }
}

fn block_format_agrees<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>() {
    const BLOCKS: usize = 5;
    let n = BLOCKS * LEN;
    let src = noise(n, 1);
    let [mut row, mut portable_row] = [(); 2].map(|()| vec![0; BLOCKS * BYTES]);
    run(Encode::<B, LEN, BYTES> { src: &src, out: &mut row, format: PhantomData });
    run_portable(Encode::<B, LEN, BYTES> { src: &src, out: &mut portable_row, format: PhantomData });
    assert_eq!(row, portable_row);

    let [mut out, mut portable_out] = [(); 2].map(|()| vec![0.0; n]);
    run(Decode::<B, LEN, BYTES> { bytes: &row, out: &mut out, format: PhantomData });
    run_portable(Decode::<B, LEN, BYTES> { bytes: &row, out: &mut portable_out, format: PhantomData });
    assert_eq!(
        out.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        portable_out.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    );

    products_agree::<B, LEN, BYTES>(&row, |n| noise(n, 2));
}

/// Products with one to eight rows of activations, of rows of blocks of any number.
fn products_agree<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
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
                assert!(off <= bound + 1e-42, "{:?} {rows} {blocks}: {found} {exact} {bound}", B::IDENTITY.0);
            }
        }
    }
}

/// The most that rounding activations changes: half of what one is worth, of each, times what its code is multiplied by.
fn rounding<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(row: &[u8], x: &[f32]) -> f64 {
    let mut all = 0.0;
    for (block, x) in row.as_chunks::<BYTES>().0.iter().zip(x.as_chunks::<LEN>().0) {
        let largest = x.iter().fold(0.0f64, |a, x| a.max(f64::from(x.abs())));
        let off = if largest < 2e-30 { largest } else { largest * 0.501 / f64::from(B::MOST) };
        let mut f = Factors::NONE;
        B::about_middle(Portable, block, &mut f);
        each_group!(LEN, G => {
            let values = B::values(Portable, B::codes::<Portable, G>(Portable, block));
            for (i, value) in values.iter().enumerate() {
                let whole = f64::from(f.whole[i / 16][G]) * (f64::from(*value) - f64::from(B::MIDDLE));
                all += (f64::from(f.scale) * whole).abs() * off;
            }
        });
    }
    all
}

/// Blocks of nothing but extremes, whatever their bytes mean: the largest and smallest scales, zeros and denormals, and
/// activations from denormals to large.
fn extremes_agree<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>() {
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

fn float_format_agrees<F: Float<BYTES>, const BYTES: usize>(bytes: impl Fn(f32) -> [u8; BYTES] + Copy) {
    for n in [0, 5, 8, 61, 256] {
        let row: Vec<u8> = noise(n, 6).into_iter().flat_map(bytes).collect();
        let x = noise(n, 7);
        let job = || Floats::<F, BYTES> { row: &row, x: &x, format: PhantomData };
        assert_near(&[run(job())], &[run_portable(job())], n);
    }
}

#[test]
fn compiled_variants_agree() {
    block_format_agrees::<Q4_0, _, _>();
    block_format_agrees::<Q4_1, _, _>();
    block_format_agrees::<Q5_0, _, _>();
    block_format_agrees::<Q5_1, _, _>();
    block_format_agrees::<Q8_0, _, _>();
    block_format_agrees::<Q2K, _, _>();
    block_format_agrees::<Q3K, _, _>();
    block_format_agrees::<Q4K, _, _>();
    block_format_agrees::<Q5K, _, _>();
    block_format_agrees::<Q6K, _, _>();
    block_format_agrees::<Iq4Nl, _, _>();
    float_format_agrees::<Single, 4>(f32::to_le_bytes);
    float_format_agrees::<Half, 2>(super::half::to_f16_le);
    float_format_agrees::<Brain, 2>(|v| super::half::to_bf16(v).to_le_bytes());
}

#[test]
fn extreme_blocks_and_activations_agree() {
    extremes_agree::<Q4_0, _, _>();
    extremes_agree::<Q4_1, _, _>();
    extremes_agree::<Q5_0, _, _>();
    extremes_agree::<Q5_1, _, _>();
    extremes_agree::<Q8_0, _, _>();
    extremes_agree::<Q2K, _, _>();
    extremes_agree::<Q3K, _, _>();
    extremes_agree::<Q4K, _, _>();
    extremes_agree::<Q5K, _, _>();
    extremes_agree::<Q6K, _, _>();
    extremes_agree::<Iq4Nl, _, _>();
}

#[test]
fn every_f16_is_read_exactly() {
    for bits in 0..=u16::MAX {
        let (found, expected) = (super::half::from_f16(bits), ::half::f16::from_bits(bits).to_f32());
        assert!(
            found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
            "{bits:#06x}"
        );
    }
}

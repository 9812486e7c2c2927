//! The code compiled for this CPU against the portable code, which is its oracle.

use std::marker::PhantomData;

use super::codec::{Block, Decode, Encode};
use super::dot::{Blocks, Brain, Float, Floats, Half, Operands, Single};
use super::iq4_nl::Iq4Nl;
use super::k_affine::{Q2K, Q4K, Q5K};
use super::k_symmetric::{Q3K, Q6K};
use super::legacy::{Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use super::simd::{run, run_portable};

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

    let x = noise(n, 2);
    let dot = || Blocks::<B, LEN, BYTES> { row: &row, x: &x, format: PhantomData };
    assert_near(&[run(dot())], &[run_portable(dot())], n);

    run(Operands::<B, LEN, BYTES> { bytes: &row, out: &mut out, format: PhantomData });
    run_portable(Operands::<B, LEN, BYTES> { bytes: &row, out: &mut portable_out, format: PhantomData });
    for (found, expected) in out.iter().zip(&portable_out) {
        // A fused minimum saves one rounding.
        assert!(
            (found - expected).abs() <= 2.0 * f32::EPSILON * (1.0 + expected.abs()),
            "{found} {expected}"
        );
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
fn every_f16_is_read_exactly() {
    for bits in 0..=u16::MAX {
        let (found, expected) = (super::half::from_f16(bits), ::half::f16::from_bits(bits).to_f32());
        assert!(
            found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
            "{bits:#06x}"
        );
    }
}

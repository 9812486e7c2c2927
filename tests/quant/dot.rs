//! CPU dot products against sums of decoded weights in f64.

use emberlm::kernels::dot_f32;
use emberlm::quant::Format;

use crate::{Normal, bounds, decode, encode};

/// Rounding of `n` fused steps: each adds at most an ulp of the running sum, bounded by the sum of sizes; decoding with
/// a fused minimum adds one rounding of `scale * q`, at most twice the range of the block.
fn tolerance(w: &[f32], x: &[f32]) -> f64 {
    let range = w.iter().fold(0.0f64, |a, v| a.max(f64::from(v.abs())));
    let sizes: f64 = x.iter().map(|x| 3.0 * range * f64::from(x.abs())).sum();
    let steps = (w.len() / 8 + 8) as f64;
    sizes * steps * f64::from(f32::EPSILON) / 2.0
}

/// What rounding activations to 16 bits may change, a block at a time: codes reach from one end of the range to the other.
fn rounding(format: Format, w: &[f32], x: &[f32]) -> f64 {
    if format.block_len() == 1 {
        return 0.0;
    }
    let largest = |x: &[f32]| x.iter().fold(0.0f64, |a, v| a.max(f64::from(v.abs())));
    let block = |(w, x): (&[f32], &[f32])| 2.0 * largest(w) * largest(x) * x.len() as f64 * 0.501 / 16383.0;
    w.chunks(format.block_len()).zip(x.chunks(format.block_len())).map(block).sum()
}

fn exact(w: &[f32], x: &[f32]) -> f64 {
    w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
}

#[test]
fn dots_agree_with_decoded_rows() {
    let mut normal = Normal::new(6);
    for format in Format::ALL {
        for cols in [1, 3, 9, 32].map(|n| n * format.block_len().max(3)) {
            let bytes = encode(format, &normal.vec(cols));
            let w = decode(format, &bytes, cols);
            for x in [(); 4].map(|()| normal.vec(cols)) {
                let dot = format.dot(&bytes, &x);
                assert!(
                    (f64::from(dot) - exact(&w, &x)).abs() <= tolerance(&w, &x) + rounding(format, &w, &x),
                    "{format} {cols}: {dot}"
                );
                assert_eq!(dot.to_bits(), format.dot(&bytes, &x).to_bits(), "{format}: same bits twice");
            }
        }
    }
}

/// Every weight is multiplied by its own activation: one-hot activations read the row back.
#[test]
fn one_hot_activations_read_the_row() {
    let mut normal = Normal::new(7);
    for format in Format::ALL {
        let cols = 2 * format.block_len().max(9);
        let bytes = encode(format, &normal.vec(cols));
        let w = decode(format, &bytes, cols);
        for (i, w) in w.iter().enumerate() {
            let mut x = vec![0.0; cols];
            x[i] = 1.0;
            let dot = format.dot(&bytes, &x);
            // A fused minimum saves one rounding of what may be some times as large as the weight.
            let bound = bounds::ROUNDED * f64::from(1.0 + w.abs());
            assert!(f64::from((dot - w).abs()) <= bound, "{format} {i}: {dot} {w}");
        }
    }
}

#[test]
fn slices_of_any_length_are_summed() {
    let mut normal = Normal::new(8);
    for n in [0, 1, 7, 8, 9, 31, 64, 100] {
        let (a, b) = (normal.vec(n), normal.vec(n));
        let dot = dot_f32(&a, &b);
        assert!((f64::from(dot) - exact(&a, &b)).abs() <= tolerance(&a, &b), "{n}");
    }
    assert_eq!(dot_f32(&[1.0, 2.0], &[3.0]), 3.0);
}

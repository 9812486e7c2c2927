//! How much encoding loses, and what it refuses.

use emberlm::quant::{Format, QuantError};
use proptest::prelude::*;

use crate::{Normal, decode, encode};

/// Largest relative RMS error on normal weights: a fiftieth above what was measured when this was written.
const RMS: [(Format, f64); 14] = [
    (Format::F32, 0.0),
    (Format::F16, 0.00022),
    (Format::BF16, 0.0018),
    (Format::Q4_0, 0.0887),
    (Format::Q4_1, 0.0806),
    (Format::Q5_0, 0.0440),
    (Format::Q5_1, 0.0387),
    (Format::Q8_0, 0.0055),
    (Format::Q2K, 0.2715),
    (Format::Q3K, 0.1480),
    (Format::Q4K, 0.0727),
    (Format::Q5K, 0.0357),
    (Format::Q6K, 0.0178),
    (Format::Iq4Nl, 0.0753),
];

#[test]
fn error_on_normal_weights_is_small() {
    let x = Normal::new(9).vec(64 * 256);
    for (format, bound) in RMS {
        let rms = relative_rms(&x, &decode(format, &encode(format, &x), x.len()));
        println!("{format}: {rms:.5}");
        assert!(rms <= bound, "{format}: {rms} > {bound}");
    }
}

/// The searches beat plain rounding to scales that just cover each group, although their scales are rounded too.
#[test]
fn searches_beat_covering_scales() {
    let x = Normal::new(10).vec(64 * 256);
    let affine = [(Format::Q2K, 16, 3.0), (Format::Q4K, 32, 15.0), (Format::Q5K, 32, 31.0)];
    let symmetric = [(Format::Q3K, 16, 4.0), (Format::Q6K, 16, 32.0)];
    let plain = affine.map(|(f, group, top)| (f, round_each(&x, group, |g| affine_step(g, top))));
    let plain = plain
        .into_iter()
        .chain(symmetric.map(|(f, group, c)| (f, round_each(&x, group, |g| symmetric_step(g, c)))));
    for (format, plain) in plain {
        let searched = relative_rms(&x, &decode(format, &encode(format, &x), x.len()));
        let plain = relative_rms(&x, &plain);
        println!("{format}: {searched:.5}, plain rounding {plain:.5}");
        assert!(searched < 0.98 * plain, "{format}: {searched} {plain}");
    }
}

/// Rounds each group to multiples of a step from an offset, with codes `0 ..= top`.
fn round_each(x: &[f32], group: usize, step: impl Fn(&[f32]) -> (f32, f32, f32)) -> Vec<f32> {
    let round = |g: &[f32]| {
        let (step, offset, top) = step(g);
        g.iter().map(|v| ((v - offset) / step).round().clamp(0.0, top) * step + offset).collect::<Vec<f32>>()
    };
    x.chunks(group).flat_map(round).collect()
}

fn affine_step(g: &[f32], top: f32) -> (f32, f32, f32) {
    let low = g.iter().fold(0.0f32, |a, v| a.min(*v));
    let high = g.iter().fold(0.0f32, |a, v| a.max(*v));
    ((high - low) / top, low, top)
}

fn symmetric_step(g: &[f32], centre: f32) -> (f32, f32, f32) {
    let largest = g.iter().fold(0.0f32, |a, v| if v.abs() > a.abs() { *v } else { a });
    let step = largest / -centre;
    (step, -centre * step, 2.0 * centre - 1.0)
}

fn relative_rms(x: &[f32], y: &[f32]) -> f64 {
    let error: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    (error / x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()).sqrt()
}

#[test]
fn zeros_and_constants_survive() {
    for format in Format::ALL {
        for value in [0.0f32, 1.0, -1.0, 1e-3] {
            let x = vec![value; 512];
            let y = decode(format, &encode(format, &x), x.len());
            let worst = x.iter().zip(&y).fold(0.0f32, |a, (x, y)| a.max((x - y).abs()));
            // Half a unit of f16 scales, twice over, and a thirtieth for codes that do not reach both ends.
            assert!(worst <= value.abs() / 30.0 + 1e-7, "{format} {value}: {worst}");
        }
    }
}

#[test]
fn what_no_scale_can_carry_is_refused() {
    for format in Format::ALL {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e6] {
            let mut x = vec![0.5; 256];
            x[77] = bad;
            let mut bytes = vec![0; format.row_bytes(256).unwrap()];
            match format.encode(&x, &mut bytes) {
                Ok(()) => assert_eq!(format.block_len(), 1, "{format} took {bad}"),
                Err(QuantError::OutOfRange { index, value, .. }) => {
                    assert!(index == 77 && value.to_bits() == bad.to_bits(), "{format}");
                }
                Err(error) => panic!("{format}: {error}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each weight comes back within the step of its block, whatever the data.
    #[test]
    fn every_weight_is_near(
        values in prop::collection::vec(prop_oneof![4 => -1.0f32..1.0, 1 => Just(0.0), 1 => -60000.0f32..60000.0], 256),
        scale in -12i32..2,
    ) {
        let x: Vec<f32> = values.iter().map(|v| (v * 10f32.powi(scale)).clamp(-65504.0, 65504.0)).collect();
        for (format, _) in RMS {
            let y = decode(format, &encode(format, &x), x.len());
            let steps = match format {
                Format::F32 => continue,
                Format::F16 | Format::Q8_0 => 0.0045,
                Format::BF16 => 0.004,
                Format::Q4_0 => 0.13,
                Format::Q4_1 => 0.07,
                Format::Q5_0 => 0.065,
                Format::Q5_1 | Format::Q6K => 0.035,
                Format::Q5K => 0.08,
                Format::Q4K | Format::Iq4Nl => 0.16,
                Format::Q3K => 0.3,
                Format::Q2K => 0.5,
            };
            let len = format.block_len().max(32);
            for (x, y) in x.chunks(len).zip(y.chunks(len)) {
                let largest = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                for (x, y) in x.iter().zip(y) {
                    // An f16 scale is never finer than 6e-8, which counts 127 times in Q8_0.
                    prop_assert!((x - y).abs() <= steps * largest + 5e-6, "{format}: {x} came back as {y}, block {largest}");
                }
            }
        }
    }

    /// Any bytes decode, and multiply, without a panic.
    #[test]
    fn any_bytes_decode(bytes in prop::collection::vec(any::<u8>(), 256 * 4)) {
        for format in Format::ALL {
            let n = 256;
            let bytes = &bytes[..format.row_bytes(n).unwrap()];
            let y = decode(format, bytes, n);
            let _ = format.dot(bytes, &y);
        }
    }
}

//! How much encoding loses, and what it refuses.

use emberlm::quant::{Format, QuantError};
use proptest::prelude::*;

use crate::{Normal, decode, encode};

/// Largest relative RMS error on normal weights. Plain rounding to the nearest, with scales that just cover the data,
/// loses more than this in every format that searches (Q2_K 0.35, Q3_K 0.18, Q4_K 0.081, Q5_K 0.039, Q6_K 0.019).
const RMS: [(Format, f64); 14] = [
    (Format::F32, 0.0),
    (Format::F16, 3e-4),
    (Format::BF16, 2.5e-3),
    (Format::Q4_0, 0.095),
    (Format::Q4_1, 0.085),
    (Format::Q5_0, 0.048),
    (Format::Q5_1, 0.041),
    (Format::Q8_0, 0.006),
    (Format::Q2K, 0.29),
    (Format::Q3K, 0.16),
    (Format::Q4K, 0.075),
    (Format::Q5K, 0.037),
    (Format::Q6K, 0.0185),
    (Format::Iq4Nl, 0.08),
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

fn relative_rms(x: &[f32], y: &[f32]) -> f64 {
    let error: f64 = x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    (error / x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()).sqrt()
}

#[test]
fn zeros_and_constants_survive() {
    for format in Format::ALL {
        for value in [0.0f32, 1.0, -1.0, 1e-6] {
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
                    // Scales under the smallest f16 are lost.
                    prop_assert!((x - y).abs() <= steps * largest + 3e-5, "{format}: {x} came back as {y}, block {largest}");
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

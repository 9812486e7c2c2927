//! How much encoding loses, and what it refuses.

use emberlm::quant::{Format, QuantError};
use proptest::prelude::*;

use crate::{Normal, decode, encode, loss};

/// Largest relative RMS error on normal weights: a fiftieth above what was measured when this was written, which is below what
/// follows from bits and groups (`loss`), so that a search that gets worse shows as well.
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

/// What is lost is what the format's bits and groups say, neither more nor less, whatever the weights are spread like.
#[test]
fn each_format_loses_what_its_bits_say() {
    let mut normal = Normal::new(11);
    let flat: Vec<f32> = (0..64 * 256).map(|_| (2.0 * normal.uniform() - 1.0) as f32).collect();
    let tail = |u: f64| (u.signum() * -(1.0 - u.abs()).ln()) as f32;
    let heavy: Vec<f32> = (0..64 * 256).map(|_| tail(2.0 * normal.uniform() - 1.0)).collect();
    let mut failures = vec![];
    for (spread, x) in [("normal", normal.vec(64 * 256)), ("flat", flat), ("of two exponentials", heavy)] {
        for format in Format::ALL {
            let (least, most) = loss::bounds(format, &x);
            let lost = relative_rms(&x, &decode(format, &encode(format, &x), x.len()));
            println!("{format}, {spread}: {lost:.5} of {least:.5} to {most:.5}");
            if !(least..=most).contains(&lost) {
                failures.push(format!("{format}, {spread}: {lost:.5} is not from {least:.5} to {most:.5}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
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
            let bound = of_a_constant(format, value.abs());
            println!("{format} {value}: {worst:.2e} of {bound:.2e}");
            assert!(worst <= bound, "{format} {value}: {worst}, at most {bound}");
        }
    }
}

/// How far a block of one value may be off. One code stands for it, so that what is rounded is the f16 scale (half a unit in the
/// last place, or half of the smallest subnormal times the integers it is multiplied with); where groups have integers of their
/// own as scales, the nearest code is at most half a code away whatever the block's scale became.
fn of_a_constant(format: Format, value: f32) -> f32 {
    const SUBNORMAL: f32 = 1.0 / (1 << 25) as f32;
    // No codes: there is no other to choose.
    let (integers, codes) = match format {
        Format::F32 => return 0.0,
        Format::BF16 => return value / 256.0,
        Format::F16 => (1.0, 0.0),
        Format::Q4_0 => (8.0, 0.0),
        Format::Q5_0 => (16.0, 0.0),
        Format::Q8_0 | Format::Iq4Nl => (127.0, 0.0),
        // The value is the minimum, which is an f16 of its own.
        Format::Q4_1 | Format::Q5_1 => (1.0, 0.0),
        Format::Q2K => (3.0 * 15.0, 3.0),
        Format::Q4K => (15.0 * 63.0, 15.0),
        Format::Q5K => (31.0 * 63.0, 31.0),
        Format::Q3K => (4.0 * 32.0, 4.0),
        Format::Q6K => (32.0 * 128.0, 32.0),
    };
    value / 2048.0 + (integers * SUBNORMAL).min(0.5 * value / codes)
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

/// How far a weight may come back from what it was, as a part of its block's largest. Where encoding is plain arithmetic: half
/// a step, or a whole one where the code of one end is missing, and the rounding of f16 scales (2^-11 of what they are
/// multiplied with). Where it searches, what it gives up for the others, as property tests have found it.
fn farthest(format: Format) -> f32 {
    const SCALE: f32 = 1.0 / 2048.0;
    match format {
        Format::F32 => 0.0,
        Format::F16 => SCALE,
        Format::BF16 => 1.0 / 256.0,
        Format::Q8_0 => 0.5 / 127.0 + SCALE,
        // Codes from -8 to 7 times an eighth of the largest: the opposite end has none.
        Format::Q4_0 => 1.0 / 8.0 + SCALE,
        Format::Q5_0 => 1.0 / 16.0 + SCALE,
        // From one end to the other are two of the largest; step and offset are rounded.
        Format::Q4_1 => 1.0 / 15.0 + 3.0 * SCALE,
        Format::Q5_1 => 1.0 / 31.0 + 3.0 * SCALE,
        Format::Q6K => 0.035,
        Format::Q5K => 0.08,
        Format::Q4K | Format::Iq4Nl => 0.16,
        Format::Q3K => 0.3,
        Format::Q2K => 0.5,
    }
}

/// The block's largest and how far its farthest weight is, as a part of that.
fn worst_of(format: Format, x: &[f32], worst: &mut f32) {
    let y = decode(format, &encode(format, x), x.len());
    let len = format.block_len().max(32);
    for (x, y) in x.chunks(len).zip(y.chunks(len)) {
        let largest = x.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        for (x, y) in x.iter().zip(y) {
            *worst = worst.max((x - y).abs() / largest.max(1e-20));
        }
    }
}

/// A bound that nothing comes near says nothing.
#[test]
fn bounds_are_near_what_happens() {
    let (mut normal, mut failures) = (Normal::new(12), vec![]);
    let mut blocks: Vec<Vec<f32>> = vec![];
    for kind in 0..400 {
        let mut x = normal.vec(256);
        match kind % 4 {
            0 => {}
            1 => x.iter_mut().for_each(|v| *v = v.signum() * 0.99),
            2 => x.iter_mut().step_by(37).for_each(|v| *v *= 6.0),
            _ => x.iter_mut().for_each(|v| *v = v.powi(3)),
        }
        blocks.push(x);
    }
    for (format, _) in RMS.into_iter().skip(1) {
        let mut worst = 0.0;
        blocks.iter().for_each(|x| worst_of(format, x, &mut worst));
        let bound = farthest(format);
        println!("{format}: {worst:.5} of {bound:.5}");
        if !(worst <= bound && worst > 0.4 * bound) {
            failures.push(format!("{format}: {worst} of {bound}"));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
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
        for (format, _) in RMS.into_iter().skip(1) {
            let y = decode(format, &encode(format, &x), x.len());
            let steps = farthest(format);
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

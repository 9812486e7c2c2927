//! Decoding is bit-exact, and encoding byte-exact where ggml's encoder is plain arithmetic.

use std::path::{Path, PathBuf};

use emberlm::quant::Format;

use crate::{assert_same_bits, decode, encode, npz};

/// The formats whose encoder must give ggml's bytes.
const SAME_BYTES: [Format; 8] = [
    Format::F32,
    Format::F16,
    Format::BF16,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
];

fn golden(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/quants").join(file);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The larger set, where the checkout has it beside it.
fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/quants/golden_quants.npz");
    path.exists().then_some(path)
}

#[test]
fn decodes_random_blocks_bit_for_bit() {
    for format in Format::ALL {
        let data = golden(&format!("{}.dec", format.stem()));
        let weights = u32::from_le_bytes(data[..4].try_into().unwrap()) as usize;
        let (encoded, decoded) = data[4..].split_at(format.row_bytes(weights).unwrap());
        assert_same_bits(format.name(), &decode(format, encoded, weights), &floats(decoded));
    }
}

#[test]
fn encodes_byte_for_byte() {
    let x = floats(&golden("source.f32"));
    for format in SAME_BYTES.into_iter().skip(1) {
        let expected = golden(&format!("{}.enc", format.stem()));
        assert_eq!(encode(format, &x), expected, "{format}");
    }
}

#[test]
fn decodes_and_encodes_the_shared_vectors() {
    let Some(path) = shared() else { return };
    let arrays = npz::read(&path);
    let x = arrays["x"].floats();
    let mut seen = 0;
    for format in Format::ALL {
        let Some(encoded) = arrays.get(&format!("q_{format}")) else { continue };
        let decoded = arrays[&format!("d_{format}")].floats();
        assert_eq!(encoded.shape[0] * encoded.shape[1], encoded.bytes.len());
        assert_same_bits(format.name(), &decode(format, &encoded.bytes, decoded.len()), &decoded);
        if SAME_BYTES.contains(&format) {
            assert_eq!(encode(format, &x), encoded.bytes, "{format}");
        }
        seen += 1;
    }
    assert_eq!(seen, 11, "formats in {}", path.display());
}

/// The searching encoders err at most a little more than ggml's own, on its data.
#[test]
fn searches_are_as_good_as_ggml() {
    let Some(path) = shared() else { return };
    let arrays = npz::read(&path);
    let x = arrays["x"].floats();
    for format in [Format::Q2K, Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq4Nl] {
        let theirs = arrays[&format!("d_{format}")].floats();
        let ours = decode(format, &encode(format, &x), x.len());
        let cols = arrays["x"].shape[1];
        let rows = x.chunks(cols).zip(ours.chunks(cols).zip(theirs.chunks(cols)));
        // Row 1 is zero; each other row is judged relative to its own size.
        let ratios: Vec<f64> = rows
            .filter(|(x, _)| x.iter().any(|v| *v != 0.0))
            .map(|(x, (ours, theirs))| squared_error(x, ours) / squared_error(x, theirs))
            .collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        println!("{format}: squared error / ggml's {mean:.4} {ratios:.3?}");
        assert!(mean < 1.0 && ratios.iter().all(|r| *r < 1.1), "{format}: {mean} {ratios:?}");
    }
}

fn squared_error(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

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
    larger_set(|format, _, encoded, decoded| {
        assert_same_bits(format.name(), &decode(format, &encoded.bytes, decoded.len()), decoded);
    });
}

#[test]
fn encodes_byte_for_byte() {
    let x = floats(&golden("source.f32"));
    for format in SAME_BYTES.into_iter().skip(1) {
        let expected = golden(&format!("{}.enc", format.stem()));
        assert_eq!(encode(format, &x), expected, "{format}");
    }
    larger_set(|format, x, encoded, _| {
        if SAME_BYTES.contains(&format) {
            assert_eq!(encode(format, x), encoded.bytes, "{format}");
        }
    });
}

/// The larger set, where it is there: nothing that is not seen on the committed one as well.
fn larger_set(check: impl Fn(Format, &[f32], &npz::Array, &[f32])) {
    let Some(path) = shared() else { return };
    let arrays = npz::read(&path);
    let x = arrays["x"].floats();
    let mut seen = 0;
    for format in Format::ALL {
        let Some(encoded) = arrays.get(&format!("q_{format}")) else { continue };
        let decoded = arrays[&format!("d_{format}")].floats();
        assert_eq!(encoded.shape[0] * encoded.shape[1], encoded.bytes.len());
        check(format, &x, encoded, &decoded);
        seen += 1;
    }
    assert_eq!(seen, 11, "formats in {}", path.display());
}

/// The weights of `gen_searches.py`: 8 rows of 768.
fn searched_weights() -> Vec<f32> {
    const MASK: u64 = (1 << 32) - 1;
    let hash = |i: u64| {
        let h = (i + 77 * 7919 + 1).wrapping_mul(2_654_435_761) & MASK;
        let h = (h ^ (h >> 15)).wrapping_mul(2_246_822_519) & MASK;
        (h ^ (h >> 13)) as f64 / f64::from(1u32 << 31) - 1.0
    };
    let weight = |at: u64| {
        let (row, col) = (at / COLS as u64, at % COLS as u64);
        let sum = (0..4).fold(0.0, |sum, k| sum + hash(at * 4 + k)) * 2f64.powi(3 * row as i32 - 9);
        (match row {
            2 if col % 7 == 0 => 0.0,
            3 => sum.abs(),
            4 if col % 50 == 0 => sum * 8.0,
            _ => sum,
        }) as f32
    };
    (0..8 * COLS as u64).map(weight).collect()
}

const COLS: usize = 768;

/// The searching encoders err at most a little more than ggml's own in any row, and less in the mean: on weights of the
/// project's own, and on the larger set where it is there.
#[test]
fn searches_are_as_good_as_ggml() {
    let table: serde_json::Value = serde_json::from_slice(&golden("searched.json")).unwrap();
    let x = searched_weights();
    for format in SEARCHED {
        let theirs: Vec<f64> =
            table[format.name()].as_array().unwrap().iter().map(|e| e.as_f64().unwrap()).collect();
        as_good(format, &x, COLS, &theirs);
    }
    let Some(path) = shared() else { return };
    let arrays = npz::read(&path);
    let (x, cols) = (arrays["x"].floats(), arrays["x"].shape[1]);
    for format in SEARCHED {
        let theirs = arrays[&format!("d_{format}")].floats();
        let errors: Vec<f64> =
            x.chunks(cols).zip(theirs.chunks(cols)).map(|(x, theirs)| squared_error(x, theirs)).collect();
        as_good(format, &x, cols, &errors);
    }
}

const SEARCHED: [Format; 6] =
    [Format::Q2K, Format::Q3K, Format::Q4K, Format::Q5K, Format::Q6K, Format::Iq4Nl];

/// `theirs`: squared error of each row.
fn as_good(format: Format, x: &[f32], cols: usize, theirs: &[f64]) {
    let ours = decode(format, &encode(format, x), x.len());
    let rows = x.chunks(cols).zip(ours.chunks(cols)).zip(theirs);
    // Rows of zeros have no size; each other row is judged relative to its own.
    let ratios: Vec<f64> = rows
        .filter(|((x, _), _)| x.iter().any(|v| *v != 0.0))
        .map(|((x, ours), theirs)| squared_error(x, ours) / theirs)
        .collect();
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    println!("{format}: squared error / ggml's {mean:.4} {ratios:.3?}");
    assert!(ratios.len() >= 7, "{}", ratios.len());
    assert!(mean < 1.0 && ratios.iter().all(|r| *r < 1.1), "{format}: {mean} {ratios:?}");
}

fn squared_error(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

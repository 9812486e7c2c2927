//! Weights per second of the CPU dot products, per format, one thread, from the cache.
//!
//! `cargo bench --no-default-features --bench quant_dot [FORMAT]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use emberlm::kernels::{FEW, FewRows, Matrix, Operand, Rows};
use emberlm::quant::Format;

const COLS: usize = 1536;
const ROWS: usize = 64;

fn main() {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    println!(
        "{COLS} columns, {ROWS} rows; giga weights per second (few: times the {FEW} rows of activations)"
    );
    println!("{:8} {:>8} {:>8} {:>8} {:>8} {:>8}", "format", "dot", "few", "decode", "repack", "encode");
    for format in Format::ALL {
        if wanted.as_deref().is_none_or(|w| Format::from_name(w) == Some(format)) {
            measure(format);
        }
    }
}

/// A matrix of `ROWS` columns.
struct Whole<'a>(&'a mut [f32]);

impl Rows for Whole<'_> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        &mut self.0[r * ROWS..(r + 1) * ROWS]
    }
}

fn measure(format: Format) {
    let noise = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 1000.0 - 1.0;
    let weights: Vec<f32> = (0..COLS * ROWS).map(noise).collect();
    let x: Vec<f32> = (0..FEW * COLS).map(|i| noise(i + 77)).collect();
    let Ok(row_bytes) = format.row_bytes(COLS) else { return };
    let mut bytes = vec![0; row_bytes * ROWS];
    let mut out = vec![0.0; COLS];
    if let Err(error) = format.encode(&weights, &mut bytes) {
        return println!("{error}");
    }
    let mut y = vec![0.0; FEW * ROWS];
    let mut products = |rows: usize| {
        rate(|| {
            let w = Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: false });
            let (x, y) = (&x[..rows * COLS], Whole(&mut y));
            FewRows { rows, width: ROWS, cols: COLS, x, w, first: 0, alpha: 1.0, accumulate: false, y }.run();
        })
    };
    let (dot, few) = (products(1), products(FEW));
    let decode =
        rate(|| bytes.chunks_exact(row_bytes).for_each(|row| _ = black_box(format.decode(row, &mut out))));
    let mut words = vec![0; format.planes(ROWS, COLS).words];
    let repack = rate(|| _ = black_box(format.repack(&bytes, ROWS, COLS, &mut words)));
    let encode =
        rate(|| _ = black_box(format.encode(&weights[..COLS], &mut bytes[..row_bytes]))) / ROWS as f64;
    println!("{format:8} {dot:8.2} {:8.2} {decode:8.2} {repack:8.3} {encode:8.4}", FEW as f64 * few);
}

/// The best of 200 samples of about a millisecond, in giga weights per second: other programs take whole samples away.
fn rate(mut work: impl FnMut()) -> f64 {
    let mut sample = || {
        let (start, mut passes) = (Instant::now(), 0u32);
        while start.elapsed() < Duration::from_millis(1) {
            work();
            passes += 1;
        }
        f64::from(passes) * (COLS * ROWS) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..200).map(|_| sample()).fold(0.0, f64::max)
}

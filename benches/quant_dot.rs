//! Weights per second of the CPU dot products, per format, one thread, from the cache, or from memory if there are many rows.
//!
//! `cargo bench --no-default-features --bench quant_dot -- [FORMAT] [cols=1536] [rows=64]`

use std::hint::black_box;
use std::time::{Duration, Instant};

use emberlm::kernels::{FEW, FewRows, Matrix, Operand, Rows};
use emberlm::quant::Format;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let number =
        |name: &str, usual| args.iter().find_map(|a| a.strip_prefix(name)?.parse().ok()).unwrap_or(usual);
    let shape = Shape { cols: number("cols=", 1536), rows: number("rows=", 64) };
    let wanted = args.iter().find(|a| !a.contains('='));
    println!(
        "{} columns, {} rows; giga weights per second (few: times the {FEW} rows of activations)",
        shape.cols, shape.rows
    );
    println!("{:8} {:>8} {:>8} {:>8} {:>8} {:>8}", "format", "dot", "few", "decode", "repack", "encode");
    for format in Format::ALL {
        if wanted.is_none_or(|w| Format::from_name(w) == Some(format)) {
            measure(format, shape);
        }
    }
}

/// Of the weights.
#[derive(Clone, Copy)]
struct Shape {
    cols: usize,
    rows: usize,
}

/// A matrix of so many columns.
struct Whole<'a>(&'a mut [f32], usize);

impl Rows for Whole<'_> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        &mut self.0[r * self.1..(r + 1) * self.1]
    }
}

fn measure(format: Format, Shape { cols, rows: height }: Shape) {
    let noise = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 1000.0 - 1.0;
    let weights: Vec<f32> = (0..cols * height).map(noise).collect();
    let x: Vec<f32> = (0..FEW * cols).map(|i| noise(i + 77)).collect();
    let Ok(row_bytes) = format.row_bytes(cols) else { return };
    let mut bytes = vec![0; row_bytes * height];
    let mut out = vec![0.0; cols];
    if let Err(error) = format.encode(&weights, &mut bytes) {
        return println!("{error}");
    }
    let mut y = vec![0.0; FEW * height];
    let mut products = |rows: usize| {
        rate(weights.len(), || {
            let w = Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: false });
            let (x, y) = (&x[..rows * cols], Whole(&mut y, height));
            FewRows { rows, width: height, cols, x, w, first: 0, alpha: 1.0, accumulate: false, y }.run();
        })
    };
    let (dot, few) = (products(1), products(FEW));
    let decode = rate(weights.len(), || {
        bytes.chunks_exact(row_bytes).for_each(|row| _ = black_box(format.decode(row, &mut out)))
    });
    let mut words = vec![0; format.planes(height, cols).words];
    let repack = rate(weights.len(), || _ = black_box(format.repack(&bytes, height, cols, &mut words)));
    let encode =
        rate(weights.len(), || _ = black_box(format.encode(&weights[..cols], &mut bytes[..row_bytes])))
            / height as f64;
    println!("{format:8} {dot:8.2} {:8.2} {decode:8.2} {repack:8.3} {encode:8.4}", FEW as f64 * few);
}

/// The best of 200 samples of about a millisecond, in giga weights per second: other programs take whole samples away.
fn rate(weights: usize, mut work: impl FnMut()) -> f64 {
    let mut sample = || {
        let (start, mut passes) = (Instant::now(), 0u32);
        while start.elapsed() < Duration::from_millis(1) {
            work();
            passes += 1;
        }
        f64::from(passes) * weights as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    let enough = Instant::now();
    (0..200)
        .take_while(|n| *n < 3 || enough.elapsed() < Duration::from_secs(2))
        .map(|_| sample())
        .fold(0.0, f64::max)
}

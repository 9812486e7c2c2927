//! GFLOP/s of the CPU matrix products, two threads (or `THREADS`), 512 token rows.
//!
//! `cargo bench --no-default-features --bench matmul [FORMAT]`

use std::time::Instant;

use emberlm::ops::cpu::{Columns, Matrix};
use emberlm::ops::matmul::{Operand, matmul_nn, matmul_nt, matmul_tn};
use emberlm::quant::Format;

const ROWS: usize = 512;

fn main() {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    let format = wanted.and_then(|w| Format::from_name(&w)).unwrap_or(Format::Q4_1);
    let threads = std::env::var("THREADS").ok().and_then(|t| t.parse().ok()).unwrap_or(2);
    println!("{ROWS} rows, {threads} threads, {format} (or plain f32 if narrow); GFLOP/s");
    println!("{:>14} {:>8} {:>8} {:>8}", "in x out", "nt", "nn", "tn");
    let shapes =
        [(576, 1536), (1536, 576), (576, 576), (576, 49152), (576, 8), (1536, 8), (8, 576), (8, 1536)];
    for (cols, outs) in shapes {
        measure(format, threads, cols, outs);
    }
}

fn noise(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i.wrapping_mul(2_654_435_761) >> 7) % 2001) as f32 / 1000.0 - 1.0).collect()
}

fn measure(format: Format, threads: usize, cols: usize, outs: usize) {
    let (x, dy, weights) = (noise(ROWS * cols), noise(ROWS * outs), noise(outs * cols));
    let mut bytes = Vec::new();
    let w = match format.row_bytes(cols) {
        Ok(row_bytes) if cols.min(outs) > 64 => {
            bytes.resize(row_bytes * outs, 0);
            for (values, bytes) in weights.chunks(cols).zip(bytes.chunks_mut(row_bytes)) {
                if let Err(error) = format.encode(values, bytes) {
                    return println!("{error}");
                }
            }
            Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: false })
        }
        _ => Operand::Plain { values: &weights },
    };
    let flops = 2.0 * (ROWS * cols * outs) as f64 / 1e9;
    let mut y = vec![0.0; ROWS * outs];
    let nt = best(threads, ROWS, outs, &mut y, |first, rows, y| {
        matmul_nt(&w, cols, 0, &x[first * cols..], rows, 1.0, false, y);
    });
    let mut dx = vec![0.0; ROWS * cols];
    let nn = best(threads, ROWS, cols, &mut dx, |first, rows, y| {
        matmul_nn(&w, cols, outs, &dy[first * outs..], outs, 0, rows, 1.0, false, y);
    });
    let mut dw = vec![0.0; outs * cols];
    let tn = best(threads, outs, cols, &mut dw, |first, n, y| {
        matmul_tn(&dy, outs, first, n, &x, cols, ROWS, 1.0, false, y);
    });
    println!("{:>14} {:8.1} {:8.1} {:8.1}", format!("{cols} x {outs}"), flops / nt, flops / nn, flops / tn);
}

/// Least seconds of a product, cut by columns, or by rows where there are few columns.
fn best(
    threads: usize,
    rows: usize,
    width: usize,
    y: &mut [f32],
    work: impl Fn(usize, usize, &mut Columns<'_, f32>) + Sync,
) -> f64 {
    let passes = if rows * width > 1 << 24 { 5 } else { 40 };
    let cut = |total: usize, granule: usize, part: usize| {
        (total.div_ceil(granule) * part / threads * granule).min(total)
    };
    let shared = y.as_mut_ptr() as usize;
    let len = y.len();
    (0..passes)
        .map(|_| {
            let gate = std::sync::Barrier::new(threads);
            let part = |part: usize| {
                // SAFETY: the parts write disjoint columns or rows of `y`, which outlives the threads.
                let y = unsafe { std::slice::from_raw_parts_mut(shared as *mut f32, len) };
                gate.wait();
                let start = Instant::now();
                if width >= 32 * threads {
                    let range = cut(width, 32, part)..cut(width, 32, part + 1);
                    work(0, rows, &mut Columns::new(y, width, range));
                } else {
                    let (first, end) = (cut(rows, 1, part), cut(rows, 1, part + 1));
                    work(first, end - first, &mut Columns::new(&mut y[first * width..], width, 0..width));
                }
                gate.wait();
                start.elapsed().as_secs_f64()
            };
            let part = &part;
            std::thread::scope(|s| {
                for p in 1..threads {
                    s.spawn(move || part(p));
                }
                part(0)
            })
        })
        .fold(f64::INFINITY, f64::min)
}

//! All three products against a naive one in double precision.

use super::*;
use crate::kernels::Matrix;
use crate::quant::Format;

fn noise(n: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i.wrapping_add(seed * 7919).wrapping_mul(2_654_435_761) >> 9) % 2001) as f32;
    (0..n).map(|i| value(i) / 1000.0 - 1.0).collect()
}

/// Encoded rows and what they stand for.
fn encoded(format: Format, rows: usize, cols: usize) -> (Vec<u8>, Vec<f32>) {
    let bytes = format.row_bytes(cols).unwrap();
    let (mut all, mut values) = (vec![0; rows * bytes], vec![0.0; rows * cols]);
    let source = noise(rows * cols, 3);
    for ((w, all), values) in source.chunks(cols).zip(all.chunks_mut(bytes)).zip(values.chunks_mut(cols)) {
        format.encode(w, all).unwrap();
        format.decode(all, values).unwrap();
    }
    (all, values)
}

fn matrix(format: Format, bytes: &[u8], cols: usize) -> Matrix<'_> {
    Matrix { format, bytes, row_bytes: format.row_bytes(cols).unwrap(), exact: false }
}

/// Runs `product` for each of `parts` shares of the columns `offset..offset + width` of a matrix of `stride`, on top of
/// a known content, and compares with `expected(row, column)`, the sum and the sum of the absolute products.
fn check<F: Real>(
    what: &str,
    (rows, stride, offset, width): (usize, usize, usize, usize),
    parts: usize,
    alpha: f64,
    accumulate: bool,
    product: &dyn Fn(&mut Columns<'_, F>),
    expected: &dyn Fn(usize, usize) -> (f64, f64),
) -> Vec<F> {
    let before: Vec<F> = noise(rows * stride, 5).into_iter().map(F::from_f32).collect();
    let mut y = before.clone();
    for part in 0..parts {
        let range = offset + width * part / parts..offset + width * (part + 1) / parts;
        product(&mut Columns::new(&mut y, stride, range));
    }
    let epsilon = if size_of::<F>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    for r in 0..rows {
        for c in 0..stride {
            let (old, new) = (before[r * stride + c].to_f64(), y[r * stride + c].to_f64());
            if c < offset || c >= offset + width {
                assert_eq!(old, new, "{what}: {r}, {c} is not the product's");
                continue;
            }
            let (sum, size) = expected(r, c - offset);
            let base = if accumulate { old } else { 0.0 };
            let bound = 12.0 * epsilon * (size * alpha.abs() + base.abs() + 1e-3);
            let want = base + alpha * sum;
            assert!((new - want).abs() <= bound, "{what}: {r}, {c} is {new}, not {want} (+-{bound:e})");
        }
    }
    y
}

fn sum(terms: impl Iterator<Item = (f32, f32)>) -> (f64, f64) {
    let products = terms.map(|(a, b)| f64::from(a) * f64::from(b));
    products.fold((0.0, 0.0), |(s, size), p| (s + p, size + p.abs()))
}

fn lift<F: Real>(x: &[f32]) -> Vec<F> {
    x.iter().map(|v| F::from_f32(*v)).collect()
}

fn nt<F: Real>(
    format: Option<Format>,
    rows: usize,
    cols: usize,
    outs: usize,
    accumulate: bool,
    parts: usize,
) {
    let (bytes, w) = encoded(format.unwrap_or(Format::F32), outs, cols);
    let plain = lift::<F>(&w);
    let operand = match format {
        Some(format) => Operand::Encoded(matrix(format, &bytes, cols)),
        None => Operand::Plain { values: &plain },
    };
    let x = noise(rows * cols, 1);
    let lifted = lift::<F>(&x);
    let what = format!("nt {format:?} {rows} x {cols} -> {outs}, {accumulate}, {parts}");
    let shape = (rows, outs + 5, 3, outs);
    let product = |y: &mut Columns<'_, F>| {
        matmul_nt(&operand, cols, 3, &lifted, rows, F::from_f64(0.5), accumulate, y);
    };
    let rounded = size_of::<F>() == 4 && format.is_some_and(|format| format.block_len() > 1);
    check(&what, shape, parts, 0.5, accumulate, &product, &|t, j| {
        let (x, w) = (&x[t * cols..(t + 1) * cols], &w[j * cols..(j + 1) * cols]);
        let (value, size) = sum(x.iter().copied().zip(w.iter().copied()));
        let more = if rounded { rounding(x, w) / (12.0 * f64::from(f32::EPSILON)) } else { 0.0 };
        (value, size + more)
    });
}

/// The most that activations rounded to 15 bits and a sign change, with a scale for each 256 of them.
fn rounding(x: &[f32], w: &[f32]) -> f64 {
    let block = |(x, w): (&[f32], &[f32])| {
        let largest = x.iter().fold(0.0f64, |a, x| a.max(f64::from(x.abs())));
        w.iter().map(|w| f64::from(w.abs())).sum::<f64>() * largest * 0.501 / 16383.0
    };
    x.chunks(256).zip(w.chunks(256)).map(block).sum()
}

fn nn<F: Real>(
    format: Option<Format>,
    rows: usize,
    cols: usize,
    outs: usize,
    accumulate: bool,
    parts: usize,
) {
    let (bytes, w) = encoded(format.unwrap_or(Format::F32), outs, cols);
    let plain = lift::<F>(&w);
    let operand = match format {
        Some(format) => Operand::Encoded(matrix(format, &bytes, cols)),
        None => Operand::Plain { values: &plain },
    };
    let (stride, offset) = (outs + 7, 4);
    let x = noise(rows * stride, 1);
    let lifted = lift::<F>(&x);
    let what = format!("nn {format:?} {rows} x {outs} -> {cols}, {accumulate}, {parts}");
    let product = |y: &mut Columns<'_, F>| {
        let alpha = F::from_f64(-1.5);
        matmul_nn(&operand, cols, outs, &lifted, stride, offset, rows, alpha, accumulate, y);
    };
    check(&what, (rows, cols, 0, cols), parts, -1.5, accumulate, &product, &|t, c| {
        sum((0..outs).map(|o| (x[t * stride + offset + o], w[o * cols + c])))
    });
}

fn tn<F: Real>(rows: usize, n: usize, m: usize, accumulate: bool, parts: usize) {
    let (stride, offset) = (n + 9, 5);
    let (a, b) = (noise(rows * stride, 1), noise(rows * m, 2));
    let (la, lb) = (lift::<F>(&a), lift::<F>(&b));
    let what = format!("tn {rows}: {n} x {m}, {accumulate}, {parts}");
    let product = |y: &mut Columns<'_, F>| {
        matmul_tn(&la, stride, offset, n, &lb, m, rows, F::from_f64(2.0), accumulate, y);
    };
    check(&what, (n, m, 0, m), parts, 2.0, accumulate, &product, &|i, j| {
        sum((0..rows).map(|t| (a[t * stride + offset + i], b[t * m + j])))
    });
}

#[test]
fn every_format() {
    for format in Format::ALL {
        for (rows, outs, parts) in [(5, 37, 2), (33, 70, 3)] {
            nt::<f32>(Some(format), rows, 512, outs, rows == 5, parts);
            nt::<f64>(Some(format), rows, 256, outs, rows == 5, parts);
            nn::<f32>(Some(format), rows, 768, outs, rows == 5, parts);
            nn::<f64>(Some(format), rows, 512, outs, rows == 5, parts);
        }
    }
}

#[test]
fn row_counts() {
    for rows in 0..=70 {
        nt::<f32>(Some(Format::Q4_1), rows, 288, 50, rows % 2 == 0, 2);
        nn::<f32>(Some(Format::Q8_0), rows, 288, 50, rows % 2 == 0, 2);
        tn::<f32>(rows, 9, 50, rows % 2 == 0, 2);
        tn::<f32>(50, rows, 45, rows % 2 == 0, 2);
    }
}

#[test]
fn ranks_and_odd_widths() {
    for rank in [1, 3, 8, 16, 64] {
        for width in [1, 7, 100, 333] {
            for accumulate in [false, true] {
                nt::<f32>(None, 40, width, rank, accumulate, 1);
                nt::<f32>(None, 40, rank, width, accumulate, 3);
                nn::<f32>(None, 40, width, rank, accumulate, 2);
                nn::<f32>(None, 40, rank, width, accumulate, 1);
                tn::<f32>(40, rank, width, accumulate, 2);
                tn::<f32>(40, width, rank, accumulate, 1);
                tn::<f64>(40, width, rank, accumulate, 1);
                nn::<f64>(None, 40, rank, width, accumulate, 1);
                nt::<f64>(None, 40, rank, width, accumulate, 1);
            }
        }
    }
}

#[test]
fn many_tiles() {
    nt::<f32>(Some(Format::Q4K), 70, 1536, 500, true, 1);
    nt::<f32>(None, 70, 1111, 420, false, 2);
    nn::<f32>(Some(Format::Q6K), 70, 1024, 600, false, 1);
    nn::<f32>(None, 70, 1001, 555, true, 2);
    tn::<f32>(600, 70, 520, true, 2);
}

/// Neither the cut into parts nor the number of rows changes a bit, on either side of the switch.
#[test]
fn same_bits_in_any_cut() {
    let (cols, outs) = (800, 300);
    let (bytes, _) = encoded(Format::Q4_0, outs, cols);
    let w = Operand::Encoded(matrix(Format::Q4_0, &bytes, cols));
    let x = noise(64 * cols, 1);
    let run = |rows: usize, parts: usize| {
        let mut y = vec![0.0; rows * outs];
        for part in 0..parts {
            let range = outs * part / parts..outs * (part + 1) / parts;
            matmul_nt(&w, cols, 0, &x, rows, 1.0f32, false, &mut Columns::new(&mut y, outs, range));
        }
        y
    };
    let whole = run(64, 1);
    assert_eq!(whole, run(64, 3));
    assert_eq!(whole[..19 * outs], run(19, 2));
    assert_eq!(whole[..(FEW + 1) * outs], run(FEW + 1, 7));
    // Decode steps: a batch of any size up to the switch, and alone.
    let batch = run(FEW, 1);
    for rows in 1..FEW {
        assert_eq!(batch[..rows * outs], run(rows, 1 + rows % 3), "{rows}");
    }
}

//! Every set of instructions gives the sums of single dot products.

use super::*;
use crate::bounds::{sum, walk};
use crate::kernels::{Matrix, dot_f32};
use crate::quant::Format;

struct Plain<'a>(&'a mut [f32], usize);

impl Rows for Plain<'_> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        &mut self.0[r * self.1..(r + 1) * self.1]
    }
}

fn noise(n: usize, seed: usize) -> Vec<f32> {
    let value = |i: usize| ((i + 7919 * seed).wrapping_mul(2_654_435_761) >> 9) % 2001;
    (0..n).map(|i| value(i) as f32 / 1000.0 - 1.0).collect()
}

/// The bits of each dot product do not depend on the batch.
#[test]
fn every_format_and_row_count_as_single_dots() {
    for format in Format::ALL {
        for blocks in [1, 3, 8, 9, 21, 41] {
            let unit = format.block_len().max(32);
            let cols = unit * if unit == 256 { blocks.min(21) } else { blocks };
            let (outs, row_bytes) = (if blocks < 9 { 31 } else { 11 }, format.row_bytes(cols).unwrap());
            let mut bytes = vec![0; outs * row_bytes];
            for (row, w) in bytes.chunks_mut(row_bytes).zip(noise(outs * cols, 3).chunks(cols)) {
                format.encode(w, row).unwrap();
            }
            let w = Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: false });
            let x = noise(FEW * cols, 1);
            for rows in 1..=FEW {
                let (first, width) = (2, outs - 2);
                let mut y = noise(rows * width, 4);
                let before = y.clone();
                let to = Plain(&mut y, width);
                let job = FewRows { rows, width, cols, x: &x, w, first, alpha: 0.5, accumulate: true, y: to };
                job.run();
                for (at, (y, before)) in y.iter().zip(&before).enumerate() {
                    let (t, row) = (at / width, first + at % width);
                    let x = &x[t * cols..(t + 1) * cols];
                    let dot = format.dot(&bytes[row * row_bytes..(row + 1) * row_bytes], x);
                    let what = || format!("{format} {cols}, {rows} rows, ({t}, {row})");
                    assert_eq!(y.to_bits(), (0.5 * dot + before).to_bits(), "{}", what());
                }
            }
        }
    }
}

/// What rounds nothing gives the products with decoded weights, to the bit.
#[test]
fn exact_rows_as_decoded_ones() {
    let (cols, outs) = (5 * 256, 11);
    let x = noise(FEW * cols, 1);
    for format in Format::ALL {
        let row_bytes = format.row_bytes(cols).unwrap();
        let (mut bytes, mut decoded) = (vec![0; outs * row_bytes], vec![0.0; outs * cols]);
        for (row, w) in bytes.chunks_mut(row_bytes).zip(noise(outs * cols, 3).chunks(cols)) {
            format.encode(w, row).unwrap();
        }
        format.decode(&bytes, &mut decoded).unwrap();
        for rows in 1..=FEW {
            let product = |w: Operand<'_, f32>| {
                let mut y = vec![0.0; rows * outs];
                let to = Plain(&mut y, outs);
                let (x, alpha) = (&x[..rows * cols], 1.0);
                FewRows { rows, width: outs, cols, x, w, first: 0, alpha, accumulate: false, y: to }.run();
                y
            };
            let exact = product(Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: true }));
            let plain = product(Operand::Plain { values: &decoded });
            // One row of floats is summed by another loop, in the same order but for what is fused: sums of products of noise,
            // a third in size, are as large as a walk makes them.
            let bound = walk(cols as u32) * (cols as f64).sqrt() / 3.0;
            let near = |(a, b): (&f32, &f32)| f64::from((a - b).abs()) <= bound;
            assert!(exact.iter().zip(&plain).all(near), "{format}, {rows} rows");
            assert!(rows == 1 || exact == plain, "{format}, {rows} rows");
        }
    }
}

#[test]
fn plain_rows_of_any_width_as_single_dots() {
    for cols in [1, 7, 8, 16, 31, 32, 65, 100, 640, 650, 1999] {
        let (w, x) = (noise(6 * cols, 1), noise(FEW * cols, 2));
        for rows in 1..=FEW {
            let mut y = vec![f32::NAN; rows * 6];
            let operand = Operand::Plain { values: &w };
            let to = Plain(&mut y, 6);
            FewRows {
                rows,
                width: 6,
                cols,
                x: &x,
                w: operand,
                first: 0,
                alpha: 1.0,
                accumulate: false,
                y: to,
            }
            .run();
            for (at, y) in y.iter().enumerate() {
                let (t, row) = (at / 6, at % 6);
                let dot = dot_f32(&w[row * cols..(row + 1) * cols], &x[t * cols..(t + 1) * cols]);
                assert_eq!(*y, dot, "{cols}, {rows} rows, ({t}, {row})");
            }
        }
    }
}

/// The tiles of all sets of instructions, against sums in double precision.
#[test]
fn instruction_sets_agree() {
    let x = noise(FEW * 3 * LANES, 1);
    let mut lines = [[0.0; DEPTH]; GROUP];
    lines.iter_mut().enumerate().for_each(|(i, line)| line.copy_from_slice(&noise(DEPTH, i)));
    for rows in 1..=FEW {
        let cell = std::cell::RefCell::new(Vec::new());
        let x: [&[f32]; FEW] = std::array::from_fn(|t| &x[t * 3 * LANES..(t + 1) * 3 * LANES]);
        wide::run_each(|| Kept { lines: &lines, x, rows, done: &cell });
        let done = cell.into_inner();
        assert!(!done.is_empty());
        for sums in &done {
            for (i, t, lane) in
                (0..GROUP * rows * LANES).map(|n| (n / LANES / rows, n / LANES % rows, n % LANES))
            {
                let terms = (0..3).map(|k| k * LANES + lane);
                let exact: f64 = terms.map(|k| f64::from(lines[i][k]) * f64::from(x[t][k])).sum();
                assert!(
                    (f64::from(sums[i][t][lane]) - exact).abs() < sum(6, 3.0),
                    "{rows} rows: {i}, {t}, {lane}"
                );
            }
        }
    }
}

/// A pass that hands its sums in.
struct Kept<'a> {
    lines: &'a [[f32; DEPTH]; GROUP],
    x: [&'a [f32]; FEW],
    rows: usize,
    done: &'a std::cell::RefCell<Vec<[Sums; GROUP]>>,
}

impl WideJob for Kept<'_> {
    #[inline(always)]
    fn run<S: Wide>(self, s: S) {
        let mut sums = [[[0.0; LANES]; FEW]; GROUP];
        let mut folded = [[[0.0; 8]; FEW]; GROUP];
        let (lines, x, rows, ahead, fresh) = (self.lines, self.x, self.rows, &[], true);
        Accumulate { lines, x, rows, fresh, last: false, ahead, sums: &mut sums, folded: &mut folded }.run(s);
        let mut parts = [[[0.0; LANES]; FEW]; GROUP];
        Accumulate { lines, x, rows, fresh, last: true, ahead, sums: &mut parts, folded: &mut folded }.run(s);
        for (folded, sums) in folded.iter().zip(&sums) {
            for (folded, sums) in folded.iter().zip(sums).take(rows) {
                let sum = |i: usize| (sums[i] + sums[i + 16]) + (sums[i + 8] + sums[i + 24]);
                assert_eq!(*folded, std::array::from_fn(sum), "lanes of a dot product");
            }
        }
        self.done.borrow_mut().push(sums);
    }
}

/// Rows whose bytes are not those of so many columns give NaN, never another row's numbers.
#[test]
fn rows_of_another_length_are_no_numbers() {
    for format in Format::ALL.into_iter().filter(|f| f.block_len() > 1) {
        let cols = 2 * format.block_len();
        let row_bytes = format.row_bytes(cols / 2).unwrap();
        let bytes = vec![0; 8 * row_bytes];
        for rows in [1, 3] {
            let (x, mut y) = (noise(rows * cols, 1), vec![0.0; 4 * rows]);
            let w = Operand::Encoded(Matrix { format, bytes: &bytes, row_bytes, exact: false });
            let to = Plain(&mut y, 4);
            FewRows { rows, width: 4, cols, x: &x, w, first: 0, alpha: 1.0, accumulate: false, y: to }.run();
            assert!(y.iter().all(|y| y.is_nan()), "{format}");
        }
    }
}

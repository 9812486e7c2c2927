//! Every set of instructions gives the product.

use std::cell::RefCell;

use super::*;
use crate::bounds::walk;
use crate::kernels::operand::Operand;
use crate::simd::Level;
use crate::simd::wide::run_each;

/// A matrix that is handed in when the product is done with it.
struct Kept<'a> {
    done: &'a RefCell<Vec<Vec<f32>>>,
    width: usize,
    y: Vec<f32>,
}

impl Rows for Kept<'_> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        &mut self.y[r * self.width..(r + 1) * self.width]
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.done.borrow_mut().push(std::mem::take(&mut self.y));
    }
}

#[test]
fn instruction_sets_agree() {
    let noise = |n: usize, seed: usize| -> Vec<f32> {
        let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 9) % 2001;
        (0..n).map(|i| value(i) as f32 / 1000.0 - 1.0).collect()
    };
    for rows in [1, 2, 4, 5, 6, 8, 13, 29] {
        for (width, depth) in [(5, 300), (16, 9), (47, 64), (290, 33)] {
            for by_row in [false, true] {
                let (l, r) = (noise(rows * depth, 1), noise(width * depth, 2));
                let cols = if by_row { depth } else { width };
                let done = RefCell::new(Vec::new());
                let mut scratch: Vec<Vec<f32>> = vec![vec![0.0; DEPTH * WIDTH]; Level::ALL.len()];
                let mut next = scratch.iter_mut();
                run_each(|| Blocked {
                    product: Product {
                        rows,
                        width,
                        depth,
                        left: Left { values: &l, row_stride: depth, depth_stride: 1 },
                        right: Right { w: Operand::Plain { values: &r }, cols, first: 0, by_row },
                        alpha: 2.0,
                        accumulate: true,
                        y: Kept { done: &done, width, y: vec![1.0; rows * width] },
                    },
                    panels: next.next().unwrap(),
                });
                let done = done.into_inner();
                assert!(!done.is_empty());
                for (set, y) in done.iter().enumerate() {
                    for (at, y) in y.iter().enumerate() {
                        let (i, j) = (at / width, at % width);
                        let r = |k: usize| if by_row { r[j * depth + k] } else { r[k * width + j] };
                        let sum: f64 =
                            (0..depth).map(|k| f64::from(l[i * depth + k]) * f64::from(r(k))).sum();
                        let error = (f64::from(*y) - 1.0 - 2.0 * sum).abs();
                        assert!(
                            error < walk(2 * depth as u32) * (1.0 + depth as f64 / 4.0),
                            "set {set}: {rows} x {depth} x {width}, ({i}, {j}): off by {error:e}"
                        );
                    }
                }
            }
        }
    }
}

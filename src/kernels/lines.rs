//! One row and many lines of floats, as attention of one token has them: dot products with all of them, and weighted sums of
//! them, each in a fixed order.

use crate::simd::{Job, Lanes, run};

/// Lines that are met together: their running sums are added up by one transposition.
const TOGETHER: usize = 8;

struct DotLines<'a> {
    x: &'a [f32],
    lines: &'a [f32],
    out: &'a mut [f32],
}

impl Job for DotLines<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let width = self.x.len();
        let (octs, rest) = self.x.as_chunks::<8>();
        for (lines, out) in self.lines.chunks(TOGETHER * width).zip(self.out.chunks_mut(TOGETHER)) {
            let last = out.len() - 1;
            // Where there are fewer, the last is met again.
            let all: [&[f32]; TOGETHER] = std::array::from_fn(|i| &lines[i.min(last) * width..][..width]);
            let whole = all.map(|line| &line.as_chunks::<8>().0[..octs.len()]);
            let mut sums = [l.zero(); TOGETHER];
            for (at, x) in octs.iter().enumerate() {
                let x = l.load(x);
                for (sum, line) in sums.iter_mut().zip(&whole) {
                    *sum = l.mul_add(x, l.load(&line[at]), *sum);
                }
            }
            for ((out, sum), line) in out.iter_mut().zip(l.sums(sums)).zip(all) {
                let rest = rest.iter().zip(&line[8 * octs.len()..]);
                *out = rest.fold(sum, |sum, (x, y)| sum + x * y);
            }
        }
    }
}

/// `out[j] = x . line j`: lines as wide as `x`, one after the other; those that both have.
pub fn dot_lines(x: &[f32], lines: &[f32], out: &mut [f32]) {
    let count = lines.len().checked_div(x.len()).map_or(0, |lines| lines.min(out.len()));
    if count > 0 {
        run(DotLines { x, lines: &lines[..count * x.len()], out: &mut out[..count] });
    }
}

struct AddLines<'a> {
    weights: &'a [f32],
    lines: &'a [f32],
    y: &'a mut [f32],
}

impl Job for AddLines<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let AddLines { weights, lines, y } = self;
        let (octs, rest) = y.as_chunks_mut::<8>();
        let (eights, octs) = octs.as_chunks_mut::<8>();
        let width = 64 * eights.len() + 8 * octs.len() + rest.len();
        let (fours, ones) = octs.as_chunks_mut::<4>();
        let mut at = 0;
        for y in eights {
            at = strip(l, weights, lines, width, at, y);
        }
        for y in fours {
            at = strip(l, weights, lines, width, at, y);
        }
        for y in ones.as_chunks_mut::<1>().0 {
            at = strip(l, weights, lines, width, at, y);
        }
        for (weight, line) in weights.iter().zip(lines.chunks_exact(width)) {
            for (y, x) in rest.iter_mut().zip(&line[at..]) {
                *y += weight * x;
            }
        }
    }
}

/// Adds to `8 * N` columns from column `at` on; the next one.
#[inline(always)]
fn strip<L: Lanes, const N: usize>(
    l: L,
    weights: &[f32],
    lines: &[f32],
    width: usize,
    at: usize,
    y: &mut [[f32; 8]; N],
) -> usize {
    let mut sums = y.map(|y| l.load(&y));
    for (weight, line) in weights.iter().zip(lines.chunks_exact(width)) {
        let weight = l.splat(*weight);
        for (sum, x) in sums.iter_mut().zip(line[at..at + 8 * N].as_chunks::<8>().0) {
            *sum = l.mul_add(weight, l.load(x), *sum);
        }
    }
    *y = sums.map(|sum| l.to_array(sum));
    at + 8 * N
}

/// `y += weights[j] * line j`, over all lines: as wide as `y`, one after the other; those that both have.
pub fn add_lines(weights: &[f32], lines: &[f32], y: &mut [f32]) {
    let count = lines.len().checked_div(y.len()).map_or(0, |lines| lines.min(weights.len()));
    if count > 0 {
        run(AddLines { weights: &weights[..count], lines: &lines[..count * y.len()], y });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::walk;

    #[test]
    fn lines_are_met_one_by_one() {
        let noise = |n: usize, seed: usize| -> Vec<f32> {
            let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 9) % 2001;
            (0..n).map(|i| value(i) as f32 / 1000.0 - 1.0).collect()
        };
        for width in [1, 4, 8, 12, 36, 64, 80, 128, 256] {
            for count in [0, 1, 7, 8, 9, 32] {
                let (x, lines, weights) = (noise(width, 1), noise(width * count, 2), noise(count, 3));
                let mut dots = vec![7.0; count + 1];
                dot_lines(&x, &lines, &mut dots);
                assert_eq!(dots[count], 7.0, "there is no such line");
                for (dot, line) in dots.iter().zip(lines.chunks(width)) {
                    let exact: f64 = x.iter().zip(line).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    let off = (f64::from(*dot) - exact).abs();
                    assert!(off < walk(width as u32) * width as f64, "{width} {count}: {off:e}");
                }
                let mut y = vec![0.5; width];
                add_lines(&weights, &lines, &mut y);
                for (i, y) in y.iter().enumerate() {
                    let terms = weights.iter().zip(lines.chunks(width));
                    let exact: f64 = terms.map(|(w, line)| f64::from(*w) * f64::from(line[i])).sum();
                    let off = (f64::from(*y) - 0.5 - exact).abs();
                    assert!(off < walk(count as u32 + 1) * (count + 1) as f64, "{width} {count}: {off:e}");
                }
            }
        }
    }
}

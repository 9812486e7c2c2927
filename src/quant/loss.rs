//! What encoding loses, from a format's bits and groups alone: the bounds of the encoders' tests, here and in `tests/quant`.
//!
//! A weight that is rounded to a grid of steps s is off by anything from -s/2 to s/2: s^2 / 12 in the mean. Where the scales
//! follow from the ends of a group, s does too, and the ends themselves are exact. Where they are searched for, the least error
//! that unrounded scales can have is searched for here as well, by other means and in double precision; rounding the scales to
//! integer multiples of a step d moves a weight of code c by up to c d/2 more, and a rounded minimum all weights by up to d/2.

use super::Format;

/// Three deviations of the mean of ten thousand squares of such errors, as a part of its root: 1.5 sqrt(0.8 / 10,000).
pub(crate) const LUCK: f64 = 0.014;

/// The least and the most that encoding loses of `x`, as root mean square over that of `x`: for whole super-blocks of weights
/// that lie as if by chance, so that errors are spread over a step.
pub(crate) fn bounds(format: Format, x: &[f32]) -> (f64, f64) {
    let x: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
    let exact = |group: usize, lost: &dyn Fn(&[f64]) -> f64| {
        let all = x.chunks(group).map(lost).sum::<f64>();
        (all, all)
    };
    let searched = |grid: Grid| {
        let all = x.chunks(grid.block).map(|block| grid.search(block));
        all.fold((0.0, 0.0), |sum, (least, most)| (sum.0 + least, sum.1 + most))
    };
    let (least, most) = match format {
        Format::F32 => (0.0, 0.0),
        Format::F16 => exact(1, &|g| of_float(g[0], 10)),
        Format::BF16 => exact(1, &|g| of_float(g[0], 7)),
        Format::Q8_0 => exact(32, &|g| 31.0 * squared(largest(g) / 127.0) / 12.0),
        Format::Q4_0 => exact(32, &|g| of_centred(g, 8.0)),
        Format::Q5_0 => exact(32, &|g| of_centred(g, 16.0)),
        Format::Q4_1 => exact(32, &|g| 30.0 * squared(range(g) / 15.0) / 12.0),
        Format::Q5_1 => exact(32, &|g| 30.0 * squared(range(g) / 31.0) / 12.0),
        Format::Q2K => searched(Grid::even(16, 0, 3, 15)),
        Format::Q4K => searched(Grid::even(32, 0, 15, 63)),
        Format::Q5K => searched(Grid::even(32, 0, 31, 63)),
        Format::Q3K => searched(Grid::even(16, -4, 3, 32)),
        Format::Q6K => searched(Grid::even(16, -32, 31, 128)),
        Format::Iq4Nl => searched(Grid::of_table()),
    };
    let all: f64 = x.iter().copied().map(squared).sum();
    ((1.0 - LUCK) * (least / all).sqrt(), (1.0 + LUCK) * (most / all).sqrt())
}

fn squared(v: f64) -> f64 {
    v * v
}

fn largest(g: &[f64]) -> f64 {
    g.iter().fold(0.0, |a: f64, v| if v.abs() > a.abs() { *v } else { a })
}

fn range(g: &[f64]) -> f64 {
    g.iter().fold(f64::MIN, |a, v| a.max(*v)) - g.iter().fold(f64::MAX, |a, v| a.min(*v))
}

/// A float of `bits` bits after the point: its step is a power of two.
fn of_float(v: f64, bits: i32) -> f64 {
    if v == 0.0 { 0.0 } else { squared(2f64.powi(v.abs().log2().floor() as i32 - bits)) / 12.0 }
}

/// Codes from -centre to centre - 1 of which the largest weight has the first: the other end is cut off.
fn of_centred(g: &[f64], centre: f64) -> f64 {
    let end = largest(g);
    let step = end / -centre;
    let one = |v: &f64| {
        let beyond = v / step - (centre - 1.0);
        if *v == end {
            0.0
        } else if beyond > 0.5 {
            squared(beyond * step)
        } else {
            step * step / 12.0
        }
    };
    g.iter().map(one).sum()
}

/// Integers by which a group's scale is multiplied, for formats that search for it.
struct Grid {
    /// Weights of a block, and of each of its groups.
    block: usize,
    group: usize,
    integers: Vec<f64>,
    /// The largest integer that a group's scale is rounded to, as a multiple of the block's; none if it is a float.
    scales: Option<f64>,
    /// How far the encoder goes from the scale that makes the largest weight the last integer: as if that were
    /// so many more or less.
    reach: f64,
}

impl Grid {
    fn even(group: usize, low: i32, high: i32, scales: i32) -> Grid {
        let integers = (low..=high).map(f64::from).collect();
        Grid { block: 256, group, integers, scales: Some(f64::from(scales)), reach: 1.0 }
    }

    /// IQ4_NL's table, as ggml has it.
    fn of_table() -> Grid {
        let table = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
        Grid { block: 32, group: 32, integers: table.map(f64::from).to_vec(), scales: None, reach: 24.0 }
    }

    fn nearest(&self, v: f64) -> f64 {
        let above = self.integers.partition_point(|i| *i < v);
        let pair = self.integers[above.saturating_sub(1)..].iter().take(2);
        pair.fold(f64::INFINITY, |a, i| if (i - v).abs() < (a - v).abs() { *i } else { a })
    }

    /// The integer that the largest weight becomes at first.
    fn end(&self) -> f64 {
        if self.integers[0] == 0.0 { self.integers[self.integers.len() - 1] } else { self.integers[0] }
    }

    /// The sum of squared errors that no scales beat, and that which scales by importance, once rounded, have.
    fn search(&self, block: &[f64]) -> (f64, f64) {
        let floor = (block.iter().copied().map(squared).sum::<f64>() / block.len() as f64).sqrt();
        let (mut least, mut most) = (0.0, 0.0);
        let mut fits = vec![];
        for g in block.chunks(self.group) {
            least += self.fit(g, &vec![1.0; g.len()], 0.24 * self.end().abs()).error;
            let fit = self.fit(g, &g.iter().map(|v| floor + v.abs()).collect::<Vec<_>>(), self.reach);
            most += fit.error;
            fits.push(fit);
        }
        if let Some(scales) = self.scales {
            let step = fits.iter().fold(0.0f64, |a, f| a.max(f.step.abs())) / scales;
            let offset = fits.iter().fold(0.0f64, |a, f| a.max(f.offset.abs())) / scales;
            let moved = |f: &Fit| squared(step) * f.codes + squared(offset) * self.group as f64;
            most += fits.iter().map(moved).sum::<f64>() / 12.0;
        }
        (least, most)
    }

    /// Codes and least squares in turn, from steps around that which covers the group: the best that this ends in.
    fn fit(&self, g: &[f64], w: &[f64], reach: f64) -> Fit {
        let (first, last) = (self.integers[0], self.integers[self.integers.len() - 1]);
        let (low, end) = (g.iter().fold(0.0f64, |a, v| a.min(*v)), largest(g));
        let mut starts = vec![];
        for more in (-12..=12).map(|n| reach * f64::from(n) / 12.0) {
            match first == 0.0 {
                true => starts.push(((g.iter().fold(0.0f64, |a, v| a.max(*v)) - low) / (last + more), low)),
                false => starts.push((end / (first - more), 0.0)),
            }
            if self.scales.is_none() {
                starts.push((end / (last + more), 0.0));
            }
        }
        let settled = starts.into_iter().filter_map(|start| self.settle(g, w, start));
        settled.fold(Fit::NONE, |best, fit| if fit.weighted < best.weighted { fit } else { best })
    }

    fn settle(&self, g: &[f64], w: &[f64], (mut step, mut offset): (f64, f64)) -> Option<Fit> {
        let mut fit = Fit::NONE;
        for _ in 0..6 {
            let codes: Vec<f64> = g.iter().map(|v| self.nearest((v - offset) / step)).collect();
            let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
                w.iter().zip(g.iter().zip(&codes)).map(|(w, (v, c))| w * term(*v, *c)).sum()
            };
            let [one, v, c, cc, vc] =
                [sum(&|_, _| 1.0), sum(&|v, _| v), sum(&|_, c| c), sum(&|_, c| c * c), sum(&|v, c| v * c)];
            let determinant = one * cc - c * c;
            if self.integers[0] == 0.0 && determinant > 1e-9 * one * cc {
                step = (one * vc - v * c) / determinant;
                offset = (v - step * c) / one;
            }
            // Minima are never above zero.
            if self.integers[0] < 0.0 || offset > 0.0 {
                (step, offset) = (vc / cc, 0.0);
            }
            if !step.is_normal() {
                break;
            }
            let errors: Vec<f64> =
                g.iter().map(|v| squared(step * self.nearest((v - offset) / step) + offset - v)).collect();
            let weighted: f64 = w.iter().zip(&errors).map(|(w, e)| w * e).sum();
            if weighted < fit.weighted {
                let codes = codes.iter().copied().map(squared).sum();
                fit = Fit { weighted, error: errors.iter().sum(), step, offset, codes };
            }
        }
        (fit.weighted < f64::INFINITY).then_some(fit)
    }
}

/// A group's scale and minimum, its squared error with them, and the sum of its squared codes.
struct Fit {
    weighted: f64,
    error: f64,
    step: f64,
    offset: f64,
    codes: f64,
}

impl Fit {
    const NONE: Fit =
        Fit { weighted: f64::INFINITY, error: f64::INFINITY, step: 0.0, offset: 0.0, codes: 0.0 };
}

//! Exponentials of whole rows.

use super::{Job, Lanes, run};

/// e^x to an epsilon or two, without branches, so that loops over it use vectors: 2^k times a polynomial on half a step
/// to either side (the coefficients of Cephes' expf). Below -87 it is e^-87.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking this off rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = (x - k * 0.693_359_4) + k * 2.121_944_4e-4;
    let high = (1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3;
    let low = ((high * r + 4.166_579_6e-2) * r + 1.666_666_5e-1) * r + 0.5;
    let value = low * r * r + r + 1.0;
    // The integer from the bits: a conversion of what may be no number has branches.
    let whole = rounded.to_bits().wrapping_sub(ROUND.to_bits());
    value * f32::from_bits(whole.wrapping_add(127) << 23)
}

/// Running sums of a row.
const SUMS: usize = 16;
/// Elements of a row that are summed in single precision.
const PIECE: usize = 1024;

struct SumExp<'a> {
    x: &'a [f32],
    less: f32,
    scale: f32,
}

impl Job for SumExp<'_> {
    type Out = f64;

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) -> f64 {
        let mut total = 0.0;
        for piece in self.x.chunks(PIECE) {
            let mut sums = [0.0f32; SUMS];
            let (whole, rest) = piece.as_chunks::<SUMS>();
            for x in whole {
                for i in 0..SUMS {
                    sums[i] += exp((x[i] - self.less) * self.scale);
                }
            }
            total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
            total += rest.iter().map(|x| f64::from(exp((*x - self.less) * self.scale))).sum::<f64>();
        }
        total
    }
}

/// The sum of exp((x - less) * scale) over a row, in a fixed order.
pub fn sum_exp(x: &[f32], less: f32, scale: f32) -> f64 {
    run(SumExp { x, less, scale })
}

struct ExpAll<'a> {
    x: &'a mut [f32],
    scale: f32,
    shift: f32,
}

impl Job for ExpAll<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for x in self.x {
            *x = exp(*x * self.scale + self.shift);
        }
    }
}

/// x = exp(x scale + shift), element by element; the same bits on all instructions.
pub fn exp_all(x: &mut [f32], scale: f32, shift: f32) {
    run(ExpAll { x, scale, shift });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;
    use crate::simd::run_portable;

    #[test]
    fn sums_of_exponentials() {
        for n in [0, 1, 15, 16, 1024, 5000] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 7919) % 4001) as f32 / 100.0 - 40.0).collect();
            for scale in [1.0, 0.5] {
                let exact: f64 = x.iter().map(|x| f64::from((*x - 0.01) * scale).exp()).sum();
                let found = sum_exp(&x, 0.01, scale);
                assert!((found - exact).abs() <= bounds::ROUNDED * exact, "{n}: {found} {exact}");
                assert_eq!(found, run_portable(SumExp { x: &x, less: 0.01, scale }), "{n}");
            }
        }
        let mut x: Vec<f32> = (0..1000).map(|i| i as f32 / 20.0 - 30.0).collect();
        let mut portable = x.clone();
        let exact: Vec<f64> = x.iter().map(|x| (f64::from(*x) * 0.5 - 1.0).exp()).collect();
        exp_all(&mut x, 0.5, -1.0);
        run_portable(ExpAll { x: &mut portable, scale: 0.5, shift: -1.0 });
        assert_eq!(x, portable);
        assert!(x.iter().zip(exact).all(|(x, e)| (f64::from(*x) - e).abs() <= bounds::ROUNDED * e));
        assert!(sum_exp(&[f32::NEG_INFINITY], 0.0, 1.0) < 1e-37);
    }
}

//! Arithmetic that objectives share.

/// Sum in f64; NaN unless every term is finite.
pub(super) fn sum(values: &[f32]) -> f64 {
    let sum: f64 = values.iter().map(|v| f64::from(*v)).sum();
    // The sum of finite f32 is always a finite f64.
    if sum.is_finite() { sum } else { f64::NAN }
}

/// The k3 estimate of a divergence from samples (Schulman, "Approximating KL Divergence", 2020): e^d − 1 − d for the log-ratio d
/// of what is compared with to what has written. Never below zero, and in the mean the divergence.
pub(in crate::train) fn k3(d: f64) -> f64 {
    // e^d − 1 without cancellation where both are near; what rounding leaves below zero is none.
    let estimate = d.exp_m1() - d;
    if estimate < 0.0 { 0.0 } else { estimate }
}

/// log(1 / (1 + exp(−x))), without overflow.
pub(super) fn log_sigmoid(x: f64) -> f64 {
    if x >= 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() }
}

/// 1 / (1 + exp(−x)), without overflow.
pub(super) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// log(1 − exp(x)) for x < 0. Above −ln 2 the difference would cancel, below it the logarithm (Mächler, "Accurately computing
/// log(1 − exp(−|a|))", 2012).
pub(super) fn log1mexp(x: f64) -> f64 {
    if x < -std::f64::consts::LN_2 { (-x.exp()).ln_1p() } else { (-x.exp_m1()).ln() }
}

/// Mean, and standard deviation with Bessel's correction: 0 of a single value, and of none.
pub(super) fn mean_and_std(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count();
    let mean = values.clone().sum::<f64>() / count.max(1) as f64;
    let squares: f64 = values.map(|v| (v - mean).powi(2)).sum();
    (mean, (squares / count.saturating_sub(1).max(1) as f64).sqrt())
}

/// Whether all are the same number; a NaN is equal to nothing.
pub(super) fn all_equal(values: &[f64]) -> bool {
    values.windows(2).all(|pair| pair.first() == pair.last()) && values.iter().all(|v| v.is_finite())
}

/// So many times the same coefficient.
pub(super) fn fill(coefficient: f64, count: usize) -> Vec<f32> {
    vec![coefficient as f32; count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    #[test]
    fn extremes_keep_their_digits() {
        for (x, want) in [(0.0, -std::f64::consts::LN_2), (-1000.0, -1000.0), (50.0, -1.928749847963918e-22)]
        {
            assert!(
                (log_sigmoid(x) - want).abs() <= 9.0 * bounds::ROUNDING_64 * f64::abs(want),
                "{x}: {}",
                log_sigmoid(x)
            );
        }
        assert_eq!((log_sigmoid(800.0), sigmoid(-800.0), sigmoid(800.0)), (0.0, 0.0, 1.0));
        // 1 − exp(−1e-10) = 1e-10 − 5e-21, and 1 − exp(−40) = 1 − 4.248e-18.
        assert!((log1mexp(-1e-10) - (1e-10_f64).ln()).abs() < 1e-10);
        assert!((log1mexp(-40.0) + 4.248354255291589e-18).abs() < 1e-32);
        let below = log1mexp(-std::f64::consts::LN_2 - 1e-9) - log1mexp(-std::f64::consts::LN_2 + 1e-9);
        assert!((below - 2e-9).abs() < 1e-14, "the two branches meet: {below}");
        assert!(log_sigmoid(f64::NAN).is_nan() && sigmoid(f64::NAN).is_nan() && log1mexp(f64::NAN).is_nan());
    }

    #[test]
    fn moments() {
        let (mean, std) = mean_and_std([1.0, 2.0, 4.0].into_iter());
        assert!(
            (mean - 7.0 / 3.0).abs() < 9.0 * bounds::ROUNDING_64
                && (std - (7.0_f64 / 3.0).sqrt()).abs() < 9.0 * bounds::ROUNDING_64
        );
        assert_eq!(mean_and_std([3.0].into_iter()), (3.0, 0.0));
        assert_eq!(mean_and_std(std::iter::empty()), (0.0, 0.0));
        assert!(all_equal(&[0.1, 0.1]) && !all_equal(&[0.1, 0.2]) && !all_equal(&[f64::NAN]));
        assert!(sum(&[1.0, f32::INFINITY]).is_nan() && sum(&[f32::MAX, f32::MAX]).is_finite());
    }
}

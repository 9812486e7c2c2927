//! Activations rounded to 16 bits: integers whose products with codes are exact.

/// Below this all are as good as zero: their inverse would overflow.
const LEAST: f32 = 1e-30;

/// What makes integers of at most `most` of numbers of up to a size, given as bits, and what one is worth: NaN if the size is
/// that of no number.
#[inline(always)]
pub(super) fn steps(size: u32, most: f32) -> (f32, f32) {
    let size = f32::from_bits(size);
    let by = if size > LEAST { most / size } else { 0.0 };
    (by, if size.is_finite() { size / most } else { f32::NAN })
}

#[cfg(test)]
mod tests {
    use super::steps;
    use crate::simd::{Ints, Job, Lanes, run, run_portable};

    struct Round([f32; 32]);

    impl Job for Round {
        type Out = ([i16; 32], f32);

        #[inline(always)]
        fn run<L: Lanes>(self, l: L) -> Self::Out {
            let x = self.0.as_chunks::<8>().0;
            let x = [l.load(&x[0]), l.load(&x[1]), l.load(&x[2]), l.load(&x[3])];
            let (by, step) = steps(l.largest(x), 32767.0);
            (l.ints().rounded(x, by), step)
        }
    }

    /// The order is that of the instructions.
    fn rounded(x: [f32; 32]) -> ([i16; 32], f32) {
        let ((mut best, step), (portable, same)) = (run(Round(x)), run_portable(Round(x)));
        best.sort_unstable();
        let mut sorted = portable;
        sorted.sort_unstable();
        assert_eq!((best, step.to_bits()), (sorted, same.to_bits()));
        (portable, step)
    }

    #[test]
    fn to_the_nearest_step_and_the_largest_whole() {
        let x: [f32; 32] = std::array::from_fn(|i| (i as f32 - 11.3) * 0.37);
        let (rounded, step) = rounded(x);
        assert_eq!(rounded.iter().map(|v| v.unsigned_abs()).max(), Some(32767));
        for (x, r) in x.iter().zip(rounded) {
            assert!((f64::from(*x) - f64::from(r) * f64::from(step)).abs() <= 0.501 * f64::from(step));
        }
    }

    #[test]
    fn nothing_and_almost_nothing_are_zeros() {
        assert_eq!(rounded([0.0; 32]), ([0; 32], 0.0));
        let (rounded, step) = rounded([1e-40; 32]);
        assert!(rounded == [0; 32] && step.is_finite());
    }

    #[test]
    fn what_is_no_number_makes_the_step_none() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[7] = bad;
            let step = run(Round(x)).1;
            assert!(step.is_nan() && run_portable(Round(x)).1.is_nan(), "{bad}");
        }
    }
}

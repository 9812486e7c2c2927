//! How far one softmax is from another, exactly: `y[o] = sum p (log p - log q)` over the vocabulary (Kullback and Leibler
//! 1951), in nats, with `p = softmax(base[o] / temperature)` and `q = softmax(other[o] / temperature)`.

use super::cpu::{Context, Real};
use super::logprob::log_sum_exp;
use super::params::divergence::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};
use crate::text::softmax_scale;

op! {
    /// Arguments: rows, outs, base (O, vocab), other (O, vocab), y (O, 1).
    Divergence(Params) "divergence" {
        rows: Read U32,
        outs: Read U32,
        base: Read F32,
        other: Read F32,
        y: Write F32,
    }
    check: check,
    // WGSL's exponential is good to 3 + 2|x| units, and what weighs anything has |x| below 20; twice that, and as much
    // again for the difference of about 1 that leaves 1/30 where the series ends.
    tolerance: |p| 128.0 + f64::from(p.vocab).sqrt(),
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(12 * load.outputs, &[p.vocab]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.base, AT.other], p.vocab)?;
    s.wide([AT.y], 1)
}

/// What a token adds: q - p - p log(q / p). The terms sum to the divergence, as p and q sum to 1, and none is below zero.
fn gap<F: Real>(log_p: F, log_q: F) -> F {
    let c = F::from_f64;
    let (p, d) = (log_p.exp(), log_q - log_p);
    if d < c(0.25) && d > c(-0.25) {
        // The series, where the difference would cancel.
        let series = c(1.0 / 120.0) + d * c(1.0 / 720.0);
        return p * d * d * (c(0.5) + d * (c(1.0 / 6.0) + d * (c(1.0 / 24.0) + d * series)));
    }
    let own = if p > F::ZERO { p * d } else { F::ZERO };
    log_q.exp() - p - own
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let vocab = c.params::<Divergence>().vocab as usize;
    let (base, other) = (c.read(AT.base), c.read(AT.other));
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Outputs), 1);
    for (o, y) in y.iter_mut().enumerate() {
        let scale = F::from_f32(softmax_scale(c.out(first + o).temperature));
        let (base, other) = (&base[(first + o) * vocab..][..vocab], &other[(first + o) * vocab..][..vocab]);
        let (of_base, of_other) = (log_sum_exp(base, scale), log_sum_exp(other, scale));
        let log = |logit: F, (top, sum): (F, F)| (logit - top) * scale - sum;
        let pieces = base.chunks(256).zip(other.chunks(256));
        *y = pieces.fold(F::ZERO, |total, (base, other)| {
            let pairs = base.iter().zip(other);
            total + pairs.fold(F::ZERO, |sum, (b, o)| sum + gap(log(*b, of_base), log(*o, of_other)))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum as it is written, of logits.
    fn plain(base: &[f64], other: &[f64]) -> f64 {
        let log = |l: &[f64]| -> Vec<f64> {
            let total: f64 = l.iter().map(|l| l.exp()).sum();
            l.iter().map(|l| l - total.ln()).collect()
        };
        let (p, q) = (log(base), log(other));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
    }

    fn sum<F: Real>(base: &[f64], other: &[f64]) -> f64 {
        let cast = |l: &[f64]| -> Vec<F> { l.iter().map(|l| F::from_f64(*l)).collect() };
        let (base, other) = (cast(base), cast(other));
        let (p, q) = (log_sum_exp(&base, F::ONE), log_sum_exp(&other, F::ONE));
        let terms = base.iter().zip(&other).map(|(b, o)| gap(*b - p.0 - p.1, *o - q.0 - q.1).to_f64());
        terms.inspect(|term| assert!(term.is_nan() || *term >= -1e-9, "a term of {term}")).sum()
    }

    /// Logits that are apart by about `by`.
    fn case(seed: u32, by: f64) -> (Vec<f64>, Vec<f64>) {
        let unit = |i: u32| f64::from(crate::text::uniform(seed, i)) - 0.5;
        let base: Vec<f64> = (0..50).map(|i| 8.0 * unit(i)).collect();
        let other = base.iter().zip(50..).map(|(b, i)| b + by * unit(i)).collect();
        (base, other)
    }

    #[test]
    fn it_is_the_sum_and_never_below_zero() {
        for seed in 0..200 {
            for by in [0.0, 1e-6, 1e-3, 0.1, 0.6, 3.0, 20.0] {
                let (base, other) = case(seed, by);
                let (want, got) = (plain(&base, &other), sum::<f64>(&base, &other));
                assert!(got >= 0.0, "{got}");
                // The plain sum cancels: it is good to a rounding of its terms. The series ends at the 6th power.
                assert!((got - want).abs() <= 1e-14 + 1e-6 * want, "{by}: {got} is not {want}");
                let single = sum::<f32>(&base, &other);
                assert!(
                    single >= 0.0 && (single - want).abs() <= 1e-7 + 1e-4 * want,
                    "{by}: {single} {want}"
                );
            }
        }
        let (base, _) = case(1, 0.0);
        assert_eq!(sum::<f32>(&base, &base), 0.0);
    }

    #[test]
    fn tokens_that_are_ruled_out_cost_what_they_should() {
        let low = f64::NEG_INFINITY;
        assert_eq!(sum::<f64>(&[0.0, low], &[0.0, low]), 0.0);
        // The base cannot write it: half of the other's probability is elsewhere.
        assert!((sum::<f64>(&[0.0, low], &[0.0, 0.0]) - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(sum::<f64>(&[0.0, 0.0], &[0.0, low]), f64::INFINITY);
        assert!(sum::<f64>(&[0.0, f64::NAN], &[0.0, 0.0]).is_nan());
    }
}

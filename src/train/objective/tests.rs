//! Every coefficient is the derivative of its loss, and no input makes an objective panic.

use proptest::prelude::*;

use super::*;
use crate::bounds;
use crate::train::data::Random;

/// Moves by this much leave the log-probabilities below apart.
const STEP: f32 = bounds::OBJECTIVE_MOVE;

struct Source(Random);

impl Source {
    fn new(stream: u64) -> Self {
        Self(Random::new(11, stream))
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.0.next_u64() as f64 / u64::MAX as f64)
    }

    fn tokens(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.between(-4.0, -0.02) as f32).collect()
    }

    fn near(&mut self, of: &[f32], by: f64) -> Vec<f32> {
        of.iter().map(|v| v + self.between(-by, by) as f32).collect()
    }

    fn count(&mut self) -> usize {
        1 + self.0.below(7)
    }
}

/// Compares coefficients with central differences of `loss`, which must be the weighted one. Places for which `skip` holds
/// are at a kink.
fn assert_slopes(
    name: &str,
    at: &[f32],
    coefs: &[f32],
    loss: &dyn Fn(&[f32]) -> f64,
    skip: &dyn Fn(usize) -> bool,
) {
    assert_eq!(at.len(), coefs.len(), "{name}");
    for i in (0..at.len()).filter(|i| !skip(*i)) {
        let moved = |by: f32| {
            let mut values = at.to_vec();
            values[i] += by;
            (f64::from(values[i]), loss(&values))
        };
        let ((above, high), (below, low)) = (moved(STEP), moved(-STEP));
        let (slope, coef) = ((high - low) / (above - below), f64::from(coefs[i]));
        assert!(
            (slope - coef).abs() < bounds::OBJECTIVE_FLOOR + bounds::OBJECTIVE * slope.abs(),
            "{name}, token {i}: {slope} is not {coef}"
        );
    }
}

fn pair_objectives() -> [PairObjective; 4] {
    [
        PairObjective::Dpo(Dpo { beta: 0.3 }),
        PairObjective::Ipo(Ipo::default()),
        PairObjective::Orpo(Orpo { beta: 0.7 }),
        PairObjective::SimPo(SimPo::default()),
    ]
}

#[test]
fn coefficients_of_pairs_are_the_derivatives() {
    let mut source = Source::new(1);
    for objective in pair_objectives() {
        assert_eq!(objective.needs_reference(), ["dpo", "ipo"].contains(&objective.name()));
        for _ in 0..50 {
            let (n, m, weight) = (source.count(), source.count(), source.between(0.1, 1.0));
            let (w, l) = (source.tokens(n), source.tokens(m));
            let (w_ref, l_ref) = (source.near(&w, 1.0), source.near(&l, 1.0));
            let pair = |w: &[f32], l: &[f32]| {
                let chosen = Side { policy: w, reference: &w_ref };
                objective.pair(chosen, Side { policy: l, reference: &l_ref }, weight)
            };
            let (at, name) = (pair(&w, &l), objective.name());
            assert_slopes(name, &w, &at.chosen, &|w| weight * pair(w, &l).loss, &|_| false);
            assert_slopes(name, &l, &at.rejected, &|l| weight * pair(&w, l).loss, &|_| false);
            assert_eq!(at.metrics.correct(), at.metrics.margin() > 0.0);
        }
    }
}

#[test]
fn coefficients_of_rated_answers_are_the_derivatives() {
    let mut source = Source::new(2);
    let kto = Kto { beta: 0.4, desirable_weight: 1.5, undesirable_weight: 0.5 };
    for round in 0..100 {
        let n = source.count();
        let l = source.tokens(n);
        let (reference, kl, weight) =
            (source.near(&l, 1.0), source.between(0.0, 1.0), source.between(0.1, 1.0));
        let answer =
            |l: &[f32]| kto.example(Side { policy: l, reference: &reference }, round % 2 == 0, kl, weight);
        assert_slopes("kto", &l, &answer(&l).coefs, &|l| answer(l).loss, &|_| false);
    }
    assert_eq!(Kto::kl(&[]), 0.0);
    assert_eq!((Kto::kl(&[-2.0, 1.0]), Kto::kl(&[2.0, 1.0])), (0.0, 1.5));
    assert!(Kto::kl(&[1.0, f64::NAN]).is_nan());
}

#[test]
fn coefficients_of_scores_are_the_derivatives() {
    let mut source = Source::new(3);
    for _ in 0..100 {
        let (w, l) = (source.between(-3.0, 3.0), source.between(-3.0, 3.0));
        let (margin, weight) = (source.between(0.0, 1.0), source.between(0.1, 1.0));
        let loss = |w, l| weight * RewardLoss { center: 0.3 }.pair(w, l, margin, weight).loss;
        let at = RewardLoss { center: 0.3 }.pair(w, l, margin, weight);
        let h = bounds::VALUE_MOVE;
        let slopes =
            [(loss(w + h, l) - loss(w - h, l)) / (2.0 * h), (loss(w, l + h) - loss(w, l - h)) / (2.0 * h)];
        for (slope, coef) in slopes.into_iter().zip([at.chosen, at.rejected]) {
            assert!((slope - coef).abs() < bounds::VALUE, "{slope} is not {coef}");
        }
    }
}

/// Whether moving a token's log-probability could take a ratio across a bound.
fn at_bound(log_ratio: f64, bounds: [f64; 2]) -> bool {
    bounds.iter().any(|bound| (log_ratio - bound.ln()).abs() < 2.0 * f64::from(STEP))
}

#[test]
fn coefficients_of_policy_gradients_are_the_derivatives() {
    let mut source = Source::new(4);
    let (mut clipped, mut free) = (0, 0);
    for round in 0..200 {
        let kind = [GrpoLoss::Grpo, GrpoLoss::Dapo, GrpoLoss::DrGrpo][round % 3];
        let grpo = Grpo { beta: if round % 2 == 0 { 0.0 } else { 0.3 }, ..Grpo::of(kind) };
        let n = source.count();
        let now = source.tokens(n);
        let (old, reference) = (source.near(&now, 0.5), source.near(&now, 1.0));
        let norm = grpo.norm(n, Window { sequences: 3, tokens: 20, max_len: 16 });
        let (one, each) =
            (source.between(-2.0, 2.0), (0..n).map(|_| source.between(-2.0, 2.0)).collect::<Vec<_>>());
        let log_ratio = |t: usize| f64::from(now[t]) - f64::from(old[t]);

        let answer = |l: &[f32]| grpo.sequence(l, &old, &reference, one, norm);
        let skip = |t| at_bound(log_ratio(t), [1.0 - grpo.epsilon, 1.0 + grpo.epsilon_high]);
        assert_slopes("grpo", &now, &answer(&now).coefs, &|l| answer(l).loss, &skip);
        assert_eq!(answer(&now).kl == 0.0, grpo.beta == 0.0, "k3 is above 0 where the two differ");

        let ppo = Ppo { clip: 0.3, ..Ppo::default() };
        let answer = |l: &[f32]| ppo.policy(l, &old, &each, norm);
        let skip = |t| at_bound(log_ratio(t), [0.7, 1.3]);
        assert_slopes("ppo", &now, &answer(&now).coefs, &|l| answer(l).loss, &skip);
        clipped += answer(&now).clipped;
        free += n - answer(&now).clipped;

        let whole = Rloo::default();
        let answer = |l: &[f32]| whole.sequence(l, &old, one, norm);
        let sum = (0..n).map(log_ratio).sum();
        assert_slopes("rloo", &now, &answer(&now).coefs, &|l| answer(l).loss, &|_| at_bound(sum, [0.8, 1.2]));
        assert!([0, n].contains(&answer(&now).clipped));
    }
    assert!(clipped > 50 && free > 200, "{clipped} {free}");
}

#[test]
fn coefficients_of_values_are_the_derivatives() {
    let (mut source, ppo) = (Source::new(5), Ppo { vf_coef: 0.6, ..Ppo::default() });
    let mut clipped = 0;
    for _ in 0..100 {
        let n = source.count();
        let now = source.tokens(n);
        let old = source.near(&now, 0.5);
        let returns: Vec<f64> = now.iter().map(|v| f64::from(*v) + source.between(-1.0, 1.0)).collect();
        let answer = |v: &[f32]| ppo.value(v, &old, &returns, 0.25);
        let skip = |t: usize| {
            let (moved, step) = (f64::from(now[t]) - f64::from(old[t]), 2.0 * f64::from(STEP));
            let (edge, middle) = ((moved.abs() - ppo.value_clip).abs(), returns[t] - f64::from(now[t]));
            // The two squares are also equal where the target is halfway.
            edge < step || (middle + 0.5 * (moved - ppo.value_clip * moved.signum())).abs() < step
        };
        assert_slopes("value", &now, &answer(&now).coefs, &|v| answer(v).loss, &skip);
        clipped += answer(&now).clipped;
    }
    assert!(clipped > 20, "{clipped}");
}

#[test]
fn groups_are_judged_within() {
    let grpo = Grpo::default();
    assert_eq!(grpo.advantages(&[0.1 + 0.2; 3]), [0.0; 3]);
    assert_eq!(grpo.advantages(&[7.0]), [0.0]);
    assert!(grpo.advantages(&[]).is_empty());
    let advantages = grpo.advantages(&[0.0, 1.0, 0.0, 1.0]);
    assert!(
        advantages.iter().sum::<f64>().abs() < bounds::DOUBLES
            && (advantages[1] - 0.5 / (0.5773502691896258 + 1e-4)).abs() < bounds::DOUBLES
    );
    assert_eq!(Grpo::of(GrpoLoss::DrGrpo).advantages(&[0.0, 1.0]), [-0.5, 0.5]);
    assert!(grpo.advantages(&[1.0, f64::NAN]).iter().all(|a| a.is_nan()));

    let rloo = Rloo::default();
    assert_eq!(rloo.advantages(&[3.0, 0.0, 0.0]), [3.0, -1.5, -1.5]);
    assert_eq!((rloo.advantages(&[2.0]), rloo.advantages(&[2.0, 2.0])), (vec![0.0], vec![0.0; 2]));
    assert!((rloo.penalized(1.0, &[-1.0, -2.0], &[-1.5, -2.5]) - 0.95).abs() < bounds::DOUBLES);
    assert!(rloo.penalized(1.0, &[-1.0], &[]).is_nan());
    assert_eq!(Rloo { beta: 0.0, ..rloo }.penalized(1.0, &[-1.0], &[]), 1.0);
}

#[test]
fn values_and_rewards_become_advantages() {
    let ppo = Ppo { kl: 0.1, gamma: 1.0, lambda: 1.0, ..Ppo::default() };
    let rewards = ppo.rewards(&[-1.0, -2.0], &[-2.0, -2.0], 5.0);
    assert_eq!(rewards, [-0.1, 5.0]);
    // With λ and γ of 1 a return is the sum of what is still to come.
    let (advantages, returns) = ppo.gae(&rewards, &[1.0, 2.0]);
    assert!((returns[0] - 4.9).abs() < bounds::DOUBLES && returns[1] == 5.0 && advantages[1] == 3.0);
    assert!(ppo.rewards(&[], &[], 5.0).is_empty() && ppo.gae(&[], &[]) == (vec![], vec![]));
    assert!(ppo.gae(&[1.0, 1.0], &[0.0]).0[0].is_nan());
    let mut all = vec![vec![1.0, 2.0], vec![], vec![6.0]];
    ppo.whiten(&mut all);
    let flat: Vec<f64> = all.concat();
    assert!(
        flat.iter().sum::<f64>().abs() < bounds::DOUBLES
            && (flat.iter().map(|a| a * a).sum::<f64>() - 2.0).abs() < bounds::WHITENED
    );
    let mut one = vec![vec![4.0]];
    ppo.whiten(&mut one);
    assert_eq!(one, [[0.0]]);
}

#[test]
fn parameters_that_mean_nothing_are_refused() {
    for objective in pair_objectives() {
        assert_eq!(objective.check(), Ok(()));
        let text = serde_json::to_string(&objective).unwrap();
        assert!(text.starts_with(&format!("{{\"{}\":", objective.name())), "{text}");
        assert_eq!(serde_json::from_str::<PairObjective>(&text).unwrap(), objective);
    }
    let bad = [
        PairObjective::Dpo(Dpo { beta: 0.0 }).check(),
        PairObjective::Ipo(Ipo { beta: f64::NAN }).check(),
        PairObjective::Orpo(Orpo { beta: -1.0 }).check(),
        PairObjective::SimPo(SimPo { beta: 2.0, gamma: f64::INFINITY }).check(),
        Kto { undesirable_weight: -1.0, ..Kto::default() }.check(),
        RewardLoss { center: f64::NAN }.check(),
        Grpo { epsilon: 1.0, ..Grpo::default() }.check(),
        Grpo { epsilon_high: 0.0, ..Grpo::default() }.check(),
        Rloo { beta: -0.1, ..Rloo::default() }.check(),
        Ppo { gamma: 1.1, ..Ppo::default() }.check(),
        Ppo { value_clip: 0.0, ..Ppo::default() }.check(),
    ];
    assert!(bad.iter().all(Result::is_err), "{bad:?}");
    assert_eq!(bad[0].unwrap_err().to_string(), "dpo: beta is 0, and must be a finite number above 0");
    let good = [
        Kto::default().check(),
        RewardLoss::default().check(),
        Rloo::default().check(),
        Ppo::default().check(),
    ];
    assert!(good.iter().all(Result::is_ok));
    for kind in [GrpoLoss::Grpo, GrpoLoss::Dapo, GrpoLoss::DrGrpo] {
        assert_eq!(Grpo::of(kind).check(), Ok(()));
    }
}

#[test]
fn nothing_has_no_loss() {
    let (none, some) = (Side { policy: &[], reference: &[] }, Side { policy: &[-1.0], reference: &[-2.0] });
    for objective in pair_objectives() {
        for (chosen, rejected) in [(none, some), (some, none), (none, none)] {
            let pair = objective.pair(chosen, rejected, 1.0);
            assert_eq!((pair.loss, pair.chosen.iter().chain(&pair.rejected).sum::<f32>()), (0.0, 0.0));
            assert_eq!(
                (pair.chosen.len(), pair.rejected.len()),
                (chosen.policy.len(), rejected.policy.len())
            );
        }
    }
    let norm = Grpo::default().norm(0, Window { sequences: 0, tokens: 0, max_len: 0 });
    let all = [
        Kto::default().example(none, true, 0.0, 1.0),
        Grpo::default().sequence(&[], &[], &[], 1.0, norm),
        Rloo::default().sequence(&[], &[], 1.0, 1.0),
        Ppo::default().policy(&[], &[], &[], norm),
        Ppo::default().value(&[], &[], &[], norm),
    ];
    assert!(norm.is_finite() && all.iter().all(|one| *one == TokenLoss::default()), "{all:?}");
}

/// Losses of everything, with the given scores.
fn losses(a: &[f32], b: &[f32], c: &[f32]) -> Vec<(&'static str, f64)> {
    let (one, other) = (Side { policy: a, reference: b }, Side { policy: c, reference: a });
    let wide: Vec<f64> = b.iter().map(|v| f64::from(*v)).collect();
    let ppo = Ppo::default();
    let grpo = Grpo { beta: 0.1, ..Grpo::default() };
    let mut out: Vec<(&str, f64)> =
        pair_objectives().map(|objective| (objective.name(), objective.pair(one, other, 0.5).loss)).to_vec();
    out.extend([
        ("kto", Kto::default().example(one, true, 0.5, 0.5).loss),
        ("grpo", grpo.sequence(a, b, c, 1.0, 0.5).loss),
        ("rloo", Rloo::default().sequence(a, b, -1.0, 0.5).loss),
        ("ppo", ppo.policy(a, c, &wide, 0.5).loss),
        ("value", ppo.value(a, c, &wide, 0.5).loss),
    ]);
    let mut advantages = vec![ppo.gae(&ppo.rewards(a, b, 1.0), c).0];
    ppo.whiten(&mut advantages);
    out.push(("gae", advantages.concat().iter().sum()));
    out
}

#[test]
fn scores_that_are_no_numbers_are_seen_in_the_loss() {
    let good = [-1.0f32, -2.0, -0.5];
    assert!(losses(&good, &good, &good).iter().all(|(_, loss)| loss.is_finite()));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for place in 0..3 {
            let mut lists = [good, good, good];
            lists[place][1] = bad;
            let [a, b, c] = &lists;
            for (name, loss) in losses(a, b, c) {
                // What an objective does not look at: the reference of those without one, and the third list.
                let unseen: &[&str] = match place {
                    0 => &[],
                    1 => &["orpo", "simpo"],
                    _ => &["kto", "rloo"],
                };
                assert_eq!(loss.is_finite(), unseen.contains(&name), "{name}, {bad} in list {place}: {loss}");
            }
        }
    }
    let uneven = Grpo::default().sequence(&good, &good[..2], &[], 1.0, 1.0);
    assert!(uneven.loss.is_nan() && uneven.coefs == [0.0; 3]);
    assert!(Grpo::default().sequence(&good, &good, &[], f64::NAN, 1.0).loss.is_nan());
    assert!(RewardLoss::default().pair(f64::NAN, 0.0, 0.0, 1.0).loss.is_nan());
}

proptest! {
    #[test]
    fn no_score_and_no_parameter_makes_an_objective_panic(
        a in prop::collection::vec(any::<f32>(), 0..5),
        b in prop::collection::vec(any::<f32>(), 0..5),
        c in prop::collection::vec(any::<f32>(), 0..5),
        p in any::<f64>(),
        q in any::<f64>(),
    ) {
        losses(&a, &b, &c);
        let side = Side { policy: &a, reference: &b };
        let pairs = [
            PairObjective::Dpo(Dpo { beta: p }),
            PairObjective::Ipo(Ipo { beta: p }),
            PairObjective::Orpo(Orpo { beta: p }),
            PairObjective::SimPo(SimPo { beta: p, gamma: q }),
        ];
        for objective in pairs {
            let pair = objective.pair(side, Side { policy: &c, reference: &c }, q);
            prop_assert_eq!((pair.chosen.len(), pair.rejected.len()), (a.len(), c.len()));
        }
        let wide: Vec<f64> = b.iter().map(|v| f64::from(*v)).collect();
        let grpo = Grpo { epsilon: p, epsilon_high: q, beta: p, loss: GrpoLoss::Grpo, scale_std: true };
        prop_assert_eq!(grpo.sequence(&a, &b, &c, q, p).coefs.len(), a.len());
        prop_assert_eq!(grpo.advantages(&wide).len(), b.len());
        let rloo = Rloo { epsilon: p, epsilon_high: q, beta: q };
        prop_assert_eq!(rloo.sequence(&a, &b, q, p).coefs.len(), a.len());
        let ppo = Ppo { clip: p, kl: q, vf_coef: p, value_clip: q, gamma: p, lambda: q, whiten: true };
        prop_assert_eq!(ppo.policy(&a, &b, &wide, p).coefs.len(), a.len());
        prop_assert_eq!(ppo.value(&a, &b, &wide, p).coefs.len(), a.len());
        prop_assert_eq!(ppo.gae(&ppo.rewards(&a, &b, p), &c).0.len(), a.len());
    }
}

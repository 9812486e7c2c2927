use super::*;
use crate::bounds;

fn logits() -> Vec<f32> {
    (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 100.0).collect()
}

#[test]
fn keys_keep_the_order() {
    let values = [f32::NEG_INFINITY, -3.5, -0.0, 0.0, 1e-20, 2.0, f32::INFINITY];
    for pair in values.windows(2) {
        assert!(order_key(pair[0]) <= order_key(pair[1]), "{pair:?}");
        assert_eq!(from_key(order_key(pair[1])), pair[1]);
    }
}

#[test]
fn greedy_takes_the_first_of_equals() {
    let choice = choose(&[1.0, 5.0, 5.0, 2.0], &[], &SamplerParams::greedy(), 0).unwrap();
    assert_eq!(choice.token, 1);
    let expected = -(2.0 + (-4f64).exp() + (-3f64).exp()).ln();
    assert!((f64::from(choice.logprob) - expected).abs() < bounds::ROUNDED);
}

#[test]
fn the_largest_is_found_wherever_it_is_beside_what_was_replaced() {
    let params = SamplerParams { repeat_penalty: 1.5, repeat_last_n: 4, ..SamplerParams::greedy() };
    for place in 0..100u32 {
        let mut l: Vec<f32> = (0..100).map(|i| -1.0 - (i % 7) as f32).collect();
        (l[place as usize], l[(place as usize + 40) % 100]) = (2.0, 2.0);
        let first = place.min((place + 40) % 100);
        let chosen = |history: &[u32]| choose(&l, history, &params, 0).unwrap().token;
        assert_eq!(chosen(&[(place + 1) % 100, (place + 39) % 100]), first);
        assert_eq!(chosen(&[first]), place.max((place + 40) % 100), "penalised, it is no longer the largest");
    }
    let nothing = [f32::NEG_INFINITY; 70];
    assert_eq!(choose(&nothing, &[], &SamplerParams::greedy(), 0).unwrap().token, 0);
}

#[test]
fn filters_keep_what_they_say() {
    let l = logits();
    let p = SamplerParams { top_k: 5, top_p: 1.0, min_p: 0.0, temperature: 10.0, ..Default::default() };
    let mut sorted = l.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let seen: std::collections::BTreeSet<u32> =
        (0..400).map(|pos| choose(&l, &[], &p, pos).unwrap().token).collect();
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().all(|t| l[*t as usize] >= sorted[4]));
    let p = SamplerParams { top_p: 0.009, top_k: 0, ..p };
    let first = choose(&l, &[], &SamplerParams::greedy(), 0).unwrap().token;
    assert!((0..50).all(|pos| choose(&l, &[], &p, pos).unwrap().token == first));
    let p = SamplerParams { min_p: 0.9, top_p: 1.0, ..p };
    assert!(
        (0..50).all(|pos| l[choose(&l, &[], &p, pos).unwrap().token as usize] >= sorted[0] + 0.9f32.ln())
    );
}

#[test]
fn draws_follow_the_distribution_and_the_seed() {
    let l: Vec<f32> = [0.5f32, 0.25, 0.125, 0.125].iter().map(|p| p.ln()).collect();
    let p =
        SamplerParams { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 7, ..Default::default() };
    let mut counts = [0usize; 4];
    for pos in 0..20_000 {
        counts[choose(&l, &[], &p, pos).unwrap().token as usize] += 1;
    }
    for (count, expected) in counts.iter().zip([10_000.0, 5_000.0, 2_500.0, 2_500.0]) {
        assert!((*count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
    }
    let text = |seed| {
        (0..64)
            .map(|pos| choose(&l, &[], &SamplerParams { seed, ..p }, pos).unwrap().token)
            .collect::<Vec<_>>()
    };
    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}

#[test]
fn the_penalty_lowers_recent_tokens() {
    let p = SamplerParams { repeat_penalty: 3.0, repeat_last_n: 2, ..SamplerParams::greedy() };
    assert_eq!(choose(&[2.0, 1.0, -1.0], &[0, 2], &p, 0).unwrap().token, 1);
    assert_eq!(choose(&[2.0, 1.0, -1.0], &[0, 1, 2], &p, 0).unwrap().token, 0);
}

/// The definition, by sorting.
fn kept_by_definition(logits: &[f32], p: &SamplerParams) -> Vec<u32> {
    let mut sorted: Vec<f32> = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let k = if p.top_k == 0 { sorted.len() } else { (p.top_k as usize).min(sorted.len()) };
    let kth = sorted[k - 1];
    sorted.retain(|l| *l >= kth);
    let weight = |l: f32| f64::from(l - sorted[0]).exp();
    let all: f64 = sorted.iter().map(|l| weight(*l)).sum();
    let mut mass = 0.0;
    let last = sorted.iter().find(|l| {
        mass += weight(**l);
        mass >= f64::from(p.top_p) * all
    });
    let least = last.copied().unwrap_or(kth).max(sorted[0] + p.min_p.ln());
    (0..logits.len() as u32).filter(|i| logits[*i as usize] >= least).collect()
}

#[test]
fn filters_keep_what_sorting_would_keep() {
    let mut seed = 0;
    for round in 0..60u32 {
        // Few distinct values, so that there are ties.
        let grain = if round % 3 == 0 { 4.0 } else { 64.0 };
        let logits: Vec<f32> = (0..200)
            .map(|_| {
                seed += 1;
                (uniform(1, seed) * 8.0 * grain).round() / grain
            })
            .collect();
        let p = SamplerParams {
            top_k: [0, 1, 5, 40, 100, 300, 5000][round as usize % 7],
            top_p: [1.0, 0.5, 0.93, 0.1][round as usize % 4],
            min_p: [0.0, 0.07, 0.5][round as usize % 3],
            temperature: 30.0,
            seed: round,
            ..Default::default()
        };
        let kept = kept_by_definition(&logits, &p);
        let seen: std::collections::BTreeSet<u32> =
            (0..2000).map(|pos| choose(&logits, &[], &p, pos).unwrap().token).collect();
        assert!(seen.iter().all(|t| kept.contains(t)), "{p:?}");
        let nearly = kept.len() - kept.len() / 20;
        assert!(seen.len() >= nearly, "{p:?}: {} of {}", seen.len(), kept.len());
    }
}

#[test]
fn repeated_recent_tokens_are_penalised_once() {
    let p = SamplerParams { repeat_penalty: 2.0, ..SamplerParams::greedy() };
    assert_eq!(choose(&[4.0, 1.5, 1.0], &[0, 0, 0, 9999], &p, 3).unwrap().token, 0);
    assert_eq!(choose(&[4.0, 2.5, 1.0], &[2, 0, 2, 0], &p, 3).unwrap().token, 1);
}

#[test]
fn damaged_logits_are_refused() {
    assert_eq!(choose(&[], &[], &SamplerParams::greedy(), 0), Err(SamplerError::Empty));
    assert_eq!(choose(&[0.0, f32::NAN], &[], &SamplerParams::greedy(), 0), Err(SamplerError::NotANumber(1)));
    assert_eq!(
        choose(&[0.0, 0.0, f32::INFINITY], &[], &SamplerParams::default(), 0),
        Err(SamplerError::NotANumber(2))
    );
    let masked = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
    assert_eq!(choose(&masked, &[], &SamplerParams::default(), 0).unwrap().token, 1);
    for p in [
        SamplerParams { temperature: f32::NAN, ..Default::default() },
        SamplerParams { top_p: f32::NAN, ..Default::default() },
        SamplerParams { repeat_penalty: 0.0, ..Default::default() },
    ] {
        assert!(matches!(choose(&[0.0], &[], &p, 0), Err(SamplerError::BadParameter { .. })), "{p:?}");
    }
}

/// DRY by its definition: every place, every length.
fn dry_by_definition(
    logits: &[f32],
    history: &[u32],
    p: &SamplerParams,
    breaks: impl Fn(u32) -> bool,
) -> Vec<f32> {
    let seen = &history[history.len().saturating_sub(p.dry_last_n as usize)..];
    let mut out = logits.to_vec();
    for token in 0..logits.len() as u32 {
        let mut longest = 0;
        for place in 1..seen.len() {
            for run in 1..=place.min(50) {
                let (end, before) = (&seen[seen.len() - run..], &seen[place - run..place]);
                if seen[place] == token && end == before && !end.iter().any(|t| breaks(*t)) {
                    longest = longest.max(run);
                }
            }
        }
        if longest > 0 && longest >= p.dry_allowed_length as usize {
            let more = longest as i32 - p.dry_allowed_length as i32;
            out[token as usize] -= (p.dry_multiplier * p.dry_base.powi(more)).min(10_000.0);
        }
    }
    out
}

#[test]
fn dry_makes_less_likely_what_would_go_on_with_a_repetition() {
    let p = SamplerParams { dry_multiplier: 2.0, ..SamplerParams::greedy() };
    let next = |history: &[u32], p: &SamplerParams, breakers: &Breakers| {
        choose_with_breakers(&[3.0, 2.5, 2.0, 0.0], history, p, breakers, 0).unwrap().token
    };
    // "3 3" stood before, and 0 came after it: 3.0 - 2.0 is less than 2.5.
    assert_eq!(next(&[3, 3, 0, 2, 3, 3], &p, &Breakers::NONE), 1);
    assert_eq!(next(&[3, 3, 0, 2, 3], &p, &Breakers::NONE), 0, "one token alone may come again");
    assert_eq!(next(&[3, 3, 0, 2, 3, 3], &p, &Breakers::new([3])), 0, "a breaker ends the repetition");
    let near = SamplerParams { dry_last_n: 3, ..p };
    assert_eq!(next(&[3, 3, 0, 2, 3, 3], &near, &Breakers::NONE), 0, "too far back");
    let off = SamplerParams { dry_multiplier: 0.0, ..p };
    assert_eq!(next(&[3, 3, 0, 2, 3, 3], &off, &Breakers::NONE), 0);
    for bad in [SamplerParams { dry_base: 0.5, ..p }, SamplerParams { dry_multiplier: f32::NAN, ..p }] {
        assert!(matches!(choose(&[0.0], &[], &bad, 0), Err(SamplerError::BadParameter { .. })), "{bad:?}");
    }
}

#[test]
fn breakers_are_control_tokens_and_line_ends() {
    use crate::gguf::{Metadata, StringArray};
    let texts = ["<s>", "</s>", "a", "Ċ", "Ġb", "ĊĠĠ", "xĊ", "<0x0A>", "<|im_end|>"];
    let mut metadata = Metadata::new();
    metadata.set("tokenizer.ggml.tokens", texts.iter().collect::<StringArray>());
    metadata.set("tokenizer.ggml.token_type", vec![3i32, 3, 1, 1, 1, 1, 1, 6, 3]);
    let breakers = Breakers::from_metadata(&metadata);
    let found: Vec<u32> = (0..20).filter(|id| breakers.has(*id)).collect();
    assert_eq!(found, [0, 1, 3, 5, 7, 8]);
    assert_eq!(Breakers::from_vectors(breakers.vectors()), breakers);
    assert_eq!(Breakers::from_metadata(&Metadata::new()), Breakers::NONE);
    assert!(!Breakers::NONE.has(0));
    // No more than there is room for.
    let many = Breakers::new((0..40).step_by(2));
    assert!(many.has(0) && many.has(10) && !many.has(12) && !many.has(11));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(300))]
    #[test]
    fn dry_is_its_definition(
        history in proptest::collection::vec(0u32..6, 1..80),
        multiplier in 0.1f32..4.0,
        base in 1.0f32..3.0,
        allowed in 0u32..6,
        last_n in 0u32..90,
        breaker in 0u32..9,
    ) {
        let p = SamplerParams {
            dry_multiplier: multiplier,
            dry_base: base,
            dry_allowed_length: allowed,
            dry_last_n: last_n,
            ..SamplerParams::greedy()
        };
        let logits = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, -40.0];
        let expected = dry_by_definition(&logits, &history, &p, |token| token == breaker);
        let list = penalised_for_test(&logits, &history, &p, &Breakers::new([breaker as usize]));
        for (token, logit) in expected.iter().enumerate() {
            let got = list.iter().find(|(t, _)| *t as usize == token).map_or(logits[token], |(_, l)| *l);
            proptest::prop_assert!(f64::from((got - logit).abs()) <= bounds::POWERS * f64::from(logit.abs().max(1.0)), "{token}: {got}, {logit}");
        }
    }
}

fn penalised_for_test(
    logits: &[f32],
    history: &[u32],
    p: &SamplerParams,
    breakers: &Breakers,
) -> Vec<(u32, f32)> {
    let mut room = [Replaced::default(); MAX_LAST_N + MAX_DRY_LAST_N];
    penalised(logits, history, p, breakers, &mut room).iter().map(|r| (r.token, r.logit)).collect()
}

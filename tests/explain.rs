//! What a model looks at and what its layers add, against transformers' eager attention in float32 on the same weights
//! (`tests/golden/explain`, by `gen_explain.py`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;

use common::npy::{Npy, read_f32, read_tokens};
use common::{boot, bounds, golden, none_failed, open, options, relative_l2};
use emberlm::explain::{ExplainError, Explanation, LayerView, Options, TEMPERATURES};
use emberlm::model::{KvType, Model, ModelError};
use emberlm::session::{DeviceChoice, Modes, SessionOptions};

fn on(device: DeviceChoice) -> Options {
    Options {
        device: SessionOptions { device, kv: KvType::F32, ..SessionOptions::default() },
        ..Options::default()
    }
}

fn explained(model: &Model, tokens: &[u32], options: &Options) -> Explanation {
    Explanation::of(model, tokens, options, &mut |_, _| ControlFlow::Continue(())).unwrap()
}

/// Compares with the reference of that name; `kept` are the layers whose attention it has.
fn check(model: &Model, name: &str, kept: Option<&[usize]>, device: DeviceChoice) {
    let file = |kind: &str| golden("explain").join(format!("{name}.{kind}.npy"));
    let tokens = read_tokens(&file("tokens"));
    let made = explained(model, &tokens, &on(device));
    let (n, layers) = (tokens.len(), made.layers.len());
    let mut failures = Vec::new();

    let kept = kept.map_or_else(|| (0..layers).collect(), <[usize]>::to_vec);
    let want = read_f32(&file("attention"));
    assert_eq!(want.len(), kept.len() * made.heads * n * (n + 1) / 2, "{name}");
    let (mut rest, mut worst) = (want.as_slice(), 0f64);
    for &layer in &kept {
        for head in 0..made.heads {
            for position in 0..n {
                let (row, after) = rest.split_at(position + 1);
                rest = after;
                let apart = made.attention(layer, head, position).iter().zip(row);
                let apart = apart.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
                worst = worst.max(apart);
                if apart.is_nan() || apart > bounds::EXPLAINED {
                    failures
                        .push(format!("{name}: layer {layer} head {head} position {position}: {apart:.1e}"));
                }
            }
        }
    }
    let mut worst_sum = 0f64;
    for (layer, head, position) in
        (0..layers).flat_map(|l| (0..made.heads).flat_map(move |h| (0..n).map(move |p| (l, h, p))))
    {
        let sum: f64 = made.attention(layer, head, position).iter().map(|w| f64::from(*w)).sum();
        worst_sum = worst_sum.max((sum - 1.0).abs());
    }
    assert!(worst_sum <= bounds::SHARES, "{name}: a row sums to 1 but for {worst_sum:.1e}");

    let lengths: Vec<f32> = made
        .layers
        .iter()
        .flat_map(|l| [&l.stream, &l.by_attention, &l.by_feed_forward].map(|of| of.clone()).concat())
        .collect();
    let apart = relative_l2(&lengths, &read_f32(&file("contributions")));
    if apart > bounds::EXPLAINED {
        failures.push(format!("{name}: lengths are {apart:.1e} apart"));
    }
    let certain = guesses(&made, &Npy::read(&file("guesses")).i32(), name, &mut failures);
    println!(
        "{name}: attention within {worst:.1e}, sums {worst_sum:.1e}, lengths {apart:.1e}, {certain} guesses the same"
    );
    none_failed(&failures);
}

/// The tokens that the feed-forward points to and that each layer's stream comes to, where the reference is certain.
fn guesses(made: &Explanation, want: &[i32], name: &str, failures: &mut Vec<String>) -> usize {
    let n = made.tokens.len();
    assert_eq!((want.len(), made.guessed_from), (made.layers.len() * 2 * n, 0));
    let got = |layer: &LayerView| [&layer.added, &layer.guess].map(|tops| tops.clone()).concat();
    let got = made.layers.iter().flat_map(got);
    let mut certain = 0;
    for (index, (got, want)) in got.zip(want).enumerate().filter(|(_, (_, want))| **want >= 0) {
        certain += 1;
        if got.tokens[0].0 != *want as u32 {
            let (layer, of, position) = (index / (2 * n), index / n % 2, index % n);
            let found = got.tokens[0].0;
            failures
                .push(format!("{name}: guess {of} of layer {layer} at {position} is {found}, not {want}"));
        }
    }
    assert!(certain * 10 > want.len() * 9, "{name}: the reference is certain of {certain} guesses only");
    certain
}

const TINY: [&str; 3] = ["llama-tied", "qwen3-tied", "window"];

fn arch(name: &str) -> Model {
    open(&golden("arch").join(format!("{name}.gguf")))
}

#[test]
fn tiny_models_look_where_transformers_looks() {
    TINY.iter().for_each(|name| check(&arch(name), name, None, DeviceChoice::Cpu));
}

#[cfg(feature = "gpu")]
#[test]
fn tiny_models_look_there_on_a_gpu_too() {
    TINY.iter().for_each(|name| check(&arch(name), name, None, DeviceChoice::Gpu));
}

#[test]
fn a_window_hides_what_lies_before_it() {
    let model = arch("window");
    let window = model.config().window();
    let made = explained(&model, &read_tokens(&golden("explain/window.tokens.npy")), &on(DeviceChoice::Cpu));
    assert!(window > 0 && made.tokens.len() > window + 2);
    for position in 0..made.tokens.len() {
        let row = made.attention(1, 0, position);
        let hidden = (position + 1).saturating_sub(window);
        assert!(row[..hidden].iter().all(|w| *w == 0.0) && row[hidden..].iter().all(|w| *w > 0.0), "{row:?}");
    }
}

#[cfg(feature = "cli")]
#[test]
fn the_default_model_looks_where_transformers_looks() {
    let model = common::default_model::default_model();
    for (name, kept) in [("capital", None), ("cat", None), ("list", Some(&[0, 14, 29][..]))] {
        check(model, name, kept, DeviceChoice::Cpu);
    }
}

/// Everything that a page shows of 64 tokens of the default model.
#[cfg(feature = "cli")]
#[test]
fn a_page_of_64_tokens_is_below_a_megabyte() {
    use emberlm::explain::{Report, page};
    use emberlm::text::Tokenizer;
    let model = common::default_model::default_model();
    let tokens = &read_tokens(&golden("smollm2/prose.tokens.npy"))[..64];
    let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata).unwrap();
    let (explanation, text) =
        (explained(model, tokens, &on(DeviceChoice::Cpu)), tokenizer.decode(tokens, false));
    let (run, answers) = (None, &[][..]);
    let report =
        Report { model, tokenizer: &tokenizer, text: &text, explanation: &explanation, run, answers };
    let size = page::render(&report).len();
    println!("{size} bytes");
    assert!((700_000..1_000_000).contains(&size), "{size} bytes");
}

/// Plans of an inspection and of a session are one forward.
#[test]
fn logits_are_those_of_a_session() {
    let mut failures = Vec::new();
    let names = ["llama-untied", "llama3-rope", "llama-linear-rope", "llama-formats", "mistral", "qwen2"];
    let more = ["qwen3-untied", "qwen3-formats", "yarn", "longrope", "odd-sizes"];
    for name in names.iter().chain(&more).chain(&TINY) {
        let model = arch(name);
        let tokens = read_tokens(&golden("arch").join(format!("{name}.tokens.npy")));
        let exact = SessionOptions { exact: true, ..options(DeviceChoice::Cpu, KvType::F32, Modes::LOGITS) };
        let mut session = boot(&model, &exact);
        let want = session.all_logits(&tokens).unwrap();
        let vocab = model.config().vocab;
        let whole = Options { top: vocab, ..on(DeviceChoice::Cpu) };
        let made = explained(&model, &tokens, &whole);
        let got: Vec<f32> = made.next.iter().flat_map(|next| in_order(&next.top)).collect();
        assert_eq!(made.logits, got[got.len() - vocab..]);
        let apart = relative_l2(&got, &want);
        println!("{name}: {apart:.1e}");
        if apart > bounds::MODEL {
            failures.push(format!("{name}: {apart:.1e} from the session's logits"));
        }
    }
    none_failed(&failures);
}

/// Logits by token.
fn in_order(top: &[(u32, f32)]) -> Vec<f32> {
    let mut top = top.to_vec();
    top.sort_by_key(|(id, _)| *id);
    top.into_iter().map(|(_, logit)| logit).collect()
}

#[test]
fn chances_are_those_of_all_tokens_at_every_temperature() {
    let model = arch("llama-untied");
    let tokens = read_tokens(&golden("arch/llama-untied.tokens.npy"));
    let made = explained(&model, &tokens, &Options { top: 7, ..on(DeviceChoice::Cpu) });
    let last = made.next.last().unwrap();
    for (index, temperature) in TEMPERATURES.iter().enumerate() {
        let exp: Vec<f64> =
            made.logits.iter().map(|l| (f64::from(*l) / f64::from(*temperature)).exp()).collect();
        let sum: f64 = exp.iter().sum();
        let (own, others) = last.probabilities(index);
        assert!((own.iter().sum::<f64>() + others - 1.0).abs() < bounds::DOUBLES);
        for ((id, _), share) in last.top.iter().zip(own) {
            assert!((share - exp[*id as usize] / sum).abs() < bounds::SHARES, "token {id} at {temperature}");
        }
    }
    // What the text goes on with: as a session scores it.
    let mut session = boot(&model, &options(DeviceChoice::Cpu, KvType::F32, Modes::SCORE));
    for (next, score) in made.next.iter().zip(session.score(&tokens).unwrap()) {
        assert!(
            f64::from((next.actual.unwrap().ln() - score).abs()) < 10.0 * bounds::SCORED,
            "{:?} {score}",
            next.actual
        );
    }
    assert_eq!(last.actual, None);
}

#[test]
fn the_last_position_alone_is_the_same() {
    let (model, tokens) = (arch("qwen2"), read_tokens(&golden("arch/qwen2.tokens.npy")));
    let all = explained(&model, &tokens, &on(DeviceChoice::Cpu));
    let one = explained(&model, &tokens, &Options { all_positions: false, ..on(DeviceChoice::Cpu) });
    assert_eq!((all.guessed_from, one.guessed_from), (0, tokens.len() - 1));
    for (all, one) in all.layers.iter().zip(&one.layers) {
        for (all, one) in [(&all.added, &one.added), (&all.guess, &one.guess)] {
            // A product of few rows adds in another order.
            let pairs = all[tokens.len() - 1].tokens.iter().zip(&one[0].tokens);
            assert!(
                pairs.clone().all(|(a, b)| a.0 == b.0 && f64::from((a.1 - b.1).abs()) < bounds::SHARES),
                "{all:?} {one:?}"
            );
            assert_eq!((one.len(), pairs.count()), (1, 5));
        }
        assert_eq!(all.attention, one.attention);
    }
    assert_eq!(all.next, one.next);
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let model = arch("llama-tied");
    let of = |tokens: &[u32], options: &Options| {
        Explanation::of(&model, tokens, options, &mut |_, _| ControlFlow::Continue(())).unwrap_err()
    };
    let cpu = on(DeviceChoice::Cpu);
    assert!(matches!(of(&[], &cpu), ExplainError::Empty));
    assert!(matches!(of(&[1; 257], &cpu), ExplainError::TooLong { tokens: 257, limit: 256 }));
    let vocab = model.config().vocab;
    assert!(matches!(of(&[0, vocab as u32], &cpu), ExplainError::Token { .. }));
    let device = SessionOptions { budget: Some(1000), ..cpu.device.clone() };
    assert!(matches!(
        of(&[1, 2], &Options { device, ..cpu.clone() }),
        ExplainError::Model(ModelError::Budget(_))
    ));
    let mut seen = Vec::new();
    let stopped = Explanation::of(&model, &[1, 2], &cpu, &mut |done, all| {
        seen.push((done, all));
        if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(ExplainError::Stopped)));
    // For each of two layers attention and two lenses, then the end.
    assert_eq!(seen, [(1, 7), (2, 7)]);
}

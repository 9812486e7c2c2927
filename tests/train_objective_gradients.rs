//! Every objective's gradient through a whole tiny model, with adapters and heads, against central differences of its loss
//! along random directions. The executor computes in double precision; scores and coefficients cross as f32.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{bounds, golden, none_failed, open};
use emberlm::model::{AdapterShape, Branch, BranchHead, Train};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::data::Random;
use emberlm::train::objective::{
    Anchor, Dpo, Grpo, GrpoLoss, Ipo, Kto, Orpo, PairObjective, Ppo, RewardLoss, Rloo, Sft, Side, SimPo,
    Window,
};
use emberlm::train::{Engine, EngineOptions, LoraOptions, Sequence};

const REFERENCE: usize = 1;
const VALUE: usize = 2;

/// Two answers to one prompt, and one of another length.
const TEXTS: [&[u32]; 3] =
    [&[20, 90, 41, 7, 130, 66, 2], &[20, 90, 41, 55, 201, 2], &[33, 8, 120, 250, 99, 14, 77, 61, 2]];
const PROMPT: usize = 3;

fn trained(text: &[u32]) -> Vec<bool> {
    (0..text.len()).map(|i| i >= PROMPT).collect()
}

fn engine(head: BranchHead) -> Engine {
    let model = open(&golden("arch/llama-tied.gguf"));
    let adapters = LoraOptions { rank: 3, alpha: 3.0, ..LoraOptions::default() }.shape(&model);
    let branch = |name: &str, head, trained, adapters: AdapterShape| Branch {
        name: name.into(),
        adapters,
        head,
        trained,
    };
    let options = EngineOptions {
        device: SessionOptions {
            device: DeviceChoice::Cpu,
            double: true,
            threads: Some(2),
            ..SessionOptions::default()
        },
        rows: 24,
        seq: 24,
        train: Train::Adapters,
        adapters: adapters.clone(),
        head,
        branches: vec![
            branch("reference", BranchHead::Tokens, false, AdapterShape::default()),
            branch("value", BranchHead::Scalar, true, adapters),
        ],
        ..EngineOptions::default()
    };
    let mut engine = Engine::boot(&model, &options).unwrap();
    let mut random = Random::new(5, 0);
    for branch in [0, VALUE] {
        for (id, _, rows, width) in engine.tensors_of(branch) {
            let values: Vec<f32> = (0..rows * width).map(|_| 0.1 * unit(&mut random)).collect();
            engine.write(id, &values).unwrap();
        }
    }
    engine
}

/// Between -1 and 1.
fn unit(random: &mut Random) -> f32 {
    (random.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

fn score(engine: &mut Engine, branch: usize, text: usize) -> Vec<f32> {
    let mask = trained(TEXTS[text]);
    engine.score_by(branch, &[Sequence { tokens: TEXTS[text], trained: &mask }], 0).unwrap()
}

/// Loss, and with `learn` its gradient added.
type Loss = Box<dyn Fn(&mut Engine, bool) -> f64>;

fn learn(engine: &mut Engine, branch: usize, coefs: &[f32], learn: bool) {
    if learn {
        engine.gradient_of(branch, coefs).unwrap();
    }
}

fn of_pair(objective: PairObjective) -> Loss {
    Box::new(move |engine, with| {
        let reference = [score(engine, REFERENCE, 0), score(engine, REFERENCE, 1)];
        let masks = [trained(TEXTS[0]), trained(TEXTS[1])];
        let both = [0, 1].map(|i| Sequence { tokens: TEXTS[i], trained: &masks[i] });
        let scores = engine.score_by(0, &both, 0).unwrap();
        let (chosen, rejected) = scores.split_at(both[0].targets());
        let side = |policy, i: usize| Side { policy, reference: &reference[i] };
        let made = objective.pair(side(chosen, 0), side(rejected, 1), 0.7);
        learn(engine, 0, &[made.chosen, made.rejected].concat(), with);
        0.7 * made.loss
    })
}

fn of_thumb(desirable: bool) -> Loss {
    Box::new(move |engine, with| {
        let reference = score(engine, REFERENCE, 2);
        let policy = score(engine, 0, 2);
        let made =
            Kto::default().example(Side { policy: &policy, reference: &reference }, desirable, 0.3, 1.0);
        learn(engine, 0, &made.coefs, with);
        made.loss
    })
}

/// Log-probabilities as they were when the answer was sampled: near those of now, on either side.
fn old(now: &[f32]) -> Vec<f32> {
    now.iter().enumerate().map(|(i, l)| l + [0.05, -0.08, 0.11, -0.02, 0.06][i % 5]).collect()
}

/// `fixed`: log-probabilities and values before any move.
fn all(fixed: &[f32], values: &[f32]) -> Vec<(String, usize, Loss)> {
    let mut all: Vec<(String, usize, Loss)> = vec![];
    let pairs = [
        PairObjective::Dpo(Dpo::default()),
        PairObjective::Ipo(Ipo::default()),
        PairObjective::Orpo(Orpo::default()),
        PairObjective::SimPo(SimPo::default()),
    ];
    all.extend(pairs.map(|p| (p.name().to_owned(), 0, of_pair(p))));
    all.extend([true, false].map(|good| (format!("kto, liked: {good}"), 0, of_thumb(good))));
    let (sampled, values) = (old(fixed), values.to_vec());
    for loss in [GrpoLoss::Grpo, GrpoLoss::Dapo, GrpoLoss::DrGrpo] {
        for advantage in [1.3, -0.8] {
            let (grpo, sampled) = (Grpo { beta: 0.04, ..Grpo::of(loss) }, sampled.clone());
            let run = move |engine: &mut Engine, with: bool| {
                let reference = score(engine, REFERENCE, 2);
                let now = score(engine, 0, 2);
                let norm = grpo.norm(now.len(), Window { sequences: 2, tokens: 11, max_len: 8 });
                let made = grpo.sequence(&now, &sampled, &reference, advantage, norm);
                learn(engine, 0, &made.coefs, with);
                made.loss
            };
            all.push((format!("grpo {loss:?}, advantage {advantage}"), 0, Box::new(run)));
        }
    }
    let before = sampled.clone();
    let rloo = move |engine: &mut Engine, with: bool| {
        let now = score(engine, 0, 2);
        let made = Rloo::default().sequence(&now, &before, 0.9, 0.5);
        learn(engine, 0, &made.coefs, with);
        made.loss
    };
    all.push(("rloo".into(), 0, Box::new(rloo)));
    let policy = move |engine: &mut Engine, with: bool| {
        let now = score(engine, 0, 2);
        let advantages: Vec<f64> = (0..now.len()).map(|t| 0.5 - 0.3 * t as f64).collect();
        let made = Ppo::default().policy(&now, &sampled, &advantages, 0.1);
        learn(engine, 0, &made.coefs, with);
        made.loss
    };
    all.push(("ppo, policy".into(), 0, Box::new(policy)));
    let value = move |engine: &mut Engine, with: bool| {
        let now = score(engine, VALUE, 2);
        let returns: Vec<f64> = (0..now.len()).map(|t| 1.0 - 0.4 * t as f64).collect();
        let made = Ppo { value_clip: 5.0, ..Ppo::default() }.value(&now, &values, &returns, 0.1);
        learn(engine, VALUE, &made.coefs, with);
        made.loss
    };
    all.push(("ppo, values".into(), VALUE, Box::new(value)));
    let sft = move |engine: &mut Engine, with: bool| {
        let now = score(engine, 0, 2);
        let sft = Sft { targets: now.len() };
        learn(engine, 0, &vec![sft.coefficient(); now.len()], with);
        sft.loss(&now)
    };
    all.push(("sft".into(), 0, Box::new(sft)));
    let anchor = move |engine: &mut Engine, with: bool| {
        let reference = score(engine, REFERENCE, 2);
        let now = score(engine, 0, 2);
        let anchor = Anchor { weight: 0.6 };
        learn(engine, 0, &anchor.coefficients(&now, &reference), with);
        anchor.loss(&now, &reference)
    };
    all.push(("anchor".into(), 0, Box::new(anchor)));
    all
}

/// Of a model whose first branch has a scalar head.
fn reward_pair() -> Loss {
    Box::new(|engine, with| {
        let mask = |text: &[u32]| (0..text.len()).map(|i| i + 1 == text.len()).collect::<Vec<bool>>();
        let masks = [mask(TEXTS[0]), mask(TEXTS[1])];
        let both = [0, 1].map(|i| Sequence { tokens: TEXTS[i], trained: &masks[i] });
        let scores = engine.score_by(0, &both, 0).unwrap();
        let made = RewardLoss::default().pair(f64::from(scores[0]), f64::from(scores[1]), 0.1, 1.0);
        learn(engine, 0, &[made.chosen as f32, made.rejected as f32], with);
        made.loss
    })
}

/// Slope of the loss along a direction, by differences and by the gradient.
fn compare(engine: &mut Engine, branch: usize, loss: &Loss, seed: u64) -> (f64, f64) {
    engine.clear().unwrap();
    loss(engine, true);
    let blocks: Vec<_> = engine.plans().blocks.iter().filter(|b| b.branch == branch).copied().collect();
    assert!(!blocks.is_empty());
    let mut random = Random::new(seed, 1);
    let (mut by_gradient, mut moves) = (0.0, vec![]);
    let mut square = 0.0f64;
    for block in &blocks {
        let gradient = engine.read(block.gradient).unwrap();
        let start = engine.read(block.values).unwrap();
        // Half along the gradient, so that the slope is not lost among rounding.
        let size = gradient.iter().fold(0f32, |m, g| m.max(g.abs())).max(1e-12);
        let direction: Vec<f32> = gradient.iter().map(|g| 0.5 * g / size + 0.5 * unit(&mut random)).collect();
        square += direction.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>();
        by_gradient +=
            gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum::<f64>();
        moves.push((block.values, start, direction));
    }
    let step = bounds::DIRECTION_MOVE / square.sqrt();
    let mut at = |by: f64| {
        for (id, start, direction) in &moves {
            let moved: Vec<f32> = start
                .iter()
                .zip(direction)
                .map(|(s, d)| (f64::from(*s) + by * f64::from(*d)) as f32)
                .collect();
            engine.write(*id, &moved).unwrap();
        }
        loss(engine, false)
    };
    let by_difference = (at(step) - at(-step)) / (2.0 * step);
    at(0.0);
    (by_difference, by_gradient)
}

#[test]
fn every_objective_through_a_model() {
    let mut failures = vec![];
    let mut check = |name: &str, engine: &mut Engine, branch: usize, loss: &Loss| {
        for seed in 0..3 {
            let (want, got) = compare(engine, branch, loss, seed);
            let apart = (want - got).abs() / want.abs().max(1e-6);
            println!("{name}: slope {want:.6}, gradient {got:.6}, {apart:.1e} apart");
            if apart.is_nan() || apart > bounds::DIRECTION {
                failures.push(format!("{name}: slope {want}, gradient {got}"));
            }
        }
    };
    let mut tokens = engine(BranchHead::Tokens);
    let fixed = score(&mut tokens, 0, 2);
    let values = score(&mut tokens, VALUE, 2);
    for (name, branch, loss) in all(&fixed, &values) {
        check(&name, &mut tokens, branch, &loss);
    }
    let mut scalar = engine(BranchHead::Scalar);
    check("reward model", &mut scalar, 0, &reward_pair());
    none_failed(&failures);
}

#[test]
fn a_gradient_without_its_scores_is_refused() {
    let mut engine = engine(BranchHead::Tokens);
    let count = score(&mut engine, 0, 2).len();
    assert!(engine.gradient_of(VALUE, &vec![0.1; count]).is_err(), "another branch ran last");
    assert!(engine.gradient_of(0, &[0.1]).is_err(), "too few coefficients");
    engine.clear().unwrap();
    assert!(engine.gradient_of(0, &vec![0.1; count]).is_err(), "the step is gone");
    score(&mut engine, REFERENCE, 2);
    assert!(engine.gradient_of(REFERENCE, &vec![0.1; count]).is_err(), "it is not trained");
}

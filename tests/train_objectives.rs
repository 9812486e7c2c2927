//! Objectives against TRL's formulas under torch's autograd (`tests/golden/objectives.json`), twenty cases of each, and DPO
//! against steps that PyTorch trained.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{bounds, golden, shared};
use emberlm::train::objective::{
    Dpo, Grpo, GrpoLoss, Ipo, Kto, Orpo, PairObjective, Ppo, RewardLoss, Rloo, Side, SimPo, Window,
};
use serde_json::Value;

fn cases(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(golden("objectives.json")).unwrap();
    let table: Value = serde_json::from_str(&text).unwrap();
    let cases = table[name].as_array().unwrap().clone();
    assert!(cases.len() >= 20, "{name}: {}", cases.len());
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

fn wide(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    wide(value).into_iter().map(|v| v as f32).collect()
}

fn lists(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap().iter().map(floats).collect()
}

/// Everything is compared relative to the largest of the values wanted.
fn assert_close(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    for (g, w) in got.iter().zip(want) {
        // The table has ten digits, sums that cancel keep a rounding of their terms.
        assert!(
            (g - w).abs() <= bounds::TORCH * scale + bounds::TABLE_DIGITS,
            "{what}: {got:?} is not {want:?}"
        );
    }
}

fn assert_coefs(what: &str, got: &[f32], want: &Value) {
    let got: Vec<f64> = got.iter().map(|v| f64::from(*v)).collect();
    assert_close(what, &got, &wide(want));
}

fn pairs_agree(name: &str, make: impl Fn(&Value) -> PairObjective) {
    for case in cases(name) {
        let objective = make(&case["parameters"]);
        assert_eq!(objective.name(), name);
        let sides = ["chosen", "ref_chosen", "rejected", "ref_rejected"].map(|key| floats(&case[key]));
        let [chosen, ref_chosen, rejected, ref_rejected] = &sides;
        let side = |policy, reference| Side { policy, reference };
        let got =
            objective.pair(side(chosen, ref_chosen), side(rejected, ref_rejected), number(&case["weight"]));
        assert_close(name, &[got.loss], &[number(&case["loss"])]);
        let rewards = [got.metrics.chosen_reward, got.metrics.rejected_reward];
        assert_close(name, &rewards, &wide(&case["rewards"]));
        assert_coefs(name, &got.chosen, &case["d_chosen"]);
        assert_coefs(name, &got.rejected, &case["d_rejected"]);
    }
}

#[test]
fn pair_objectives_are_those_of_trl() {
    pairs_agree("dpo", |p| PairObjective::Dpo(Dpo { beta: number(&p["beta"]) }));
    pairs_agree("ipo", |p| PairObjective::Ipo(Ipo { beta: number(&p["beta"]) }));
    pairs_agree("orpo", |p| PairObjective::Orpo(Orpo { beta: number(&p["beta"]) }));
    pairs_agree("simpo", |p| {
        PairObjective::SimPo(SimPo { beta: number(&p["beta"]), gamma: number(&p["gamma"]) })
    });
}

#[test]
fn kto_is_that_of_trl() {
    for case in cases("kto") {
        let p = &case["parameters"];
        let kto = Kto {
            beta: number(&p["beta"]),
            desirable_weight: number(&p["desirable_weight"]),
            undesirable_weight: number(&p["undesirable_weight"]),
        };
        let kl = Kto::kl(&wide(&case["mismatched"]));
        assert_close("kl", &[kl], &[number(&case["kl"])]);
        let (policy, reference) = (floats(&case["policy"]), floats(&case["reference"]));
        let side = Side { policy: &policy, reference: &reference };
        let got = kto.example(side, case["label"].as_bool().unwrap(), kl, number(&case["weight"]));
        assert_close("loss", &[got.loss], &[number(&case["loss"])]);
        assert_close("reward", &[got.reward], &[number(&case["reward"])]);
        assert_coefs("kto", &got.coefs, &case["coefs"]);
    }
}

#[test]
fn the_reward_loss_is_that_of_trl() {
    for case in cases("reward") {
        let loss = RewardLoss { center: number(&case["parameters"]["center"]) };
        let scores = wide(&case["scores"]);
        let got = loss.pair(scores[0], scores[1], number(&case["margin"]), number(&case["weight"]));
        assert_close("loss", &[got.loss], &[number(&case["loss"])]);
        assert_close("scores", &[got.chosen, got.rejected], &wide(&case["d_scores"]));
    }
}

fn groups_agree(name: &str, loss: GrpoLoss) -> usize {
    let mut clipped = 0;
    for case in cases(name) {
        let p = &case["parameters"];
        let grpo = Grpo {
            epsilon: number(&p["epsilon"]),
            epsilon_high: number(&p["epsilon_high"]),
            beta: number(&p["beta"]),
            ..Grpo::of(loss)
        };
        assert_eq!(serde_json::to_value(grpo).unwrap(), *p, "the table's parameters are all that there are");
        let [now, old, reference] = ["now", "old", "reference"].map(|key| lists(&case[key]));
        let advantages = grpo.advantages(&wide(&case["rewards"]));
        assert_close("advantages", &advantages, &wide(&case["advantages"]));
        let window = Window {
            sequences: now.len(),
            tokens: now.iter().map(Vec::len).sum(),
            max_len: number(&case["max_len"]) as usize,
        };
        let mut total = 0.0;
        for (i, &advantage) in advantages.iter().enumerate() {
            let norm = grpo.norm(now[i].len(), window);
            let got = grpo.sequence(&now[i], &old[i], &reference[i], advantage, norm);
            total += got.loss;
            assert_coefs(name, &got.coefs, &case["coefs"][i]);
            assert_close("kl", &[got.kl], &[number(&case["kl"][i])]);
            assert_eq!(got.clipped as f64, number(&case["clipped"][i]));
            clipped += got.clipped;
        }
        assert_close("loss", &[total], &[number(&case["loss"])]);
    }
    clipped
}

#[test]
fn grpo_is_that_of_trl() {
    for (name, loss) in
        [("grpo_grpo", GrpoLoss::Grpo), ("grpo_dapo", GrpoLoss::Dapo), ("grpo_dr_grpo", GrpoLoss::DrGrpo)]
    {
        assert!(groups_agree(name, loss) > 10, "{name}: tokens of both kinds");
    }
}

#[test]
fn rloo_is_that_of_trl() {
    let mut clipped = 0;
    for case in cases("rloo") {
        let p = &case["parameters"];
        let rloo = Rloo {
            epsilon: number(&p["epsilon"]),
            epsilon_high: number(&p["epsilon_high"]),
            beta: number(&p["beta"]),
        };
        let [now, old, reference] = ["now", "old", "reference"].map(|key| lists(&case[key]));
        let rewards = wide(&case["rewards"]);
        let penalized: Vec<f64> =
            rewards.iter().zip(&old).zip(&reference).map(|((r, o), f)| rloo.penalized(*r, o, f)).collect();
        assert_close("rewards", &penalized, &wide(&case["penalized"]));
        let advantages = rloo.advantages(&penalized);
        assert_close("advantages", &advantages, &wide(&case["advantages"]));
        let mut total = 0.0;
        for (i, &advantage) in advantages.iter().enumerate() {
            let got = rloo.sequence(&now[i], &old[i], advantage, 1.0 / now.len() as f64);
            total += got.loss;
            clipped += usize::from(got.clipped > 0);
            assert_coefs("rloo", &got.coefs, &case["coefs"][i]);
        }
        assert_close("loss", &[total], &[number(&case["loss"])]);
    }
    assert!((10..70).contains(&clipped), "{clipped} of 80 answers clipped");
}

fn ppo(parameters: &Value) -> Ppo {
    let ppo: Ppo = serde_json::from_value(parameters.clone()).unwrap();
    assert_eq!(ppo.check(), Ok(()));
    ppo
}

#[test]
fn ppo_is_that_of_trl() {
    let (mut clipped, mut values_clipped) = (0, 0);
    for case in cases("ppo") {
        let ppo = ppo(&case["parameters"]);
        let [now, old, reference] = ["now", "old", "reference"].map(|key| lists(&case[key]));
        let [values, new_values] = ["values", "new_values"].map(|key| lists(&case[key]));
        let scores = wide(&case["scores"]);
        let (mut advantages, mut returns) = (Vec::new(), Vec::new());
        for i in 0..now.len() {
            let rewards = ppo.rewards(&old[i], &reference[i], scores[i]);
            assert_close("rewards", &rewards, &wide(&case["rewards"][i]));
            let (advantage, back) = ppo.gae(&rewards, &values[i]);
            assert_close("advantages", &advantage, &wide(&case["advantages"][i]));
            assert_close("returns", &back, &wide(&case["returns"][i]));
            advantages.push(advantage);
            returns.push(back);
        }
        ppo.whiten(&mut advantages);
        assert_close("whitened", &advantages.concat(), &wide(&case["whitened"]));
        let norm = 1.0 / advantages.iter().map(Vec::len).sum::<usize>() as f64;
        let (mut policy, mut value, mut counts) = (0.0, 0.0, (0, 0));
        for i in 0..now.len() {
            let of_policy = ppo.policy(&now[i], &old[i], &advantages[i], norm);
            assert_coefs("policy", &of_policy.coefs, &case["coefs"][i]);
            let of_values = ppo.value(&new_values[i], &values[i], &returns[i], norm);
            assert_coefs("values", &of_values.coefs, &case["value_coefs"][i]);
            policy += of_policy.loss;
            value += of_values.loss;
            counts = (counts.0 + of_policy.clipped, counts.1 + of_values.clipped);
        }
        assert_close("loss", &[policy], &[number(&case["policy_loss"])]);
        assert_close("loss", &[value], &[number(&case["value_loss"])]);
        assert_eq!(counts.0 as f64, number(&case["clipped"]));
        assert_eq!(counts.1 as f64, number(&case["values_clipped"]));
        clipped += counts.0;
        values_clipped += counts.1;
    }
    assert!(clipped > 10 && values_clipped > 10, "{clipped} {values_clipped}");
}

/// Losses and margins of whole training steps, from their summed log-probabilities; larger runs where they lie beside the
/// project.
#[test]
fn dpo_steps_of_pytorch_are_found_again() {
    let read =
        |path: &Path| -> Value { serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap() };
    let own = read(&golden("training.json"));
    let mut runs = vec![("training.json", number(&own["beta"]), own["dpo"]["steps"].clone())];
    if let Some(folder) = shared().map(|s| s.join("reference/dpo")) {
        for file in ["dpo_init_f64.json", "dpo_init_f32.json", "dpo_rand_f32.json"] {
            let run = read(&folder.join(file));
            runs.push((file, number(&run["beta"]), run["steps"].clone()));
        }
    }
    for (file, beta, steps) in runs {
        let dpo = PairObjective::Dpo(Dpo { beta });
        let steps = steps.as_array().unwrap();
        assert!(steps.len() >= 5);
        for step in steps {
            let keys = ["logp_chosen", "ref_chosen", "logp_rejected", "ref_rejected"];
            let [w, w_ref, l, l_ref] = keys.map(|key| [number(&step[key]) as f32]);
            let side = |policy, reference| Side { policy, reference };
            let got = dpo.pair(side(&w, &w_ref), side(&l, &l_ref), 1.0);
            assert!(
                (got.loss - number(&step["loss"])).abs() < bounds::SUMS_OF_50,
                "{file}: {} {step}",
                got.loss
            );
            assert!(
                (got.metrics.margin() - number(&step["margin"])).abs() < 2.0 * bounds::SUMS_OF_50,
                "{file}: {step}"
            );
        }
    }
}

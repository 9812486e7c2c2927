//! The map of a training step: what is allocated is what it says, and what a refusal advises fits.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{assert_arguments_are_apart, golden, open};
use emberlm::exec::cpu;
use emberlm::model::{Model, ModelError, Train};
use emberlm::plan::{BudgetError, Fit, Layout, Profile, Suggestion};
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::{Engine, EngineOptions, LoraOptions, Recompute, TrainError, plan};

fn tiny(name: &str) -> Model {
    open(&golden("arch").join(format!("{name}.gguf")))
}

fn options(model: &Model, seq: usize, batch: usize, rank: usize, recompute: Recompute) -> EngineOptions {
    EngineOptions {
        device: SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() },
        rows: seq * batch,
        seq,
        outputs: None,
        recompute,
        train: Train::Adapters,
        adapters: LoraOptions { rank, ..LoraOptions::default() }.shape(model),
        ..EngineOptions::default()
    }
}

fn draw(model: &Model, options: &EngineOptions) -> Result<(Layout, usize, usize), BudgetError> {
    match plan(model, options, cpu::profile::<f32>()) {
        Ok((_, layout, _, spec)) => Ok((layout, spec.recompute, spec.outputs)),
        Err(TrainError::Model(ModelError::Budget(refusal))) => Err(refusal),
        Err(other) => panic!("{other}"),
    }
}

fn with_budget(options: &EngineOptions, budget: u64) -> EngineOptions {
    let device = SessionOptions { budget: Some(budget), ..options.device.clone() };
    EngineOptions { device, ..options.clone() }
}

#[test]
fn what_is_allocated_is_what_the_map_says() {
    for name in ["llama-tied", "llama-untied", "qwen2", "qwen3-tied"] {
        let model = tiny(name);
        let mut totals = vec![];
        for recompute in [Recompute::Nothing, Recompute::All] {
            let mut engine = Engine::boot(&model, &options(&model, 64, 1, 4, recompute)).unwrap();
            let planned = engine.layout().total();
            let allocated: u64 = engine.executor_mut().allocated().iter().map(|(_, b)| b).sum();
            assert_eq!(allocated, planned, "{name} {recompute:?}");
            totals.push(planned);
        }
        assert!(totals[1] < totals[0], "{name}: running layers again saves memory: {totals:?}");
    }
}

#[test]
fn arguments_of_a_training_step_never_share_bytes() {
    let device = Profile { align: 256, mapped_weights: false, params_stride: 256, ..cpu::profile::<f32>() };
    for name in ["llama-tied", "qwen2", "qwen3-tied", "gemma3"] {
        let model = tiny(name);
        for (train, recompute) in [
            (Train::Adapters, Recompute::Nothing),
            (Train::Adapters, Recompute::All),
            (Train::All, Recompute::Nothing),
        ] {
            let options = EngineOptions { train, ..options(&model, 64, 2, 4, recompute) };
            let (program, layout, ..) = plan(&model, &options, device).unwrap();
            assert_arguments_are_apart(&program, &layout);
        }
    }
}

#[test]
fn a_budget_chooses_layers_and_then_the_chunk() {
    let model = tiny("llama-tied");
    let asked = options(&model, 128, 1, 4, Recompute::Auto);
    let layers = model.config().layers.len();
    let total = |recompute, outputs| {
        let sized = EngineOptions { recompute, outputs: Some(outputs), ..asked.clone() };
        draw(&model, &sized).unwrap().0.total()
    };
    let (none, all, least) =
        (total(Recompute::Nothing, 64), total(Recompute::All, 64), total(Recompute::All, 16));
    assert!(least < all && all < none, "{least} {all} {none}");
    for (budget, recompute, outputs) in
        [(none, 0, 64), (none - 1, 1, 64), (all, layers, 64), (least, layers, 16)]
    {
        let (layout, again, chunk) = draw(&model, &with_budget(&asked, budget)).unwrap();
        assert!(layout.total() <= budget);
        assert_eq!((again, chunk), (recompute, outputs), "budget {budget} of {least} {all} {none}");
    }
    let (_, again, chunk) = draw(&model, &asked).unwrap();
    assert_eq!((again, chunk), (0, 64), "a tiny model fits any machine");
}

/// The options with what fits.
fn follow(model: &Model, asked: &EngineOptions, rank: usize, fit: &Fit) -> EngineOptions {
    let (seq, batch) = (fit.seq.unwrap_or(asked.seq), fit.batch.unwrap_or(asked.rows / asked.seq));
    let recompute = if fit.recompute { Recompute::All } else { asked.recompute };
    let outputs = fit.outputs.or(asked.outputs);
    let sized = EngineOptions { outputs, ..options(model, seq, batch, fit.rank.unwrap_or(rank), recompute) };
    with_budget(&sized, fit.budget.or(asked.device.budget).unwrap())
}

#[test]
fn the_advice_of_a_refusal_fits() {
    let model = tiny("llama-tied");
    let rank = 32;
    let smallest = |seq, batch, rank| {
        let sized = EngineOptions { outputs: Some(16), ..options(&model, seq, batch, rank, Recompute::All) };
        draw(&model, &sized).unwrap().0.total()
    };
    type Names = fn(&Fit) -> bool;
    let budgets: [(u64, Recompute, Option<usize>, Names); 5] = [
        (smallest(128, 8, rank), Recompute::Nothing, Some(64), |fit| fit.recompute && fit.batch.is_none()),
        (smallest(128, 4, rank), Recompute::Auto, None, |fit| fit.batch == Some(4) && fit.seq.is_none()),
        (smallest(64, 1, rank), Recompute::Layers(1), None, |fit| fit.seq == Some(64) && fit.recompute),
        (smallest(16, 1, 8), Recompute::Auto, None, |fit| fit.rank == Some(8) && fit.budget.is_none()),
        (1000, Recompute::Auto, None, |fit| fit.budget.is_some_and(|bytes| bytes.is_multiple_of(1 << 20))),
    ];
    for (budget, recompute, outputs, names) in budgets {
        let asked = EngineOptions { outputs, ..options(&model, 128, 8, rank, recompute) };
        let asked = with_budget(&asked, budget);
        let refusal = draw(&model, &asked).expect_err("more than the budget");
        let BudgetError::Over { fits: Some(Suggestion::Settings(fit)), needed, .. } = refusal else {
            panic!("{refusal}")
        };
        assert!(needed > budget && names(&fit), "{fit}, for a budget of {budget}");
        let (layout, ..) = draw(&model, &follow(&model, &asked, rank, &fit)).expect("what fits");
        assert!(layout.total() > 0);
    }
}

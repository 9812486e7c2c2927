//! What `ember plan --tune` says of a training step beside its map: what running layers again saves and costs.

use serde_json::json;

use crate::cli::advice;
use crate::cli::error::CliError;
use crate::cli::term;
use crate::cli::tune::args::TuneShapeArgs;
use crate::cli::tune::plan_data::Sizes;
use crate::model::{AdapterShape, Branch, BranchHead, BranchPlans, Model, Train, TrainPlans, TrainSpec};
use crate::plan::{Layout, Profile, Program};
use crate::session::SessionOptions;
use crate::train::pretrain::OUTPUTS;
use crate::train::rl::SLOTS;
use crate::train::{self, EngineOptions, Load, Recompute, Rollouts, TrainError, multiply_adds};

/// What a training step minimizes.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Objective {
    /// Supervised fine-tuning
    Sft,
    /// All weights on raw text, as `ember pretrain` has it
    Pretrain,
    /// Preferences: a pair of sequences, and the model before training to compare with
    Dpo,
    /// Rewards: the model writes, too
    Grpo,
    /// Rewards, with a value model and the model before training
    Ppo,
}

impl Objective {
    /// An engine for its steps, as its command boots it where all sequences are as long as they may be.
    pub fn engine(
        self,
        shape: &TuneShapeArgs,
        model: &Model,
        device: SessionOptions,
        full: bool,
    ) -> EngineOptions {
        let options = shape.engine(model, device, full || self == Objective::Pretrain);
        let (seq, adapters) = (options.seq, shape.lora().shape(model));
        let branch =
            |name: &str, adapters, head, trained| Branch { name: name.into(), adapters, head, trained };
        let reference = branch("reference", AdapterShape::default(), BranchHead::Tokens, false);
        let (rollouts, answers) = (Some(Rollouts { slots: SLOTS, ctx: seq }), seq * shape.answers() as usize);
        match self {
            Objective::Sft => options,
            Objective::Pretrain => EngineOptions { outputs: options.outputs.or(Some(OUTPUTS)), ..options },
            Objective::Dpo => EngineOptions { rows: 2 * seq, branches: vec![reference], ..options },
            Objective::Grpo => EngineOptions { rows: answers, rollouts, ..options },
            Objective::Ppo => {
                let value = branch("value", adapters, BranchHead::Scalar, true);
                EngineOptions { rows: answers, branches: vec![reference, value], rollouts, ..options }
            }
        }
    }

    /// A refusal whose advice means something for it.
    pub fn advice(self, error: TrainError, seq: u32) -> CliError {
        match self {
            Objective::Sft | Objective::Pretrain => error.into(),
            Objective::Dpo => advice::without_batch(error, seq, 2),
            Objective::Grpo | Objective::Ppo => advice::without_batch(error, seq, 1),
        }
    }
}

/// A training step, drawn.
pub struct TuneStep {
    /// Its program.
    pub program: Program,
    /// The map.
    pub layout: Layout,
    spec: TrainSpec,
    layers: usize,
    /// Further models on the same base, and what the model writes.
    branches: Vec<String>,
    /// All weights are trained.
    full: bool,
    rollouts: Option<Rollouts>,
    /// Bytes saved by the layers that are run again, against none.
    saved: u64,
    /// Multiply-adds of a full step, and how many of them run layers again.
    work: (u64, u64),
}

impl TuneStep {
    /// Draws the map that training would have.
    pub fn draw(model: &Model, options: &EngineOptions, profile: Profile) -> Result<Self, TrainError> {
        let (program, layout, plans, spec) = train::plan(model, options, profile)?;
        // The same step with nothing run again, whatever it needs.
        let unlimited = EngineOptions {
            device: SessionOptions { budget: None, ..options.device.clone() },
            outputs: Some(spec.outputs),
            recompute: Recompute::Nothing,
            ..options.clone()
        };
        let load = Load::of(1, options.seq as u64);
        let all = step_work(&program, &plans, load);
        let (saved, again) = match train::plan(model, &unlimited, profile) {
            Ok((kept, map, plans, _)) => (
                map.total().saturating_sub(layout.total()),
                all.saturating_sub(step_work(&kept, &plans, load)),
            ),
            // The device binds less than that; then there is nothing to compare with.
            Err(_) => (0, 0),
        };
        let layers = model.config().layers.len();
        let branches = options.branches.iter().map(|branch| branch.name.clone()).collect();
        let (rollouts, full) = (options.rollouts, options.train == Train::All);
        Ok(Self { program, layout, spec, layers, branches, full, rollouts, saved, work: (all, again) })
    }

    fn share(&self) -> f64 {
        self.work.1 as f64 * 100.0 / (self.work.0 - self.work.1).max(1) as f64
    }

    /// Lines for people.
    pub fn about(&self, model: &Model, shape: &TuneShapeArgs, data: Option<Sizes>) -> String {
        let lora = shape.lora();
        let trained: usize = self.trained();
        let percent = trained as f64 * 100.0 / model.parameters().max(1) as f64;
        let again = match self.spec.recompute {
            0 => "no layer is run again for the gradient".to_owned(),
            n => format!(
                "{n} of {} layers are run again for the gradient: saves {}, costs {:.0}% more arithmetic",
                self.layers,
                term::bytes(self.saved),
                self.share()
            ),
        };
        let what = match self.full {
            true => "all weights, as 32-bit floats, with gradients and two moments".to_owned(),
            false => format!("rank {}, {} matrices a layer", lora.rank, lora.targets.len()),
        };
        let sequences = match data {
            Some(sizes) => sizes.in_words(),
            None => format!("{} sequence(s) of at most {} tokens", self.sequences(shape), shape.seq),
        };
        let mut about = format!(
            "training step of {} token rows: {sequences}; logits of {} positions at a time\n\
             {what}: {} trained numbers, {percent:.2}% of the model's\n{again}",
            term::grouped(self.spec.rows as u64),
            self.spec.outputs,
            term::grouped(trained as u64),
        );
        if let Some(rollouts) = self.rollouts {
            about +=
                &format!("\nwrites {} sequences of at most {} tokens at once", rollouts.slots, rollouts.ctx);
        }
        if !self.branches.is_empty() {
            about += &format!("\non the same base, which is there once: {}", self.branches.join(", "));
        }
        about
    }

    fn sequences(&self, shape: &TuneShapeArgs) -> usize {
        self.spec.rows / (shape.seq as usize).max(1)
    }

    fn trained(&self) -> usize {
        let size = |id: &crate::plan::TensorId| self.program.capacity_rows(*id) * self.program.get(*id).width;
        self.program.trained.iter().map(size).sum()
    }

    /// The same as JSON.
    pub fn as_json(&self, shape: &TuneShapeArgs, data: Option<Sizes>) -> serde_json::Value {
        let lora = shape.lora();
        json!({
            "data": data.map(Sizes::as_json),
            "rows": self.spec.rows,
            "seq": shape.seq,
            "batch": self.sequences(shape),
            "chunk": self.spec.outputs,
            "full": self.full,
            "rank": lora.rank,
            "alpha": lora.alpha,
            "targets": lora.targets,
            "trained": self.trained(),
            "branches": self.branches,
            "rollout_slots": self.rollouts.map(|r| r.slots),
            "layers": self.layers,
            "layers_run_again": self.spec.recompute,
            "saved_bytes": self.saved,
            "extra_arithmetic_percent": self.share(),
        })
    }
}

/// Multiply-adds of forward, heads and gradient.
pub fn step_work(program: &Program, plans: &TrainPlans, load: Load) -> u64 {
    let parts = |pass: &BranchPlans| [Some(pass.forward), pass.head, pass.backward];
    let first = plans.passes.first().map(parts).into_iter().flatten().flatten();
    first.map(|p| multiply_adds(program, p, load)).sum()
}

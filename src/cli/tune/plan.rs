//! What `ember plan --tune` says of a training step beside its map: what running layers again saves and costs.

use serde_json::json;

use crate::cli::term;
use crate::cli::tune::args::TuneShapeArgs;
use crate::model::{Model, Pass, TrainPlans, TrainSpec};
use crate::plan::{Layout, Profile, Program};
use crate::session::SessionOptions;
use crate::train::{self, EngineOptions, Load, Recompute, TrainError, multiply_adds};

/// A training step, drawn.
pub struct TuneStep {
    /// Its program.
    pub program: Program,
    /// The map.
    pub layout: Layout,
    spec: TrainSpec,
    layers: usize,
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
        let layers = model.config().layers;
        Ok(Self { program, layout, spec, layers, saved, work: (all, again) })
    }

    fn share(&self) -> f64 {
        self.work.1 as f64 * 100.0 / (self.work.0 - self.work.1).max(1) as f64
    }

    /// Lines for people.
    pub fn about(&self, model: &Model, shape: &TuneShapeArgs) -> String {
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
        format!(
            "training step of {} token rows: {} sequence(s) of at most {} tokens; logits of {} positions at a time\n\
             rank {}, {} matrices a layer: {} trained numbers, {percent:.2}% of the model's\n{again}",
            term::grouped(self.spec.rows as u64),
            shape.batch,
            shape.seq,
            self.spec.outputs,
            lora.rank,
            lora.targets.len(),
            term::grouped(trained as u64),
        )
    }

    fn trained(&self) -> usize {
        let size = |id: &crate::plan::TensorId| self.program.capacity_rows(*id) * self.program.get(*id).width;
        self.program.trained.iter().map(size).sum()
    }

    /// The same as JSON.
    pub fn as_json(&self, shape: &TuneShapeArgs) -> serde_json::Value {
        let lora = shape.lora();
        json!({
            "rows": self.spec.rows,
            "seq": shape.seq,
            "batch": shape.batch,
            "chunk": self.spec.outputs,
            "rank": lora.rank,
            "alpha": lora.alpha,
            "targets": lora.targets,
            "trained": self.trained(),
            "layers": self.layers,
            "layers_run_again": self.spec.recompute,
            "saved_bytes": self.saved,
            "extra_arithmetic_percent": self.share(),
        })
    }
}

/// Multiply-adds of forward, heads and gradient.
pub fn step_work(program: &Program, plans: &TrainPlans, load: Load) -> u64 {
    let parts = |pass: &Pass| [Some(pass.forward), pass.head, pass.backward];
    let first = plans.passes.first().map(parts).into_iter().flatten().flatten();
    first.map(|p| multiply_adds(program, p, load)).sum()
}

//! The map of a training step before anything is allocated: which layers are run again, and what to say when nothing fits.

use crate::model::{BuildOptions, Model, ModelError, PlanSpec, TrainPlans, TrainSpec, build_training};
use crate::plan::{BudgetError, Fit, Layout, Profile, Program, Suggestion};
use crate::train::{EngineOptions, Recompute, TrainError};

/// Trained positions whose logits are made together, and how many where that does not fit the budget.
const OUTPUTS: [usize; 2] = [64, 16];
/// What is taken without a budget where the machine does not say what it has.
const UNASKED: u64 = 2 << 30;

/// Program, map, plans and sizes.
type Drawn = (Program, Layout, TrainPlans, TrainSpec);

/// The program, its map and its plans for a device profile, checked against the budget; nothing is allocated.
///
/// With [`Recompute::Auto`] as few layers are run again as fit the budget, or, without one, half of the memory that is
/// free (on a GPU: 2 GiB). Without a chosen number of outputs it is 64, or 16 where only that fits the budget.
///
/// # Errors
/// [`TrainError::Model`] with a [`BudgetError`] naming the largest items and a setting that fits.
pub fn plan(model: &Model, options: &EngineOptions, profile: Profile) -> Result<Drawn, TrainError> {
    let draft = Draft { model, options, profile, budget: options.device.budget };
    let layers = draft.layers();
    let fixed = draft.fixed();
    let mut refusal = None;
    for outputs in draft.outputs() {
        let sizes = Sizes { outputs, ..draft.asked(fixed.unwrap_or(layers)) };
        let (smallest, verdict) = draft.draw(sizes)?;
        match verdict {
            Ok(()) if fixed.is_some() => return Ok(smallest),
            Ok(()) => return draft.fewest_again(smallest, sizes),
            // The first refusal is that of what was asked for.
            Err(error) => _ = refusal.get_or_insert(error),
        }
    }
    let Some(refusal) = refusal else { return Ok(draft.draw(draft.asked(layers))?.0) };
    let fits = draft.what_fits()?;
    Err(TrainError::Model(ModelError::Budget(refusal.with_fit(Some(fits)))))
}

/// What can be changed to make a step fit.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sizes {
    rows: usize,
    outputs: usize,
    recompute: usize,
    /// Most rank of a pair.
    rank: usize,
}

struct Draft<'a> {
    model: &'a Model,
    options: &'a EngineOptions,
    profile: Profile,
    budget: Option<u64>,
}

impl Draft<'_> {
    fn layers(&self) -> usize {
        self.model.config().layers.len()
    }

    /// Layers run again, where that was chosen.
    fn fixed(&self) -> Option<usize> {
        match self.options.recompute {
            Recompute::Nothing => Some(0),
            Recompute::All => Some(self.layers()),
            Recompute::Layers(n) => Some(n.min(self.layers())),
            Recompute::Auto => None,
        }
    }

    /// Numbers of outputs to try, the best first.
    fn outputs(&self) -> Vec<usize> {
        let most = self.options.rows.max(1);
        match self.options.outputs {
            Some(n) => vec![n.clamp(1, most)],
            None => OUTPUTS.into_iter().map(|n| n.min(most)).collect(),
        }
    }

    /// Most rank of what is trained: where it is the model's own weights, a value model beside it still has adapters.
    fn rank(&self) -> usize {
        let branches = self.options.branches.iter().filter(|branch| branch.trained);
        let shapes = branches.map(|branch| &branch.adapters).chain([&self.options.adapters]);
        shapes.flat_map(|shape| shape.pairs.values()).map(|pair| pair.rank).max().unwrap_or(1)
    }

    fn asked(&self, recompute: usize) -> Sizes {
        let rows = self.options.rows.max(1);
        let outputs = self.outputs().first().copied().unwrap_or(rows);
        Sizes { rows, outputs, recompute, rank: self.rank() }
    }

    fn draw(&self, sizes: Sizes) -> Result<(Drawn, Result<(), BudgetError>), TrainError> {
        let mut adapters = self.options.adapters.clone();
        adapters.pairs.values_mut().for_each(|pair| pair.rank = pair.rank.min(sizes.rank));
        let mut branches = self.options.branches.clone();
        branches
            .iter_mut()
            .filter(|branch| branch.trained)
            .flat_map(|branch| branch.adapters.pairs.values_mut())
            .for_each(|pair| pair.rank = pair.rank.min(sizes.rank));
        let (ctx, slots) = self.options.rollouts.map_or((sizes.rows, 1), |r| (r.ctx, r.slots));
        let build = BuildOptions {
            ctx,
            slots,
            kv: self.options.device.kv,
            fused: false,
            max_binding: (!self.profile.mapped_weights).then_some(self.profile.max_binding),
            adapters,
            train: self.options.train,
            head: self.options.head,
            branches,
        };
        let spec = TrainSpec {
            rows: sizes.rows,
            outputs: sizes.outputs.min(sizes.rows),
            recompute: sizes.recompute,
        };
        let (config, weights) = (self.model.config(), self.model.weights());
        let (program, plans) = build_training(config, &*weights, &build, spec, &self.cached())?;
        let layout = Layout::new(&program, self.profile);
        let verdict = layout.check(&program, self.budget);
        Ok(((program, layout, plans, spec), verdict))
    }

    /// Plans of rollouts.
    fn cached(&self) -> Vec<PlanSpec> {
        self.options.rollouts.map_or(vec![], |r| r.specs(&self.options.device, self.profile).0)
    }

    /// Fewer layers run again need more memory: the fewest that fit.
    fn fewest_again(&self, smallest: Drawn, sizes: Sizes) -> Result<Drawn, TrainError> {
        let target = self.budget.unwrap_or_else(|| unasked(self.profile));
        let (mut fits, mut low, mut high) = (smallest, 0, self.layers());
        while low < high {
            let middle = (low + high) / 2;
            let (drawn, verdict) = self.draw(Sizes { recompute: middle, ..sizes })?;
            if verdict.is_ok() && drawn.1.total() <= target {
                (fits, high) = (drawn, middle);
            } else {
                low = middle + 1;
            }
        }
        Ok(fits)
    }

    /// What makes the step fit, tried in the order in which it costs the least: all layers run again, smaller chunks,
    /// fewer and then shorter sequences, a lower rank; or else the budget that the smallest step needs.
    fn what_fits(&self) -> Result<Suggestion, TrainError> {
        let fits = |sizes: Sizes| Ok::<_, TrainError>(self.draw(sizes)?.1.is_ok());
        let mut sizes = Sizes { outputs: self.least_outputs(), ..self.asked(self.layers()) };
        if fits(sizes)? {
            let generous = Sizes { outputs: self.asked(0).outputs, ..sizes };
            let sizes = if fits(generous)? { generous } else { sizes };
            return Ok(self.settings(sizes, None).into());
        }
        let seq = self.options.seq.clamp(1, sizes.rows);
        let (mut batch, mut seq) = (sizes.rows.div_ceil(seq), seq);
        while batch * seq > 16 {
            (batch, seq) = if batch > 1 { (batch / 2, seq) } else { (1, seq / 2) };
            sizes.rows = batch * seq;
            if fits(sizes)? {
                return Ok(self.settings(sizes, Some((batch, seq))).into());
            }
        }
        while sizes.rank > 1 {
            sizes.rank /= 2;
            if fits(sizes)? {
                return Ok(self.settings(sizes, Some((batch, seq))).into());
            }
        }
        let ((_, layout, ..), verdict) = self.draw(sizes)?;
        let settings = self.settings(sizes, Some((batch, seq)));
        Ok(match verdict {
            Err(BudgetError::Over { .. }) => {
                let budget = layout.total().next_multiple_of(1 << 20);
                Fit { budget: Some(budget), ..settings }.into()
            }
            _ => Suggestion::OtherDevice,
        })
    }

    fn least_outputs(&self) -> usize {
        self.outputs().into_iter().min().unwrap_or(1).min(OUTPUTS[1])
    }

    /// The settings in which `sizes` differs from what was asked for; `shape`: sequences and their length.
    fn settings(&self, sizes: Sizes, shape: Option<(usize, usize)>) -> Fit {
        Fit {
            batch: shape.map(|(batch, _)| batch),
            seq: shape.map(|(_, seq)| seq).filter(|seq| *seq < self.options.seq),
            recompute: self.fixed().is_some_and(|n| n < self.layers()),
            outputs: self.options.outputs.is_some_and(|n| n > sizes.outputs).then_some(sizes.outputs),
            rank: (sizes.rank < self.rank()).then_some(sizes.rank),
            ..Fit::default()
        }
    }
}

/// What an engine takes without being given a budget: on the CPU executor half of the memory that is free.
fn unasked(profile: Profile) -> u64 {
    if profile.mapped_weights { available().map_or(UNASKED, |free| free / 2) } else { UNASKED }
}

/// Memory that the system would give without swapping, in bytes, where it says so.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    available_in(&text)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_read() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    2048 kB\nX: 1\n"), Some(2 << 20));
        assert_eq!(available_in("MemTotal: 9 kB\n"), None);
        assert_eq!(available_in("MemAvailable: many kB\n"), None);
    }

    /// Where a model's own weights are trained there are no adapters of its own, but those of a value model.
    #[test]
    fn a_value_model_beside_trained_weights_keeps_its_rank() {
        use crate::model::{Branch, BranchHead, Train};
        use crate::train::LoraOptions;
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/arch/llama-tied.gguf");
        let model = Model::open(file).unwrap();
        let adapters = LoraOptions { rank: 4, ..LoraOptions::default() }.shape(&model);
        let value = Branch { name: "value".into(), adapters, head: BranchHead::Scalar, trained: true };
        let options = EngineOptions {
            rows: 8,
            seq: 8,
            train: Train::All,
            branches: vec![value],
            ..EngineOptions::default()
        };
        let (program, ..) = plan(&model, &options, crate::exec::cpu::profile::<f32>()).unwrap();
        let factor = program.trained.iter().map(|id| program.get(*id)).find(|t| t.name.ends_with("lora_a"));
        assert_eq!(factor.map(|t| t.rows), Some(crate::plan::Rows::fixed(4)));
    }
}

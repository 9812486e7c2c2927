//! The training plans on an executor: score, gradient, norm and update, a step at a time.

use std::collections::VecDeque;

use crate::exec::{DeviceInfo, Executor, Ticket};
use crate::model::{
    AdapterShape, BuildOptions, KvType, Model, ModelError, Train, TrainPlans, TrainSpec, build_training,
};
use crate::plan::{BudgetError, Layout, Out, PlanId, Profile, Program, Row, Scalars, Step, TensorId};
use crate::session::SessionOptions;
use crate::session::boot::Device;
use crate::train::TrainError;

/// Trained positions whose logits are made together, unless asked otherwise.
const OUTPUTS: usize = 64;

/// Which layers the gradient runs again instead of keeping their activations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Recompute {
    /// As few as the budget allows.
    #[default]
    Auto,
    /// None: fast.
    Nothing,
    /// All: small.
    All,
    /// The first so many.
    Layers(usize),
}

/// What an engine is booted with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Device, threads, budget; the rest is not used.
    pub device: SessionOptions,
    /// Most token rows of a step.
    pub rows: usize,
    /// Trained positions whose logits are made together; `None` for the default.
    pub outputs: Option<usize>,
    /// Which layers are run again.
    pub recompute: Recompute,
    /// What is trained.
    pub train: Train,
    /// The adapters.
    pub adapters: AdapterShape,
}

/// One sequence of a step.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids, at least two.
    pub tokens: &'a [u32],
    /// `trained[i]`: token i is a target, predicted from the tokens before it. As long as `tokens`.
    pub trained: &'a [bool],
}

impl Sequence<'_> {
    /// Token rows that it takes: each token but the last predicts the next.
    pub fn rows(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    /// Number of targets.
    pub fn targets(&self) -> usize {
        self.trained.iter().skip(1).filter(|t| **t).count()
    }
}

/// Runs training steps of one model on one device.
pub struct Engine {
    model: Model,
    executor: Box<dyn Executor>,
    layout: Layout,
    plans: TrainPlans,
    spec: TrainSpec,
    adapters: AdapterShape,
    /// All outputs of the step in work.
    outs: Vec<Out>,
    step: Step,
    words: Vec<u32>,
}

impl Engine {
    /// Opens the device, draws the map, checks it against the budget, and allocates. Everything trained is zero.
    ///
    /// # Errors
    /// [`TrainError::Model`] with a [`BudgetError`] if the map does not fit, naming what would.
    pub fn boot(model: &Model, options: &EngineOptions) -> Result<Self, TrainError> {
        let device = Device::open(&options.device).map_err(session_error)?;
        let profile = device.profile(options.device.double);
        let (program, layout, plans, spec) = plan(model, options, profile)?;
        let executor = device.boot(program, &layout, model, options.device.double)?;
        let step = Step::with_capacity(spec.rows, spec.outputs);
        let outs = Vec::with_capacity(spec.rows);
        let words = Vec::with_capacity(spec.outputs);
        let (model, adapters) = (model.clone(), options.adapters.clone());
        Ok(Self { model, executor, layout, plans, spec, adapters, outs, step, words })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device.
    pub fn device(&self) -> &DeviceInfo {
        self.executor.device()
    }

    /// The executor: allocation and timing.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        &mut *self.executor
    }

    /// The memory map.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Tensors and plans.
    pub fn program(&self) -> &Program {
        self.executor.program()
    }

    /// The plans.
    pub fn plans(&self) -> &TrainPlans {
        &self.plans
    }

    /// Sizes of a step.
    pub fn spec(&self) -> TrainSpec {
        self.spec
    }

    /// The adapters' shape.
    pub fn adapters(&self) -> &AdapterShape {
        &self.adapters
    }

    /// Trained tensors, in order: name, rows, width.
    pub fn trained(&self) -> Vec<(TensorId, String, usize, usize)> {
        let program = self.executor.program();
        let describe = |id: &TensorId| {
            let tensor = program.get(*id);
            (*id, tensor.name.clone(), program.capacity_rows(*id), tensor.width)
        };
        program.trained.iter().map(describe).collect()
    }

    /// Sets a tensor that is trained, or one of its companions.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if it does not fit.
    pub fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), TrainError> {
        Ok(self.executor.write(id, values)?)
    }

    /// All values of a tensor that is trained, or of one of its companions.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if it is neither.
    pub fn read(&mut self, id: TensorId) -> Result<Vec<f32>, TrainError> {
        let mut values = Vec::new();
        self.executor.read(id, &mut values)?;
        Ok(values)
    }

    /// Zeros the gradients: a window of steps begins.
    pub fn clear(&mut self) -> Result<(), TrainError> {
        self.step.clear();
        self.run(self.plans.clear).map(|_| ())
    }

    /// Log-probability of every target, in order; no gradient.
    ///
    /// # Errors
    /// [`TrainError::Rows`] if the sequences do not fit a step.
    pub fn score(&mut self, sequences: &[Sequence<'_>], seed: u32) -> Result<Vec<f32>, TrainError> {
        self.forward(sequences, |_| 0.0, seed)?;
        self.chunks(self.plans.score)
    }

    /// Log-probability of every target, in order, and the gradient of the sum of `coefs[i] * log-probability of target i`,
    /// added to what the window has so far.
    ///
    /// # Errors
    /// [`TrainError::Rows`] if the sequences do not fit a step, [`TrainError::Sequence`] if there are not as many
    /// coefficients as targets.
    pub fn gradient(
        &mut self,
        sequences: &[Sequence<'_>],
        coefs: &[f32],
        seed: u32,
    ) -> Result<Vec<f32>, TrainError> {
        let targets: usize = sequences.iter().map(Sequence::targets).sum();
        if targets != coefs.len() {
            let why = format!("{} coefficients for {targets} targets", coefs.len());
            return Err(TrainError::Sequence { sequence: 0, why });
        }
        self.forward(sequences, |i| coefs[i], seed)?;
        let scores = self.chunks(self.plans.head)?;
        self.step.outs.clear();
        let ticket = self.executor.submit(self.plans.backward, &self.step)?;
        self.executor.wait(ticket, &mut self.words)?;
        Ok(scores)
    }

    /// Euclidean norm of the window's gradients.
    pub fn norm(&mut self) -> Result<f64, TrainError> {
        self.step.clear();
        self.run(self.plans.norm)?;
        Ok(self.words.iter().map(|w| f64::from(f32::from_bits(*w))).sum::<f64>().sqrt())
    }

    /// One step of the optimizer with the window's gradients.
    pub fn update(&mut self, scalars: Scalars) -> Result<(), TrainError> {
        self.step.clear();
        self.step.scalars = scalars;
        self.run(self.plans.update).map(|_| ())
    }

    fn run(&mut self, plan: PlanId) -> Result<(), TrainError> {
        let ticket = self.executor.submit(plan, &self.step)?;
        Ok(self.executor.wait(ticket, &mut self.words)?)
    }

    /// Lays the sequences one behind another and runs the layers; `coef` gives each target's coefficient.
    fn forward(
        &mut self,
        sequences: &[Sequence<'_>],
        coef: impl Fn(usize) -> f32,
        seed: u32,
    ) -> Result<(), TrainError> {
        let rows: usize = sequences.iter().map(Sequence::rows).sum();
        if rows > self.spec.rows || rows == 0 {
            return Err(TrainError::Rows { rows, capacity: self.spec.rows });
        }
        self.step.clear();
        self.step.seed = seed;
        self.outs.clear();
        for (index, sequence) in sequences.iter().enumerate() {
            if sequence.tokens.len() != sequence.trained.len() || sequence.tokens.len() < 2 {
                let why = "needs at least two tokens, each marked as a target or not".into();
                return Err(TrainError::Sequence { sequence: index, why });
            }
            let first = self.step.rows.len() as u32;
            for (i, pair) in sequence.tokens.windows(2).enumerate() {
                let row = first + i as u32;
                if sequence.trained[i + 1] {
                    let coef = coef(self.outs.len());
                    self.outs.push(Out { row, label: pair[1], pos: row, coef, ..Out::default() });
                }
                self.step.rows.push(Row { slot: 0, pos: row, first, token: pair[0] });
            }
        }
        let ticket = self.executor.submit(self.plans.forward, &self.step)?;
        Ok(self.executor.wait(ticket, &mut self.words)?)
    }

    /// Runs a head plan over all outputs of the step, a chunk at a time.
    fn chunks(&mut self, plan: PlanId) -> Result<Vec<f32>, TrainError> {
        let depth = self.executor.depth().max(1);
        let mut scores = Vec::with_capacity(self.outs.len());
        let mut flight: VecDeque<Ticket> = VecDeque::with_capacity(depth);
        for chunk in self.outs.chunks(self.spec.outputs) {
            if flight.len() == depth
                && let Some(ticket) = flight.pop_front()
            {
                self.executor.wait(ticket, &mut self.words)?;
                scores.extend(self.words.iter().map(|w| f32::from_bits(*w)));
            }
            self.step.outs.clear();
            self.step.outs.extend_from_slice(chunk);
            flight.push_back(self.executor.submit(plan, &self.step)?);
        }
        for ticket in flight {
            self.executor.wait(ticket, &mut self.words)?;
            scores.extend(self.words.iter().map(|w| f32::from_bits(*w)));
        }
        Ok(scores)
    }
}

fn session_error(error: crate::session::SessionError) -> TrainError {
    use crate::session::SessionError;
    match error {
        SessionError::Model(error) => TrainError::Model(error),
        SessionError::Exec(error) => TrainError::Exec(error),
        other => TrainError::Exec(crate::exec::ExecError::Internal(other.to_string())),
    }
}

/// The program, its map and its plans for a device profile, checked against the budget; nothing is allocated.
///
/// # Errors
/// [`TrainError::Model`] with a [`BudgetError`] naming the largest items and a setting that fits.
pub fn plan(
    model: &Model,
    options: &EngineOptions,
    profile: Profile,
) -> Result<(Program, Layout, TrainPlans, TrainSpec), TrainError> {
    let layers = model.config().layers;
    let budget = options.device.budget;
    let outputs = options.outputs.unwrap_or(OUTPUTS).clamp(1, options.rows.max(1));
    let draw = |rows: usize, outputs: usize, recompute: usize| -> Result<_, TrainError> {
        let build = BuildOptions {
            ctx: rows,
            slots: 1,
            kv: KvType::F32,
            max_binding: (!profile.mapped_weights).then_some(profile.max_binding),
            adapters: options.adapters.clone(),
            train: options.train,
        };
        let spec = TrainSpec { rows, outputs, recompute };
        let (program, plans) = build_training(model.config(), &*model.weights(), &build, spec)?;
        let layout = Layout::new(&program, profile);
        let verdict = layout.check(&program, budget);
        Ok(((program, layout, plans, spec), verdict))
    };
    let rows = options.rows.max(1);
    let fixed = match options.recompute {
        Recompute::Nothing => Some(0),
        Recompute::All => Some(layers),
        Recompute::Layers(n) => Some(n.min(layers)),
        Recompute::Auto => None,
    };
    let least = fixed.unwrap_or(layers);
    let (smallest, verdict) = draw(rows, outputs, least)?;
    if let Err(refusal) = verdict {
        return Err(refuse(refusal, &draw, rows, outputs, layers));
    }
    if fixed.is_some() {
        return Ok(smallest);
    }
    // Fewer layers run again need more memory: the fewest that fit.
    let (mut fits, mut low, mut high) = (smallest, 0, layers);
    let target = budget.unwrap_or(default_budget());
    while low < high {
        let middle = (low + high) / 2;
        let (drawn, verdict) = draw(rows, outputs, middle)?;
        if verdict.is_ok() && drawn.1.total() <= target {
            (fits, high) = (drawn, middle);
        } else {
            low = middle + 1;
        }
    }
    Ok(fits)
}

/// What an engine takes without being given a budget.
fn default_budget() -> u64 {
    const GIB: u64 = 1 << 30;
    2 * GIB
}

/// A refusal with a setting that fits: everything run again, smaller chunks, shorter steps.
fn refuse<T>(
    refusal: BudgetError,
    draw: &dyn Fn(usize, usize, usize) -> Result<(T, Result<(), BudgetError>), TrainError>,
    rows: usize,
    outputs: usize,
    layers: usize,
) -> TrainError {
    let fits = |rows: usize, outputs: usize| draw(rows, outputs, layers).is_ok_and(|(_, v)| v.is_ok());
    let mut fit = None;
    let mut rows = rows;
    while fit.is_none() && rows >= 16 {
        for outputs in [outputs, 16, 4] {
            if fits(rows, outputs.min(rows)) {
                fit = Some(format!("--seq {rows} --recompute all --chunk {}", outputs.min(rows)));
                break;
            }
        }
        rows /= 2;
    }
    let fit = fit.unwrap_or("a smaller rank, fewer targets, or a smaller model".into());
    TrainError::Model(ModelError::Budget(refusal.with_fit(Some(fit))))
}

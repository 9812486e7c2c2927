//! The training plans on an executor: score, gradient, norm and update, a step at a time.

use std::collections::VecDeque;
use std::time::Instant;

use crate::exec::{DeviceInfo, Executor, Ticket};
use crate::model::{AdapterShape, Model, Train, TrainPlans, TrainSpec};
use crate::plan::{Layout, Out, PlanId, Program, Row, Scalars, Step, TensorId};
use crate::session::SessionOptions;
use crate::session::boot::Device;
use crate::train::{TrainError, plan};

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
    /// Most tokens of a sequence: what a refusal's advice is given in. [`Engine`] does not hold sequences to it.
    pub seq: usize,
    /// Trained positions whose logits are made together; `None` for 64, or fewer where the budget asks for it.
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
    /// Seconds spent by plan since they were last taken.
    seconds: Vec<f64>,
}

impl Engine {
    /// Opens the device, draws the map, checks it against the budget, and allocates. Everything trained is zero.
    ///
    /// # Errors
    /// [`TrainError::Model`] with a [`BudgetError`](crate::plan::BudgetError) if the map does not fit, naming what would.
    pub fn boot(model: &Model, options: &EngineOptions) -> Result<Self, TrainError> {
        let device = Device::open(&options.device).map_err(session_error)?;
        let profile = device.profile(options.device.double);
        let (program, layout, plans, spec) = plan(model, options, profile)?;
        let executor = device.boot(program, &layout, model, options.device.double)?;
        let step = Step::with_capacity(spec.rows, spec.outputs);
        let outs = Vec::with_capacity(spec.rows);
        let words = Vec::with_capacity(spec.outputs);
        let (model, adapters) = (model.clone(), options.adapters.clone());
        let seconds = vec![0.0; executor.program().plans.len()];
        Ok(Self { model, executor, layout, plans, spec, adapters, outs, step, words, seconds })
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

    /// Seconds that each plan took since this was last asked, waiting included, in the plans' order.
    pub fn take_seconds(&mut self) -> Vec<(String, f64)> {
        let names = self.executor.program().plans.iter().map(|p| p.name.clone());
        names.zip(self.seconds.iter_mut().map(std::mem::take)).collect()
    }

    /// Zeros the gradients: a window of steps begins.
    pub fn clear(&mut self) -> Result<(), TrainError> {
        self.step.clear();
        self.run(self.plans.clear)
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
        self.run(self.plans.backward)?;
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
        self.run(self.plans.update)
    }

    fn run(&mut self, plan: PlanId) -> Result<(), TrainError> {
        let start = Instant::now();
        let ticket = self.executor.submit(plan, &self.step)?;
        self.executor.wait(ticket, &mut self.words)?;
        self.seconds[plan.index()] += start.elapsed().as_secs_f64();
        Ok(())
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
        self.run(self.plans.forward)
    }

    /// Runs a head plan over all outputs of the step, a chunk at a time.
    fn chunks(&mut self, plan: PlanId) -> Result<Vec<f32>, TrainError> {
        let start = Instant::now();
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
        self.seconds[plan.index()] += start.elapsed().as_secs_f64();
        Ok(scores)
    }
}

pub(super) fn session_error(error: crate::session::SessionError) -> TrainError {
    use crate::session::SessionError;
    match error {
        SessionError::Model(error) => TrainError::Model(error),
        SessionError::Exec(error) => TrainError::Exec(error),
        other => TrainError::Exec(crate::exec::ExecError::Internal(other.to_string())),
    }
}

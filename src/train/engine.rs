//! The training plans on an executor: score, gradient, norm and update, a step at a time.

use std::collections::VecDeque;
use std::time::Instant;

use crate::exec::{DeviceInfo, ExecError, Executor, Ticket};
use crate::model::{
    AdapterShape, Branch, BranchHead, BranchPlans, Model, PlanSpec, Train, TrainPlans, TrainSpec,
};
use crate::plan::{Layout, Out, PlanId, Profile, Program, Row, Scalars, Step, TensorId};
use crate::session::boot::{Device, Sizes, chunk, specs};
use crate::session::places::DeviceError;
use crate::session::{Modes, Plans, Session, SessionError, SessionOptions};
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
#[derive(Clone, Debug, Default)]
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
    /// What the trained model makes of a position.
    pub head: BranchHead,
    /// Further models on the same base: a reference, a value model, a reward model.
    pub branches: Vec<Branch>,
    /// Lets the model write texts as it is trained.
    pub rollouts: Option<Rollouts>,
}

/// Sizes of what the model writes as it is trained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rollouts {
    /// Sequences written at once.
    pub slots: usize,
    /// Most tokens of one, its prompt included.
    pub ctx: usize,
}

impl Rollouts {
    /// The plans with a KV cache, and where each is, by its number among them.
    pub(super) fn specs(self, device: &SessionOptions, profile: Profile) -> (Vec<PlanSpec>, Plans) {
        let options = SessionOptions { slots: self.slots, modes: Modes::GENERATE, ..device.clone() };
        let chunk = chunk(device, profile);
        specs(&options, chunk, chunk)
    }
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
    /// The executor, and the model as it writes.
    session: Session,
    plans: TrainPlans,
    spec: TrainSpec,
    branches: Vec<Branch>,
    train: Train,
    /// The branch whose forward ran last, on the step that is still there.
    live: Option<usize>,
    /// All outputs of the step in work.
    outs: Vec<Out>,
    step: Step,
    words: Vec<u32>,
    /// Seconds spent by plan since they were last taken.
    seconds: Vec<f64>,
}

impl Engine {
    /// Boots on a device that has been opened. Everything trained is zero.
    ///
    /// # Errors
    /// As [`Engine::boot`].
    pub(super) fn boot_on(
        device: Device,
        model: &Model,
        options: &EngineOptions,
    ) -> Result<Self, TrainError> {
        let profile = device.profile(options.device.double);
        let (program, layout, plans, spec) = plan(model, options, profile)?;
        // A run that is resumed goes on bit for bit.
        let executor = device.untuned().boot(program, &layout, model, options.device.arithmetic())?;
        let step = Step::with_capacity(spec.rows, spec.outputs);
        let outs = Vec::with_capacity(spec.rows);
        let words = Vec::with_capacity(spec.outputs);
        let seconds = vec![0.0; executor.program().plans.len()];
        let session = session(model, options, profile, executor, layout, &plans);
        let branches = branches(options);
        let train = options.train;
        Ok(Self { session, plans, spec, branches, train, live: None, outs, step, words, seconds })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        self.session.model()
    }

    /// The device.
    pub fn device(&self) -> &DeviceInfo {
        self.session.executor().device()
    }

    /// Gives the device up, and its memory back.
    pub(super) fn release(&mut self, why: &str) {
        self.session.release(why);
    }

    /// The executor: allocation and timing.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        self.session.executor_mut()
    }

    /// The model as it is now, to write texts with; where the engine was booted with [`EngineOptions::rollouts`].
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The memory map.
    pub fn layout(&self) -> &Layout {
        self.session.layout()
    }

    /// Tensors and plans.
    pub fn program(&self) -> &Program {
        self.session.executor().program()
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
        &self.branches[0].adapters
    }

    /// All models on the base, the trained one first.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// What is trained.
    pub fn train(&self) -> Train {
        self.train
    }

    /// Trained tensors, in order: name, rows, width.
    pub fn trained(&self) -> Vec<(TensorId, String, usize, usize)> {
        self.tensors_of(0)
    }

    /// Factors and heads of a branch, in order: name without the branch's prefix, rows, width.
    pub fn tensors_of(&self, branch: usize) -> Vec<(TensorId, String, usize, usize)> {
        let program = self.program();
        let name = |id: TensorId| program.get(id).name.as_str();
        let own = |id: TensorId| match branch {
            0 => (!name(id).contains('/')).then(|| name(id)),
            _ => name(id).strip_prefix(&self.branches.get(branch)?.prefix(branch)),
        };
        let describe = |id: &TensorId| {
            let name = own(*id)?.to_owned();
            Some((*id, name, program.capacity_rows(*id), program.get(*id).width))
        };
        program.trained.iter().filter_map(describe).collect()
    }

    /// Sets a tensor that is trained, or one of its companions.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if it does not fit.
    pub fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), TrainError> {
        Ok(self.executor_mut().write(id, values)?)
    }

    /// All values of a tensor that is trained, or of one of its companions.
    ///
    /// # Errors
    /// [`TrainError::Exec`] if it is neither.
    pub fn read(&mut self, id: TensorId) -> Result<Vec<f32>, TrainError> {
        let mut values = Vec::new();
        self.executor_mut().read(id, &mut values)?;
        Ok(values)
    }

    /// Seconds that each plan took since this was last asked, waiting included, in the plans' order.
    pub fn take_seconds(&mut self) -> Vec<(String, f64)> {
        let names: Vec<String> = self.program().plans.iter().map(|p| p.name.clone()).collect();
        names.into_iter().zip(self.seconds.iter_mut().map(std::mem::take)).collect()
    }

    /// Zeros the gradients: a window of steps begins.
    pub fn clear(&mut self) -> Result<(), TrainError> {
        self.forget();
        self.run(self.plans.clear)
    }

    /// Log-probability of every target, in order; no gradient.
    ///
    /// # Errors
    /// [`TrainError::Rows`] if the sequences do not fit a step.
    pub fn score(&mut self, sequences: &[Sequence<'_>], seed: u32) -> Result<Vec<f32>, TrainError> {
        self.score_by(0, sequences, seed)
    }

    /// What a branch makes of every target, in order: its log-probability, or the number of the scalar head at it.
    ///
    /// # Errors
    /// [`TrainError::Rows`] if the sequences do not fit a step.
    pub fn score_by(
        &mut self,
        branch: usize,
        sequences: &[Sequence<'_>],
        seed: u32,
    ) -> Result<Vec<f32>, TrainError> {
        self.score_at(branch, sequences, 1.0, seed)
    }

    /// The same, of the softmax at a temperature, which is also that of the gradient that follows. A scalar head's numbers
    /// have none.
    ///
    /// # Errors
    /// As [`Self::score_by`].
    pub fn score_at(
        &mut self,
        branch: usize,
        sequences: &[Sequence<'_>],
        temperature: f32,
        seed: u32,
    ) -> Result<Vec<f32>, TrainError> {
        self.forward(branch, sequences, seed)?;
        self.outs.iter_mut().for_each(|out| out.temperature = temperature);
        let pass = self.pass(branch)?;
        self.chunks(pass.score)
    }

    /// After [`Self::score_by`], while nothing else has run: adds the gradient of the sum of `coefs[i] * score of target i`
    /// to what the window has so far. The scores again, too.
    ///
    /// # Errors
    /// [`TrainError::Sequence`] if there are not as many coefficients as targets, or no scores to go on from.
    pub fn gradient_of(&mut self, branch: usize, coefs: &[f32]) -> Result<Vec<f32>, TrainError> {
        let fail = |why: String| TrainError::Sequence { sequence: 0, why };
        if self.live != Some(branch) {
            return Err(fail(format!("branch {branch} was not scored last")));
        }
        if self.outs.len() != coefs.len() {
            return Err(fail(format!("{} coefficients for {} targets", coefs.len(), self.outs.len())));
        }
        let pass = self.pass(branch)?;
        let (Some(head), Some(backward)) = (pass.head, pass.backward) else {
            return Err(fail(format!("branch {branch} is not trained")));
        };
        self.outs.iter_mut().zip(coefs).for_each(|(out, coef)| out.coef = *coef);
        let scores = self.chunks(head)?;
        self.step.outs.clear();
        self.run(backward)?;
        self.live = None;
        Ok(scores)
    }

    fn pass(&self, branch: usize) -> Result<BranchPlans, TrainError> {
        let missing = || TrainError::Adapter(format!("the engine was booted without branch {branch}"));
        self.plans.passes.get(branch).copied().ok_or_else(missing)
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
        self.forward(0, sequences, seed)?;
        self.gradient_of(0, coefs)
    }

    /// Euclidean norm of the window's gradients.
    pub fn norm(&mut self) -> Result<f64, TrainError> {
        self.forget();
        self.run(self.plans.norm)?;
        Ok(self.words.iter().map(|w| f64::from(f32::from_bits(*w))).sum::<f64>().sqrt())
    }

    /// One step of the optimizer with the window's gradients.
    pub fn update(&mut self, scalars: Scalars) -> Result<(), TrainError> {
        self.forget();
        self.step.scalars = scalars;
        self.run(self.plans.update)
    }

    /// The next plan has nothing to do with the rows of the last.
    fn forget(&mut self) {
        self.step.clear();
        self.live = None;
    }

    fn run(&mut self, plan: PlanId) -> Result<(), TrainError> {
        let start = Instant::now();
        let executor = self.session.executor_mut();
        let ticket = executor.submit(plan, &self.step)?;
        executor.wait(ticket, &mut self.words)?;
        self.seconds[plan.index()] += start.elapsed().as_secs_f64();
        Ok(())
    }

    /// Lays the sequences one behind another and runs the layers.
    fn forward(&mut self, branch: usize, sequences: &[Sequence<'_>], seed: u32) -> Result<(), TrainError> {
        let pass = self.pass(branch)?;
        self.live = None;
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
                    self.outs.push(Out { row, label: pair[1], pos: row, ..Out::default() });
                }
                self.step.rows.push(Row { slot: 0, pos: row, first, token: pair[0] });
            }
        }
        self.run(pass.forward)?;
        self.live = Some(branch);
        Ok(())
    }

    /// Runs a head plan over all outputs of the step, a chunk at a time.
    fn chunks(&mut self, plan: PlanId) -> Result<Vec<f32>, TrainError> {
        let start = Instant::now();
        let executor = self.session.executor_mut();
        let depth = executor.depth().max(1);
        let mut scores = Vec::with_capacity(self.outs.len());
        let mut flight: VecDeque<Ticket> = VecDeque::with_capacity(depth);
        for chunk in self.outs.chunks(self.spec.outputs) {
            if flight.len() == depth
                && let Some(ticket) = flight.pop_front()
            {
                executor.wait(ticket, &mut self.words)?;
                scores.extend(self.words.iter().map(|w| f32::from_bits(*w)));
            }
            self.step.outs.clear();
            self.step.outs.extend_from_slice(chunk);
            flight.push_back(executor.submit(plan, &self.step)?);
        }
        for ticket in flight {
            executor.wait(ticket, &mut self.words)?;
            scores.extend(self.words.iter().map(|w| f32::from_bits(*w)));
        }
        self.seconds[plan.index()] += start.elapsed().as_secs_f64();
        Ok(scores)
    }
}

/// All branches of an engine, the trained model first.
fn branches(options: &EngineOptions) -> Vec<Branch> {
    let first = Branch {
        name: "policy".into(),
        adapters: options.adapters.clone(),
        head: options.head,
        trained: true,
    };
    std::iter::once(first).chain(options.branches.iter().cloned()).collect()
}

/// The executor, as the model writes with it.
fn session(
    model: &Model,
    options: &EngineOptions,
    profile: Profile,
    executor: Box<dyn Executor>,
    layout: Layout,
    plans: &TrainPlans,
) -> Session {
    let (found, sizes) = match options.rollouts {
        None => (Plans::default(), Sizes { slots: 1, ctx: 1, chunk: 1 }),
        Some(rollouts) => {
            let (_, mut found) = rollouts.specs(&options.device, profile);
            found = found.renumbered(&plans.cached);
            found.share = plans.share;
            let chunk = chunk(&options.device, profile);
            (found, Sizes { slots: rollouts.slots.max(1), ctx: rollouts.ctx, chunk })
        }
    };
    Session::over(model, executor, layout, found, sizes, AdapterShape::default())
}

impl From<SessionError> for TrainError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Model(error) => TrainError::Model(error),
            SessionError::Exec(error) => TrainError::Exec(error),
            other => TrainError::Exec(ExecError::Internal(other.to_string())),
        }
    }
}

impl DeviceError for TrainError {
    fn of_device(&self) -> Option<&ExecError> {
        match self {
            TrainError::Exec(error) => Some(error),
            _ => None,
        }
    }
}

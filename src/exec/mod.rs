//! Executors: what runs a [`Program`]. `gpu` is the product; `cpu` is its oracle and serves a machine whose GPU
//! cannot be used. Neither knows a model's name.

pub mod choice;
pub mod cpu;
mod gone;
#[cfg(feature = "gpu")]
pub mod gpu;
pub(crate) mod notes;

pub use gone::Gone;

use crate::ops::Op;
use crate::plan::WeightError;
use crate::plan::{DType, Out, PlanId, Program, Role, SegmentKind, Step, TOKEN_FROM_TABLE, TensorId};
pub use crate::plan::{WeightShape, WeightSource, Weights};

/// Why a step could not run.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No usable device; the reasons, one per adapter.
    #[error("no usable GPU: {0}")]
    NoDevice(String),
    /// The model file lacks a tensor, or it has another shape.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The step does not fit the plan.
    #[error("step: {0}")]
    Step(String),
    /// The device ran out of memory.
    #[error("the device is out of memory: {0}")]
    OutOfMemory(String),
    /// The device was lost (driver reset, watchdog, unplugged).
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// A shader that the device's driver, or what comes before it, does not take.
    #[error("the shader {kernel} does not compile for this device: {why}")]
    Shader {
        /// Its name, such as `linear.tiled.q4_1`.
        kernel: String,
        /// What was said of it.
        why: String,
    },
    /// One call that would keep the device busy for longer than its driver lets it.
    #[error(
        "`{op}` would take {:.0} ms on this device, whose driver may take it away after {:.0} ms", .seconds * 1e3, .most * 1e3
    )]
    Watchdog {
        /// Op stem.
        op: &'static str,
        /// Seconds expected, by what was measured.
        seconds: f64,
        /// Seconds allowed.
        most: f64,
    },
    /// The device gets wrong all that could run an op; the names of its candidates.
    #[error("this device, or its driver, computes wrongly: {0}")]
    Wrong(String),
    /// The device or its driver refused something.
    #[error("device: {0}")]
    Device(String),
    /// A defect in this program.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

/// What may help after a device failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// To open the same device again.
    Again,
    /// Another device.
    Elsewhere,
}

impl ExecError {
    /// What may help; `None` where the fault is not the device's.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            ExecError::DeviceLost(_) => Some(Remedy::Again),
            ExecError::NoDevice(_)
            | ExecError::OutOfMemory(_)
            | ExecError::Shader { .. }
            | ExecError::Watchdog { .. }
            | ExecError::Wrong(_)
            | ExecError::Device(_) => Some(Remedy::Elsewhere),
            ExecError::Weight(_) | ExecError::Step(_) | ExecError::Internal(_) => None,
        }
    }
}

/// A device that failed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name.
    pub device: String,
    /// The error.
    pub why: String,
}

/// How full a device's memory may become by all programs together, in percent of what the system grants; `None`: the driver
/// decides. Only Vulkan and DX12 know; 0 is a drill of a shortage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fullness {
    /// Beyond it a buffer is refused: [`ExecError::OutOfMemory`].
    pub buffers: Option<u8>,
    /// Beyond it the device is given up when work is begun: [`ExecError::DeviceLost`].
    pub work: Option<u8>,
}

/// Takes a device away while it works, as a driver's reset or a pulled cable does: for drills.
pub struct Breaker(Box<dyn Fn() + Send>);

impl Breaker {
    /// That does so by `lose`.
    pub fn new(lose: impl Fn() + Send + 'static) -> Self {
        Self(Box::new(lose))
    }

    /// Takes it away.
    pub fn trip(&self) {
        (self.0)();
    }
}

/// What a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// The CPU executor.
    Cpu,
    /// A GPU that shares memory with the CPU.
    Integrated,
    /// A GPU with its own memory.
    Discrete,
    /// A GPU seen through a virtual machine.
    Virtual,
    /// A software rasterizer.
    Software,
    /// Anything else.
    Other,
}

/// A device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Adapter or processor name.
    pub name: String,
    /// Kind.
    pub kind: DeviceKind,
    /// Backend and driver.
    pub driver: String,
    /// Why it was chosen.
    pub why: String,
}

/// A submitted step whose fetched words can be waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(pub u64);

/// Time spent in one kind of op.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTime {
    /// Op stem.
    pub op: &'static str,
    /// Calls.
    pub calls: u64,
    /// Total seconds.
    pub seconds: f64,
}

/// Runs plans. Everything is allocated when it is made; a step allocates nothing.
pub trait Executor: Send {
    /// The program it was booted with.
    fn program(&self) -> &Program;
    /// The device.
    fn device(&self) -> &DeviceInfo;
    /// Bytes really allocated, by kind of memory.
    fn allocated(&self) -> Vec<(SegmentKind, u64)>;
    /// How many steps may be in flight before the oldest must be waited for.
    fn depth(&self) -> usize;
    /// Starts a step of a plan. The plan's `fetch` tensor can be waited for with the ticket.
    fn submit(&mut self, plan: PlanId, step: &Step) -> Result<Ticket, ExecError>;
    /// Waits for a step and puts the active words of its fetched tensor into `out` (floats as bits).
    fn wait(&mut self, ticket: Ticket, out: &mut Vec<u32>) -> Result<(), ExecError>;
    /// Puts values into a shared f32 tensor, from its first element on, between steps.
    ///
    /// # Errors
    /// [`ExecError::Step`] if the tensor is not one that the host may set, or too small.
    fn write(&mut self, id: TensorId, values: &[f32]) -> Result<(), ExecError>;
    /// All values of a shared f32 tensor, after the steps submitted so far.
    ///
    /// # Errors
    /// [`ExecError::Step`] if the tensor is not one that the host may read.
    fn read(&mut self, id: TensorId, out: &mut Vec<f32>) -> Result<(), ExecError>;
    /// Switches per-op timing on or off (off at boot).
    fn profile(&mut self, on: bool);
    /// Times since profiling was switched on, longest first.
    fn op_times(&mut self) -> Result<Vec<OpTime>, ExecError>;
    /// GB/s at which this device reads memory, measured now; `None` where it cannot be.
    fn bandwidth(&mut self) -> Result<Option<f64>, ExecError> {
        Ok(None)
    }
    /// What takes this device away in a drill; `None` for one that cannot be lost.
    fn breaker(&self) -> Option<Breaker> {
        None
    }
}

/// Checks that the host may set or read a tensor: what is trained, its gradients, and the optimizer's moments.
pub fn check_access(program: &Program, id: TensorId, values: usize) -> Result<(), ExecError> {
    let Some(tensor) = program.tensors.get(id.index()) else {
        return Err(ExecError::Step(format!("the program has no tensor {}", id.0)));
    };
    let role = match tensor.role {
        Role::View { of, .. } => &program.get(of).role,
        ref role => role,
    };
    let open = matches!(role, Role::Trained | Role::Gradient | Role::Moment | Role::Tape { .. });
    if !open || tensor.dtype != DType::F32 {
        return Err(ExecError::Step(format!("`{}` is not the host's to set or read", tensor.name)));
    }
    let held = program.capacity_rows(id) * tensor.width;
    if values > held {
        return Err(ExecError::Step(format!("{values} values do not fit the {held} of `{}`", tensor.name)));
    }
    Ok(())
}

/// Checks a step against the program's capacities, so that no executor reads or writes out of bounds.
pub fn check_step(program: &Program, plan: PlanId, step: &Step) -> Result<(), ExecError> {
    let fail = |why: String| Err(ExecError::Step(why));
    let (Some(inputs), Some(plan)) = (program.inputs, program.plans.get(plan.index())) else {
        return fail(format!("the program has no plan {}", plan.0));
    };
    if step.rows.len() > plan.tokens || step.outs.len() > plan.outputs {
        return fail(format!(
            "{} token rows and {} output rows exceed the plan's {} and {}",
            step.rows.len(),
            step.outs.len(),
            plan.tokens,
            plan.outputs
        ));
    }
    // Without a cache, keys and values are those of the step's rows.
    let (slots, ctx) = if plan.packed { (1, plan.tokens) } else { (inputs.slots, inputs.ctx) };
    let copies = plan.calls.first().is_some_and(|call| call.op == Op::KvCopy);
    for (t, row) in step.rows.iter().enumerate() {
        if row.slot as usize >= slots || row.pos as usize >= ctx || row.first > row.pos {
            return fail(format!(
                "row {t}: slot {} position {} (first {}) lies outside {slots} slots of {ctx} positions",
                row.slot, row.pos, row.first
            ));
        }
        if copies && row.source_slot() >= slots {
            return fail(format!("row {t}: slot {} to copy from is not among {slots}", row.source_slot()));
        }
        if (row.token != TOKEN_FROM_TABLE || plan.packed) && row.token as usize >= inputs.vocab {
            return fail(format!(
                "row {t}: token {} is not in the vocabulary of {}",
                row.token, inputs.vocab
            ));
        }
    }
    // Several rows of one would be read by some while others write.
    let again = |(o, out): (usize, &Out)| step.outs[..o].iter().any(|other| other.slot == out.slot);
    if plan.calls.iter().rev().any(|call| call.op == Op::Sample) && step.outs.iter().enumerate().any(again) {
        return fail("two output rows sample the same slot".into());
    }
    match step.outs.iter().position(|o| o.row as usize >= step.rows.len() || o.label as usize >= inputs.vocab)
    {
        Some(o) => fail(format!("output row {o} names a row or a label that is not there")),
        None => Ok(()),
    }
}

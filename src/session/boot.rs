//! Booting: device, map, budget, allocation.

use super::options::Arithmetic;
use super::{DeviceChoice, Plans, Session, SessionError, SessionOptions, Slot};
use crate::exec::cpu::{self, CpuExecutor};
#[cfg(feature = "gpu")]
use crate::exec::gpu::{Gpu, GpuOptions};
use crate::exec::{DeviceInfo, ExecError, Executor};
use crate::model::{
    AdapterShape, BranchHead, BuildOptions, Head, Model, ModelError, PlanSpec, Train, build_fitting,
};
use crate::plan::{Layout, PlanId, Profile, Program, Step};

/// Largest context taken without being asked for.
const DEFAULT_CTX: usize = 4096;
/// Token rows of a prefill step on the CPU and on a GPU.
const CHUNK: (usize, usize) = (64, 256);
/// Time for measuring a GPU at a boot.
#[cfg(feature = "gpu")]
const TUNING: std::time::Duration = std::time::Duration::from_secs(3);
/// Batch sizes of decode plans.
const DECODE_SIZES: [usize; 4] = [1, 2, 4, 8];

/// An opened device, before anything is allocated on it.
pub(crate) enum Device {
    Cpu {
        threads: usize,
        why: String,
    },
    #[cfg(feature = "gpu")]
    Gpu(Box<Gpu>),
}

impl Device {
    pub(crate) fn open(options: &SessionOptions) -> Result<Self, SessionError> {
        let threads =
            options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let cpu = |why: String| Device::Cpu { threads, why };
        if options.double || options.device == DeviceChoice::Cpu {
            return Ok(cpu("asked for".into()));
        }
        match Self::open_gpu(options) {
            Err(SessionError::Exec(ExecError::NoDevice(why))) if options.device == DeviceChoice::Auto => {
                Ok(cpu(format!("no usable GPU: {why}")))
            }
            other => other,
        }
    }

    #[cfg(feature = "gpu")]
    fn open_gpu(options: &SessionOptions) -> Result<Self, SessionError> {
        let wanted = GpuOptions {
            choice: options.device.clone().into(),
            profile: options.profile.clone(),
            max_submit_ms: options.max_submit_ms,
            // Where nothing is kept it would be proven at each start.
            proof: options.notes.is_some(),
            notes: options.notes.clone(),
            autotune: (options.autotune && options.notes.is_some()).then_some(TUNING),
            fullness: options.fullness,
            failed: options.failed.clone(),
            ..GpuOptions::default()
        };
        Ok(Device::Gpu(Box::new(Gpu::open(&wanted)?)))
    }

    #[cfg(not(feature = "gpu"))]
    fn open_gpu(_: &SessionOptions) -> Result<Self, SessionError> {
        Err(ExecError::NoDevice("this build has no GPU support (cargo feature `gpu`)".into()).into())
    }

    pub(crate) fn profile(&self, double: bool) -> Profile {
        match self {
            Device::Cpu { .. } if double => cpu::profile::<f64>(),
            Device::Cpu { .. } => cpu::profile::<f32>(),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.profile(),
        }
    }

    /// The same, so that its last bits do not depend on what was measured when.
    pub(crate) fn untuned(self) -> Self {
        match self {
            Device::Cpu { .. } => self,
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Device::Gpu(Box::new(gpu.untuned())),
        }
    }

    /// The same, with why it was chosen.
    pub(crate) fn because(self, why: String) -> Self {
        match self {
            Device::Cpu { threads, .. } => Device::Cpu { threads, why },
            #[cfg(feature = "gpu")]
            Device::Gpu(mut gpu) => {
                gpu.set_why(why);
                Device::Gpu(gpu)
            }
        }
    }

    pub(crate) fn info(&self) -> DeviceInfo {
        match self {
            Device::Cpu { threads, why } => cpu::info(*threads, why.clone()),
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => gpu.info().clone(),
        }
    }

    pub(crate) fn boot(
        self,
        program: Program,
        layout: &Layout,
        model: &Model,
        arithmetic: Arithmetic,
    ) -> Result<Box<dyn Executor>, ExecError> {
        match self {
            Device::Cpu { threads, why } if arithmetic == Arithmetic::Double => {
                let mut executor = CpuExecutor::<f64>::boot(program, layout, model.weights(), threads)?;
                executor.set_why(why);
                Ok(Box::new(executor))
            }
            Device::Cpu { threads, why } => {
                let mut executor = CpuExecutor::<f32>::boot(program, layout, model.weights(), threads)?;
                executor.set_exact(arithmetic == Arithmetic::Exact);
                executor.set_why(why);
                Ok(Box::new(executor))
            }
            #[cfg(feature = "gpu")]
            Device::Gpu(gpu) => Ok(Box::new(gpu.boot(program, layout, model.weights())?)),
        }
    }
}

/// The device that these options choose, and why.
pub fn device_info(options: &SessionOptions) -> Result<DeviceInfo, SessionError> {
    Ok(Device::open(options)?.info())
}

/// What an executor of the chosen device needs of the map.
pub fn device_profile(options: &SessionOptions) -> Result<Profile, SessionError> {
    Ok(Device::open(options)?.profile(options.double))
}

/// The program and its map for a device profile, checked against the budget; nothing is allocated.
pub fn plan_memory(
    model: &Model,
    options: &SessionOptions,
    profile: Profile,
) -> Result<(Program, Layout), SessionError> {
    let chunk = chunk(options, profile);
    let (specs, _) = specs(options, chunk, most_outputs(model, profile));
    Ok(draw(model, options, &specs, profile)?)
}

/// Boots on a device that has been opened.
pub(crate) fn boot_on(
    device: Device,
    model: &Model,
    options: &SessionOptions,
) -> Result<Session, SessionError> {
    let profile = device.profile(options.double);
    let chunk = chunk(options, profile);
    let (specs, plans) = specs(options, chunk, most_outputs(model, profile));
    let (program, layout) = draw(model, options, &specs, profile)?;
    let executor = device.boot(program, &layout, model, options.arithmetic())?;
    let sizes = Sizes { slots: options.slots.max(1), ctx: context(model, options), chunk };
    Ok(Session::over(model, executor, layout, plans, sizes, options.adapters.clone()))
}

/// Sizes of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub slots: usize,
    pub ctx: usize,
    pub chunk: usize,
}

impl Session {
    /// A session on an executor that has been booted.
    pub(crate) fn over(
        model: &Model,
        executor: Box<dyn Executor>,
        layout: Layout,
        plans: Plans,
        sizes: Sizes,
        room: AdapterShape,
    ) -> Self {
        let most = |f: fn(&crate::plan::Plan) -> usize| executor.program().plans.iter().map(f).max();
        let (tokens, outputs) = (most(|p| p.tokens).unwrap_or(1), most(|p| p.outputs).unwrap_or(1));
        let slot = Slot { held: Vec::with_capacity(sizes.ctx), written: 0 };
        Session {
            model: model.clone(),
            layout,
            plans,
            slots: vec![slot; sizes.slots],
            ctx: sizes.ctx,
            chunk: sizes.chunk,
            room,
            active: Vec::new(),
            step: Step::with_capacity(tokens, outputs),
            words: Vec::new(),
            executor,
        }
    }
}

/// Token rows of a prefill step: the same for the map that is printed and the one that is booted.
pub(crate) fn chunk(options: &SessionOptions, profile: Profile) -> usize {
    options.chunk.unwrap_or(if profile.mapped_weights { CHUNK.0 } else { CHUNK.1 }).max(1)
}

/// Output rows of a step whose logits the device can bind.
fn most_outputs(model: &Model, profile: Profile) -> usize {
    let row = 4 * model.config().vocab as u64;
    if profile.mapped_weights { usize::MAX } else { (profile.max_binding / row).max(1) as usize }
}

pub(crate) fn context(model: &Model, options: &SessionOptions) -> usize {
    options.positions(model.config().train_ctx, DEFAULT_CTX)
}

fn draw(
    model: &Model,
    options: &SessionOptions,
    specs: &[PlanSpec],
    profile: Profile,
) -> Result<(Program, Layout), ModelError> {
    let build = BuildOptions {
        ctx: context(model, options),
        slots: options.slots.max(1),
        kv: options.kv,
        max_binding: (!profile.mapped_weights).then_some(profile.max_binding),
        fused: !profile.mapped_weights,
        // Dropout is for training.
        adapters: AdapterShape { dropout: 0.0, ..options.adapters.clone() },
        train: Train::Nothing,
        head: BranchHead::Tokens,
        branches: vec![],
    };
    let weights = model.weights();
    build_fitting(model.config(), &*weights, &build, specs, profile, options.budget)
}

/// The plans of the modes asked for, and where each will be found. `outputs`: most output rows of a step.
pub(crate) fn specs(options: &SessionOptions, chunk: usize, outputs: usize) -> (Vec<PlanSpec>, Plans) {
    let (mut specs, mut plans) = (Vec::new(), Plans::default());
    let mut add = |spec: PlanSpec| {
        specs.push(spec);
        PlanId(specs.len() as u32 - 1)
    };
    if options.modes.generate {
        for size in DECODE_SIZES {
            plans
                .decode
                .push((size, add(PlanSpec::new(&format!("decode x{size}"), size, size, Head::Sample))));
            if size >= options.slots {
                break;
            }
        }
        plans.prefill = Some(add(PlanSpec::new(&format!("prefill {chunk}"), chunk, 1, Head::Sample)));
    }
    if options.modes.logits {
        let rows = options.logit_rows.clamp(1, chunk.min(outputs));
        plans.logits = Some(add(PlanSpec::new("logits x1", 1, 1, Head::Logits)));
        plans.logits_prefill =
            Some(add(PlanSpec::new(&format!("logits {chunk}"), chunk, rows, Head::Logits)));
    }
    if options.modes.score {
        let rows = chunk.min(outputs);
        plans.score = Some(add(PlanSpec::new(&format!("score {rows}"), rows, rows, Head::LogProb)));
    }
    (specs, plans)
}

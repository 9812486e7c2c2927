//! The GPU executor: WGSL through wgpu, on Vulkan, Metal and DX12.
//!
//! `device` opens an adapter, `arena` makes every buffer of the memory map, `upload` streams the weights in, `kernels` and
//! `launch` turn calls into pipelines and dispatches, `bound` says which pieces of the map they see, `calls` binds them at
//! boot, `run` is the sole place that dispatches, `ring` carries step inputs and results, `governor` sizes submissions,
//! `faults` types what the driver reports, `probe` reads and writes tensors for the self-test, `proof` has every candidate pass that before it is used, `autotune` measures which is the fastest, `stopwatch` times ops, `bandwidth` measures the memory.

mod arena;
mod autotune;
mod bandwidth;
mod bound;
mod calls;
mod candidates;
mod device;
mod faults;
mod governor;
mod id;
mod kernels;
mod kind;
mod launch;
mod order;
mod preferences;
mod probe;
mod proof;
mod ring;
mod run;
mod selftest;
mod shrink;
mod stopwatch;
mod upload;

pub use autotune::{GoOn, Measured, Tuned, TuningError, TuningProgress};
pub use candidates::Tuning;
pub use device::{AdapterChoice, AdapterReport, GpuOptions, report};
pub use kernels::{Binding, BindingKind, EntryPoint, KERNELS, Kernel};
pub use run::GpuExecutor;
pub use selftest::{CaseReport, selftest};

use std::path::Path;

use device::Device;
use launch::Allowed;

use crate::exec::{DeviceInfo, ExecError, Weights};
use crate::plan::{Layout, Profile, Program};

/// Steps that may be in flight.
const RING: usize = 4;

/// An opened GPU, before anything is allocated on it. Cheap to clone.
#[derive(Clone)]
pub struct Gpu {
    device: Device,
    options: GpuOptions,
}

impl Gpu {
    /// Opens the adapter that the options choose.
    ///
    /// # Errors
    /// [`ExecError::NoDevice`] with a reason per adapter if none will do, [`ExecError::Device`] for an unknown profile.
    pub fn open(options: &GpuOptions) -> Result<Self, ExecError> {
        Ok(Self { device: Device::open(options)?, options: options.clone() })
    }

    /// The device.
    pub fn info(&self) -> &DeviceInfo {
        &self.device.info
    }

    /// Says why it was chosen.
    pub fn set_why(&mut self, why: String) {
        self.device.info.why = why;
    }

    /// What the executor needs of the memory map on this device.
    pub fn profile(&self) -> Profile {
        profile(&self.device.limits)
    }

    /// Allocates what the map says, uploads the weights, and makes every call ready.
    ///
    /// # Errors
    /// [`ExecError::Wrong`] if the device gets wrong what the program needs, [`ExecError::OutOfMemory`] naming the buffer,
    /// [`ExecError::Weight`] for a missing tensor, [`ExecError::Device`] for
    /// what the driver refuses.
    pub fn boot(self, program: Program, layout: &Layout, weights: Weights) -> Result<GpuExecutor, ExecError> {
        let allowed = if self.options.proof {
            let preferences = autotune::at_boot(&self, &program)?;
            proof::prove(&self, &program, preferences)?
        } else {
            self.allowed()
        };
        self.boot_with(program, layout, &weights, &allowed)
    }

    /// The ways to run ops that proof has found wrong on this device, each with what was wrong: as the notes have it.
    pub fn left_out(&self) -> Vec<(String, String)> {
        proof::left_out(self)
    }

    /// The same device, run as the shaders' headers have it: where the last bits must not depend on what was measured when.
    pub fn untuned(mut self) -> Self {
        self.options.autotune = None;
        self
    }

    /// Measures the ways to run the calls of a program, of which nothing is known yet, or all where all is known; `go_on` is asked
    /// before each kind of call. What was measured is kept at once, in the folder for notes.
    ///
    /// # Errors
    /// [`ExecError::DeviceLost`], and that the shaders have no way to run a call.
    pub fn measure(&self, program: &Program, go_on: &mut GoOn<'_>) -> Result<Measured, ExecError> {
        autotune::measure(self, program, go_on)
    }

    /// What was measured on this device.
    pub fn tuned(&self) -> Vec<Tuned> {
        autotune::known(self)
    }

    /// The text of a file of what was measured on this device, for others like it.
    ///
    /// # Errors
    /// [`TuningError::Nothing`].
    pub fn exported_tuning(&self) -> Result<String, TuningError> {
        autotune::export(self)
    }

    /// Takes what was measured on another device like this; how many kinds of calls it has.
    ///
    /// # Errors
    /// [`TuningError`] for what was measured with something else, or is damaged.
    pub fn import_tuning(&self, from: &Path) -> Result<usize, TuningError> {
        autotune::import(self, from)
    }

    /// What suits the device, nothing of which is known to be wrong.
    fn allowed(&self) -> Allowed {
        let tuning = self.options.tuning.unwrap_or(Tuning::of(self.device.info.kind));
        Allowed::new(tuning, self.device.features)
    }

    fn boot_with(
        self,
        program: Program,
        layout: &Layout,
        weights: &Weights,
        allowed: &Allowed,
    ) -> Result<GpuExecutor, ExecError> {
        GpuExecutor::boot(self.device, program, layout, weights, &self.options, allowed)
    }
}

/// What the executor needs of the memory map on a device with these limits.
fn profile(limits: &wgpu::Limits) -> Profile {
    let align = limits.min_storage_buffer_offset_alignment.max(limits.min_uniform_buffer_offset_alignment);
    let align = u64::from(align.max(64).next_power_of_two());
    Profile {
        align,
        mapped_weights: false,
        params_stride: align,
        // Bindings end at a multiple of 16, see `bound`; kernels address words with 32 bits.
        max_binding: limits.max_storage_buffer_binding_size.min(1 << 32) & !255,
        max_buffer: limits.max_buffer_size & !255,
        ring: RING,
        element_scale: 1,
    }
}

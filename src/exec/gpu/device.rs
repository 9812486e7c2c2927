//! Choosing and opening a device.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::candidates::Tuning;
use super::faults::{Faults, device_error, no_panic};
use crate::exec::{DeviceInfo, DeviceKind, ExecError, Failed, Fullness};

/// A wait is made of pieces so long: time in which the whole process was stopped counts as one of them.
const SLICE: Duration = Duration::from_secs(1);
/// How often, and after how long each, a device is asked whether it is lost, once it has refused something.
const MOMENTS: u32 = 20;
const MOMENT: Duration = Duration::from_millis(10);
/// How long booting and diagnostics wait for what they asked for.
const PATIENCE: Duration = Duration::from_secs(300);

/// Which adapter to open.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AdapterChoice {
    /// The best real GPU; never a software rasterizer.
    #[default]
    Auto,
    /// Any adapter, a software rasterizer last.
    Any,
    /// The best adapter whose name contains this, in any case.
    Named(String),
}

/// How to open a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Which adapter.
    pub choice: AdapterChoice,
    /// Limits and features: `full`, `webgpu-default` or `v3d`.
    pub profile: String,
    /// Target length of one submission, in milliseconds.
    pub max_submit_ms: u32,
    /// Have the driver check every index and bound every loop: slower, for tests.
    pub checked: bool,
    /// Which kernels; `None` for what suits the device.
    pub tuning: Option<Tuning>,
    /// Whether each candidate has to agree with its CPU twin on this device before it is used.
    pub proof: bool,
    /// Where what was proven is kept; without it, for as long as the process runs.
    pub notes: Option<PathBuf>,
    /// How full its memory may become.
    pub fullness: Fullness,
    /// Devices that are not to be taken.
    pub failed: Vec<Failed>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            choice: AdapterChoice::Auto,
            profile: "full".into(),
            max_submit_ms: 30,
            checked: false,
            tuning: None,
            proof: false,
            notes: None,
            fullness: Fullness::default(),
            failed: Vec::new(),
        }
    }
}

/// What a profile grants: `None` where the adapter decides.
struct Grant {
    name: &'static str,
    limits: Option<fn() -> wgpu::Limits>,
}

const PROFILES: [Grant; 3] = [
    Grant { name: "full", limits: None },
    Grant { name: "webgpu-default", limits: Some(wgpu::Limits::default) },
    Grant { name: "v3d", limits: Some(v3d) },
];

/// What Mesa's driver of a Raspberry Pi 5 offers, as far as compute is concerned.
fn v3d() -> wgpu::Limits {
    wgpu::Limits {
        max_texture_dimension_1d: 4096,
        max_texture_dimension_2d: 4096,
        max_texture_dimension_3d: 1024,
        max_storage_buffers_per_shader_stage: 8,
        max_storage_buffer_binding_size: 128 << 20,
        max_buffer_size: 256 << 20,
        max_uniform_buffer_binding_size: 16 << 10,
        max_compute_workgroup_storage_size: 16 << 10,
        max_compute_invocations_per_workgroup: 256,
        ..wgpu::Limits::default()
    }
}

/// A limit's name, where it is found, and the least that the kernels need.
type Need = (&'static str, fn(&wgpu::Limits) -> u64, u64);

/// What the baseline kernels need of a device.
const NEEDED: [Need; 5] = [
    ("invocations in a workgroup", |l| l.max_compute_invocations_per_workgroup as u64, 256),
    ("bytes of workgroup memory", |l| l.max_compute_workgroup_storage_size as u64, 16 << 10),
    ("storage buffers", |l| l.max_storage_buffers_per_shader_stage as u64, 8),
    ("bytes in a binding", |l| l.max_storage_buffer_binding_size, 16 << 20),
    ("workgroups in a dimension", |l| l.max_compute_workgroups_per_dimension as u64, 65_535),
];

/// An adapter and what would become of it, for `ember doctor`.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Name, kind, driver; `why` says whether `auto` would take it.
    pub info: DeviceInfo,
    /// Whether `auto` may take it.
    pub usable: bool,
    /// Limits that matter here.
    pub limits: Vec<(&'static str, u64)>,
    /// Features that kernels or measurements can use.
    pub features: Vec<&'static str>,
}

const FEATURES: [(&str, wgpu::Features); 4] = [
    ("f16", wgpu::Features::SHADER_F16),
    ("subgroup", wgpu::Features::SUBGROUP),
    ("timestamps", wgpu::Features::TIMESTAMP_QUERY),
    ("cooperative-matrix", wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX),
];

/// An opened device. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    /// The device.
    pub device: wgpu::Device,
    /// Its queue.
    pub queue: wgpu::Queue,
    /// For people.
    pub info: DeviceInfo,
    /// Limits it was opened with.
    pub limits: wgpu::Limits,
    /// Features it was opened with.
    pub features: wgpu::Features,
    /// Errors that arrive on their own.
    pub faults: Faults,
}

impl Device {
    /// Opens the adapter that the options choose.
    ///
    /// # Errors
    /// [`ExecError::NoDevice`] with a reason per adapter if none will do, [`ExecError::Device`] for an unknown profile.
    pub fn open(options: &GpuOptions) -> Result<Self, ExecError> {
        let grant = PROFILES.iter().find(|g| g.name == options.profile).ok_or_else(|| {
            let known: Vec<_> = PROFILES.iter().map(|g| g.name).collect();
            ExecError::Device(format!("unknown profile `{}`; known: {}", options.profile, known.join(", ")))
        })?;
        let mut adapters = adapters(options.fullness);
        adapters.sort_by_key(|a| rank(a.get_info().device_type));
        let mut reasons = Vec::new();
        for adapter in adapters {
            let info = adapter.get_info();
            let failed = options.failed.iter().find(|failed| failed.device == info.name);
            let failed = failed.map(|failed| format!("it failed: {}", failed.why));
            let opened = match failed.or_else(|| refusal(&info, &options.choice)) {
                Some(reason) => Err(reason),
                None => open(&adapter, grant, &options.choice),
            };
            match opened {
                Ok(device) => return Ok(device),
                Err(reason) => reasons.push(format!("{} ({}): {reason}", info.name, info.backend)),
            }
        }
        let none = "no adapter was found; is a Vulkan, Metal or DX12 driver installed?".to_owned();
        Err(ExecError::NoDevice(if reasons.is_empty() { none } else { reasons.join("; ") }))
    }
}

/// Every adapter of this machine, best first.
pub fn report() -> Vec<AdapterReport> {
    let mut adapters = adapters(Fullness::default());
    adapters.sort_by_key(|a| rank(a.get_info().device_type));
    let describe = |adapter: &wgpu::Adapter| {
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let reason = refusal(&info, &AdapterChoice::Auto).or_else(|| shortage(&limits));
        let usable = reason.is_none();
        AdapterReport {
            info: describe(&info, reason.unwrap_or_else(|| "usable".into())),
            usable,
            limits: NEEDED.iter().map(|(name, get, _)| (*name, get(&limits))).collect(),
            features: FEATURES
                .iter()
                .filter(|(_, f)| adapter.features().contains(*f))
                .map(|(n, _)| *n)
                .collect(),
        }
    };
    adapters.iter().map(describe).collect()
}

fn adapters(fullness: Fullness) -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let descriptor = wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: fullness.buffers,
            for_device_loss: fullness.work,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends))
}

fn rank(kind: wgpu::DeviceType) -> u32 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// Why a choice passes over an adapter.
fn refusal(info: &wgpu::AdapterInfo, choice: &AdapterChoice) -> Option<String> {
    match choice {
        AdapterChoice::Auto if info.device_type == wgpu::DeviceType::Cpu => {
            Some("a software rasterizer, slower than the CPU executor".into())
        }
        AdapterChoice::Named(part) if !info.name.to_lowercase().contains(&part.to_lowercase()) => {
            Some(format!("its name does not contain `{part}`"))
        }
        _ => None,
    }
}

fn shortage(limits: &wgpu::Limits) -> Option<String> {
    let short = NEEDED.iter().find(|(_, get, needed)| get(limits) < *needed)?;
    Some(format!("{} {}, {} are needed", short.1(limits), short.0, short.2))
}

fn open(adapter: &wgpu::Adapter, grant: &Grant, choice: &AdapterChoice) -> Result<Device, String> {
    let limits = grant.limits.map_or_else(|| adapter.limits(), |limits| limits());
    if let Some(reason) = shortage(&limits) {
        return Err(reason);
    }
    let info = adapter.get_info();
    let mut wanted = wgpu::Features::TIMESTAMP_QUERY;
    // Kernels that hand values round among eight lanes are for CPUs alone.
    if info.device_type == wgpu::DeviceType::Cpu && info.subgroup_min_size >= 8 {
        wanted |= wgpu::Features::SUBGROUP;
    }
    let features = if grant.limits.is_none() { adapter.features() & wanted } else { wgpu::Features::empty() };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("ember"),
        required_features: features,
        required_limits: limits.clone(),
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) =
        pollster::block_on(adapter.request_device(&descriptor)).map_err(|e| e.to_string())?;
    let faults = Faults::default();
    faults.watch(&device);
    let why = match choice {
        AdapterChoice::Auto => "the best GPU found".into(),
        AdapterChoice::Any => "asked for a GPU".into(),
        AdapterChoice::Named(part) => format!("its name contains `{part}`"),
    };
    let info = describe(&info, why);
    Ok(Device { device, queue, info, limits, features, faults })
}

fn describe(info: &wgpu::AdapterInfo, why: String) -> DeviceInfo {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
        wgpu::DeviceType::VirtualGpu => DeviceKind::Virtual,
        wgpu::DeviceType::Cpu => DeviceKind::Software,
        wgpu::DeviceType::Other => DeviceKind::Other,
    };
    let driver = format!("{} {} {}", info.backend, info.driver, info.driver_info);
    DeviceInfo { name: info.name.clone(), kind, driver: driver.trim_end().into(), why }
}

impl Device {
    /// Waits until the queue is empty.
    pub fn wait_idle(&self) -> Result<(), ExecError> {
        self.poll(None, PATIENCE)
    }

    /// Waits for a submission, or for all, but no longer than `patience`: a device that hangs is as good as lost.
    pub fn poll(
        &self,
        submission: Option<wgpu::SubmissionIndex>,
        patience: Duration,
    ) -> Result<(), ExecError> {
        let mut left = patience.as_secs().max(1);
        let waited = loop {
            match no_panic(|| self.wait_once(submission.clone())) {
                Err(lost) => break Err(lost),
                Ok(Ok(())) => break Ok(()),
                Ok(Err(wgpu::PollError::Timeout)) if left > 0 => left -= 1,
                Ok(Err(wgpu::PollError::Timeout)) => {
                    let hangs = format!("it has not answered for {} s", patience.as_secs());
                    break Err(ExecError::DeviceLost(hangs));
                }
                Ok(Err(other)) => break Err(self.explain(ExecError::Device(other.to_string()))),
            }
        };
        self.faults.check()?;
        waited
    }

    fn wait_once(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), wgpu::PollError> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: Some(SLICE) };
        self.device.poll(wait).map(drop)
    }

    /// The loss that is behind an error, if there is one: a lost device first shows by refusing things, and tells its loss when
    /// it is asked with nothing left to do, or a moment later.
    pub fn explain(&self, error: ExecError) -> ExecError {
        let moments = if matches!(error, ExecError::Device(_)) { MOMENTS } else { 1 };
        for moment in 0..moments {
            if moment > 0 {
                std::thread::sleep(MOMENT);
            }
            let _ = no_panic(|| self.wait_once(None));
            if let Err(lost @ ExecError::DeviceLost(_)) = self.faults.check() {
                return lost;
            }
        }
        error
    }

    /// Takes the device away, as a driver's reset or a pulled cable does.
    pub fn lose(&self) {
        self.device.destroy();
        let _ = no_panic(|| self.device.poll(wgpu::PollType::Poll));
    }

    /// Runs `work` and returns the first error that the driver raised meanwhile on this thread, or that the device is lost:
    /// then all calls succeed, and nothing is done.
    pub fn guarded<T>(&self, work: impl FnOnce() -> T) -> Result<T, ExecError> {
        let scope = |filter| self.device.push_error_scope(filter);
        let validation = scope(wgpu::ErrorFilter::Validation);
        let memory = scope(wgpu::ErrorFilter::OutOfMemory);
        let internal = scope(wgpu::ErrorFilter::Internal);
        let result = work();
        // Popped inside out; memory first, since it explains the others.
        let internal = pollster::block_on(internal.pop());
        let memory = pollster::block_on(memory.pop());
        let validation = pollster::block_on(validation.pop());
        if let Some(error) = memory.or(internal).or(validation) {
            return Err(self.explain(device_error(error)));
        }
        self.faults.check()?;
        Ok(result)
    }

    /// Maps a buffer that nothing else maps, and copies its words. For boot and diagnostics.
    pub fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, ExecError> {
        // A loss shows in each of its steps, as an error of that step.
        self.read_mapped(buffer, bytes).map_err(|e| self.explain(e))
    }

    fn read_mapped(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, ExecError> {
        let result = Arc::new(Mutex::new(None));
        let sink = Arc::clone(&result);
        buffer.map_async(wgpu::MapMode::Read, 0..bytes, move |r| {
            *sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(r);
        });
        self.wait_idle()?;
        let mapped = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        match mapped {
            Some(Ok(())) => {}
            Some(Err(e)) => return Err(ExecError::Device(e.to_string())),
            None => return Err(ExecError::Device("a buffer was not mapped in time".into())),
        }
        let view = buffer.get_mapped_range(0..bytes).map_err(|e| ExecError::Device(e.to_string()))?;
        let words = bytemuck::pod_collect_to_vec(&view[..]);
        drop(view);
        buffer.unmap();
        Ok(words)
    }
}

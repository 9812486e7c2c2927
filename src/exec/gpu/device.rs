//! Choosing and opening a device.

use std::sync::{Arc, Mutex, PoisonError};

use super::candidates::Tuning;
use super::error::device_error;
use crate::exec::{DeviceInfo, DeviceKind, ExecError};

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
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            choice: AdapterChoice::Auto,
            profile: "full".into(),
            max_submit_ms: 30,
            checked: false,
            tuning: None,
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

/// First fault that the driver reported outside of an error scope, and whether the device is gone.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Option<Fault>>>);

enum Fault {
    /// As text already: in a browser wgpu's own errors stay on the thread that made them.
    Error(ExecError),
    Lost(String),
}

impl Faults {
    fn set(&self, fault: Fault) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A loss explains all errors that came with it.
        if held.is_none() || matches!(fault, Fault::Lost(_)) {
            *held = Some(fault);
        }
    }

    /// The fault, if there was one. A lost device stays lost.
    pub fn check(&self) -> Result<(), ExecError> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match held.take() {
            None => Ok(()),
            Some(Fault::Error(e)) => Err(e),
            Some(Fault::Lost(why)) => {
                *held = Some(Fault::Lost(why.clone()));
                Err(ExecError::DeviceLost(why))
            }
        }
    }
}

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
        let mut adapters = adapters();
        adapters.sort_by_key(|a| rank(a.get_info().device_type));
        let mut reasons = Vec::new();
        for adapter in adapters {
            let info = adapter.get_info();
            let opened = match refusal(&info, &options.choice) {
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
    let mut adapters = adapters();
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

fn adapters() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let descriptor = wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty(),
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
    let on_error = faults.clone();
    device.on_uncaptured_error(Arc::new(move |e| on_error.set(Fault::Error(device_error(e)))));
    let on_loss = faults.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            on_loss.set(Fault::Lost(message));
        }
    });
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
        self.poll(None)
    }

    /// Waits for a submission, or for all.
    pub fn poll(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), ExecError> {
        let waited = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.faults.check()?;
        waited.map(|_| ()).map_err(|e| ExecError::Device(e.to_string()))
    }

    /// Maps a buffer that nothing else maps, and copies its words. For boot and diagnostics.
    pub fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Result<Vec<u32>, ExecError> {
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

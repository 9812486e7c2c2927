//! What a session is booted with.

use std::path::PathBuf;

use crate::exec::{Failed, Fullness};
use crate::model::{AdapterShape, KvType};

/// Which device to run on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The fastest: the CPU, and each real GPU, are measured once with each model, where there is a place to note it
    /// ([`SessionOptions::notes`]); else a real GPU if there is one. What fails to boot is passed over.
    #[default]
    Auto,
    /// Any GPU, a software rasterizer included.
    Gpu,
    /// The CPU executor.
    Cpu,
    /// The adapter whose name contains this.
    Named(String),
}

impl DeviceChoice {
    /// Reads `auto`, `gpu`, `cpu` (or `none`: no GPU) or a part of an adapter's name.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" | "none" => Self::Cpu,
            _ => Self::Named(text.to_owned()),
        }
    }
}

#[cfg(feature = "gpu")]
impl From<DeviceChoice> for crate::exec::gpu::AdapterChoice {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Auto => Self::Auto,
            // The caller opens no GPU for the CPU executor.
            DeviceChoice::Gpu | DeviceChoice::Cpu => Self::Any,
            DeviceChoice::Named(part) => Self::Named(part),
        }
    }
}

/// What a session will be asked for; each mode brings its plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Sampling on the device.
    pub generate: bool,
    /// Logits fetched by the host, for a sampler of one's own.
    pub logits: bool,
    /// Log-probabilities of given tokens.
    pub score: bool,
}

impl Modes {
    /// Only generation.
    pub const GENERATE: Modes = Modes { generate: true, logits: false, score: false };
    /// Only logits.
    pub const LOGITS: Modes = Modes { generate: false, logits: true, score: false };
    /// Only scoring.
    pub const SCORE: Modes = Modes { generate: false, logits: false, score: true };
}

/// What a session is booted with.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Which device.
    pub device: DeviceChoice,
    /// Limits and features the device is opened with: `full`, `webgpu-default` or `v3d`.
    pub profile: String,
    /// Positions of a slot; `None` for the model's training context, at most 4096, and 0 for all of it.
    pub ctx: Option<usize>,
    /// Sequences held at once.
    pub slots: usize,
    /// Storage of the KV cache.
    pub kv: KvType,
    /// CPU threads; `None` for as many as there are cores.
    pub threads: Option<usize>,
    /// Token rows of a prefill step; `None` for the device's default.
    pub chunk: Option<usize>,
    /// Output rows of a `logits` step.
    pub logit_rows: usize,
    /// Bytes that booting may allocate.
    pub budget: Option<u64>,
    /// Target length of one submission to the device, in milliseconds.
    pub max_submit_ms: u32,
    /// Folder for what is found out about devices: how fast each is, and that a GPU computes rightly, which is found out once.
    /// Without it neither is asked.
    pub notes: Option<PathBuf>,
    /// A GPU runs each op in the way that was measured to be the fastest on it; what is not known yet is measured when a session
    /// is booted, within some seconds each time (not on a software adapter). Where there are `notes` alone.
    pub autotune: bool,
    /// How full a GPU's memory may become.
    pub fullness: Fullness,
    /// GPUs that are not to be taken, because they failed.
    pub failed: Vec<Failed>,
    /// Compute in double precision (CPU only): the oracle of the oracle.
    pub double: bool,
    /// Products with encoded weights take activations as they are (CPU only). Otherwise those of generation round them to 16
    /// bits, a block at a time, which is faster and moves logits by a few parts in ten thousand; those of scores never do.
    pub exact: bool,
    /// Room for LoRA factors; see [`Session::set_adapters`](super::Session::set_adapters).
    pub adapters: AdapterShape,
    /// What will be asked for.
    pub modes: Modes,
}

/// What the CPU computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// f32, activations rounded where they meet encoded weights.
    Rounded,
    /// f32.
    Exact,
    /// f64.
    Double,
}

impl SessionOptions {
    pub(crate) fn arithmetic(&self) -> Arithmetic {
        match (self.double, self.exact) {
            (true, _) => Arithmetic::Double,
            (_, true) => Arithmetic::Exact,
            _ => Arithmetic::Rounded,
        }
    }

    /// Positions of a slot for a model trained on `trained`: those asked for, else the training context, at most `most`.
    pub fn positions(&self, trained: usize, most: usize) -> usize {
        match self.ctx {
            Some(0) => trained.max(1),
            Some(asked) => asked,
            None => trained.min(most).max(1),
        }
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            profile: "full".into(),
            ctx: None,
            slots: 1,
            kv: KvType::Block16,
            threads: None,
            chunk: None,
            logit_rows: 1,
            budget: None,
            max_submit_ms: 30,
            notes: None,
            autotune: true,
            fullness: Fullness::default(),
            failed: Vec::new(),
            double: false,
            exact: false,
            adapters: AdapterShape::default(),
            modes: Modes::GENERATE,
        }
    }
}

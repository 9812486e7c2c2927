//! Arguments shared by several commands; the names follow llama.cpp's habits.

use clap::{Args, ValueEnum};

use crate::cli::term::parse_bytes;
use crate::model::KvType;
use crate::session::{DeviceChoice, Modes, SessionOptions};
use crate::text::SamplerParams;

/// Which model.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Model: a name from `ember models`, or the path of a GGUF file [default: the catalogue's default]
    #[arg(short = 'm', long, value_name = "NAME|PATH", env = "EMBER_MODEL")]
    pub model: Option<String>,
    /// Never fetch a model that is not here
    #[arg(long)]
    pub offline: bool,
}

/// Which device, and how it is driven.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Where to run: auto, gpu, cpu, or part of an adapter's name (see `ember doctor`)
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "EMBER_DEVICE")]
    pub device: String,
    /// Threads of the CPU executor [default: one per core]
    #[arg(short = 't', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Ask the GPU for no more than these limits and features
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
    /// Longest GPU submission in milliseconds; long ones can trip a driver's watchdog
    #[arg(long, value_name = "MS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_submit_ms: u32,
}

/// Limits and features requested from a GPU.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Everything the adapter has
    #[default]
    Full,
    /// WebGPU's default limits and no features
    WebgpuDefault,
    /// What a Raspberry Pi 5 has
    V3d,
}

impl Profile {
    /// Its name among the executor's device profiles.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Full => "full",
            Profile::WebgpuDefault => "webgpu-default",
            Profile::V3d => "v3d",
        }
    }
}

/// The session options that these arguments stand for.
pub fn session_options(device: &DeviceArgs, context: &ContextArgs, modes: Modes) -> SessionOptions {
    SessionOptions {
        device: DeviceChoice::parse(&device.device),
        profile: device.profile.name().into(),
        ctx: context.ctx_size.map(|n| n as usize),
        kv: match context.kv {
            Kv::F16 => KvType::Block16,
            Kv::F32 => KvType::F32,
        },
        threads: device.threads.map(|n| n as usize),
        budget: context.budget,
        max_submit_ms: device.max_submit_ms,
        modes,
        ..SessionOptions::default()
    }
}

/// The context and its cache.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Context")]
pub struct ContextArgs {
    /// Context length in tokens [default: the model's, at most 4096]
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub ctx_size: Option<u32>,
    /// Precision of the KV cache
    #[arg(long, value_enum, default_value_t)]
    pub kv: Kv,
    /// Refuse to start if the memory map is larger (e.g. 512M, 1.5G)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub budget: Option<u64>,
}

/// Precision of the KV cache.
#[derive(ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kv {
    /// 16 bits a value: blocks of four with a shared exponent, more precise than half floats
    #[default]
    #[value(alias = "16")]
    F16,
    /// Single precision: twice the memory
    F32,
}

/// How the next token is chosen.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Temperature; 0 always takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = non_negative)]
    pub temp: f32,
    /// Keep the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 40)]
    pub top_k: u32,
    /// Keep the most likely tokens that make up P of the probability; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.95, value_parser = fraction)]
    pub top_p: f32,
    /// Drop tokens less likely than P times the most likely one; 0 keeps all
    #[arg(long, value_name = "P", default_value_t = 0.05, value_parser = fraction)]
    pub min_p: f32,
    /// Penalty on repeated tokens; 1 is none
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub repeat_penalty: f32,
    /// How many of the last tokens count as repeated
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=256))]
    pub repeat_last_n: u32,
    /// Random seed; the same seed gives the same text [default: a new one each time]
    #[arg(short = 's', long, value_name = "N")]
    pub seed: Option<u32>,
}

impl SamplingArgs {
    /// As the session takes them; without `--seed` the seed is new each time.
    pub fn params(&self) -> SamplerParams {
        SamplerParams {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed.unwrap_or_else(fresh_seed),
        }
    }
}

/// The standard library seeds its hashers from the system's randomness.
fn fresh_seed() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() as u32
}

/// How text becomes a prompt.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Prompt")]
pub struct PromptArgs {
    /// System prompt
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Chat template: a built-in name, or the path of a Jinja file [default: the model's own]
    #[arg(long, value_name = "NAME|PATH")]
    pub chat_template: Option<String>,
}

/// A finite number.
pub fn number(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    if value.is_finite() { Ok(value) } else { Err("must be finite".into()) }
}

fn non_negative(text: &str) -> Result<f32, String> {
    number(text).and_then(|v| if v >= 0.0 { Ok(v) } else { Err("must not be negative".into()) })
}

/// A number above 0.
pub fn positive(text: &str) -> Result<f32, String> {
    number(text).and_then(|v| if v > 0.0 { Ok(v) } else { Err("must be greater than 0".into()) })
}

fn fraction(text: &str) -> Result<f32, String> {
    number(text)
        .and_then(|v| if (0.0..=1.0).contains(&v) { Ok(v) } else { Err("must be between 0 and 1".into()) })
}

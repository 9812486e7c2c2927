//! Arguments shared by several commands; the names follow llama.cpp's habits.

use std::fmt::Display;

use clap::{Args, ValueEnum};

use crate::cli::store::{Home, HubModel, Sampling};
use crate::cli::term::{self, parse_bytes};
use crate::model::KvType;
use crate::session::{DeviceChoice, Modes, SessionOptions};
use crate::text::{MAX_DRY_LAST_N, SamplerParams};

/// Which model.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// Model: a name from `ember models`, or the path of a GGUF file [default: what `ember models use`
    /// chose, else the catalogue's default]
    #[arg(short = 'm', long, value_name = "NAME|PATH", env = "EMBER_MODEL")]
    pub model: Option<String>,
    /// -hf: a GGUF model of Hugging Face's hub; QUANT is its block format, or the nearest to Q4_K_M. Goes before -m
    #[arg(long, value_name = "OWNER/REPO[:QUANT]")]
    pub hf_repo: Option<HubModel>,
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
    /// Threads of the CPU executor; 0 or -1 for one per core [default: one per core]
    #[arg(short = 't', long, value_name = "N", value_parser = threads)]
    pub threads: Option<u32>,
    /// Layers on the GPU, as llama.cpp's users write it: 0 is the CPU, more is where --device says
    #[arg(long, hide = true, alias = "n-gpu-layers", value_name = "N", value_parser = layers)]
    pub gpu_layers: Option<u32>,
    /// Ask the GPU for no more than these limits and features
    #[arg(long, value_enum, default_value_t)]
    pub profile: Profile,
    /// Longest GPU submission in milliseconds; long ones can trip a driver's watchdog
    #[arg(long, value_name = "MS", default_value_t = SessionOptions::default().max_submit_ms, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_submit_ms: u32,
    /// Neither measure on a GPU which ways to run an op are the fastest, nor go by what was measured
    #[arg(long)]
    pub no_autotune: bool,
}

impl DeviceArgs {
    /// The device asked for.
    pub fn choice(&self) -> DeviceChoice {
        match self.gpu_layers {
            Some(0) => DeviceChoice::Cpu,
            // What is written for "all".
            Some(n) if n < 99 => {
                static SAID: std::sync::Once = std::sync::Once::new();
                SAID.call_once(|| {
                    term::warn("layers are not divided between CPU and GPU: all run where --device says");
                });
                DeviceChoice::parse(&self.device)
            }
            _ => DeviceChoice::parse(&self.device),
        }
    }
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

/// Where is kept what was found out about devices.
pub fn notes() -> Option<std::path::PathBuf> {
    Home::find().ok().map(|home| home.data.join("devices"))
}

/// The session options that these arguments stand for.
pub fn session_options(device: &DeviceArgs, context: &ContextArgs, modes: Modes) -> SessionOptions {
    SessionOptions {
        device: device.choice(),
        profile: device.profile.name().into(),
        ctx: context.ctx_size.map(|n| n as usize),
        kv: match context.kv {
            Kv::F16 => KvType::Block16,
            Kv::F32 => KvType::F32,
        },
        threads: device.threads.filter(|n| *n > 0).map(|n| n as usize),
        budget: context.budget,
        max_submit_ms: device.max_submit_ms,
        notes: notes(),
        autotune: !device.no_autotune,
        modes,
        ..SessionOptions::default()
    }
}

/// The context and its cache.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Context")]
pub struct ContextArgs {
    /// Context length in tokens; 0 for as many as the model was trained with [default: those, at most 4096]
    #[arg(short = 'c', long, value_name = "N")]
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

/// Help of an option that does not stand for its default by itself.
pub fn or(what: &str, default: impl Display) -> String {
    format!("{what} [default: {default}]")
}

/// Help of an option of the sampler that a model may have settings for.
fn or_models<T: Display>(what: &str, of: impl Fn(&SamplerParams) -> T) -> String {
    or(what, format!("the model's, else {}", of(&SamplerParams::default())))
}

/// A value of the library's as the default of an option that several commands share. The few bytes stay, as those of every
/// default do.
pub fn shown(value: impl Display) -> &'static str {
    Box::leak(value.to_string().into_boxed_str())
}

/// How the next token is chosen.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    #[arg(help = or_models("Temperature; 0 always takes the most likely token", |p| p.temperature), long, alias = "temperature", value_name = "T", value_parser = non_negative)]
    temp: Option<f32>,
    #[arg(help = or_models("Keep the K most likely tokens; 0 or less keeps all", |p| p.top_k), long, value_name = "K", value_parser = top_k)]
    top_k: Option<u32>,
    #[arg(help = or_models("Keep the most likely tokens that make up P of the probability; 1 keeps all", |p| p.top_p), long, value_name = "P", value_parser = fraction)]
    top_p: Option<f32>,
    #[arg(help = or_models("Drop tokens less likely than P times the most likely one; 0 keeps all", |p| p.min_p), long, value_name = "P", value_parser = fraction)]
    min_p: Option<f32>,
    #[arg(help = or_models("Penalty on repeated tokens; 1 is none", |p| p.repeat_penalty), long, value_name = "X", value_parser = positive)]
    repeat_penalty: Option<f32>,
    #[arg(help = or("How many of the last tokens count as repeated", SamplerParams::default().repeat_last_n), long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=256))]
    repeat_last_n: Option<u32>,
    #[arg(help = or_models("DRY: penalty on tokens that would go on with a repetition; 0 is none", |p| p.dry_multiplier), long, value_name = "X", value_parser = non_negative)]
    dry_multiplier: Option<f32>,
    #[arg(help = or("DRY: what the penalty grows by with each token of the repetition", SamplerParams::default().dry_base), long, value_name = "X", value_parser = at_least_one)]
    dry_base: Option<f32>,
    #[arg(help = or_models("DRY: length of a repetition that is free", |p| p.dry_allowed_length), long, value_name = "N")]
    dry_allowed_length: Option<u32>,
    #[arg(help = or(
        &format!("DRY: how many of the last tokens are searched; at most {MAX_DRY_LAST_N}, which -1 is, too; 0 is off"),
        SamplerParams::default().dry_last_n), long, value_name = "N", value_parser = last_n)]
    dry_penalty_last_n: Option<u32>,
    /// Random seed; the same seed gives the same text; -1 is a new one each time [default: -1]
    #[arg(short = 's', long, value_name = "N", value_parser = seed)]
    seed: Option<Seed>,
}

impl SamplingArgs {
    /// As the session takes them, `defaults` where nothing was asked for; without `--seed` the seed is new each time.
    pub fn params(&self, defaults: SamplerParams) -> SamplerParams {
        let asked = Sampling {
            temp: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            dry_penalty_last_n: self.dry_penalty_last_n,
        };
        let seed = self.seed.and_then(|seed| seed.0).unwrap_or_else(fresh_seed);
        SamplerParams { seed, ..asked.over(defaults) }
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
    #[arg(long, alias = "system-prompt", value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Chat template: a built-in name, or the path of a Jinja file [default: the model's own]
    #[arg(long, alias = "chat-template-file", value_name = "NAME|PATH")]
    pub chat_template: Option<String>,
}

/// A seed, or none: a new one each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub Option<u32>);

fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("`{text}` is not a whole number"))
}

fn seed(text: &str) -> Result<Seed, String> {
    match whole(text)? {
        -1 => Ok(Seed(None)),
        n => u32::try_from(n)
            .map(|n| Seed(Some(n)))
            .map_err(|_| format!("write 0 to {}, or -1 for a new seed each time", u32::MAX)),
    }
}

/// A number of tokens; -1 and -2 (llama.cpp: until the context is full) are no limit.
pub fn tokens(text: &str) -> Result<usize, String> {
    match whole(text)? {
        -2 | -1 => Ok(usize::MAX),
        n => usize::try_from(n).map_err(|_| "write a number of tokens, or -1 for no limit".into()),
    }
}

fn top_k(text: &str) -> Result<u32, String> {
    u32::try_from(whole(text)?.max(0)).map_err(|_| "there are not so many tokens; 0 keeps all".into())
}

/// Tokens to look back at; -1 is as many as there can be.
fn last_n(text: &str) -> Result<u32, String> {
    match whole(text)? {
        -1 => Ok(u32::MAX),
        n => u32::try_from(n).map_err(|_| "write a number of tokens, or -1 for as many as can be".into()),
    }
}

fn at_least_one(text: &str) -> Result<f32, String> {
    number(text).and_then(|v| if v >= 1.0 { Ok(v) } else { Err("must be 1 or above".into()) })
}

/// Threads; 0 is one per core.
pub fn threads(text: &str) -> Result<u32, String> {
    match whole(text)? {
        -1 => Ok(0),
        n @ 0..=1024 => Ok(n as u32),
        _ => Err("write 1 to 1024, or 0 for one per core".into()),
    }
}

fn layers(text: &str) -> Result<u32, String> {
    match text {
        "all" | "auto" | "-1" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| format!("`{text}` is not a number of layers; 0 is the CPU")),
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        device: DeviceArgs,
        #[command(flatten)]
        context: ContextArgs,
    }

    #[test]
    fn what_is_not_said_is_as_the_library_has_it() {
        let line = Line::try_parse_from(["run"]).unwrap();
        let (made, own) =
            (session_options(&line.device, &line.context, Modes::GENERATE), SessionOptions::default());
        assert_eq!((made.profile, made.kv, made.ctx), (own.profile, own.kv, own.ctx));
        assert_eq!((made.threads, made.budget), (own.threads, own.budget));
        assert_eq!((made.max_submit_ms, made.autotune), (own.max_submit_ms, own.autotune));
        let line = Line::try_parse_from(["run", "--no-autotune"]).unwrap();
        assert!(!session_options(&line.device, &line.context, Modes::GENERATE).autotune);
    }

    #[test]
    fn minus_one_is_none_of_it() {
        assert_eq!(tokens("-1"), Ok(usize::MAX));
        assert_eq!(tokens("-2"), Ok(usize::MAX));
        assert_eq!(tokens("0"), Ok(0));
        assert!(tokens("-3").is_err() && tokens("many").is_err());
        assert_eq!((top_k("-1"), top_k("0"), top_k("40")), (Ok(0), Ok(0), Ok(40)));
        assert!(top_k("99999999999").is_err());
        assert_eq!((seed("-1"), seed("4294967295")), (Ok(Seed(None)), Ok(Seed(Some(u32::MAX)))));
        assert!(seed("-2").is_err() && seed("4294967296").is_err());
        assert_eq!((threads("-1"), threads("0"), threads("8")), (Ok(0), Ok(0), Ok(8)));
        assert!(threads("1025").is_err() && threads("-2").is_err());
        assert_eq!((layers("all"), layers("99"), layers("0")), (Ok(u32::MAX), Ok(99), Ok(0)));
    }
}

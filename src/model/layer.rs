//! What one layer is: the architecture's data and the metadata, layer by layer, as llama.cpp reads them
//! (`llama_model::load_hparams`, `llama_hparams::set_swa_pattern`).

use crate::gguf::{Array, Value};
use crate::model::keys::Keys;
use crate::model::{Arch, GateKind, ModelError, Norms};

/// One decoder layer: a mixer, then a feed-forward, each added to the residual stream.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerConfig {
    /// What lets positions see each other.
    pub mixer: Mixer,
    /// What works on each position alone.
    pub feed_forward: FeedForward,
    /// Where the norms of both are.
    pub norms: Norms,
}

/// Kinds of mixers.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Attention with rope over grouped heads.
    Attention(Attention),
}

/// Kinds of feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedForward {
    /// down (act(gate x) * up x).
    Gated(GateKind),
}

/// Attention of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Positions that one sees, itself included; 0 = all before it.
    pub window: usize,
    /// Rope base frequency.
    pub rope_base: f32,
    /// Rope has the model's scaling.
    pub rope_scaled: bool,
    /// Factor of the scores.
    pub scale: f32,
    /// Scores are softcap * tanh(scores / softcap); 0 = off.
    pub softcap: f32,
    /// RMS norm of each head of q and k before rope.
    pub qk_norm: bool,
}

/// The layers of a model whose scores are divided by the root of `score_dim`.
pub(super) fn read(
    keys: &Keys<'_>,
    arch: &Arch,
    layers: usize,
    train_ctx: usize,
    score_dim: usize,
) -> Result<Vec<LayerConfig>, ModelError> {
    const WINDOW: &str = "attention.sliding_window";
    let window = keys.gguf.metadata.find::<u32>(&keys.key(WINDOW))?.map(|window| window as usize);
    let window = window.unwrap_or(arch.windows.default);
    let everywhere = rope_base(keys)?;
    let own = match arch.windows.rope_base {
        Some(base) => Some(base_of(keys, "rope.freq_base_swa", base)?),
        None => None,
    };
    let softcap = softcap(keys, "attn_logit_softcapping", arch.softcaps.0)?;
    let seen = windowed(keys, arch, layers)?;
    let layer = |windowed: bool| {
        let local = windowed && window > 0;
        let rope_base = own.filter(|_| local);
        let attention = Attention {
            // A window that the context never leaves is none.
            window: if local && window < train_ctx { window } else { 0 },
            rope_base: rope_base.unwrap_or(everywhere),
            rope_scaled: rope_base.is_none(),
            scale: 1.0 / (score_dim as f32).sqrt(),
            softcap,
            qk_norm: arch.qk_norm,
        };
        LayerConfig {
            mixer: Mixer::Attention(attention),
            feed_forward: FeedForward::Gated(arch.gate),
            norms: arch.norms,
        }
    };
    Ok(seen.into_iter().map(layer).collect())
}

/// Which layers have the window: the architecture's pattern, or another period or list where it has a key for that.
fn windowed(keys: &Keys<'_>, arch: &Arch, layers: usize) -> Result<Vec<bool>, ModelError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let every = |period: usize| (0..layers).map(|i| period == 0 || i % period < period - 1).collect();
    let Some(value) = keys.value(PATTERN).filter(|_| arch.keys.contains(&PATTERN)) else {
        return Ok(every(arch.windows.period));
    };
    let Value::Array(list) = value else { return Ok(every(keys.count(PATTERN)?)) };
    match &**list {
        Array::Bool(list) if list.len() == layers => Ok(list.to_vec()),
        _ => {
            let why = format!("should be a count, or an array of {layers} booleans, one for each layer");
            Err(keys.refuse(PATTERN, why))
        }
    }
}

/// The rope base of layers without one of their own.
pub(super) fn rope_base(keys: &Keys<'_>) -> Result<f32, ModelError> {
    base_of(keys, "rope.freq_base", 10_000.0)
}

fn base_of(keys: &Keys<'_>, key: &str, default: f32) -> Result<f32, ModelError> {
    let base = keys.float_or(key, default)?;
    if base >= 1.0 { Ok(base) } else { Err(keys.refuse(key, "must be 1 at least")) }
}

/// A cap, 0 for none.
pub(super) fn softcap(keys: &Keys<'_>, key: &str, default: f32) -> Result<f32, ModelError> {
    let cap = keys.float_or(key, default)?;
    if cap >= 0.0 { Ok(cap) } else { Err(keys.refuse(key, format!("{cap} is no cap; it must be positive"))) }
}

//! Rope's scaling, from the metadata as llama.cpp reads it (`llama_model::load_hparams`, `llama_context`).

use crate::model::ModelError;
use crate::model::keys::Keys;

/// How far positions may be stretched: 1 / factor must stay a fraction of a turn on the device.
const LEAST_FACTOR: f32 = 0.25;

/// A tensor that is in no file: what YaRN divides the frequencies by.
pub(super) const YARN_FACTORS: &str = "rope_yarn.weight";

/// How rope turns positions into angles, beyond its base frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeScaling {
    /// Position multiplier: 1 / scaling factor.
    pub scale: f32,
    /// Sines and cosines are multiplied with it.
    pub magnitude: f32,
    /// YaRN (Peng et al. 2023): which pairs keep their frequency.
    pub yarn: Option<Yarn>,
    /// LongRoPE: the context beyond which the long factors hold, else the short ones.
    pub long_beyond: Option<usize>,
}

/// Pairs below `low` keep their frequency, those above `high` are slowed by the scale, those between go from one to the
/// other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Pair where slowing begins.
    pub low: f32,
    /// Pair where it is complete.
    pub high: f32,
    /// How much of this is done: 1, or 0 for plain scaling.
    pub mix: f32,
}

impl RopeScaling {
    /// Reads and checks the keys `rope.scaling.*` and the older `rope.scale_linear`.
    pub(super) fn read(
        keys: &Keys<'_>,
        rope_dim: usize,
        base: f32,
        train_ctx: usize,
    ) -> Result<Self, ModelError> {
        const TYPE: &str = "rope.scaling.type";
        let kind = keys.gguf.metadata.find::<&str>(&keys.key(TYPE))?.unwrap_or("linear");
        if !matches!(kind, "none" | "linear" | "yarn" | "longrope") {
            return Err(
                keys.refuse(TYPE, format!("{kind:?} is not known; known: none, linear, yarn, longrope"))
            );
        }
        let factor = factor(keys)?;
        let scale = if kind == "none" { 1.0 } else { 1.0 / factor };
        let original = keys.count_or("rope.scaling.original_context_length", train_ctx)?;
        let mut magnitude = keys.float_or("rope.scaling.attn_factor", 1.0)?;
        let mix = keys.float_or("rope.scaling.yarn_ext_factor", -1.0)?;
        let mix = if mix < 0.0 { f32::from(u8::from(kind == "yarn")) } else { mix };
        if mix > 1.0 {
            return Err(
                keys.refuse("rope.scaling.yarn_ext_factor", format!("{mix} is out of range (0 to 1)"))
            );
        }
        let yarn = if mix > 0.0 {
            // What llama.cpp's two corrections come to.
            magnitude *= if scale < 1.0 { 1.0 + 0.1 * (1.0 / scale).ln() } else { 1.0 };
            Some(Yarn::read(keys, rope_dim, base, original, mix)?)
        } else {
            magnitude *= keys.float_or("rope.scaling.yarn_attn_factor", 1.0)?;
            None
        };
        if magnitude <= 0.0 || !magnitude.is_finite() {
            return Err(
                keys.refuse("rope.scaling.attn_factor", format!("comes to {magnitude}; it must be positive"))
            );
        }
        let long_beyond = (kind == "longrope").then_some(original);
        Ok(Self { scale, magnitude, yarn, long_beyond })
    }

    /// The tensor that divides the frequencies, for a context of `ctx` positions.
    pub(super) fn factors(&self, ctx: usize) -> &'static str {
        match self.long_beyond {
            _ if self.yarn.is_some() => YARN_FACTORS,
            Some(limit) if ctx > limit => "rope_factors_long.weight",
            Some(_) => "rope_factors_short.weight",
            None => "rope_freqs.weight",
        }
    }
}

/// The factor under its key or its older one; 0 is none, as in llama.cpp.
fn factor(keys: &Keys<'_>) -> Result<f32, ModelError> {
    let key = ["rope.scaling.factor", "rope.scale_linear"].into_iter().find(|key| keys.value(key).is_some());
    let Some(key) = key else { return Ok(1.0) };
    match keys.float_or(key, 1.0)? {
        0.0 => Ok(1.0),
        factor if factor >= LEAST_FACTOR => Ok(factor),
        factor => {
            Err(keys.refuse(key, format!("{factor} is out of range; it must be {LEAST_FACTOR} at least")))
        }
    }
}

impl Yarn {
    /// `ggml_rope_yarn_corr_dims` of ggml.
    fn read(
        keys: &Keys<'_>,
        rope_dim: usize,
        base: f32,
        original: usize,
        mix: f32,
    ) -> Result<Self, ModelError> {
        let turns = |key: &str, default| {
            let beta = keys.float_or(key, default)?;
            if beta > 0.0 { Ok(beta) } else { Err(keys.refuse(key, format!("{beta} is not positive"))) }
        };
        let dim = |turns: f32| {
            let rounds = original as f32 / (turns * 2.0 * std::f32::consts::PI);
            rope_dim as f32 * rounds.ln() / (2.0 * base.ln())
        };
        let low = dim(turns("rope.scaling.yarn_beta_fast", 32.0)?).floor().max(0.0);
        let high = dim(turns("rope.scaling.yarn_beta_slow", 1.0)?).ceil().min(rope_dim as f32 - 1.0);
        Ok(Self { low, high, mix })
    }

    /// What the frequency of each pair is divided by: `rope_yarn` of ggml.
    pub(super) fn factors(&self, rope_dim: usize, scale: f32) -> Vec<f32> {
        let ramp = |i: usize| ((i as f32 - self.low) / (self.high - self.low).max(0.001)).clamp(0.0, 1.0);
        let kept = |i: usize| (1.0 - ramp(i)) * self.mix;
        (0..rope_dim / 2).map(|i| 1.0 / (scale * (1.0 - kept(i)) + kept(i))).collect()
    }
}

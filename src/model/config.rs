//! A model's numbers, read from the metadata and checked.

use crate::gguf::Gguf;
use crate::model::{Arch, ModelError};
use crate::ops::attention::MAX_HEAD_DIM;

/// Largest count believed of layers, heads and the like; real models stay far below.
const MAX_COUNT: u32 = 1 << 20;

/// Numbers of a decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub arch: &'static Arch,
    /// `general.name`, for people.
    pub name: String,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Width of the feed-forward.
    pub ff: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Leading dimensions of a head that rope rotates.
    pub rope_dim: usize,
    /// Rope base frequency.
    pub rope_base: f32,
    /// Rope position multiplier: 1 / linear scaling factor.
    pub rope_scale: f32,
    /// Epsilon of the norms.
    pub rms_eps: f32,
    /// Vocabulary size.
    pub vocab: usize,
    /// Context the model was trained for.
    pub train_ctx: usize,
    /// Sliding attention window; 0 = none.
    pub window: usize,
}

impl ModelConfig {
    /// Reads and checks the metadata.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let found = gguf.metadata.get::<&str>("general.architecture")?;
        let arch = Arch::by_name(found).ok_or_else(|| ModelError::Architecture { found: found.into() })?;
        let keys = Keys { gguf, prefix: arch.name };
        let width = keys.count("embedding_length")?;
        let heads = keys.count("attention.head_count")?;
        let head_dim = keys.count_or("attention.key_length", width / heads)?;
        let config = Self {
            arch,
            name: gguf.metadata.find::<&str>("general.name")?.unwrap_or(arch.name).to_owned(),
            layers: keys.count("block_count")?,
            width,
            ff: keys.count("feed_forward_length")?,
            heads,
            kv_heads: keys.count_or("attention.head_count_kv", heads)?,
            head_dim,
            rope_dim: keys.count_or("rope.dimension_count", head_dim)?,
            rope_base: keys.float_or("rope.freq_base", 10_000.0)?,
            rope_scale: keys.rope_scale()?,
            rms_eps: keys.float_or("attention.layer_norm_rms_epsilon", 1e-5)?,
            vocab: gguf.require_tensor("token_embd.weight")?.dim(1) as usize,
            train_ctx: keys.count_or("context_length", 2048)?,
            window: 0,
        };
        config.check(&keys)?;
        Ok(config)
    }

    /// Elements of one key or value row.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    fn check(&self, keys: &Keys<'_>) -> Result<(), ModelError> {
        let require = |ok: bool, key: &str, why: &str| if ok { Ok(()) } else { Err(keys.refuse(key, why)) };
        require(
            self.heads.is_multiple_of(self.kv_heads),
            "attention.head_count_kv",
            "must divide the head count",
        )?;
        require(
            self.head_dim <= MAX_HEAD_DIM && self.head_dim.is_multiple_of(4),
            "attention.key_length",
            "head widths up to 256 that are multiples of 4 are supported",
        )?;
        require(
            self.rope_dim <= self.head_dim && self.rope_dim.is_multiple_of(2),
            "rope.dimension_count",
            "must be even and at most the head width",
        )?;
        require(self.vocab > 0 && self.vocab < u32::MAX as usize, "vocab_size", "the embedding has no rows")?;
        require(
            self.rms_eps >= 0.0 && self.rms_eps < 1.0,
            "attention.layer_norm_rms_epsilon",
            "must lie in 0..1",
        )?;
        require(self.rope_base > 0.0 && self.rope_base.is_finite(), "rope.freq_base", "must be positive")?;
        let value_dim = keys.count_or("attention.value_length", self.head_dim)?;
        require(value_dim == self.head_dim, "attention.value_length", "must equal the key length")
    }
}

/// Typed reading of an architecture's own keys.
struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn refuse(&self, key: &str, why: &str) -> ModelError {
        ModelError::Setting { key: self.key(key), why: why.into() }
    }

    fn count(&self, key: &str) -> Result<usize, ModelError> {
        self.checked(key, self.gguf.metadata.get::<u32>(&self.key(key))?)
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        match self.gguf.metadata.find::<u32>(&self.key(key))? {
            Some(value) => self.checked(key, value),
            None => Ok(default),
        }
    }

    fn checked(&self, key: &str, value: u32) -> Result<usize, ModelError> {
        let limit = if key == "context_length" { u32::MAX } else { MAX_COUNT };
        if value == 0 || value > limit {
            return Err(self.refuse(key, &format!("{value} is out of range")));
        }
        Ok(value as usize)
    }

    fn float_or(&self, key: &str, default: f32) -> Result<f32, ModelError> {
        Ok(self.gguf.metadata.find::<f32>(&self.key(key))?.unwrap_or(default))
    }

    /// Linear scaling divides positions; Llama 3 scaling comes as a tensor; others are refused.
    fn rope_scale(&self) -> Result<f32, ModelError> {
        let kind = self.gguf.metadata.find::<&str>(&self.key("rope.scaling.type"))?.unwrap_or("none");
        let factor = self.float_or("rope.scaling.factor", 1.0)?;
        match kind {
            "none" => Ok(1.0),
            "linear" if factor > 0.0 => Ok(1.0 / factor),
            _ => {
                Err(self
                    .refuse("rope.scaling.type", &format!("`{kind}` with factor {factor} is not supported")))
            }
        }
    }
}

//! A model's numbers, read from the metadata and checked.

use crate::gguf::Gguf;
use crate::model::keys::Keys;
use crate::model::layer::{self, LayerConfig, Mixer};
use crate::model::rope::RopeScaling;
use crate::model::{Arch, Attention, ModelError, RopePairs};
use crate::ops::attention::MAX_HEAD_DIM;
use crate::ops::params;
use crate::text::Breakers;

/// Numbers of a decoder-only transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The architecture.
    pub arch: &'static Arch,
    /// `general.name`, for people.
    pub name: String,
    /// The decoder layers.
    pub layers: Vec<LayerConfig>,
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
    /// Rope's scaling, in the layers that have it.
    pub rope: RopeScaling,
    /// Epsilon of the norms.
    pub rms_eps: f32,
    /// Logits are softcap * tanh(logits / softcap); 0 = off.
    pub softcap: f32,
    /// Vocabulary size.
    pub vocab: usize,
    /// Context the model was trained for.
    pub train_ctx: usize,
    /// Tokens that end the repetitions that the sampler's DRY looks for.
    pub breakers: Breakers,
}

impl ModelConfig {
    /// Reads and checks the metadata.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ModelError> {
        let found = gguf.metadata.get::<&str>("general.architecture")?;
        let arch = Arch::by_name(found).ok_or_else(|| ModelError::Architecture { found: found.into() })?;
        let keys = Keys { gguf, prefix: arch.name };
        refuse_experts(&keys)?;
        let layers = keys.count("block_count")?;
        if layers > gguf.tensors.len() {
            let why = format!("{layers} layers are more than the file has tensors ({})", gguf.tensors.len());
            return Err(keys.refuse("block_count", why));
        }
        let each = |key: &str| keys.per_layer(key, layers)?.map_or_else(|| keys.count(key), Ok);
        let width = keys.count("embedding_length")?;
        let heads = each("attention.head_count")?;
        let head_dim = keys.count_or("attention.key_length", width / heads)?;
        let rope_dim = keys.count_or("rope.dimension_count", head_dim)?;
        let train_ctx = keys.count_or("context_length", 2048)?;
        let score_dim = if arch.wide_scores == Some(layers) { width / heads } else { head_dim };
        let rope_base = layer::rope_base(&keys)?;
        let config = Self {
            arch,
            name: gguf.metadata.find::<&str>("general.name")?.unwrap_or(arch.name).to_owned(),
            layers: layer::read(&keys, arch, layers, train_ctx, score_dim)?,
            width,
            ff: each("feed_forward_length")?,
            heads,
            kv_heads: keys.per_layer("attention.head_count_kv", layers)?.unwrap_or(heads),
            head_dim,
            rope_dim,
            rope: RopeScaling::read(&keys, rope_dim, rope_base, train_ctx)?,
            rms_eps: keys.float_or("attention.layer_norm_rms_epsilon", 1e-5)?,
            softcap: layer::softcap(&keys, "final_logit_softcapping", arch.softcaps.1)?,
            vocab: gguf.require_tensor("token_embd.weight")?.dim(1) as usize,
            train_ctx,
            breakers: Breakers::from_metadata(&gguf.metadata),
        };
        config.check(&keys)?;
        Ok(config)
    }

    /// Elements of one key or value row.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The windows of the layers' attention, in positions; 0 for a layer without.
    pub fn windows(&self) -> impl Iterator<Item = usize> + '_ {
        self.layers.iter().map(|layer| {
            let Mixer::Attention(attention) = &layer.mixer;
            attention.window
        })
    }

    /// Positions that the whole model looks back over at most; 0 where a layer sees all.
    pub fn window(&self) -> usize {
        let all = self.windows().all(|window| window > 0);
        self.windows().max().filter(|_| all).unwrap_or(0)
    }

    /// Parameters of rope in a layer, over `heads` heads; `factors`: a tensor divides the frequencies.
    pub(super) fn rope_params(
        &self,
        attention: &Attention,
        heads: usize,
        factors: bool,
    ) -> params::rope::Params {
        let neox = self.arch.rope == RopePairs::Halves;
        // YaRN's factors have the scale in them.
        let scale = if self.rope.yarn.is_some() { 1.0 } else { self.rope.scale };
        let (scale, magnitude) =
            if attention.rope_scaled { (scale, self.rope.magnitude) } else { (1.0, 1.0) };
        let base = attention.rope_base;
        let p = params::rope::Params::new(heads, self.head_dim, self.rope_dim, neox, base, scale, factors);
        params::rope::Params { magnitude, ..p }
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
        let value_dim = keys.count_or("attention.value_length", self.head_dim)?;
        require(value_dim == self.head_dim, "attention.value_length", "must equal the key length")
    }
}

/// Refuses a mixture of experts, whose other keys and tensors would only confuse.
fn refuse_experts(keys: &Keys<'_>) -> Result<(), ModelError> {
    const KEY: &str = "expert_count";
    match keys.gguf.metadata.find::<u32>(&keys.key(KEY))? {
        Some(count) if count > 0 => {
            Err(keys.refuse(KEY, format!("{count}: mixture of experts is not supported")))
        }
        _ => Ok(()),
    }
}

//! A model that does not exist yet: its shape, as metadata and a directory of tensors.

use crate::gguf::{Metadata, TensorSpec};
use crate::model::{Arch, ModelError, Norms};
use crate::quant::Format;

/// Shape of a model that is to be made from nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Blueprint {
    /// The architecture.
    pub arch: &'static Arch,
    /// Its name, for people.
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
    /// Vocabulary size.
    pub vocab: usize,
    /// Context it is trained for.
    pub ctx: usize,
    /// Rope base frequency.
    pub rope_base: f32,
    /// Epsilon of the norms.
    pub rms_eps: f32,
    /// Embedding and output are one matrix.
    pub tied: bool,
}

/// How a tensor's values begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Normally distributed around zero.
    Normal {
        /// Standard deviation.
        deviation: f32,
    },
    /// All the same.
    Constant(f32),
}

/// A tensor of a blueprint.
#[derive(Clone, Debug, PartialEq)]
pub struct BlueprintTensor {
    /// Name, inputs and outputs, as f32.
    pub spec: TensorSpec,
    /// How it begins.
    pub start: Start,
}

/// Standard deviation of weights that begin (Radford et al. 2019).
const DEVIATION: f32 = 0.02;

impl Blueprint {
    /// Number of weights.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|t| t.spec.dims.iter().product::<u64>()).sum()
    }

    /// Refuses shapes that no model can have.
    ///
    /// # Errors
    /// [`ModelError::Setting`] naming the number.
    pub fn check(&self) -> Result<(), ModelError> {
        let require = |ok: bool, key: &str, why: &str| match ok {
            true => Ok(()),
            false => Err(ModelError::Setting { key: key.into(), why: why.into() }),
        };
        let sizes = [
            ("layers", self.layers),
            ("width", self.width),
            ("ff", self.ff),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab", self.vocab),
            ("ctx", self.ctx),
        ];
        for (key, size) in sizes {
            require((1..=1 << 20).contains(&size), key, "must lie between 1 and 1,048,576")?;
        }
        require(self.heads.is_multiple_of(self.kv_heads), "kv_heads", "must divide the heads")?;
        require(self.head_dim.is_multiple_of(4), "head_dim", "must be a multiple of 4")?;
        require(self.width.is_multiple_of(4), "width", "must be a multiple of 4")?;
        require(self.ff.is_multiple_of(4), "ff", "must be a multiple of 4")?;
        require((1.0..1e9).contains(&self.rope_base), "rope_base", "must lie between 1 and a billion")?;
        require(self.rms_eps > 0.0 && self.rms_eps < 1.0, "rms_eps", "must lie between 0 and 1")
    }

    /// The architecture's keys; those of the tokenizer are the caller's.
    pub fn put(&self, metadata: &mut Metadata) {
        let arch = self.arch.name;
        metadata.set("general.architecture", arch);
        metadata.set("general.name", self.name.as_str());
        metadata.set("general.type", "model");
        metadata.set("general.file_type", 0u32);
        let mut count = |key: &str, value: usize| metadata.set(format!("{arch}.{key}"), value as u32);
        count("block_count", self.layers);
        count("context_length", self.ctx);
        count("embedding_length", self.width);
        count("feed_forward_length", self.ff);
        count("attention.head_count", self.heads);
        count("attention.head_count_kv", self.kv_heads);
        count("attention.key_length", self.head_dim);
        count("attention.value_length", self.head_dim);
        count("rope.dimension_count", self.head_dim);
        count("vocab_size", self.vocab);
        metadata.set(format!("{arch}.rope.freq_base"), self.rope_base);
        metadata.set(format!("{arch}.attention.layer_norm_rms_epsilon"), self.rms_eps);
    }

    /// All tensors, in the order of the file. Matrices begin small, those that add to the residual stream smaller with
    /// every layer (Radford et al. 2019); norms at one, biases at zero.
    pub fn tensors(&self) -> Vec<BlueprintTensor> {
        let normal = Start::Normal { deviation: DEVIATION };
        let residual = Start::Normal { deviation: DEVIATION / (2.0 * self.layers as f32).sqrt() };
        let one = Start::Constant(1.0);
        let after = self.arch.norms == Norms::Around;
        let mut all = vec![tensor("token_embd.weight", &[self.width, self.vocab], normal)];
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        for layer in 0..self.layers {
            let mut add = |part: &str, dims: &[usize], start: Start| {
                all.push(tensor(&format!("blk.{layer}.{part}"), dims, start));
            };
            add("attn_norm.weight", &[self.width], one);
            for (part, rows) in [("attn_q", q), ("attn_k", kv), ("attn_v", kv)] {
                add(&format!("{part}.weight"), &[self.width, rows], normal);
                if self.arch.qkv_bias {
                    add(&format!("{part}.bias"), &[rows], Start::Constant(0.0));
                }
            }
            if self.arch.qk_norm {
                add("attn_q_norm.weight", &[self.head_dim], one);
                add("attn_k_norm.weight", &[self.head_dim], one);
            }
            add("attn_output.weight", &[q, self.width], residual);
            if after {
                add("post_attention_norm.weight", &[self.width], one);
            }
            add("ffn_norm.weight", &[self.width], one);
            add("ffn_gate.weight", &[self.width, self.ff], normal);
            add("ffn_up.weight", &[self.width, self.ff], normal);
            add("ffn_down.weight", &[self.ff, self.width], residual);
            if after {
                add("post_ffw_norm.weight", &[self.width], one);
            }
        }
        all.push(tensor("output_norm.weight", &[self.width], one));
        if !self.tied {
            all.push(tensor("output.weight", &[self.width, self.vocab], normal));
        }
        all
    }
}

fn tensor(name: &str, dims: &[usize], start: Start) -> BlueprintTensor {
    let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
    BlueprintTensor { spec: TensorSpec::new(name, dims, Format::F32.ggml_id()), start }
}

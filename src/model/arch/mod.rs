//! Architectures as data: one file each, named as the GGUF key `general.architecture` names it.

mod llama;
mod qwen2;
mod qwen3;

/// How rope pairs the dimensions of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RopePairs {
    /// (2i, 2i + 1): llama.cpp permutes the q and k rows of this architecture so.
    Adjacent,
    /// (i, i + d/2), as in GPT-NeoX.
    Halves,
}

/// Activation of the gated feed-forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GateKind {
    /// x * sigmoid(x).
    Silu,
    /// Tanh form of gelu.
    GeluTanh,
}

/// What distinguishes one decoder-only architecture from another, where the metadata does not say it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Arch {
    /// `general.architecture`, also the prefix of its metadata keys.
    pub name: &'static str,
    /// Rope pairing.
    pub rope: RopePairs,
    /// Per-head RMS norm of q and k before rope.
    pub qk_norm: bool,
    /// Biases of q, k and v are required (elsewhere they are used where the file has them).
    pub qkv_bias: bool,
    /// Feed-forward activation.
    pub gate: GateKind,
    /// Added to every norm weight (1 where the checkpoint stores w - 1).
    pub norm_offset: f32,
    /// Embeddings are multiplied by sqrt(width).
    pub scale_embedding: bool,
}

impl Arch {
    /// The plain decoder that the others are described against.
    const PLAIN: Arch = Arch {
        name: "",
        rope: RopePairs::Halves,
        qk_norm: false,
        qkv_bias: false,
        gate: GateKind::Silu,
        norm_offset: 0.0,
        scale_embedding: false,
    };

    /// Looks an architecture up by its GGUF name.
    pub fn by_name(name: &str) -> Option<&'static Arch> {
        ARCHITECTURES.iter().copied().find(|a| a.name == name)
    }
}

/// All known architectures.
pub static ARCHITECTURES: &[&Arch] = &[&llama::ARCH, &qwen2::ARCH, &qwen3::ARCH];

//! Architectures as data: one file each, named as the GGUF key `general.architecture` names it.

mod gemma2;
mod gemma3;
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

/// Where the norms of a layer's two parts are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Norms {
    /// Before each part: x + f(norm(x)).
    Before,
    /// Before and after: x + norm(f(norm(x))).
    Around,
}

/// Which layers see no more than a window, where the file has one.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Windows {
    /// The window in positions, where the file names none; 0 for none.
    pub default: usize,
    /// Of every so many layers the last sees everything; 0: all layers have the window.
    pub period: usize,
    /// Rope base of the layers with a window, whose rope is never scaled; `None`: they have the rope of all.
    pub rope_base: Option<f32>,
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
    /// Where the norms are.
    pub norms: Norms,
    /// Embeddings are multiplied by sqrt(width).
    pub scale_embedding: bool,
    /// Which layers have the window.
    pub windows: Windows,
    /// Caps of attention's scores and of the logits where the file names none; 0 for none.
    pub softcaps: (f32, f32),
    /// A model of so many layers divides its scores by sqrt(width / heads) instead of sqrt(head width): no key says so.
    pub wide_scores: Option<usize>,
    /// Metadata keys that mean something here, and elsewhere something that is not supported.
    pub keys: &'static [&'static str],
}

impl Arch {
    /// The plain decoder that the others are described against.
    const PLAIN: Arch = Arch {
        name: "",
        rope: RopePairs::Halves,
        qk_norm: false,
        qkv_bias: false,
        gate: GateKind::Silu,
        norms: Norms::Before,
        scale_embedding: false,
        windows: Windows { default: 0, period: 0, rope_base: None },
        softcaps: (0.0, 0.0),
        wide_scores: None,
        keys: &[],
    };

    /// Looks an architecture up by its GGUF name.
    pub fn by_name(name: &str) -> Option<&'static Arch> {
        ARCHITECTURES.iter().copied().find(|a| a.name == name)
    }
}

/// All known architectures.
pub static ARCHITECTURES: &[&Arch] =
    &[&llama::ARCH, &qwen2::ARCH, &qwen3::ARCH, &gemma2::ARCH, &gemma3::ARCH];

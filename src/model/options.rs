//! What a program is built for: its modes, its sizes, its adapters, and the branches that share its base.

use std::collections::BTreeMap;

/// Storage of the KV cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum KvType {
    /// 16 bits a value, blocks of four with a shared exponent: half the memory, the default.
    #[default]
    Block16,
    /// Single precision.
    F32,
}

/// What a plan makes of its output rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Head {
    /// Sample a token; the host fetches (token, bits of its log-probability, status, 0).
    Sample,
    /// The host fetches the logits, (outputs, vocab).
    Logits,
    /// The host fetches the log-probability of each output row's label.
    LogProb,
}

/// One mode of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSpec {
    /// Name, unique.
    pub name: String,
    /// Capacity in token rows.
    pub tokens: usize,
    /// Capacity in output rows.
    pub outputs: usize,
    /// What becomes of them.
    pub head: Head,
}

impl PlanSpec {
    /// A plan specification.
    pub fn new(name: &str, tokens: usize, outputs: usize, head: Head) -> Self {
        Self { name: name.into(), tokens, outputs, head }
    }
}

/// One adapted matrix.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PairShape {
    /// Rank of the factors.
    pub rank: usize,
    /// Factor of their product.
    pub scale: f32,
}

/// Which matrices have LoRA factors added to them.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdapterShape {
    /// By matrix, without `.weight`: `blk.3.attn_q`.
    pub pairs: BTreeMap<String, PairShape>,
    /// Rate of dropout before the first factor; only for training.
    pub dropout: f32,
}

/// What a branch makes of a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BranchHead {
    /// Log-probabilities of tokens, by the model's own output matrix.
    #[default]
    Tokens,
    /// One number, by a vector of its own behind the output norm: a reward or a value.
    Scalar,
    /// How far the first branch is from this one, in nats: the sum over the vocabulary of p (log p - log q), p being this
    /// one's softmax. A branch of this kind is not trained.
    Divergence,
}

/// One of several models that share a base: they differ in their adapters and heads, and there is no second base.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Branch {
    /// For people and for names of tensors: `value`.
    pub name: String,
    /// Its adapters; none for the base as it is.
    pub adapters: AdapterShape,
    /// What it makes of a position.
    pub head: BranchHead,
    /// Adapters and head are trained.
    pub trained: bool,
}

impl Branch {
    /// What its tensors' names begin with: nothing for the first.
    pub fn prefix(&self, index: usize) -> String {
        if index == 0 { String::new() } else { format!("{}/", self.name) }
    }
}

/// Name of a branch's scalar head, (1, width), without the branch's prefix.
pub const SCALAR_HEAD: &str = "score.weight";

/// Whether the plans train, and what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Train {
    /// Nothing is trained.
    #[default]
    Nothing,
    /// The adapters.
    Adapters,
    /// The model's own weights, as f32.
    All,
}

/// Sizes chosen by the user and limits of the device.
#[derive(Clone, PartialEq, Debug)]
pub struct BuildOptions {
    /// Positions per slot of the KV cache.
    pub ctx: usize,
    /// Sequences held at once.
    pub slots: usize,
    /// Storage of the KV cache.
    pub kv: KvType,
    /// Largest binding of the device in bytes; larger matrices are cut by rows.
    pub max_binding: Option<u64>,
    /// Steps that follow each other are put together where there are ops for that (`model::fuse`): for devices, where each
    /// costs a launch. Not for training, whose gradients need what is between them.
    pub fused: bool,
    /// LoRA factors.
    pub adapters: AdapterShape,
    /// What is trained.
    pub train: Train,
    /// What the model makes of a position in training.
    pub head: BranchHead,
    /// Further models on the same base, for training.
    pub branches: Vec<Branch>,
}

impl BuildOptions {
    /// All branches, the model itself first.
    pub fn all_branches(&self) -> Vec<Branch> {
        let trained = self.train != Train::Nothing;
        let first =
            Branch { name: "policy".into(), adapters: self.adapters.clone(), head: self.head, trained };
        std::iter::once(first).chain(self.branches.iter().cloned()).collect()
    }
}

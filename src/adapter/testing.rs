//! Small adapters and models for the tests of this layer and those that use it.

use std::path::PathBuf;

use super::{Adapter, LoraPair};
use crate::gguf::GgufFile;

/// Reproducible numbers in -1..1 that no two places share.
pub(crate) fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as i32 as f32 / 2_147_483_648.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A pair of reproducible numbers.
pub(crate) fn pair(target: &str, rank: usize, inputs: usize, outputs: usize, seed: u32) -> LoraPair {
    let (a, b) = (numbers(rank * inputs, 2 * seed + 1), numbers(outputs * rank, 2 * seed + 2));
    LoraPair { target: target.into(), rank, inputs, outputs, a, b }
}

/// An adapter of (target, rank, inputs, outputs).
pub(crate) fn adapter(pairs: &[(&str, usize, usize, usize)]) -> Adapter {
    let pairs = pairs.iter().zip(0u32..).map(|(&(t, r, i, o), seed)| pair(t, r, i, o, seed)).collect();
    Adapter { name: "test".into(), architecture: "llama".into(), alpha: 16.0, pairs, ..Adapter::default() }
}

/// A golden model of the architecture tests.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch").join(format!("{name}.gguf"))
}

/// The same, opened.
pub(crate) fn golden(name: &str) -> GgufFile {
    GgufFile::open(golden_path(name)).unwrap()
}

/// An adapter of all projections of a golden model.
pub(crate) fn adapter_for(base: &GgufFile, rank: usize) -> Adapter {
    let kinds = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    let gguf = base.header();
    let blocks = gguf.tensors.iter().filter(|t| t.name.ends_with("attn_q.weight")).count();
    let names = (0..blocks).flat_map(|block| kinds.map(|kind| format!("blk.{block}.{kind}")));
    let pairs = names.zip(1u32..).map(|(name, seed)| {
        let tensor = gguf.tensor(&format!("{name}.weight")).unwrap();
        pair(&name, rank, tensor.dim(0) as usize, tensor.dim(1) as usize, seed)
    });
    let architecture = gguf.metadata.get::<&str>("general.architecture").unwrap().into();
    Adapter { name: "test".into(), architecture, alpha: 16.0, pairs: pairs.collect(), ..Adapter::default() }
}

//! Qwen 3 (Yang et al. 2025): norms on q and k, a head width of its own, no biases.

use super::Arch;

/// RMS norm on every q and k head.
pub static ARCH: Arch = Arch { name: "qwen3", qk_norm: true, ..Arch::PLAIN };

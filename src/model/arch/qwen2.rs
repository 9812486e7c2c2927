//! Qwen 2 and 2.5 (Yang et al. 2024): biases on q, k and v.

use super::Arch;

/// Biases on q, k and v.
pub static ARCH: Arch = Arch { name: "qwen2", qkv_bias: true, ..Arch::PLAIN };

//! Llama 2 and 3, Mistral, SmolLM2, TinyLlama (Touvron et al. 2023).

use super::{Arch, RopePairs};

/// Rows of q and k come permuted from the converter, hence adjacent pairs.
pub static ARCH: Arch = Arch { name: "llama", rope: RopePairs::Adjacent, ..Arch::PLAIN };

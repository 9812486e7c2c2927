//! Gemma 3 (Gemma Team 2025): norms around and on q and k; of six layers five have a window and a rope base of their own.
//! Converters store the norms' weights with the one that is added to them.

use super::{Arch, GateKind, Norms, Windows};

/// The 27B divides scores by sqrt(width / heads).
pub static ARCH: Arch = Arch {
    name: "gemma3",
    qk_norm: true,
    gate: GateKind::GeluTanh,
    norms: Norms::Around,
    scale_embedding: true,
    windows: Windows { default: 0, period: 6, rope_base: Some(10_000.0) },
    wide_scores: Some(62),
    keys: &["attention.sliding_window_pattern", "final_logit_softcapping", "rope.freq_base_swa"],
    ..Arch::PLAIN
};

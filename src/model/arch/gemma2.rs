//! Gemma 2 (Gemma Team 2024): norms around, capped scores and logits, a window in every second layer. Converters store the
//! norms' weights with the one that is added to them.

use super::{Arch, GateKind, Norms, Windows};

/// The 27B divides scores by sqrt(width / heads).
pub static ARCH: Arch = Arch {
    name: "gemma2",
    gate: GateKind::GeluTanh,
    norms: Norms::Around,
    scale_embedding: true,
    windows: Windows { default: 4096, period: 2, rope_base: None },
    softcaps: (50.0, 30.0),
    wide_scores: Some(46),
    keys: &["attn_logit_softcapping", "final_logit_softcapping"],
    ..Arch::PLAIN
};

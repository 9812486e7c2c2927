//! How much a call computes: what submissions are sized by.

use super::{Active, active};
use crate::ops::{Op, params};
use crate::plan::{OpCall, Plan};

/// Multiply-adds of a call per active row, roughly. An op whose own loop runs over the rows of the step counts as many
/// as the plan holds.
pub fn work(call: &OpCall, plan: &Plan) -> u64 {
    macro_rules! p {
        ($module:ident) => {
            call.params.get::<params::$module::Params>()
        };
    }
    let product = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let rows = |count: u32| Active::of(count).capacity(plan) as u64;
    let sum = match call.op {
        Op::Linear => product(p!(linear).cols, p!(linear).out),
        Op::LinearBack => product(p!(linear_back).cols, p!(linear_back).out),
        Op::Project => product(p!(project).cols, p!(project).out),
        Op::ProjectBack => product(p!(project_back).cols, p!(project_back).out),
        Op::Outer => product(p!(outer).cols, p!(outer).out) * rows(p!(outer).count),
        Op::Attention => product(p!(attention).heads, p!(attention).head_dim) * u64::from(p!(attention).ctx),
        // Scores alone, three products of their size, four: with all rows before or after.
        Op::AttentionStats => product(p!(attention_stats).heads, p!(attention_stats).head_dim) * rows(0),
        Op::AttentionDq => 3 * product(p!(attention_dq).heads, p!(attention_dq).head_dim) * rows(0),
        Op::AttentionDkv => 4 * product(p!(attention_dkv).heads, p!(attention_dkv).head_dim) * rows(0),
        Op::Sample => 64 * u64::from(p!(sample).vocab),
        Op::LogProb => 4 * u64::from(p!(logprob).vocab),
        Op::Divergence => 12 * u64::from(p!(divergence).vocab),
        Op::LogProbBack => 4 * u64::from(p!(logprob_back).vocab),
        Op::BiasBack => u64::from(p!(bias_back).width) * rows(p!(bias_back).count),
        Op::LookupBack => 2 * u64::from(p!(lookup_back).width) * rows(0),
        Op::GatherBack => 2 * u64::from(p!(gather_back).width) * rows(1),
        Op::RmsNormDw => {
            let p = p!(rms_norm_dw);
            // Each 64 columns find the scales of all rows anew.
            product(p.width, p.groups) * (2 + u64::from(p.width) / 64) * rows(p.count)
        }
        Op::Fill => u64::from(p!(fill).width),
        Op::SumSq => u64::from(p!(sumsq).width),
        Op::AdamW => 8 * u64::from(p!(adamw).width),
        _ => 0,
    };
    debug_assert!(active(call) != Active::One || sum > 0, "{} counts its own rows", call.label);
    sum.max(4096)
}

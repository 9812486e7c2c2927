//! How much arithmetic a plan is: what its time can be measured against.

use crate::ops::{Op, params};
use crate::plan::{PlanId, Program};

/// What a plan is run over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Token rows.
    pub rows: u64,
    /// Output rows.
    pub outputs: u64,
    /// Pairs of a position and one that it sees, itself included, of all sequences.
    pub pairs: u64,
}

impl Load {
    /// Sequences of so many rows each, one output row for each token row.
    pub fn of(sequences: u64, rows: u64) -> Self {
        Self { rows: sequences * rows, outputs: sequences * rows, pairs: sequences * rows * (rows + 1) / 2 }
    }
}

/// Multiply-adds of a plan's matrix products and attention; a sliding window is counted as if it saw everything.
pub fn multiply_adds(program: &Program, plan: PlanId, load: Load) -> u64 {
    let Some(plan) = program.plans.get(plan.index()) else { return 0 };
    let rows = |count: u32| if count == 0 { load.rows } else { load.outputs };
    let matrix = |cols: u32, out: u32, count: u32| u64::from(cols) * u64::from(out) * rows(count);
    // Of each pair and head: products of vectors as long as a head.
    let attention =
        |heads: u32, dim: u32, products: u64| load.pairs * u64::from(heads) * u64::from(dim) * products;
    let calls = plan.calls.iter().map(|call| match call.op {
        Op::Linear => {
            let p: params::linear::Params = call.params.get();
            matrix(p.cols, p.out, p.count)
        }
        Op::LinearBack => {
            let p: params::linear_back::Params = call.params.get();
            matrix(p.cols, p.out, p.count)
        }
        Op::Project => {
            let p: params::project::Params = call.params.get();
            matrix(p.cols, p.out, p.count)
        }
        Op::ProjectBack => {
            let p: params::project_back::Params = call.params.get();
            matrix(p.cols, p.out, p.count)
        }
        Op::Outer => {
            let p: params::outer::Params = call.params.get();
            matrix(p.cols, p.out, p.count)
        }
        Op::Attention => {
            let p: params::attention::Params = call.params.get();
            attention(p.heads, p.head_dim, 2)
        }
        Op::AttentionStats => {
            let p: params::attention_stats::Params = call.params.get();
            attention(p.heads, p.head_dim, 1)
        }
        Op::AttentionDq => {
            let p: params::attention_stats::Params = call.params.get();
            attention(p.heads, p.head_dim, 3)
        }
        Op::AttentionDkv => {
            let p: params::attention_stats::Params = call.params.get();
            attention(p.heads, p.head_dim, 4)
        }
        _ => 0,
    });
    calls.sum()
}

#[cfg(test)]
mod tests {
    use super::Load;

    #[test]
    fn pairs_are_those_of_a_causal_mask() {
        assert_eq!(Load::of(2, 3), Load { rows: 6, outputs: 6, pairs: 12 });
    }
}

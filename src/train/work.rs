//! How much arithmetic a plan is: what its time can be measured against.

pub use crate::plan::Load;
use crate::plan::{PlanId, Program};

/// Multiply-adds of a plan's matrix products and attention; a sliding window is counted as if it saw everything.
pub fn multiply_adds(program: &Program, plan: PlanId, load: Load) -> u64 {
    let Some(plan) = program.plans.get(plan.index()) else { return 0 };
    plan.calls.iter().map(|call| (call.def().cost)(call, &load).products).sum()
}

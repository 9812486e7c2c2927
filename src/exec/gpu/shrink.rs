//! Programs of which most is left out.

use std::collections::HashSet;

use crate::plan::{DType, PlanId, Program, Role, Rows, TensorId};

/// Leaves out all plans' calls but those of `plans`, and of all tensors but `used` and the step inputs a word.
pub fn shrink(program: &mut Program, plans: &HashSet<PlanId>, used: &HashSet<TensorId>) {
    let inputs = program.inputs;
    let inputs = inputs.iter().flat_map(|i| [Some(i.rows), Some(i.outs), i.scalars]).flatten();
    let inputs: HashSet<TensorId> = inputs.collect();
    for (at, plan) in program.plans.iter_mut().enumerate() {
        if !plans.contains(&PlanId(at as u32)) {
            plan.calls.clear();
        }
    }
    for (at, tensor) in program.tensors.iter_mut().enumerate() {
        let id = TensorId(at as u32);
        if !used.contains(&id) && !inputs.contains(&id) {
            (tensor.role, tensor.dtype) = (Role::State, DType::U32);
            (tensor.rows, tensor.width) = (Rows::fixed(1), 1);
        }
    }
}

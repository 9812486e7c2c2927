//! The residual, a step of its own: after a norm there is no other way. Behind a plain product the plan is rewritten, so that
//! the product adds it and there is no further step.

use crate::model::ModelError;
use crate::model::build::{Builder, Rows};
use crate::ops::{Op, params};
use crate::plan::{OpCall, Plan, TensorId, Words};

/// Appends x + stream, both (T, width): the residual stream behind a part of a layer.
pub(super) fn add(
    b: &mut Builder<'_>,
    label: &str,
    x: TensorId,
    stream: TensorId,
) -> Result<TensorId, ModelError> {
    if fuse(&mut b.program.plans[b.plan.index()], x, stream) {
        return Ok(x);
    }
    let width = b.config.width;
    let y = b.activation(label, Rows::Tokens, width)?;
    let args = vec![Some(b.rows), Some(x), Some(stream), Some(y)];
    b.call(Op::Add, label, args, params::add::Params::new(width, true))?;
    Ok(y)
}

/// Lets the products that make `x` add the stream, if products are all that it has been used for: `x` is then the sum.
fn fuse(plan: &mut Plan, x: TensorId, stream: TensorId) -> bool {
    let uses = || plan.calls.iter().filter(|call| call.args.contains(&Some(x)));
    if uses().count() == 0 || !uses().all(|call| makes(call, x)) {
        return false;
    }
    plan.calls.iter_mut().filter(|call| call.args.contains(&Some(x))).for_each(|call| with(call, stream));
    true
}

/// Whether a call is a product that writes `x`, and reads it at most to add to it.
fn makes(call: &OpCall, x: TensorId) -> bool {
    let written = call.args.iter().position(|arg| *arg == Some(x)) == Some(call.args.len() - 1);
    matches!(Op::of(call), Op::Linear | Op::Project) && written
}

/// Gives a product its residual; one that adds to what another has made needs none.
fn with(call: &mut OpCall, stream: TensorId) {
    match Op::of(call) {
        Op::Linear => {
            let p: params::linear::Params = call.params.get();
            call.params = Words::new(params::linear::Params { has_residual: 1, ..p });
        }
        _ => {
            let p: params::project::Params = call.params.get();
            if p.accumulate != 0 {
                return;
            }
            call.params = Words::new(params::project::Params { has_residual: 1, ..p });
        }
    }
    let residual = call.def().args.iter().position(|arg| arg.name == "residual");
    residual.into_iter().for_each(|at| call.args[at] = Some(stream));
}

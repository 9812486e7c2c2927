//! The residual, a step of its own: after a norm there is no other way. Behind a plain product the plan is rewritten, so that
//! the product adds it and there is no further step.

use crate::model::ModelError;
use crate::model::builder::Builder;
use crate::ops::{self, params};
use crate::plan::{OpCall, Over, Plan, TensorId};

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
    let y = b.activation(label, Over::Tokens, width)?;
    b.call(
        label,
        ops::Add {
            rows: b.rows,
            x,
            residual: Some(stream),
            y,
            params: params::add::Params::new(width, true),
        },
    )?;
    Ok(y)
}

/// Lets the products that make `x` add the stream, if products are all that it has been used for: `x` is then the sum.
fn fuse(plan: &mut Plan, x: TensorId, stream: TensorId) -> bool {
    let uses = || plan.calls.iter().filter(|call| call.args().contains(&Some(x)));
    if uses().count() == 0 || !uses().all(|call| makes(call, x)) {
        return false;
    }
    plan.calls.iter_mut().filter(|call| call.args().contains(&Some(x))).for_each(|call| with(call, stream));
    true
}

/// Whether a call is a product that writes `x`, and reads it at most to add to it.
pub(super) fn makes(call: &OpCall, x: TensorId) -> bool {
    let reads = |args: &[Option<TensorId>]| args.contains(&Some(x));
    match (call.get::<ops::Linear>(), call.get::<ops::Project>()) {
        (Some(linear), _) => linear.y == x && !reads(&[Some(linear.x), linear.residual]),
        (_, Some(project)) => project.y == x && !reads(&[Some(project.x), project.residual]),
        _ => false,
    }
}

/// Gives a product its residual; one that adds to what another has made needs none.
fn with(call: &mut OpCall, stream: TensorId) {
    let label = std::mem::take(&mut call.label);
    if let Some(mut linear) = call.get::<ops::Linear>() {
        linear.residual = Some(stream);
        linear.params.has_residual = 1;
        *call = OpCall::new(label, linear);
    } else if let Some(mut project) = call.get::<ops::Project>().filter(|p| p.params.accumulate == 0) {
        project.residual = Some(stream);
        project.params.has_residual = 1;
        *call = OpCall::new(label, project);
    } else {
        call.label = label;
    }
}

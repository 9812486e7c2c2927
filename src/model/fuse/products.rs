//! Products of the same activations with rows of one matrix that follow each other: one product.

use std::ops::Range;

use super::Rewrite;
use crate::model::ModelError;
use crate::ops;
use crate::plan::{DType, Role, Rows, Tensor, TensorId};

/// Joins each product with those that go on where it ends.
pub(super) fn joined(r: &mut Rewrite<'_>) -> Result<(), ModelError> {
    let mut at = 0;
    while at < r.calls().len() {
        let next =
            r.all::<ops::Linear>().into_iter().find(|(later, _)| *later > at && follows(r, at, *later));
        match (r.get::<ops::Linear>(at), next) {
            (Some(first), Some((later, second))) => fuse(r, (at, first), (later, second))?,
            _ => at += 1,
        }
    }
    Ok(())
}

/// Whether the product at `later` may be computed with the one at `at`, and follows it in the matrix and in the output.
fn follows(r: &Rewrite<'_>, at: usize, later: usize) -> bool {
    let (Some(a), Some(b)) = (r.get::<ops::Linear>(at), r.get::<ops::Linear>(later)) else { return false };
    let (p, q) = (a.params, b.params);
    (a.x, a.w, a.y, a.residual, a.bias.is_some()) == (b.x, b.w, b.y, None, b.bias.is_some())
        && (p.w_first + p.out, p.y_offset + p.out, p.count) == (q.w_first, q.y_offset, q.count)
        && (at + 1..later).all(|between| apart(r, between, &b))
}

/// Whether a call neither changes what a product reads nor touches what it writes.
fn apart(r: &Rewrite<'_>, at: usize, product: &ops::Linear) -> bool {
    let call = &r.calls()[at];
    let changes = |id: TensorId| {
        call.def().args.iter().zip(call.args()).any(|(arg, of)| arg.written() && *of == Some(id))
    };
    let columns = |first: u32, out: u32| first as usize..(first + out) as usize;
    let own = columns(product.params.y_offset, product.params.out);
    let elsewhere = |y: Range<usize>| y.end <= own.start || own.end <= y.start;
    let beside = match (r.get::<ops::Linear>(at), r.get::<ops::Project>(at)) {
        (Some(other), _) => {
            other.x != product.y && elsewhere(columns(other.params.y_offset, other.params.out))
        }
        (_, Some(other)) => {
            other.x != product.y && elsewhere(columns(other.params.y_offset, other.params.out))
        }
        _ => false,
    };
    !changes(product.x) && (beside || !call.args().contains(&Some(product.y)))
}

fn fuse(
    r: &mut Rewrite<'_>,
    (at, mut first): (usize, ops::Linear),
    (later, second): (usize, ops::Linear),
) -> Result<(), ModelError> {
    let label = label(r, at, later);
    if let (Some(a), Some(b)) = (first.bias, second.bias) {
        first.bias = Some(bias(r, a, b)?);
    }
    first.params.out += second.params.out;
    r.put(at, &label, first)?;
    r.drop(&[later]);
    Ok(())
}

/// What the product of both is called: `blk.3.attn_q+k`.
pub(super) fn label(r: &Rewrite<'_>, at: usize, later: usize) -> String {
    let part = r.calls()[later].label.rsplit(['.', '_']).next().unwrap_or_default();
    format!("{}+{part}", r.calls()[at].label)
}

/// Two biases as one, which all plans share.
pub(super) fn bias(r: &mut Rewrite<'_>, a: TensorId, b: TensorId) -> Result<TensorId, ModelError> {
    let (first, second) = (r.program.get(a), r.program.get(b));
    let width = first.width + second.width;
    let sources: Vec<(String, usize)> = [first, second]
        .iter()
        .flat_map(|one| one.parts())
        .map(|part| (part.source.to_owned(), part.rows))
        .collect();
    let name = format!("{}+{}", first.name, second.name);
    let role = Role::Joined { sources };
    if let Some(there) = r.program.tensors.iter().position(|tensor| tensor.name == name) {
        return Ok(TensorId(there as u32));
    }
    let (dtype, rows) = (DType::F32, Rows::fixed(1));
    Ok(r.program.tensor(Tensor { name, dtype, rows, width, role, plan: None })?)
}

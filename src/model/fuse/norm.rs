//! A norm, with what follows it: the products that read it, or the residual.

use super::{Rewrite, products};
use crate::model::ModelError;
use crate::ops::{self, params};
use crate::plan::{DType, Over};
use crate::quant::Format;

/// A norm, and the step that adds what it makes to the residual stream.
pub(super) fn norm_and_residual(r: &mut Rewrite<'_>) -> Result<(), ModelError> {
    let mut at = 0;
    while at < r.calls().len() {
        if let Some(add) = r.get::<ops::Add>(at)
            && let Some((before, mut norm)) = r.maker::<ops::RmsNorm>(add.x)
            && (norm.params.groups, norm.params.count) == (1, Over::Tokens.count())
            && add.residual.is_some()
            && r.seen_by(add.x, &[before, at])
        {
            let label = r.calls()[at].label.clone();
            (norm.residual, norm.params.has_residual, norm.y) = (add.residual, 1, add.y);
            r.put(at, &label, norm)?;
            r.drop(&[before]);
        } else {
            at += 1;
        }
    }
    Ok(())
}

/// Norms of token rows of which only plain products are made; two of different formats that go on in each other's output are one.
pub(super) fn norm_and_products(r: &mut Rewrite<'_>) -> Result<(), ModelError> {
    let mut at = 0;
    while at < r.calls().len() {
        match r.get::<ops::RmsNorm>(at).and_then(|norm| Some((norm, readers(r, at, &norm)?))) {
            Some((norm, readers)) => fuse(r, at, &norm, &readers)?,
            None => at += 1,
        }
    }
    Ok(())
}

/// The products that read a norm, if there is nothing else that does and each can take it along.
fn readers(r: &Rewrite<'_>, at: usize, norm: &ops::RmsNorm) -> Option<Vec<(usize, ops::Linear)>> {
    let uses: Vec<usize> = r.uses(norm.y).into_iter().filter(|place| *place != at).collect();
    let read = uses.iter().map(|place| Some((*place, r.get::<ops::Linear>(*place)?)));
    let readers: Vec<(usize, ops::Linear)> = read.collect::<Option<_>>()?;
    let whole =
        norm.residual.is_none() && norm.params.groups == 1 && norm.params.count == Over::Tokens.count();
    let plain = |(place, product): &(usize, ops::Linear)| {
        *place > at && product.x == norm.y && product.residual.is_none() && product.params.w_first == 0
    };
    let fits =
        whole && !readers.is_empty() && readers.iter().all(plain) && r.seen_by(norm.y, &r.uses(norm.y));
    fits.then_some(readers)
}

fn fuse(
    r: &mut Rewrite<'_>,
    at: usize,
    norm: &ops::RmsNorm,
    readers: &[(usize, ops::Linear)],
) -> Result<(), ModelError> {
    let mut gone = vec![at];
    let mut rest = readers;
    while let [(place, product), others @ ..] = rest {
        rest = others;
        let mut label = r.calls()[*place].label.clone();
        let p = product.params;
        let mut call = ops::NormLinear {
            rows: r.step,
            x: norm.x,
            norm: norm.w,
            w: product.w,
            w2: None,
            bias: product.bias,
            y: product.y,
            params: params::norm_linear::Params {
                planes: p.planes,
                cols: p.cols,
                out: p.out,
                y_stride: p.y_stride,
                y_offset: p.y_offset,
                count: p.count,
                has_bias: p.has_bias,
                eps: norm.params.eps,
                ..Default::default()
            },
        };
        if let [(later, second), others @ ..] = others
            && goes_on(r, product, second)
        {
            if let (Some(a), Some(b)) = (product.bias, second.bias) {
                call.bias = Some(products::bias(r, a, b)?);
            }
            (call.w2, call.params.planes2, call.params.out2) =
                (Some(second.w), second.params.planes, second.params.out);
            label = products::label(r, *place, *later);
            gone.push(*later);
            rest = others;
        }
        r.put(*place, &label, call)?;
    }
    r.drop(&gone);
    Ok(())
}

/// Whether the second goes on in the first's output, and there is a kernel for both formats.
fn goes_on(r: &Rewrite<'_>, first: &ops::Linear, second: &ops::Linear) -> bool {
    let format = |product: &ops::Linear| match r.program.get(product.w).dtype {
        DType::Matrix(format) => Some(format),
        _ => None,
    };
    let (p, q) = (first.params, second.params);
    (first.y, first.bias.is_some(), p.count) == (second.y, second.bias.is_some(), q.count)
        && p.y_offset + p.out == q.y_offset
        && q.out <= p.out
        && format(first).zip(format(second)).is_some_and(|pair| Format::pairs().any(|known| known == pair))
}

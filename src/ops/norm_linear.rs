//! RMS norm and a linear layer in one: y = w norm(x) (+ bias), of a few rows, with one encoded matrix or two of different
//! formats.
//! [`RmsNorm`](super::RmsNorm) and [`Linear`](super::Linear) are the single steps.

use super::cpu::{Context, Real};
use super::linear::finish_rows;
use super::matmul::{Operand, matmul_nt};
use super::params::norm_linear::Params;
use super::rms_norm::norm_row;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, x (T, cols), norm (1, cols), w (out, cols), w2 (out2, cols), bias (1, out + out2), y (T, y_stride).
    NormLinear(Params) "norm_linear" {
        rows: Read U32,
        x: Read F32,
        norm: Read F32,
        w: Read Matrix,
        w2: Read Matrix (optional),
        bias: Read F32 (optional),
        y: Write F32,
    }
    check: check,
    tolerance: |p| 8.0 + 3.0 * f64::from(p.cols).sqrt(),
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out + p.out2]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.norm, AT.w, AT.w2], p.cols)?;
    s.wide([AT.bias], p.out + p.out2)?;
    s.require(AT.w2, |_| p.out2 <= p.out, || "must have no more rows than the first".into())?;
    for (w, rows) in [(AT.w, p.out), (AT.w2, p.out2)] {
        s.require(w, |w| w.rows.per >= rows as usize, || format!("must have {rows} rows"))?;
    }
    s.holds(AT.y, p.y_stride, p.y_offset + p.out + p.out2)
}

/// Rows of x, normed.
pub(super) fn normed<F: Real>(x: &[F], norm: &[F], rows: usize, eps: f32) -> Vec<F> {
    let cols = norm.len();
    let mut all = vec![F::ZERO; rows * cols];
    let pairs = x.chunks(cols).zip(all.chunks_mut(cols));
    pairs.for_each(|(x, y)| norm_row(x, norm, eps, y));
    all
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<NormLinear>();
    let (cols, offset, out) = (p.cols as usize, p.y_offset as usize, (p.out + p.out2) as usize);
    let rows = c.rows(Over::of(p.count));
    let x = normed(c.read(AT.x), c.read(AT.norm), rows, p.eps);
    let mut y = c.write_columns(AT.y, p.y_stride as usize, offset, out, 16);
    let second = offset + p.out as usize;
    let mut product = |w: usize, first: usize, end: usize| {
        let mut y = y.within(first..end);
        if !y.range.is_empty() {
            let w = Operand::Encoded(c.matrix(w, cols));
            matmul_nt(&w, cols, first, &x, rows, F::ONE, false, &mut y);
        }
    };
    product(AT.w, offset, second);
    product(AT.w2, second, offset + out);
    let bias = (p.has_bias != 0).then(|| c.read(AT.bias));
    finish_rows(bias, None, offset, p.y_stride as usize, 0..rows, &mut y);
}

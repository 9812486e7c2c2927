//! Gradient of a trained matrix: dw += alpha dy^T x, summed over the rows in their order.

use super::cpu::{Columns, Context, Real};
use super::matmul::matmul_tn;
use super::params::outer::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

/// From so many outputs on the parts share them; of fewer, as of LoRA's first factor, they share the inputs.
const BY_ROWS: usize = 64;

op! {
    /// Arguments: rows, dy (T, dy_stride), x (T, cols), dw (out, cols).
    Outer(Params) "outer" {
        rows: Read U32,
        dy: Read F32,
        x: Read F32,
        dw: Update F32,
    }
    check: check,
    // The reduction runs over the rows of the step.
    tolerance: |_| 64.0,
    over: |_| Over::One,
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.holds(AT.dy, p.dy_stride, p.dy_offset + p.out)?;
    s.wide([AT.x, AT.dw], p.cols)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Outer>();
    let (cols, out, offset) = (p.cols as usize, p.out as usize, p.dy_offset as usize);
    let (stride, rows, alpha) = (p.dy_stride as usize, c.rows(Over::of(p.count)), F::from_f32(p.alpha));
    if out < BY_ROWS {
        let mut dw = c.write_columns(AT.dw, cols, 0, cols, 16);
        return matmul_tn(c.read(AT.dy), stride, offset, out, c.read(AT.x), cols, rows, alpha, true, &mut dw);
    }
    // Columns of dy lie far apart and cost most to gather: each part takes its own.
    let (first, dw) = c.write_chunks(AT.dw, out, cols);
    let own = dw.len() / cols;
    let mut dw = Columns::new(dw, cols, 0..cols);
    matmul_tn(c.read(AT.dy), stride, offset + first, own, c.read(AT.x), cols, rows, alpha, true, &mut dw);
}

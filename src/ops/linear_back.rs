//! Gradient of the linear layer's input through the encoded matrix: dx (+)= dy w.

use super::cpu::{Context, Real};
use super::matmul::{Operand, matmul_nn};
use super::params::linear_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

/// Columns are shared out in multiples of the longest block.
pub(super) const GRANULE: usize = 256;

op! {
    /// Arguments: rows, dy (T, dy_stride), w (out, cols), dx (T, cols).
    LinearBack(Params) "linear_back" {
        rows: Read U32,
        dy: Read F32,
        w: Read Matrix,
        dx: Update F32,
    }
    check: check,
    tolerance: |p| 4.0 + 2.0 * f64::from(p.out).sqrt(),
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.holds(AT.dy, p.dy_stride, p.dy_offset + p.out)?;
    s.wide([AT.w, AT.dx], p.cols)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<LinearBack>();
    let cols = p.cols as usize;
    let w = Operand::Encoded(c.matrix(AT.w, cols));
    let granule = if cols >= 2 * GRANULE { GRANULE } else { cols.div_ceil(2).next_multiple_of(32) };
    let mut dx = c.write_columns(AT.dx, cols, 0, cols, granule);
    let (stride, offset) = (p.dy_stride as usize, p.dy_offset as usize);
    let accumulate = p.accumulate != 0;
    matmul_nn(
        &w,
        cols,
        p.out as usize,
        c.read(AT.dy),
        stride,
        offset,
        c.rows(Over::of(p.count)),
        F::ONE,
        accumulate,
        &mut dx,
    );
}

//! Gradient of the input of [`super::project`]: dx (+)= alpha dy w.

use super::cpu::{Context, Real};
use super::matmul::{Operand, matmul_nn};
use super::params::project_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, dy (T, dy_stride), w (out, cols), dx (T, cols).
    ProjectBack(Params) "project_back" {
        rows: Read U32,
        dy: Read F32,
        w: Read F32,
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
    let p = c.params::<ProjectBack>();
    let cols = p.cols as usize;
    let w = Operand::Plain { values: c.read(AT.w) };
    let mut dx = c.write_columns(AT.dx, cols, 0, cols, 16);
    matmul_nn(
        &w,
        cols,
        p.out as usize,
        c.read(AT.dy),
        p.dy_stride as usize,
        p.dy_offset as usize,
        c.rows(Over::of(p.count)),
        F::from_f32(p.alpha),
        p.accumulate != 0,
        &mut dx,
    );
}

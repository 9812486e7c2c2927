//! Gradient of a bias: db += the sum of dy over the rows, in their order.

use super::cpu::{Context, Real};
use super::params::bias_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, dy (T, dy_stride), db (1, width).
    BiasBack(Params) "bias_back" {
        rows: Read U32,
        dy: Read F32,
        db: Update F32,
    }
    check: check,
    // The reduction runs over the rows of the step.
    tolerance: |_| 64.0,
    over: |_| Over::One,
    cost: |p, load| Cost::other(load.over(Over::of(p.count)), &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.holds(AT.dy, p.dy_stride, p.dy_offset + p.width)?;
    s.wide([AT.db], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<BiasBack>();
    let (dy, stride) = (c.read(AT.dy), p.dy_stride as usize);
    let (first, db) = c.write_chunks(AT.db, p.width as usize, 1);
    let first = p.dy_offset as usize + first;
    for t in 0..c.rows(Over::of(p.count)) {
        F::axpy(F::ONE, &dy[t * stride + first..][..db.len()], db);
    }
}

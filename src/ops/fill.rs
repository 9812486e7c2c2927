//! Fills a tensor's active rows with one value.

use super::cpu::{Context, Real};
use super::params::fill::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, y (T, width).
    Fill(Params) "fill" {
        rows: Read U32,
        y: Write F32,
    }
    check: check,
    tolerance: |_| 0.0,
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::other(load.over(Over::of(p.count)), &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.y], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Fill>();
    let (_, y) = c.write_chunks(AT.y, c.rows(Over::of(p.count)) * p.width as usize, 1);
    y.fill(F::from_f32(p.value));
}

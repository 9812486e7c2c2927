//! Gradient of the table of [`super::lookup`]: `dw[token of row t] += scale * dx[t]`, in the order of the rows.

use super::cpu::{Context, Real};
use super::params::lookup_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, dx (T, width), dw (vocab, width).
    LookupBack(Params) "lookup_back" {
        rows: Read U32,
        dx: Read F32,
        dw: Update F32,
    }
    check: check,
    tolerance: |_| 16.0,
    over: |_| Over::One,
    cost: |p, load| Cost::other(2 * load.rows, &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.dx, AT.dw], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<LookupBack>();
    let width = p.width as usize;
    let dx = c.read(AT.dx);
    let mut dw = c.write_columns(AT.dw, width, 0, width, 16);
    let range = dw.range.clone();
    for t in 0..c.rows(Over::Tokens) {
        let dw = dw.row_mut(c.row(t).token as usize);
        F::axpy(F::from_f32(p.scale), &dx[t * width..][range.clone()], dw);
    }
}

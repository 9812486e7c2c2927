//! Gradient of [`super::gather`]: `dx[outs[o].row] += dy[o]`. No two outputs of a step name the same row.

use super::cpu::{Context, Real};
use super::params::gather_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, outs, dy (O, width), dx (T, width).
    GatherBack(Params) "gather_back" {
        rows: Read U32,
        outs: Read U32,
        dy: Read F32,
        dx: Update F32,
    }
    check: check,
    tolerance: |_| 2.0,
    over: |_| Over::One,
    cost: |p, load| Cost::other(2 * load.outputs, &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.dy, AT.dx], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<GatherBack>().width as usize;
    let dy = c.read(AT.dy);
    let mut dx = c.write_columns(AT.dx, width, 0, width, 16);
    let range = dx.range.clone();
    for o in 0..c.rows(Over::Outputs) {
        F::axpy(F::ONE, &dy[o * width..][range.clone()], dx.row_mut(c.out(o).row as usize));
    }
}

//! Sums of squares of a flat tensor, in pieces that the host adds up: the norm that clips a gradient.

use super::cpu::{Context, Real};
use super::params::sumsq::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

/// Pieces that a tensor is cut into.
pub const PIECES: usize = 256;

op! {
    /// Arguments: rows, x (1, width), y (blocks, PIECES): row `row` of it is written.
    SumSq(Params) "sumsq" {
        rows: Read U32,
        x: Read F32,
        y: Update F32,
    }
    check: check,
    tolerance: |p| 8.0 + (f64::from(p.width) / PIECES as f64).sqrt(),
    over: |_| Over::One,
    cost: |p, _| Cost::other(1, &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x], p.width)?;
    s.wide([AT.y], PIECES as u32)?;
    let held = s.call.args()[AT.y].map_or(0, |id| s.program.capacity_rows(id));
    s.require(AT.y, |_| (p.row as usize) < held, || format!("must hold row {}", p.row))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<SumSq>();
    let x = c.read(AT.x);
    let each = (p.width as usize).div_ceil(PIECES);
    let mut y = c.write_columns(AT.y, PIECES, 0, PIECES, 1);
    let range = y.range.clone();
    for (piece, y) in range.zip(y.row_mut(p.row as usize)) {
        let x = &x[(piece * each).min(x.len())..((piece + 1) * each).min(x.len())];
        *y = F::dot(x, x);
    }
}

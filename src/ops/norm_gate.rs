//! What is before the last product of a gated feed-forward, in one: y = act(gate norm(x)) * (up norm(x)), of a few rows. The
//! rows of gate and up are one matrix. [`RmsNorm`](super::RmsNorm), [`Linear`](super::Linear) and [`Gate`](super::Gate) are the single steps.

use super::cpu::{Columns, Context, Real};
use super::gate::activate;
use super::matmul::{Operand, matmul_nt};
use super::norm_linear::normed;
use super::params::norm_gate::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};
use crate::quant::GROUP_ROWS;

op! {
    /// Arguments: rows, x (T, cols), norm (1, cols), w (2 out, cols): gate, then up; y (T, out).
    NormGate(Params) "norm_gate" {
        rows: Read U32,
        x: Read F32,
        norm: Read F32,
        w: Read Matrix,
        y: Write F32,
    }
    check: check,
    tolerance: |p| 32.0 + 8.0 * f64::from(p.cols).sqrt(),
    over: |p| Over::of(p.count),
    cost: |p, load| Cost::products(load.over(Over::of(p.count)), &[p.cols, 2 * p.out]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.norm, AT.w], p.cols)?;
    let whole = p.out.is_multiple_of(GROUP_ROWS as u32);
    let both = |rows: usize| whole && rows >= 2 * p.out as usize;
    s.require(
        AT.w,
        |w| both(w.rows.per),
        || format!("must have twice {} rows, in groups of {GROUP_ROWS}", p.out),
    )?;
    s.wide([AT.y], p.out)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<NormGate>();
    let (cols, out) = (p.cols as usize, p.out as usize);
    let rows = c.rows(Over::of(p.count));
    let x = normed(c.read(AT.x), c.read(AT.norm), rows, p.eps);
    let mut y = c.write_columns(AT.y, out, 0, out, 16);
    let range = y.range.clone();
    let w = c.matrix(AT.w, cols);
    let (mut gate, mut up) = (vec![F::ZERO; rows * out], vec![F::ZERO; rows * out]);
    for (first, values) in [(0, &mut gate), (out, &mut up)] {
        let mut columns = Columns::new(values, out, range.clone());
        matmul_nt(&Operand::Encoded(w.from_row(first)), cols, 0, &x, rows, F::ONE, false, &mut columns);
    }
    for t in 0..rows {
        let of = |values: &'_ [F]| values[t * out..][range.clone()].to_vec();
        activate(p.kind, &of(&gate), &of(&up), y.row_mut(t));
    }
}

//! The output rows' coefficients as a tensor: the gradient of a head that is not of log-probabilities begins with them.

use super::cpu::{Context, Real};
use super::params::coefs::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, outs, dy (O, 1).
    Coefs(Params) "coefs" {
        rows: Read U32,
        outs: Read U32,
        dy: Write F32,
    }
    check: check,
    tolerance: |_| 0.0,
    over: |_| Over::Outputs,
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.dy], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<Coefs>().width as usize;
    let (first, dy) = c.write_chunks(AT.dy, c.rows(Over::Outputs), width);
    for (i, dy) in dy.chunks_mut(width).enumerate() {
        dy.fill(F::from_f32(c.out(first + i).coef));
    }
}

//! The output rows' coefficients as a tensor: the gradient of a head that is not of log-probabilities begins with them.

use super::cpu::{Context, Real};
use super::params::coefs::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, outs, dy (O, 1).
pub static DEF: OpDef = OpDef {
    stem: "coefs",
    args: &[Arg::input("rows"), Arg::input("outs"), Arg::write("dy")],
    check,
    tolerance: |_, _| 0.0,
    over: |_| Over::Outputs,
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 2, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<Params>().width as usize;
    let (first, dy) = c.write_chunks(2, c.rows(1), width);
    for (i, dy) in dy.chunks_mut(width).enumerate() {
        dy.fill(F::from_f32(c.out(first + i).coef));
    }
}

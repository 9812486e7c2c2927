//! Gradient of [`super::softcap`]: dx = dy (1 - tanh(x / cap)^2).

use super::cpu::{Context, Real};
use super::params::softcap_back::Params;
use super::softcap::bend;
use super::{Arg, Cost, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, x, dy, dx, all (O, width).
pub static DEF: OpDef = OpDef {
    stem: "softcap_back",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::read("dy"), Arg::write("dx")],
    check,
    tolerance: |_, _| 32.0,
    over: |_| Over::Outputs,
    cost: |call, load| Cost::other(8 * load.outputs, &[call.params.get::<Params>().width]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..4, p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (x, dy) = (c.read(1), c.read(2));
    let (first, dx) = c.write_chunks(3, c.rows(1) * p.width as usize, 1);
    bend(&x[first..][..dx.len()], p.cap, dx);
    for (dx, dy) in dx.iter_mut().zip(&dy[first..]) {
        *dx = *dy * (F::ONE - *dx * *dx);
    }
}

//! Picks the token rows whose logits are wanted: `y[o] = x[outs[o].row]`.

use super::cpu::{Context, Real};
use super::params::{self, gather::Params};
use super::{Arg, Cost, Op, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, outs, x (T, width), y (O, width).
pub static DEF: OpDef = OpDef {
    stem: "gather",
    args: &[Arg::input("rows"), Arg::input("outs"), Arg::read("x"), Arg::write("y")],
    check,
    tolerance: |_, _| 0.0,
    over: |_| Over::Outputs,
    cost: |_, _| Cost::FEW,
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, [2, 3], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<Params>().width as usize;
    let x = c.read(2);
    let (first, y) = c.write_chunks(3, c.rows(1), width);
    for (o, y) in y.chunks_mut(width).enumerate() {
        y.copy_from_slice(&x[c.out(first + o).row as usize * width..][..width]);
    }
}

/// Adds to the rows that were picked; the others' gradients must be there already.
fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, outs, x, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let Some((dx, true)) = r.flow(x)? else {
        return Err(PlanError::Call {
            call: call.label.clone(),
            why: "its input's gradient must begin at zero".into(),
        });
    };
    let q = params::gather_back::Params { width: p.width, ..Default::default() };
    r.call(Op::GatherBack, call, vec![rows, outs, Some(dy), Some(dx)], q)
}

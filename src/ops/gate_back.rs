//! Gradients of [`super::gate`]: dgate = dy * up * act'(gate), dup = dy * act(gate).

use super::cpu::{Context, Real};
use super::gate::activation;
use super::params::gate_back::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, gate, up, dy, dgate, dup, all (T, width).
pub static DEF: OpDef = OpDef {
    stem: "gate_back",
    args: &[
        Arg::input("rows"),
        Arg::read("gate"),
        Arg::read("up"),
        Arg::read("dy"),
        Arg::write("dgate"),
        Arg::write("dup"),
    ],
    check,
    tolerance: |_, _| 32.0,
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    for arg in 1..6 {
        require(program, call, arg, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    }
    Ok(())
}

/// By passes over the rows, whose exponentials go many at a time: with s = 1 / (1 + exp -x), x s has the slope
/// s (1 + x (1 - s)).
fn silu_back<F: Real>([gate, up, dy]: [&[F]; 3], dgate: &mut [F], dup: &mut [F]) {
    dgate.iter_mut().zip(gate).for_each(|(d, g)| *d = -*g);
    F::exp_all(dgate, F::ONE, F::ZERO);
    let inputs = gate.iter().zip(up).zip(dy);
    for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let s = F::ONE / (F::ONE + *dgate);
        *dgate = *dy * *up * (s * (F::ONE + *gate * (F::ONE - s)));
        *dup = *dy * (*gate * s);
    }
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (gate, up, dy) = (c.read(1), c.read(2), c.read(3));
    let width = p.width as usize;
    let (first, dgate) = c.write_chunks(4, c.rows(p.count), width);
    let (_, dup) = c.write_chunks(5, c.rows(p.count), width);
    let at = first * width;
    if p.kind == 0 {
        return silu_back([&gate[at..], &up[at..], &dy[at..]], dgate, dup);
    }
    let inputs = gate[at..].iter().zip(&up[at..]).zip(&dy[at..]);
    for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let (value, slope) = activation(p.kind, *gate);
        *dgate = *dy * *up * slope;
        *dup = *dy * value;
    }
}

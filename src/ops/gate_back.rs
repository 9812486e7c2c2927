//! Gradients of [`super::gate`]: dgate = dy * up * act'(gate), dup = dy * act(gate).

use super::cpu::{Context, Real};
use super::gate::bend;
use super::params::gate_back::Params;
use super::{Arg, Cost, OpDef, Over, wide};
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
    wide(program, call, 1..6, p.width)
}

/// By passes over the rows, whose exponentials go many at a time: with s = 1 / (1 + exp -b x), x s has the slope
/// s (1 + x b' (1 - s)).
pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (gate, up, dy) = (c.read(1), c.read(2), c.read(3));
    let width = p.width as usize;
    let (first, dgate) = c.write_chunks(4, c.rows(p.count), width);
    let (_, dup) = c.write_chunks(5, c.rows(p.count), width);
    let at = first * width;
    let bent = |g: F| if p.kind == 1 { bend(g) } else { (g, F::ONE) };
    dgate.iter_mut().zip(&gate[at..]).for_each(|(d, g)| *d = -bent(*g).0);
    F::exp_all(dgate, F::ONE, F::ZERO);
    let inputs = gate[at..].iter().zip(&up[at..]).zip(&dy[at..]);
    for ((dgate, dup), ((gate, up), dy)) in dgate.iter_mut().zip(dup).zip(inputs) {
        let s = F::ONE / (F::ONE + *dgate);
        *dgate = *dy * *up * (s * (F::ONE + *gate * bent(*gate).1 * (F::ONE - s)));
        *dup = *dy * (*gate * s);
    }
}

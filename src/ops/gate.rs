//! Gated activation (Shazeer 2020): y = act(gate) * up, with silu or the tanh form of gelu.

use super::cpu::{Context, Real};
use super::params::{self, gate::Params};
use super::{Arg, Cost, Op, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, gate (T, width), up (T, width), y (T, width).
pub static DEF: OpDef = OpDef {
    stem: "gate",
    args: &[Arg::input("rows"), Arg::read("gate"), Arg::read("up"), Arg::write("y")],
    check,
    tolerance: |_, _| 16.0,
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |_, _| Cost::FEW,
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..4, p.width)
}

/// Twice what the tanh form of gelu takes the tanh of, and its slope: gelu x = x / (1 + exp -bend x).
pub(super) fn bend<F: Real>(x: F) -> (F, F) {
    let root = F::from_f64((8.0 / std::f64::consts::PI).sqrt());
    let (cubic, three) = (F::from_f64(0.044715), F::from_f64(3.0));
    (root * x * (F::ONE + cubic * x * x), root * (F::ONE + three * cubic * x * x))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let (gate, up) = (c.read(1), c.read(2));
    // Chunks of 8 elements rather than rows, so that a single row is shared out too; a remainder is its own chunk.
    let total = c.rows(p.count) * width;
    let (first, y) = if total.is_multiple_of(8) {
        let (first, y) = c.write_chunks(3, total / 8, 8);
        (first * 8, y)
    } else {
        c.write_chunks(3, total, 1)
    };
    let (gate, up) = (&gate[first..][..y.len()], &up[first..][..y.len()]);
    // By passes over the row, whose exponentials go many at a time.
    let bent = |g: F| if p.kind == 1 { bend(g).0 } else { g };
    y.iter_mut().zip(gate).for_each(|(y, g)| *y = -bent(*g));
    F::exp_all(y, F::ONE, F::ZERO);
    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
        *y = *g * (F::ONE / (F::ONE + *y)) * *u;
    }
}

fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, gate, up, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let (Some((dgate, false)), Some((dup, false))) = (r.flow(gate)?, r.flow(up)?) else {
        return Err(PlanError::Call {
            call: call.label.clone(),
            why: "both factors need gradients of their own".into(),
        });
    };
    let q = params::gate_back::Params { width: p.width, kind: p.kind, count: p.count, pad0: 0 };
    r.call(Op::GateBack, call, vec![rows, gate, up, Some(dy), Some(dgate), Some(dup)], q)
}

//! Gated activation (Shazeer 2020): y = act(gate) * up, with silu or the tanh form of gelu.

use super::GateBack;
use super::cpu::{Context, Real};
use super::params::{self, gate::Params};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, gate (T, width), up (T, width), y (T, width).
    Gate(Params) "gate" {
        rows: Read U32,
        gate: Read F32,
        up: Read F32,
        y: Write F32,
    }
    check: check,
    tolerance: |_| 16.0,
    over: |p| Over::of(p.count),
    cost: |_, _| Cost::FEW,
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.gate, AT.up, AT.y], p.width)
}

/// Twice what the tanh form of gelu takes the tanh of, and its slope: gelu x = x / (1 + exp -bend x).
pub(super) fn bend<F: Real>(x: F) -> (F, F) {
    let root = F::from_f64((8.0 / std::f64::consts::PI).sqrt());
    let (cubic, three) = (F::from_f64(0.044715), F::from_f64(3.0));
    (root * x * (F::ONE + cubic * x * x), root * (F::ONE + three * cubic * x * x))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Gate>();
    let width = p.width as usize;
    let (gate, up) = (c.read(AT.gate), c.read(AT.up));
    // Chunks of 8 elements rather than rows, so that a single row is shared out too; a remainder is its own chunk.
    let total = c.rows(Over::of(p.count)) * width;
    let (first, y) = if total.is_multiple_of(8) {
        let (first, y) = c.write_chunks(AT.y, total / 8, 8);
        (first * 8, y)
    } else {
        c.write_chunks(AT.y, total, 1)
    };
    activate(p.kind, &gate[first..][..y.len()], &up[first..][..y.len()], y);
}

/// y = act(gate) * up, by passes over the row, whose exponentials go many at a time.
pub(super) fn activate<F: Real>(kind: u32, gate: &[F], up: &[F], y: &mut [F]) {
    let bent = |g: F| if kind == 1 { bend(g).0 } else { g };
    y.iter_mut().zip(gate).for_each(|(y, g)| *y = -bent(*g));
    F::exp_all(y, F::ONE, F::ZERO);
    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
        *y = *g * (F::ONE / (F::ONE + *y)) * *u;
    }
}

fn grad(r: &mut Reverse<'_>, call: &Gate) -> Result<(), PlanError> {
    let p = call.params;
    let Gate { rows, gate, up, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let (Some(dgate), Some(dup)) = (r.fresh(gate)?, r.fresh(up)?) else {
        return Err(r.fails("both factors need gradients"));
    };
    let q = params::gate_back::Params { width: p.width, kind: p.kind, count: p.count, pad0: 0 };
    r.call(GateBack { rows, gate, up, dy, dgate, dup, params: q })
}

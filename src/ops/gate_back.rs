//! Gradients of [`super::gate`]: dgate = dy * up * act'(gate), dup = dy * act(gate).

use super::cpu::{Context, Real};
use super::gate::bend;
use super::params::gate_back::Params;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, gate, up, dy, dgate, dup, all (T, width).
    GateBack(Params) "gate_back" {
        rows: Read U32,
        gate: Read F32,
        up: Read F32,
        dy: Read F32,
        dgate: Write F32,
        dup: Write F32,
    }
    check: check,
    tolerance: |_| 32.0,
    over: |p| Over::of(p.count),
    cost: |_, _| Cost::FEW,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.gate, AT.up, AT.dy, AT.dgate, AT.dup], p.width)
}

/// By passes over the rows, whose exponentials go many at a time: with s = 1 / (1 + exp -b x), x s has the slope
/// s (1 + x b' (1 - s)).
pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<GateBack>();
    let (gate, up, dy) = (c.read(AT.gate), c.read(AT.up), c.read(AT.dy));
    let width = p.width as usize;
    let (first, dgate) = c.write_chunks(AT.dgate, c.rows(Over::of(p.count)), width);
    let (_, dup) = c.write_chunks(AT.dup, c.rows(Over::of(p.count)), width);
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

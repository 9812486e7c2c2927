//! Gated activation (Shazeer 2020): y = act(gate) * up, with silu or the tanh form of gelu.

use super::cpu::{Context, Real};
use super::params::gate::Params;
use super::{Arg, OpDef, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, gate (T, width), up (T, width), y (T, width).
pub static DEF: OpDef = OpDef {
    stem: "gate",
    args: &[Arg::input("rows"), Arg::read("gate"), Arg::read("up"), Arg::write("y")],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, _| 16.0,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    for arg in 1..4 {
        require(program, call, arg, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    }
    Ok(())
}

fn silu<F: Real>(x: F) -> F {
    x / (F::ONE + (-x).exp())
}

fn gelu_tanh<F: Real>(x: F) -> F {
    let half = F::from_f64(0.5);
    let root = F::from_f64((2.0 / std::f64::consts::PI).sqrt());
    half * x * (F::ONE + (root * (x + F::from_f64(0.044715) * x * x * x)).tanh())
}

fn twin<F: Real>(c: &Context<'_, F>) {
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
    let act = if p.kind == 1 { gelu_tanh::<F> } else { silu::<F> };
    for ((y, g), u) in y.iter_mut().zip(&gate[first..]).zip(&up[first..]) {
        *y = act(*g) * *u;
    }
}

//! Embedding of a trained f32 table: `x[t] = scale * w[token of row t]`.

use super::cpu::{Context, Real};
use super::params::{self, lookup::Params};
use super::{Arg, Op, OpDef, require};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, w (vocab, width), x (T, width). Every row names its token.
pub static DEF: OpDef = OpDef {
    stem: "lookup",
    args: &[Arg::input("rows"), Arg::read("w"), Arg::write("x")],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, _| 2.0,
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    for arg in [1, 2] {
        require(program, call, arg, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    }
    Ok(())
}

fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let w = c.read(1);
    let (first, x) = c.write_chunks(2, c.rows(0), width);
    for (i, x) in x.chunks_mut(width).enumerate() {
        let w = &w[c.row(first + i).token as usize * width..][..width];
        for (x, w) in x.iter_mut().zip(w) {
            *x = *w * F::from_f32(p.scale);
        }
    }
}

fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, w, x] = call.args[..] else { return Ok(()) };
    let (Some(dx), Some(dw)) = (r.gradient(x), r.sum(w)) else { return Ok(()) };
    let q = params::lookup_back::Params { width: p.width, scale: p.scale, ..Default::default() };
    r.call(Op::LookupBack, call, vec![rows, Some(dx), Some(dw)], q)
}

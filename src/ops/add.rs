//! A residual as a step of its own: y = x + residual. Behind a plain product it is part of that instead
//! ([`crate::model`]'s forward sees to it).

use super::cpu::{Context, Real};
use super::params::add::Params;
use super::{Arg, Cost, Op, OpDef, Over, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, x (T, width), residual like x (absent: y is a copy), y like x.
pub static DEF: OpDef = OpDef {
    stem: "add",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::read("residual").optional(), Arg::write("y")],
    check,
    tolerance: |_, _| 1.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: Some(grad),
};

impl Params {
    /// Parameters for rows of `width` elements.
    pub fn new(width: usize, residual: bool) -> Self {
        Self { width: width as u32, has_residual: u32::from(residual), ..Self::default() }
    }
}

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    wide(program, call, 1..4, p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let (x, residual) = (c.read(1), c.read(2));
    let (first, y) = c.write_chunks(3, c.rows(0), width);
    let range = first * width..first * width + y.len();
    y.copy_from_slice(&x[range.clone()]);
    if p.has_residual != 0 {
        F::axpy(F::ONE, &residual[range], y);
    }
}

/// The gradient of both is dy. That of `x` is a copy, as dy itself goes on to collect what else the residual's depends on.
fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, x, residual, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    match r.flow(x)? {
        None => {}
        Some((dx, false)) => {
            r.call(Op::Add, call, vec![rows, Some(dy), None, Some(dx)], Params { has_residual: 0, ..p })?;
        }
        Some(_) => {
            let why = "its input must not be used elsewhere".into();
            return Err(PlanError::Call { call: call.label.clone(), why });
        }
    }
    r.pass(call, residual, dy)
}

//! Draws the next token of each output row and puts it into the token table.

use super::cpu::{Context, Real};
use super::params::sample::Params;
use super::{Accepts, Access, Arg, OpDef, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, outs, logits (O, vocab), tokens (slots, ctx), sampled (O, 4): token, bits of its
/// log-probability under the full softmax, status (1: a logit is not a number), 0.
pub static DEF: OpDef = OpDef {
    stem: "sample",
    args: &[
        Arg::input("rows"),
        Arg::input("outs"),
        Arg::read("logits"),
        Arg::new("tokens", Access::Update, Accepts::U32),
        Arg::new("sampled", Access::Write, Accepts::U32),
    ],
    check,
    cpu_f32: twin::<f32>,
    cpu_f64: twin::<f64>,
    tolerance: |_, _| 0.0,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 2, |t| t.width == p.vocab as usize, || format!("must be {} wide", p.vocab))?;
    require(program, call, 3, |t| t.width == p.ctx as usize, || format!("must be {} wide", p.ctx))?;
    require(program, call, 4, |t| t.width == 4, || "must be 4 wide".into())
}

fn twin<F: Real>(_c: &Context<'_, F>) {}

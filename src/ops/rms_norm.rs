//! RMS norm (Zhang & Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w, per row and group.

use super::cpu::{Context, Real};
use super::params::{self, rms_norm::Params};
use super::{Arg, Cost, Op, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, x (T, groups * width), w (1, width), y like x.
pub static DEF: OpDef = OpDef {
    stem: "rms_norm",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::read("w"), Arg::write("y")],
    check,
    tolerance: |_, call| 4.0 + f64::from(call.params.get::<Params>().width).sqrt(),
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |_, _| Cost::FEW,
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let wide = (p.width * p.groups) as usize;
    require(program, call, 1, |t| t.width == wide, || format!("must be {wide} wide"))?;
    require(program, call, 2, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))?;
    require(program, call, 3, |t| t.width == wide, || format!("must be {wide} wide"))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let (x, w) = (c.read(1), c.read(2));
    let (first, y) = c.write_chunks(3, c.rows(p.count) * p.groups as usize, width);
    for (i, y) in y.chunks_mut(width).enumerate() {
        let x = &x[(first + i) * width..][..width];
        let mean = F::dot(x, x) / F::from_f64(width as f64);
        let scale = F::ONE / (mean + F::from_f32(p.eps)).sqrt();
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = *x * scale * *w;
        }
    }
}

fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, x, w, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some(dw) = r.sum(w) {
        let q = params::rms_norm_dw::Params { width: p.width, groups: p.groups, count: p.count, eps: p.eps };
        r.call(Op::RmsNormDw, call, vec![rows, x, Some(dy), Some(dw)], q)?;
    }
    let Some((dx, accumulate)) = r.flow(x)? else { return Ok(()) };
    let q = params::rms_norm_back::Params {
        width: p.width,
        groups: p.groups,
        count: p.count,
        eps: p.eps,
        accumulate: u32::from(accumulate),
        ..Default::default()
    };
    r.call(Op::RmsNormBack, call, vec![rows, x, w, Some(dy), Some(dx)], q)
}

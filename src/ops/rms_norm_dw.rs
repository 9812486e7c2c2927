//! Gradient of the weight of [`super::rms_norm`]: dw += the sum of dy * x / rms(x) over rows and groups, in order.

use super::cpu::{Context, Real};
use super::params::rms_norm_dw::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{Load, OpCall, PlanError, Program};

/// Arguments: rows, x (T, groups * width), dy like x, dw (1, width).
pub static DEF: OpDef = OpDef {
    stem: "rms_norm_dw",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::read("dy"), Arg::update("dw")],
    check,
    tolerance: |_, call| 64.0 + f64::from(call.params.get::<Params>().width).sqrt(),
    over: |_| Over::One,
    cost,
    grad: None,
};

/// Each 64 columns find the scales of all rows anew.
fn cost(call: &OpCall, load: &Load) -> Cost {
    let p: Params = call.params.get();
    Cost::other(load.over(Over::of(p.count)), &[p.width, p.groups, 2 + p.width / 64])
}

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let wide = (p.width * p.groups) as usize;
    for arg in [1, 2] {
        require(program, call, arg, |t| t.width == wide, || format!("must be {wide} wide"))?;
    }
    require(program, call, 3, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let (x, dy) = (c.read(1), c.read(2));
    let count = F::from_f64(width as f64);
    let (first, dw) = c.write_chunks(3, width, 1);
    for at in (0..c.rows(p.count) * p.groups as usize).map(|i| i * width) {
        let row = &x[at..at + width];
        let scale = F::ONE / (F::dot(row, row) / count + F::from_f32(p.eps)).sqrt();
        let (x, dy) = (&x[at + first..], &dy[at + first..]);
        for ((dw, x), dy) in dw.iter_mut().zip(x).zip(dy) {
            *dw += *dy * *x * scale;
        }
    }
}

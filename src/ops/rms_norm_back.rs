//! Gradient of the input of [`super::rms_norm`]: with r = (mean(x^2) + eps)^-1/2 and g = dy * w,
//! dx (+)= r * (g - x * r^2 * mean(g * x)).

use super::cpu::{Context, Real};
use super::params::rms_norm_back::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};

/// Arguments: rows, x (T, groups * width), w (1, width), dy and dx like x.
pub static DEF: OpDef = OpDef {
    stem: "rms_norm_back",
    args: &[Arg::input("rows"), Arg::read("x"), Arg::read("w"), Arg::read("dy"), Arg::update("dx")],
    check,
    tolerance: |_, call| 8.0 + 2.0 * f64::from(call.params.get::<Params>().width).sqrt(),
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |_, _| Cost::FEW,
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let wide = (p.width * p.groups) as usize;
    for arg in [1, 3, 4] {
        require(program, call, arg, |t| t.width == wide, || format!("must be {wide} wide"))?;
    }
    require(program, call, 2, |t| t.width == p.width as usize, || format!("must be {} wide", p.width))
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let width = p.width as usize;
    let (x, w, dy) = (c.read(1), c.read(2), c.read(3));
    let count = F::from_f64(width as f64);
    let (first, dx) = c.write_chunks(4, c.rows(p.count) * p.groups as usize, width);
    for (i, dx) in dx.chunks_mut(width).enumerate() {
        let at = (first + i) * width;
        let (x, dy) = (&x[at..at + width], &dy[at..at + width]);
        let scale = F::ONE / (F::dot(x, x) / count + F::from_f32(p.eps)).sqrt();
        let mut inner = F::ZERO;
        for ((x, dy), w) in x.iter().zip(dy).zip(w) {
            inner += *dy * *w * *x;
        }
        let along = scale * scale * inner / count;
        for (((dx, x), dy), w) in dx.iter_mut().zip(x).zip(dy).zip(w) {
            let value = scale * (*dy * *w - *x * along);
            *dx = if p.accumulate != 0 { *dx + value } else { value };
        }
    }
}

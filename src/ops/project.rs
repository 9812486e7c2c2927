//! Product with a trained f32 matrix: y (+)= alpha x w^T (+ bias) (+ residual). The two factors of a LoRA adapter
//! (Hu et al. 2021), and the linear layers of a model whose own weights are trained.

use super::cpu::{Context, Real};
use super::linear::finish_rows;
use super::matmul::{Operand, matmul_nt};
use super::params::{self, project::Params};
use super::{Arg, Cost, Op, OpDef, Over, require, wide};
use crate::plan::{OpCall, PlanError, Program, Reverse};

/// Arguments: rows, x (T, cols), w (out, cols), bias (1, out), residual like y, y (T, y_stride).
pub static DEF: OpDef = OpDef {
    stem: "project",
    args: &[
        Arg::input("rows"),
        Arg::read("x"),
        Arg::read("w"),
        Arg::read("bias").optional(),
        Arg::read("residual").optional(),
        Arg::update("y"),
    ],
    check,
    tolerance: |_, call| 4.0 + 2.0 * f64::from(call.params.get::<Params>().cols).sqrt(),
    over: |call| Over::of(call.params.get::<Params>().count),
    cost: |call, load| {
        let p: Params = call.params.get();
        Cost::products(load.over(Over::of(p.count)), &[p.cols, p.out])
    },
    grad: Some(grad),
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let end = (p.y_offset + p.out) as usize;
    wide(program, call, [1, 2], p.cols)?;
    require(program, call, 3, |t| t.width == p.out as usize, || format!("must be {} wide", p.out))?;
    for arg in [4, 5] {
        let ok = |t: &crate::plan::Tensor| t.width == p.y_stride as usize && end <= t.width;
        require(program, call, arg, ok, || format!("must be {} wide and hold column {end}", p.y_stride))?;
    }
    Ok(())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p: Params = c.params();
    let (cols, offset, rows) = (p.cols as usize, p.y_offset as usize, c.rows(p.count));
    let w = Operand::Plain { values: c.read(2) };
    let mut y = c.write_columns(5, p.y_stride as usize, offset, p.out as usize, 16);
    let accumulate = p.accumulate != 0;
    matmul_nt(&w, cols, offset, c.read(1), rows, F::from_f32(p.alpha), accumulate, &mut y);
    let bias = (p.has_bias != 0).then(|| c.read(3));
    let residual = (p.has_residual != 0).then(|| c.read(4));
    finish_rows(bias, residual, offset, p.y_stride as usize, 0..rows, &mut y);
}

/// dx += alpha dy w; dw += alpha dy^T x; db += dy; the residual's gradient is dy itself.
fn grad(r: &mut Reverse<'_>, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    let [rows, x, w, bias, residual, y] = call.each()?;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some(dw) = r.sum(w) {
        let q = params::outer::Params {
            cols: p.cols,
            out: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
            alpha: p.alpha,
            ..Default::default()
        };
        r.call(Op::Outer, call, vec![rows, Some(dy), x, Some(dw)], q)?;
    }
    if let Some(db) = r.sum(bias) {
        let q = params::bias_back::Params {
            width: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
        };
        r.call(Op::BiasBack, call, vec![rows, Some(dy), Some(db)], q)?;
    }
    if let Some((dx, accumulate)) = r.flow(x)? {
        let q = params::project_back::Params {
            cols: p.cols,
            out: p.out,
            dy_stride: p.y_stride,
            dy_offset: p.y_offset,
            count: p.count,
            accumulate: u32::from(accumulate),
            alpha: p.alpha,
            pad0: 0,
        };
        r.call(Op::ProjectBack, call, vec![rows, Some(dy), w, Some(dx)], q)?;
    }
    r.pass(call, residual, dy)
}

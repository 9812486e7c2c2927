//! A residual as a step of its own: y = x + residual. Behind a plain product it is part of that instead
//! ([`crate::model`]'s forward sees to it).

use super::cpu::{Context, Real};
use super::params::add::Params;
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, width), residual like x (absent: y is a copy), y like x.
    Add(Params) "add" {
        rows: Read U32,
        x: Read F32,
        residual: Read F32 (optional),
        y: Write F32,
    }
    check: check,
    tolerance: |_| 1.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: grad,
}

impl Params {
    /// Parameters for rows of `width` elements.
    pub fn new(width: usize, residual: bool) -> Self {
        Self { width: width as u32, has_residual: u32::from(residual), ..Self::default() }
    }
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.residual, AT.y], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Add>();
    let width = p.width as usize;
    let (x, residual) = (c.read(AT.x), c.read(AT.residual));
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Tokens), width);
    let range = first * width..first * width + y.len();
    y.copy_from_slice(&x[range.clone()]);
    if p.has_residual != 0 {
        F::axpy(F::ONE, &residual[range], y);
    }
}

/// The gradient of both is dy. That of `x` is a copy, as dy itself goes on to collect what else the residual's depends on.
fn grad(r: &mut Reverse<'_>, call: &Add) -> Result<(), PlanError> {
    let p = call.params;
    let Add { rows, x, residual, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    if let Some(dx) = r.fresh(x)? {
        r.call(Add { rows, x: dy, residual: None, y: dx, params: Params { has_residual: 0, ..p } })?;
    }
    r.pass(residual, dy)
}

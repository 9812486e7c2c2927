//! Picks the token rows whose logits are wanted: `y[o] = x[outs[o].row]`.

use super::GatherBack;
use super::cpu::{Context, Real};
use super::params::{self, gather::Params};
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, outs, x (T, width), y (O, width).
    Gather(Params) "gather" {
        rows: Read U32,
        outs: Read U32,
        x: Read F32,
        y: Write F32,
    }
    check: check,
    tolerance: |_| 0.0,
    over: |_| Over::Outputs,
    cost: |_, _| Cost::FEW,
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.y], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let width = c.params::<Gather>().width as usize;
    let x = c.read(AT.x);
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Outputs), width);
    for (o, y) in y.chunks_mut(width).enumerate() {
        y.copy_from_slice(&x[c.out(first + o).row as usize * width..][..width]);
    }
}

/// Adds to the rows that were picked; the others' gradients must be there already.
fn grad(r: &mut Reverse<'_>, call: &Gather) -> Result<(), PlanError> {
    let p = call.params;
    let Gather { rows, outs, x, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let Some((dx, true)) = r.flow(x)? else {
        return Err(r.fails("its input's gradient must begin at zero"));
    };
    let q = params::gather_back::Params { width: p.width, ..Default::default() };
    r.call(GatherBack { rows, outs, dy, dx, params: q })
}

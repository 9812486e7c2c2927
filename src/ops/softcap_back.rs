//! Gradient of [`super::softcap`]: dx = dy (1 - tanh(x / cap)^2).

use super::cpu::{Context, Real};
use super::params::softcap_back::Params;
use super::softcap::bend;
use crate::plan::{Cost, Over, PlanError, Shapes};

op! {
    /// Arguments: rows, x, dy, dx, all (O, width).
    SoftcapBack(Params) "softcap_back" {
        rows: Read U32,
        x: Read F32,
        dy: Read F32,
        dx: Write F32,
    }
    check: check,
    tolerance: |_| 32.0,
    over: |_| Over::Outputs,
    cost: |p, load| Cost::other(8 * load.outputs, &[p.width]),
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.dy, AT.dx], p.width)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<SoftcapBack>();
    let (x, dy) = (c.read(AT.x), c.read(AT.dy));
    let (first, dx) = c.write_chunks(AT.dx, c.rows(Over::Outputs) * p.width as usize, 1);
    bend(&x[first..][..dx.len()], p.cap, dx);
    for (dx, dy) in dx.iter_mut().zip(&dy[first..]) {
        *dx = *dy * (F::ONE - *dx * *dx);
    }
}

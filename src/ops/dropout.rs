//! Dropout (Srivastava et al. 2014): y (+)= x * kept / (1 - rate). What is kept is a hash of the step's seed, the use, the
//! row and the column, so that the gradient drops the same elements and nothing is stored.

use super::cpu::{Context, Real};
use super::params::dropout::Params;
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, width), y (T, width).
    Dropout(Params) "dropout" {
        rows: Read U32,
        x: Read F32,
        y: Update F32,
    }
    check: check,
    tolerance: |_| 4.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: grad,
}

impl Params {
    /// Parameters for a rate in 0..1.
    pub fn new(width: usize, rate: f32, id: u32) -> Self {
        Self {
            width: width as u32,
            threshold: (f64::from(rate) * 4_294_967_296.0) as u32,
            scale: 1.0 / (1.0 - rate),
            id,
            ..Self::default()
        }
    }
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.y], p.width)
}

/// Three words mixed into one (the finaliser of MurmurHash3, applied to each).
pub fn hash(seed: u32, use_row: u32, column: u32) -> u32 {
    let mix = |mut h: u32| {
        h ^= h >> 16;
        h = h.wrapping_mul(0x85eb_ca6b);
        h ^= h >> 13;
        h = h.wrapping_mul(0xc2b2_ae35);
        h ^ (h >> 16)
    };
    mix(mix(mix(seed) ^ use_row) ^ column)
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Dropout>();
    let width = p.width as usize;
    let x = c.read(AT.x);
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Tokens), width);
    for (i, y) in y.chunks_mut(width).enumerate() {
        let t = first + i;
        let row = p.id.wrapping_mul(0x9e37_79b9).wrapping_add(t as u32);
        for (column, (y, x)) in y.iter_mut().zip(&x[t * width..]).enumerate() {
            let kept = hash(c.seed(), row, column as u32) >= p.threshold;
            let value = if kept { *x * F::from_f32(p.scale) } else { F::ZERO };
            *y = if p.accumulate != 0 { *y + value } else { value };
        }
    }
}

fn grad(r: &mut Reverse<'_>, call: &Dropout) -> Result<(), PlanError> {
    let p = call.params;
    let Dropout { rows, x, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let Some((dx, accumulate)) = r.flow(x)? else { return Ok(()) };
    let q = Params { accumulate: u32::from(accumulate), ..p };
    r.call(Dropout { rows, x: dy, y: dx, params: q })
}

//! Rotary position embedding (Su et al. 2021), in the two pairings in use, with Llama 3 and linear scaling.

use super::attention::MAX_HEAD_DIM;
use super::cpu::{Context, Real};
use super::params::rope::Params;
use crate::plan::{Cost, Over, PlanError, Reverse, Shapes};

op! {
    /// Arguments: rows, x (T, heads * head_dim), factors (1, rope_dim / 2), y like x.
    Rope(Params) "rope" {
        rows: Read U32,
        x: Read F32,
        factors: Read F32 (optional),
        y: Write F32,
    }
    check: check,
    // A device takes angles from fixed point, exact modulo a turn; sine and cosine are good to an epsilon or two.
    tolerance: |_| 8.0,
    over: |_| Over::Tokens,
    cost: |_, _| Cost::FEW,
    grad: grad,
}

fn check(s: &Shapes<'_>, p: &Params) -> Result<(), PlanError> {
    s.wide([AT.x, AT.y], p.heads * p.head_dim)?;
    s.require(AT.x, |_| p.rope_dim <= p.head_dim, || "must have heads as wide as what rotates".into())?;
    s.require(AT.factors, |t| t.width * 2 == p.rope_dim as usize, || "must hold rope_dim / 2 factors".into())
}

impl Params {
    /// Parameters with the fixed-point constants that the shader takes its angles from.
    pub fn new(
        heads: usize,
        head_dim: usize,
        rope_dim: usize,
        neox: bool,
        base: f32,
        scale: f32,
        factors: bool,
    ) -> Self {
        Self {
            heads: heads as u32,
            head_dim: head_dim as u32,
            rope_dim: rope_dim as u32,
            neox: u32::from(neox),
            base,
            scale,
            has_factors: u32::from(factors),
            inverse: 0,
            magnitude: 1.0,
            pad0: 0,
            turn: fraction(f64::from(scale) / std::f64::consts::TAU),
            step: fraction(f64::from(base).powf(-2.0 / rope_dim as f64)),
        }
    }
}

/// A number in [0, 1] as a fraction of 64 bits, low word first; 1 becomes the largest fraction.
fn fraction(value: f64) -> [u32; 2] {
    let bits = (value * 18_446_744_073_709_551_616.0) as u64;
    [bits as u32, (bits >> 32) as u32]
}

/// How far pair `i` turns from one position to the next, in radians.
pub fn frequency(p: &Params, i: usize, factor: f64) -> f64 {
    let exponent = -2.0 * i as f64 / f64::from(p.rope_dim);
    f64::from(p.scale) * f64::from(p.base).powf(exponent) / factor
}

/// How far each pair turns from one position to the next, in radians.
pub(super) struct Frequencies([f64; MAX_HEAD_DIM / 2]);

impl Frequencies {
    /// Those of a call; `factors` is empty where there are none.
    pub(super) fn of<F: Real>(p: &Params, factors: &[F]) -> Self {
        let factor = |pair: usize| factors.get(pair).map_or(1.0, |f| f.to_f64());
        let mut all = [0.0; MAX_HEAD_DIM / 2];
        for (pair, of) in all[..p.rope_dim as usize / 2].iter_mut().enumerate() {
            *of = frequency(p, pair, factor(pair));
        }
        Self(all)
    }

    /// Turns the heads of a row x, (heads * head_dim), into y.
    pub(super) fn turn<F: Real>(&self, p: &Params, pos: u32, x: &[F], y: &mut [F]) {
        let (heads, dim) = (p.heads as usize, p.head_dim as usize);
        let half = p.rope_dim as usize / 2;
        y.copy_from_slice(x);
        let pos = f64::from(pos);
        for (pair, frequency) in self.0[..half].iter().enumerate() {
            let (sin, cos) = (pos * frequency).sin_cos();
            let sin = if p.inverse == 1 { -sin } else { sin };
            let magnitude = f64::from(p.magnitude);
            let (sin, cos) = (F::from_f64(sin * magnitude), F::from_f64(cos * magnitude));
            let (a, b) = if p.neox == 1 { (pair, pair + half) } else { (2 * pair, 2 * pair + 1) };
            for head in 0..heads {
                let (a, b) = (head * dim + a, head * dim + b);
                y[a] = x[a] * cos - x[b] * sin;
                y[b] = x[a] * sin + x[b] * cos;
            }
        }
    }
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let p = c.params::<Rope>();
    let wide = (p.heads * p.head_dim) as usize;
    let x = c.read(AT.x);
    let frequencies = Frequencies::of(&p, c.read(AT.factors));
    let (first, y) = c.write_chunks(AT.y, c.rows(Over::Tokens), wide);
    for (i, y) in y.chunks_mut(wide).enumerate() {
        let t = first + i;
        frequencies.turn(&p, c.row(t).pos, &x[t * wide..][..wide], y);
    }
}

/// A rotation's gradient is rotated back, and of the same magnitude.
fn grad(r: &mut Reverse<'_>, call: &Rope) -> Result<(), PlanError> {
    let p = call.params;
    let Rope { rows, x, factors, y, .. } = *call;
    let Some(dy) = r.gradient(y) else { return Ok(()) };
    let Some(dx) = r.fresh(x)? else { return Ok(()) };
    r.call(Rope { rows, x: dy, factors, y: dx, params: Params { inverse: 1 - p.inverse, ..p } })
}

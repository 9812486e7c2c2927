//! Log-probability of a given token at a temperature: `y[o] = l[label] - log sum exp l`, where `l = logits[o] / temperature`.

use super::cpu::{Context, Real};
use super::params::logprob::Params;
use super::{Arg, Cost, OpDef, Over, require};
use crate::plan::{OpCall, PlanError, Program};
use crate::text::softmax_scale;

/// Arguments: rows, outs, logits (O, vocab), y (O, 1).
pub static DEF: OpDef = OpDef {
    stem: "logprob",
    args: &[Arg::input("rows"), Arg::input("outs"), Arg::read("logits"), Arg::write("y")],
    check,
    tolerance: |_, call| 32.0 + f64::from(call.params.get::<Params>().vocab).sqrt(),
    over: |_| Over::Outputs,
    cost: |call, load| Cost::other(4 * load.outputs, &[call.params.get::<Params>().vocab]),
    grad: None,
};

fn check(program: &Program, call: &OpCall) -> Result<(), PlanError> {
    let p: Params = call.params.get();
    require(program, call, 2, |t| t.width == p.vocab as usize, || format!("must be {} wide", p.vocab))?;
    require(program, call, 3, |t| t.width == 1, || "must be 1 wide".into())
}

/// The largest of the logits, and log sum exp of `scale` times what they are above it.
pub fn log_sum_exp<F: Real>(logits: &[F], scale: F) -> (F, F) {
    let max = logits.iter().fold(F::LOWEST, |m, l| if *l > m { *l } else { m });
    (max, F::sum_exp(logits, max, scale).ln())
}

pub(super) fn twin<F: Real>(c: &Context<'_, F>) {
    let vocab = c.params::<Params>().vocab as usize;
    let logits = c.read(2);
    let (first, y) = c.write_chunks(3, c.rows(1), 1);
    for (o, y) in y.iter_mut().enumerate() {
        let logits = &logits[(first + o) * vocab..][..vocab];
        let out = c.out(first + o);
        let scale = F::from_f32(softmax_scale(out.temperature));
        let (max, sum) = log_sum_exp(logits, scale);
        *y = logits.get(out.label as usize).map_or(F::LOWEST, |l| (*l - max) * scale - sum);
    }
}

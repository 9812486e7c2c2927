//! Cases of the gradients that go by elements and rows.

use super::bench::{Bench, Case};
use super::cases::Cases;
use crate::ops::{self, params};
use crate::plan::{DType, PlanError, Step, TOKEN_FROM_TABLE, TensorId};
use crate::text::softmax_scale;

/// Of the rows of a case; 0 stands for 1.
const TEMPERATURES: [f32; 5] = [0.0, 0.5, 1.0, 0.7, 1.3];

pub(super) fn all(b: &mut Bench) -> Cases {
    let mut cases = norms(b)?;
    cases.extend(gates(b)?);
    cases.push(softcap_back(b)?);
    for (count, accumulate) in [(5, false), (1, true), (40, true)] {
        cases.push(dropout(b, count, accumulate)?);
    }
    for count in [1, 67] {
        cases.push(bias_back(b, count)?);
        cases.push(gather_back(b, count)?);
        cases.push(coefs(b, count)?);
        cases.push(lookup(b, count, false)?);
        cases.push(lookup(b, count, true)?);
        cases.push(lookup_back(b, count)?);
    }
    for (vocab, count) in [(60, 5), (1000, 1), (40_000, 3)] {
        cases.push(logprob_back(b, vocab, count)?);
        cases.push(divergence(b, vocab, count)?);
    }
    Ok(cases)
}

/// A tensor that the op writes: with values if it adds to them.
fn target(b: &mut Bench, rows: usize, width: usize, accumulate: bool) -> Result<TensorId, PlanError> {
    if accumulate { b.floats(rows, width, 1.0) } else { b.output(DType::F32, rows, width) }
}

fn norms(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (width, groups, count, accumulate) in
        [(576, 1, 3, false), (64, 9, 2, true), (100, 1, 1, true), (2048, 1, 20, false), (61, 5, 19, true)]
    {
        let x = b.floats(20, width * groups, 3.0)?;
        let w = b.weight(None, 1, width)?;
        let dy = b.floats(20, width * groups, 1.0)?;
        let dx = target(b, 20, width * groups, accumulate)?;
        let p = params::rms_norm_back::Params {
            width: width as u32,
            groups: groups as u32,
            count: (count % 2) as u32,
            eps: 1e-5,
            accumulate: u32::from(accumulate),
            ..Default::default()
        };
        let (rows, step) = (b.rows, b.step(count, 0));
        let name = format!("rms_norm_back {groups} x {width}, {count} rows");
        cases.push(b.case(name, 20, ops::RmsNormBack { rows, x, w, dy, dx, params: p }, step)?);
        let x = b.floats(20, width * groups, 3.0)?;
        let dy = b.floats(20, width * groups, 1.0)?;
        let dw = b.floats(1, width, 1.0)?;
        let p = params::rms_norm_dw::Params {
            width: width as u32,
            groups: groups as u32,
            count: p.count,
            eps: 1e-5,
        };
        let step = b.step(count, 0);
        let name = format!("rms_norm_dw {groups} x {width}, {count} rows");
        cases.push(b.case(name, 20, ops::RmsNormDw { rows, x, dy, dw, params: p }, step)?);
    }
    Ok(cases)
}

fn gates(b: &mut Bench) -> Cases {
    let mut cases = Vec::new();
    for (kind, name, count) in [(0, "silu", 3), (1, "gelu", 4)] {
        let gate = b.floats(5, 360, 20.0)?;
        let up = b.floats(5, 360, 1.0)?;
        let dy = b.floats(5, 360, 1.0)?;
        let dgate = b.output(DType::F32, 5, 360)?;
        let dup = b.output(DType::F32, 5, 360)?;
        let p = params::gate_back::Params { width: 360, kind, count: (count % 2) as u32, pad0: 0 };
        let step = b.step(count, 0);
        cases.push(b.case(
            format!("gate_back {name}"),
            5,
            ops::GateBack { rows: b.rows, gate, up, dy, dgate, dup, params: p },
            step,
        )?);
    }
    Ok(cases)
}

fn softcap_back(b: &mut Bench) -> Result<Case, PlanError> {
    let (x, dy) = (b.floats(4, 1003, 100.0)?, b.floats(4, 1003, 1.0)?);
    let dx = b.output(DType::F32, 4, 1003)?;
    let p = params::softcap_back::Params { width: 1003, cap: 30.0, ..Default::default() };
    let step = b.step(3, 0);
    b.case("softcap_back".into(), 4, ops::SoftcapBack { rows: b.rows, x, dy, dx, params: p }, step)
}

fn dropout(b: &mut Bench, count: usize, accumulate: bool) -> Result<Case, PlanError> {
    let (capacity, width) = (count + 2, 330);
    let x = b.floats(capacity, width, 1.0)?;
    let y = target(b, capacity, width, accumulate)?;
    let p = params::dropout::Params {
        width: width as u32,
        threshold: 0x4000_0000,
        scale: 4.0 / 3.0,
        id: 3 + count as u32,
        accumulate: u32::from(accumulate),
        ..Default::default()
    };
    let mut step = b.step(count, 0);
    step.seed = 0x9abc_def0 + count as u32;
    b.case(format!("dropout, {count} rows"), capacity, ops::Dropout { rows: b.rows, x, y, params: p }, step)
}

fn bias_back(b: &mut Bench, count: usize) -> Result<Case, PlanError> {
    let dy = b.floats(count + 1, 203, 1.0)?;
    let db = b.floats(1, 131, 1.0)?;
    let p = params::bias_back::Params {
        width: 131,
        dy_stride: 203,
        dy_offset: 50,
        count: (count / 2 % 2) as u32,
    };
    let step = b.step(count, 0);
    b.case(
        format!("bias_back, {count} rows"),
        count + 1,
        ops::BiasBack { rows: b.rows, dy, db, params: p },
        step,
    )
}

/// Several outputs name one row.
fn coefs(b: &mut Bench, count: usize) -> Result<Case, PlanError> {
    let dy = b.output(DType::F32, count, 1)?;
    let mut step = b.step(count, 0);
    step.outs.iter_mut().enumerate().for_each(|(o, out)| out.coef = o as f32 - 2.5);
    let params = params::coefs::Params { width: 1, ..Default::default() };
    let call = ops::Coefs { rows: b.rows, outs: b.outs, dy, params };
    b.case(format!("coefs, {count} rows"), count, call, step)
}

fn gather_back(b: &mut Bench, count: usize) -> Result<Case, PlanError> {
    let (capacity, width) = (count + 1, 150);
    let dy = b.floats(capacity, width, 1.0)?;
    let dx = b.floats(capacity, width, 1.0)?;
    let p = params::gather_back::Params { width: width as u32, ..Default::default() };
    let mut step = b.step(count, 0);
    for out in &mut step.outs {
        out.row -= out.row % 3;
    }
    b.case(
        format!("gather_back, {count} rows"),
        capacity,
        ops::GatherBack { rows: b.rows, outs: b.outs, dy, dx, params: p },
        step,
    )
}

/// Shape of the table of `lookup`, and positions of a slot of the token table.
const TABLE: (usize, usize, usize) = (90, 150, 40);

/// Several rows name one token.
fn named(b: &mut Bench, count: usize) -> Step {
    let mut step = b.step(count, 0);
    for (t, row) in step.rows.iter_mut().enumerate() {
        row.token = (89 - t as u32 * 7 % 30) % TABLE.0 as u32;
    }
    step
}

fn lookup(b: &mut Bench, count: usize, table: bool) -> Result<Case, PlanError> {
    let ((vocab, width, ctx), capacity) = (TABLE, count + 1);
    let mut step = named(b, count);
    if table {
        step.rows.iter_mut().step_by(3).for_each(|row| row.token = TOKEN_FROM_TABLE);
        // A place in the table of its own for each row.
        for (t, row) in step.rows.iter_mut().enumerate() {
            (row.slot, row.pos) = ((t / ctx) as u32, (t % ctx) as u32);
        }
    }
    let words = (0..4 * ctx).map(|i| (i * 11 % 70) as u32).collect();
    let tokens = if table { Some(b.words(DType::U32, 4, ctx, words)?) } else { None };
    let w = b.floats(vocab, width, 1.0)?;
    let x = b.output(DType::F32, capacity, width)?;
    let ctx = if table { ctx as u32 } else { 0 };
    let p = params::lookup::Params { width: width as u32, scale: 1.5, ctx, ..Default::default() };
    let kind = if table { "" } else { " without a table" };
    b.case(
        format!("lookup, {count} rows{kind}"),
        capacity,
        ops::Lookup { rows: b.rows, w, tokens, x, params: p },
        step,
    )
}

fn lookup_back(b: &mut Bench, count: usize) -> Result<Case, PlanError> {
    let ((vocab, width, _), capacity) = (TABLE, count + 1);
    let step = named(b, count);
    let dx = b.floats(capacity, width, 1.0)?;
    let dw = b.floats(vocab, width, 1.0)?;
    let p = params::lookup_back::Params { width: width as u32, scale: 1.5, ..Default::default() };
    b.case(
        format!("lookup_back, {count} rows"),
        capacity,
        ops::LookupBack { rows: b.rows, dx, dw, params: p },
        step,
    )
}

/// With the labels' log-probabilities that belong to the logits.
fn logprob_back(b: &mut Bench, vocab: usize, count: usize) -> Result<Case, PlanError> {
    let values: Vec<f32> = b.values((count + 1) * vocab).iter().map(|v| v * 12.0).collect();
    let mut step = b.step(count, 0);
    let mut logprobs = vec![0f32; count + 1];
    for (o, out) in step.outs.iter_mut().enumerate() {
        (out.coef, out.temperature) = (0.25 - o as f32, TEMPERATURES[o % TEMPERATURES.len()]);
        let scale = f64::from(softmax_scale(out.temperature));
        let row = &values[o * vocab..][..vocab];
        let total: f64 = row.iter().map(|v| (f64::from(*v) * scale).exp()).sum();
        logprobs[o] = (f64::from(row[out.label as usize]) * scale - total.ln()) as f32;
    }
    let bits = |all: &[f32]| all.iter().map(|v| v.to_bits()).collect();
    let y = b.words(DType::F32, count + 1, 1, bits(&logprobs))?;
    let logits = b.words(DType::F32, count + 1, vocab, bits(&values))?;
    let p = params::logprob_back::Params { vocab: vocab as u32, ..Default::default() };
    b.case(
        format!("logprob_back of {vocab}"),
        count + 1,
        ops::LogProbBack { rows: b.rows, outs: b.outs, y, logits, params: p },
        step,
    )
}

/// Of logits that are far apart, near, and the same.
fn divergence(b: &mut Bench, vocab: usize, count: usize) -> Result<Case, PlanError> {
    let base: Vec<f32> = b.values((count + 1) * vocab).iter().map(|v| v * 6.0).collect();
    let apart = b.values((count + 1) * vocab);
    let moved = |(i, (b, a)): (usize, (&f32, &f32))| b + a * [2.0, 0.02, 0.0][i / vocab % 3];
    let other: Vec<f32> = base.iter().zip(&apart).enumerate().map(moved).collect();
    let mut step = b.step(count, 0);
    for (o, out) in step.outs.iter_mut().enumerate() {
        out.temperature = TEMPERATURES[o % TEMPERATURES.len()];
    }
    let bits = |all: &[f32]| all.iter().map(|v| v.to_bits()).collect();
    let base = b.words(DType::F32, count + 1, vocab, bits(&base))?;
    let other = b.words(DType::F32, count + 1, vocab, bits(&other))?;
    let y = b.output(DType::F32, count + 1, 1)?;
    let p = params::divergence::Params { vocab: vocab as u32, ..Default::default() };
    b.case(
        format!("divergence of {vocab}"),
        count + 1,
        ops::Divergence { rows: b.rows, outs: b.outs, base, other, y, params: p },
        step,
    )
}

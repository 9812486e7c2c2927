//! The rate at which a device multiplies large matrices: what a training step can be measured against.

use std::time::Instant;

use crate::exec::Executor;
use crate::model::Model;
use crate::ops::{self, params};
use crate::plan::{DType, Inputs, Layout, OpCall, PlanId, Program, Role, Row, Rows, Step, Tensor, TensorId};
use crate::session::SessionOptions;
use crate::session::boot::Device;
use crate::train::TrainError;

/// Rows of the input; width and rows of the trained matrix; most rows taken of the encoded one.
const ROWS: usize = 256;
const WIDE: usize = 2048;
const ENCODED: usize = 8192;
/// The best of so many passes counts.
const PASSES: usize = 4;

/// Multiply-adds a second of one large product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatmulRate {
    /// By an encoded matrix, the model's embedding.
    pub encoded: f64,
    /// By a trained f32 matrix.
    pub plain: f64,
}

impl MatmulRate {
    /// The higher of the two.
    pub fn best(&self) -> f64 {
        self.encoded.max(self.plain)
    }
}

/// Measures a device, through its executor.
///
/// # Errors
/// [`TrainError::Exec`] if it cannot be used.
pub fn matmul_rate(model: &Model, options: &SessionOptions) -> Result<MatmulRate, TrainError> {
    let (program, input, work) = program(model)?;
    let device = Device::open(options)?;
    let layout = Layout::new(&program, device.profile(options.double));
    let mut executor = device.untuned().boot(program, &layout, model, options.arithmetic())?;
    for (id, width) in input {
        let values: Vec<f32> = (0..ROWS * width).map(|i| (i % 17) as f32 / 17.0 - 0.5).collect();
        executor.write(id, &values)?;
    }
    let rate = |plan: usize, executor: &mut dyn Executor| -> Result<f64, TrainError> {
        Ok(work[plan] as f64 / fastest(executor, PlanId(plan as u32))?)
    };
    Ok(MatmulRate { encoded: rate(0, &mut *executor)?, plain: rate(1, &mut *executor)? })
}

/// Seconds of the fastest pass.
fn fastest(executor: &mut dyn Executor, plan: PlanId) -> Result<f64, TrainError> {
    let rows = (0..ROWS as u32).map(|t| Row { slot: 0, pos: t, first: 0, token: 0 }).collect();
    let step = Step { rows, ..Step::default() };
    let (mut best, mut words) = (f64::INFINITY, Vec::new());
    for _ in 0..PASSES {
        let start = Instant::now();
        let ticket = executor.submit(plan, &step)?;
        executor.wait(ticket, &mut words)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// A plan for each product; the tensors to fill with their widths; multiply-adds of each plan.
#[allow(clippy::type_complexity)]
fn program(model: &Model) -> Result<(Program, [(TensorId, usize); 2], [u64; 2]), TrainError> {
    let name = "token_embd.weight";
    let fail = |why: &str| TrainError::Data(format!("`{name}` {why}"));
    let shape = model.weights().shape(name).ok_or_else(|| fail("is missing"))?;
    let (out, cols) = (shape.rows.min(ENCODED), shape.cols);
    let planes = shape.format.planes(out, cols).to_u32().ok_or_else(|| fail("is too large"))?;
    let mut p = Program::default();
    let mut tensor = |name: &str, dtype, rows: usize, width, role| {
        let rows = Rows::fixed(rows);
        let tensor = Tensor { name: name.into(), dtype, rows, width, role, plan: None };
        p.tensor(tensor).map_err(crate::model::ModelError::from)
    };
    let rows = tensor("step.rows", DType::U32, 1 + ROWS, 4, Role::Input)?;
    let outs = tensor("step.outs", DType::U32, 1, 12, Role::Input)?;
    let x = tensor("x", DType::F32, ROWS, cols, Role::Tape { branch: 0 })?;
    let y = tensor("y", DType::F32, ROWS, out, Role::Tape { branch: 0 })?;
    let wide_x = tensor("wide x", DType::F32, ROWS, WIDE, Role::Tape { branch: 0 })?;
    let wide_y = tensor("wide y", DType::F32, ROWS, WIDE, Role::Tape { branch: 0 })?;
    let plain = tensor("plain", DType::F32, WIDE, WIDE, Role::Trained)?;
    let w =
        p.weight(name, 0, out, cols, DType::Matrix(shape.format)).map_err(crate::model::ModelError::from)?;
    let vocab = model.config().vocab;
    p.inputs = Some(Inputs { rows, outs, scalars: None, slots: 1, ctx: ROWS, vocab, ring: None });
    let encoded = params::linear::Params {
        planes,
        cols: cols as u32,
        out: out as u32,
        y_stride: out as u32,
        ..Default::default()
    };
    let project = params::project::Params {
        cols: WIDE as u32,
        out: WIDE as u32,
        y_stride: WIDE as u32,
        alpha: 1.0,
        ..Default::default()
    };
    let product = ops::Linear { rows, x, w, bias: None, residual: None, y, params: encoded };
    let plain =
        ops::Project { rows, x: wide_x, w: plain, bias: None, residual: None, y: wide_y, params: project };
    for call in [OpCall::new("peak", product), OpCall::new("peak", plain)] {
        let plan = p.open_plan(call.def().stem, ROWS, 0);
        p.append(plan, call).map_err(crate::model::ModelError::from)?;
    }
    let work = [(ROWS * out * cols) as u64, (ROWS * WIDE * WIDE) as u64];
    Ok((p, [(x, cols), (wide_x, WIDE)], work))
}

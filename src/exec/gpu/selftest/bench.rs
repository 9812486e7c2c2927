//! A program of single calls over random tensors.

use std::collections::HashMap;
use std::sync::Arc;

use crate::exec::{WeightShape, WeightSource, Weights};
use crate::ops::block16;
use crate::plan::{
    Call, DType, Inputs, OpCall, Out, PlanError, PlanId, Program, Role, Row, Rows, Step, Tensor, TensorId,
    WeightError,
};
use crate::quant::Format;

/// Positions that a step may name: angles are tested far out.
pub const CTX: usize = 1 << 17;
/// Slots that a step may name.
pub const SLOTS: usize = 8;
/// Token ids that a step may name.
pub const VOCAB: usize = 1 << 16;
/// Most rows of a step.
pub const MOST_ROWS: usize = 256;

/// One call, its data and its step.
pub struct Case {
    /// For people.
    pub name: String,
    /// The plan of this one call.
    pub plan: PlanId,
    /// The step.
    pub step: Step,
    /// Words to put into tensors of the state.
    pub inputs: Vec<(TensorId, Vec<u32>)>,
}

/// Weights in memory.
#[derive(Clone, Default)]
pub struct Memory(HashMap<String, (WeightShape, Vec<u8>)>);

impl WeightSource for Memory {
    fn shape(&self, name: &str) -> Option<WeightShape> {
        self.0.get(name).map(|(shape, _)| *shape)
    }

    fn bytes(&self, name: &str) -> Result<&[u8], WeightError> {
        let missing = || WeightError { name: name.into(), why: "is missing".into() };
        self.0.get(name).map(|(_, bytes)| bytes.as_slice()).ok_or_else(missing)
    }
}

/// The program under construction.
pub struct Bench {
    /// All cases.
    pub program: Program,
    /// Step rows.
    pub rows: TensorId,
    /// Step outputs.
    pub outs: TensorId,
    /// Numbers of an optimizer step.
    pub scalars: TensorId,
    weights: Memory,
    random: u64,
    inputs: Vec<(TensorId, Vec<u32>)>,
    count: usize,
}

impl Bench {
    /// An empty program with its step inputs.
    pub fn new() -> Result<Self, PlanError> {
        let mut program = Program::default();
        let input = |name: &str, rows, width| Tensor {
            name: name.into(),
            dtype: DType::U32,
            rows: Rows::fixed(rows),
            width,
            role: Role::Input,
            plan: None,
        };
        let rows = program.tensor(input("rows", 1 + MOST_ROWS, 4))?;
        let outs = program.tensor(input("outs", MOST_ROWS, size_of::<Out>() / 4))?;
        let scalars = program.tensor(input("scalars", 1, 8))?;
        program.inputs = Some(Inputs {
            rows,
            outs,
            scalars: Some(scalars),
            slots: SLOTS,
            ctx: CTX,
            vocab: VOCAB,
            ring: None,
        });
        Ok(Self {
            program,
            rows,
            outs,
            scalars,
            weights: Memory::default(),
            random: 0x1234_5678_9abc_def1,
            inputs: vec![],
            count: 0,
        })
    }

    /// The weights, for an executor.
    pub fn weights(&self) -> Weights {
        Arc::new(self.weights.clone())
    }

    /// A number in [0, 1): xorshift64*.
    pub fn uniform(&mut self) -> f32 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / 16_777_216.0
    }

    /// Numbers in [-1, 1).
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.uniform() * 2.0 - 1.0).collect()
    }

    fn fresh(&mut self, what: &str) -> String {
        self.count += 1;
        format!("{what} {}", self.count)
    }

    /// A tensor of the state, not written before the call.
    pub fn output(&mut self, dtype: DType, rows: usize, width: usize) -> Result<TensorId, PlanError> {
        let name = self.fresh("state");
        self.program.tensor(Tensor {
            name,
            dtype,
            rows: Rows::fixed(rows),
            width,
            role: Role::State,
            plan: None,
        })
    }

    /// A tensor of the state that holds these words.
    pub fn words(
        &mut self,
        dtype: DType,
        rows: usize,
        width: usize,
        words: Vec<u32>,
    ) -> Result<TensorId, PlanError> {
        let id = self.output(dtype, rows, width)?;
        self.inputs.push((id, words));
        Ok(id)
    }

    /// A tensor of the state with random floats in [-scale, scale).
    pub fn floats(&mut self, rows: usize, width: usize, scale: f32) -> Result<TensorId, PlanError> {
        let words = self.values(rows * width).iter().map(|v| (v * scale).to_bits()).collect();
        self.words(DType::F32, rows, width, words)
    }

    /// A cache of random values.
    pub fn cache(&mut self, blocks: bool, rows: usize, width: usize) -> Result<TensorId, PlanError> {
        if !blocks {
            return self.floats(rows, width, 1.0);
        }
        let values = self.values(rows * width);
        let lanes: Vec<u16> = values.as_chunks().0.iter().flat_map(|v| block16::pack(*v)).collect();
        let words =
            lanes.as_chunks().0.iter().map(|[low, high]| u32::from(*low) | u32::from(*high) << 16).collect();
        self.words(DType::Block16, rows, width, words)
    }

    /// A random weight matrix, or a vector (format F32, one row).
    pub fn weight(
        &mut self,
        format: Option<Format>,
        rows: usize,
        cols: usize,
    ) -> Result<TensorId, PlanError> {
        let name = self.fresh("weight");
        let values = self.values(rows * cols);
        let stored = format.unwrap_or(Format::F32);
        let fail = |e: crate::quant::QuantError| PlanError::Call { call: name.clone(), why: e.to_string() };
        let mut bytes = vec![0; stored.row_bytes(cols).map_err(fail)? * rows];
        stored.encode(&values, &mut bytes).map_err(fail)?;
        self.weights.0.insert(name.clone(), (WeightShape { format: stored, rows, cols }, bytes));
        let dtype = format.map_or(DType::F32, DType::Matrix);
        self.program.weight(&name, 0, rows, cols, dtype)
    }

    /// A vector among the weights with these values.
    pub fn vector(&mut self, values: &[f32]) -> Result<TensorId, PlanError> {
        let name = self.fresh("weight");
        let shape = WeightShape { format: Format::F32, rows: 1, cols: values.len() };
        self.weights.0.insert(name.clone(), (shape, bytemuck::cast_slice(values).to_vec()));
        self.program.weight(&name, 0, 1, values.len(), DType::F32)
    }

    /// Ends a case: a plan of `capacity` rows with this one call.
    pub fn case<C: Call>(
        &mut self,
        name: String,
        capacity: usize,
        call: C,
        step: Step,
    ) -> Result<Case, PlanError> {
        let plan = self.program.open_plan(&name, capacity, capacity);
        self.program.append(plan, OpCall::new(name.clone(), call))?;
        Ok(Case { name, plan, step, inputs: std::mem::take(&mut self.inputs) })
    }

    /// A step of `count` rows of one slot from position `first` on, each an output row too.
    pub fn step(&mut self, count: usize, first: usize) -> Step {
        let rows =
            (0..count).map(|t| Row { slot: 1, pos: (first + t) as u32, first: 0, token: t as u32 }).collect();
        let out = |t: usize| Out {
            row: (count - 1 - t) as u32,
            label: (t * 7 % 50) as u32,
            slot: 1,
            pos: (first + t) as u32,
            repeat_penalty: 1.0,
            top_p: 1.0,
            ..Out::default()
        };
        Step { rows, outs: (0..count).map(out).collect(), ..Step::default() }
    }
}

//! A model as a plan: numbered tensors, an append-only list of op calls, and the memory map drawn from them.
//!
//! Nothing here knows a GPU or a file: the same [`Program`] runs on every executor.

mod budget;
mod call;
mod fit;
mod layout;
mod load;
mod op;
mod program;
mod reverse;
mod tensor;
mod weights;

pub use budget::{BudgetError, Demand};
pub use call::{Call, OpCall, Shapes, Words};
pub use fit::{Fit, Suggestion};
pub use layout::{Layout, Placement, Profile, Segment, SegmentKind};
pub use load::{Load, Over};
pub use op::{Accepts, Access, Arg, Cost, GradRule, OpDef, OpRef};
pub use program::{Inputs, Plan, PlanError, PlanId, Program, Ring};
pub use reverse::Reverse;
pub use tensor::{DType, Part, Role, Rows, Tensor, TensorId, VIEW_ALIGN};
pub use weights::{WeightError, WeightShape, WeightSource, Weights};

/// Rust mirrors of the structs in `shaders/lib/step_types.wgsl`: what changes from step to step.
pub use params::step::{Out, Row, Scalars};

/// Parameter structs, generated from `shaders/params/*.wgsl` and `shaders/lib/step_types.wgsl`.
pub mod params {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

/// `Row::token` of a row whose token is read from the token table on the device.
pub const TOKEN_FROM_TABLE: u32 = u32::MAX;

impl Row {
    /// The row before the others on a device: how many token rows and output rows follow, and the seed of dropout.
    pub fn header(tokens: usize, outputs: usize, seed: u32) -> Self {
        Self { slot: tokens as u32, pos: outputs as u32, first: seed, token: 0 }
    }

    /// A position of a slot that is copied there from another slot: see [`Row::source_slot`].
    pub fn copied(from: usize, slot: usize, pos: usize) -> Self {
        Self { slot: slot as u32, pos: pos as u32, first: 0, token: from as u32 }
    }

    /// Of a row that is copied, the slot that it is copied from.
    pub fn source_slot(self) -> usize {
        self.token as usize
    }
}

/// One step's inputs: a row per token and a row per output, within the plan's capacity.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Token rows, at most the plan's `tokens`.
    pub rows: Vec<Row>,
    /// Output rows, at most the plan's `outputs`; `Out::row` indexes `rows`.
    pub outs: Vec<Out>,
    /// Numbers of an optimizer step.
    pub scalars: Scalars,
    /// Seed of dropout.
    pub seed: u32,
}

impl Step {
    /// An empty step that holds `tokens` and `outputs` rows without allocating again.
    pub fn with_capacity(tokens: usize, outputs: usize) -> Self {
        Self { rows: Vec::with_capacity(tokens), outs: Vec::with_capacity(outputs), ..Self::default() }
    }

    /// Forgets all rows, keeping the capacity.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.outs.clear();
    }

    /// Number of active rows of a symbolic row count.
    pub fn active(&self, rows: Rows) -> usize {
        rows.over.rows(self) * rows.per
    }
}

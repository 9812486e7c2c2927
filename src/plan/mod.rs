//! A model as a plan: numbered tensors, an append-only list of op calls, and the memory map drawn from them.
//!
//! Nothing here knows a GPU or a file: the same [`Program`] runs on every executor.

mod budget;
mod fit;
mod layout;
mod load;
mod op;
mod program;
mod reverse;
mod tensor;
mod weights;

pub use budget::{BudgetError, Demand};
pub use fit::{Fit, Suggestion};
pub use layout::{Layout, Placement, Profile, Segment, SegmentKind};
pub use load::{Load, Over};
pub use op::{Accepts, Access, Arg, Cost, GradRule, OpDef, OpRef};
pub use program::{Inputs, OpCall, Plan, PlanError, PlanId, Program, Words};
pub use reverse::Reverse;
pub use tensor::{DType, Role, Rows, Tensor, TensorId, VIEW_ALIGN};
pub use weights::{WeightError, WeightShape, WeightSource, Weights};

/// Rust mirrors of the structs in `shaders/lib/step_types.wgsl`: what changes from step to step.
pub use params::step::{Out, Row, Scalars};

/// Parameter structs, generated from `shaders/params/*.wgsl` and `shaders/lib/step_types.wgsl`.
pub mod params {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

/// `Row::token` of a row whose token is read from the token table on the device.
pub const TOKEN_FROM_TABLE: u32 = u32::MAX;

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
        match rows {
            Rows::Fixed(n) => n,
            Rows::Tokens(per) => self.rows.len() * per,
            Rows::Outputs(per) => self.outs.len() * per,
        }
    }
}

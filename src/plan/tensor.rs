//! Tensors of a program: all are matrices (rows, width) in row-major order.

use crate::plan::{Over, Plan, PlanId};
use crate::quant::Format;

/// Number of a tensor in its program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TensorId(pub u32);

impl TensorId {
    /// Index into [`crate::plan::Program::tensors`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How a tensor's elements are stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 16-bit lanes, two to a word, blocks of four with a shared exponent (the KV cache; `ops::block16`).
    Block16,
    /// 32-bit unsigned integer.
    U32,
    /// A weight matrix in a block format: `rows` outputs of `width` inputs.
    Matrix(Format),
}

/// Row count of a tensor: so many for each of the rows that a call may work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rows {
    /// Of what.
    pub over: Over,
    /// How many for each.
    pub per: usize,
}

impl Rows {
    /// The same in every step.
    pub const fn fixed(rows: usize) -> Self {
        Self { over: Over::One, per: rows }
    }

    /// So many for each row of a kind.
    pub const fn each(over: Over, per: usize) -> Self {
        Self { over, per }
    }

    /// The number, if it is the same in every step.
    pub fn if_fixed(self) -> Option<usize> {
        (self.over == Over::One).then_some(self.per)
    }

    /// Most rows in a plan's steps.
    pub fn capacity(self, plan: &Plan) -> usize {
        self.over.capacity(plan) * self.per
    }
}

/// Views begin at multiples of so many elements, the largest offset alignment that a device may ask for.
pub const VIEW_ALIGN: usize = 64;

/// What a tensor is for; decides where it lives and how long.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// Frozen, read from the model file: rows `first_row..first_row + rows` of the named tensor.
    Weight {
        /// Name in the file.
        source: String,
        /// First row taken (a matrix larger than a binding is cut by rows); of a vector, the first element.
        first_row: usize,
    },
    /// Frozen, read from the model file: whole tensors of one format, one below the other; of vectors, one behind the other.
    Joined {
        /// Names in the file, with their rows (of vectors, elements).
        sources: Vec<(String, usize)>,
    },
    /// Kept between steps, zero at boot: KV cache, token table.
    State,
    /// Written by the host before each step.
    Input,
    /// Lives from its first write to its last read within one plan.
    Activation,
    /// Trained: set by the host, changed by the optimizer.
    Trained,
    /// Sum of the gradients of something trained.
    Gradient,
    /// A moment of the optimizer.
    Moment,
    /// An activation that one plan makes and another one of the same branch needs: the forward's, for the gradient.
    /// Tapes of different branches share their memory.
    Tape {
        /// Number of the plans, see [`Plan::branch`](crate::plan::Plan::branch).
        branch: u32,
    },
    /// Elements of another shared tensor, from `first` on (a multiple of [`VIEW_ALIGN`]).
    View {
        /// The tensor it is a part of.
        of: TensorId,
        /// First element.
        first: usize,
    },
    /// Like an activation, but alive until the plan's end, so that the host can fetch it.
    Output,
}

impl Role {
    /// Whether no call may write it.
    pub fn is_frozen(&self) -> bool {
        matches!(self, Role::Weight { .. } | Role::Joined { .. } | Role::Input)
    }
}

/// Rows of a tensor of the model file that are rows of a frozen one (of vectors, elements).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    /// Name in the file.
    pub source: &'a str,
    /// First row there.
    pub first: usize,
    /// First row here.
    pub at: usize,
    /// Rows.
    pub rows: usize,
}

/// One tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tensor {
    /// Unique within the program, for people: `blk.3.attn_q`, `kv.3.k`.
    pub name: String,
    /// Element storage.
    pub dtype: DType,
    /// Row count.
    pub rows: Rows,
    /// Elements per row.
    pub width: usize,
    /// Purpose.
    pub role: Role,
    /// The plan it belongs to; `None` for what all plans share.
    pub plan: Option<PlanId>,
}

impl Tensor {
    /// What a frozen tensor is made of, in order; nothing for all others.
    pub fn parts(&self) -> Vec<Part<'_>> {
        let rows = if matches!(self.dtype, DType::Matrix(_)) { self.rows.per } else { self.width };
        match &self.role {
            Role::Weight { source, first_row } => vec![Part { source, first: *first_row, at: 0, rows }],
            Role::Joined { sources } => {
                let mut at = 0;
                let mut parts = Vec::with_capacity(sources.len());
                for (source, rows) in sources {
                    parts.push(Part { source, first: 0, at, rows: *rows });
                    at += rows;
                }
                parts
            }
            _ => vec![],
        }
    }
}

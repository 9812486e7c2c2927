//! What a step works on, in rows: of a call and of a whole plan.

use crate::plan::{Plan, Program, Step};

/// Which rows a call works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// The step's token rows.
    Tokens,
    /// The step's output rows.
    Outputs,
    /// The one row of a fixed tensor, or whatever the op's own loop counts.
    One,
}

impl Over {
    /// As the `count` parameter of ops says: what [`Over::count`] made.
    pub fn of(count: u32) -> Self {
        match count {
            1 => Over::Outputs,
            2 => Over::One,
            _ => Over::Tokens,
        }
    }

    /// The `count` parameter of ops.
    pub fn count(self) -> u32 {
        match self {
            Over::Tokens => 0,
            Over::Outputs => 1,
            Over::One => 2,
        }
    }

    /// Most such rows of a plan's steps.
    pub fn capacity(self, plan: &Plan) -> usize {
        match self {
            Over::Tokens => plan.tokens,
            Over::Outputs => plan.outputs,
            Over::One => 1,
        }
    }

    /// Such rows of a step.
    pub fn rows(self, step: &Step) -> usize {
        match self {
            Over::Tokens => step.rows.len(),
            Over::Outputs => step.outs.len(),
            Over::One => 1,
        }
    }
}

/// What a plan is run over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Token rows.
    pub rows: u64,
    /// Output rows.
    pub outputs: u64,
    /// Pairs of a position and one that it sees, itself included, of all sequences.
    pub pairs: u64,
}

impl Load {
    /// Sequences of so many rows each, one output row for each token row.
    pub fn of(sequences: u64, rows: u64) -> Self {
        Self { rows: sequences * rows, outputs: sequences * rows, pairs: sequences * rows * (rows + 1) / 2 }
    }

    /// The most that a step of a plan can be: every row sees the whole context.
    pub fn most(program: &Program, plan: &Plan) -> Self {
        let ctx = program.inputs.map_or(plan.tokens, |inputs| inputs.ctx) as u64;
        let (rows, outputs) = (plan.tokens as u64, plan.outputs as u64);
        Self { rows, outputs, pairs: rows * ctx }
    }

    /// Rows that a call works on.
    pub fn over(&self, over: Over) -> u64 {
        match over {
            Over::Tokens => self.rows,
            Over::Outputs => self.outputs,
            Over::One => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Load;

    #[test]
    fn pairs_are_those_of_a_causal_mask() {
        assert_eq!(Load::of(2, 3), Load { rows: 6, outputs: 6, pairs: 12 });
    }
}

//! Candidates: the ways to run an op that its shaders' headers list, and which of them a call takes.

use crate::exec::DeviceKind;
use crate::plan::OpCall;

/// What suits a kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tuning {
    /// Many lanes, fast workgroup memory.
    Hardware,
    /// A CPU that runs shaders eight lanes at a time: reads that all lanes share are dear, registers cheap.
    Software,
}

impl Tuning {
    /// The tuning of a kind of device.
    pub fn of(kind: DeviceKind) -> Self {
        if kind == DeviceKind::Software { Tuning::Software } else { Tuning::Hardware }
    }

    /// That of the other kinds.
    pub fn other(self) -> Self {
        match self {
            Tuning::Hardware => Tuning::Software,
            Tuning::Software => Tuning::Hardware,
        }
    }
}

/// What a number of a header is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    /// The word of this number among the op's parameters.
    Parameter(usize),
    /// A number.
    Number(u32),
}

/// `term / per`, rounded up, and at most `most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expression {
    /// Of what.
    pub term: Term,
    /// Divisor.
    pub per: u32,
    /// Largest value.
    pub most: u32,
}

impl Expression {
    /// Its value for a call.
    pub fn of(self, call: &OpCall) -> u32 {
        let term = match self.term {
            Term::Parameter(word) => parameter(call, word),
            Term::Number(number) => number,
        };
        term.div_ceil(self.per).min(self.most)
    }
}

/// What a call must be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// A parameter is a multiple of a number.
    MultipleOf(usize, u32),
    /// It is at most that.
    AtMost(usize, u32),
    /// It is more.
    Above(usize, u32),
    /// An optional argument is there.
    Present(&'static str),
    /// It is not.
    Absent(&'static str),
}

impl Condition {
    fn holds(self, call: &OpCall) -> bool {
        match self {
            Condition::MultipleOf(word, of) => parameter(call, word).is_multiple_of(of),
            Condition::AtMost(word, most) => parameter(call, word) <= most,
            Condition::Above(word, least) => parameter(call, word) > least,
            Condition::Present(arg) => call.arg(arg).is_some(),
            Condition::Absent(arg) => call.arg(arg).is_none(),
        }
    }
}

/// One way to run a shader's op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Those of an op are tried from the smallest.
    pub order: u32,
    /// The kind of device that it is for, if it is for one.
    pub on: Option<Tuning>,
    /// Active rows that the plan has at most: one of these ranges, both ends included; none: any.
    pub capacity: &'static [(u32, u32)],
    /// Most active rows of a step.
    pub rows: Option<u32>,
    /// All token rows of the step are of one slot.
    pub one_slot: bool,
    /// What the call is like.
    pub conditions: &'static [Condition],
    /// Of each entry point: workgroups in x, active rows that one in y takes, workgroups in z.
    pub grids: &'static [(Expression, u32, Expression)],
    /// Override constants.
    pub constants: &'static [(&'static str, Expression)],
}

impl Candidate {
    /// Whether a call of a plan with so many active rows at most can be run so.
    pub fn suits(&self, call: &OpCall, capacity: usize, tuning: Tuning) -> bool {
        let within = |(first, last): &(u32, u32)| (*first as usize..=*last as usize).contains(&capacity);
        self.on.is_none_or(|on| on == tuning)
            && (self.capacity.is_empty() || self.capacity.iter().any(within))
            && self.conditions.iter().all(|condition| condition.holds(call))
    }
}

fn parameter(call: &OpCall, word: usize) -> u32 {
    call.words().words()[word]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::gpu::{BindingKind, KERNELS};
    use crate::ops::Op;

    #[test]
    fn shaders_bind_what_their_op_has() {
        for kernel in KERNELS {
            let op = Op::ALL.iter().map(|op| op.def()).find(|def| def.stem == kernel.op);
            let op = op.unwrap_or_else(|| panic!("{} is of no op", kernel.name()));
            let arg = |name: &str| op.args.iter().find(|arg| arg.name == name);
            for binding in kernel.bindings.iter().filter(|b| b.kind != BindingKind::Uniform) {
                assert!(arg(binding.name).is_some(), "{} binds `{}`", kernel.name(), binding.name);
            }
            for condition in kernel.candidates.iter().flat_map(|c| c.conditions) {
                if let Condition::Present(name) | Condition::Absent(name) = condition {
                    let optional = arg(name).is_some_and(|arg| arg.optional);
                    assert!(optional, "{}: `{name}` is no optional argument", kernel.name());
                }
            }
        }
    }

    #[test]
    fn an_expression_is_rounded_up_and_bounded() {
        let of = |term, per, most| Expression { term: Term::Number(term), per, most };
        let dy = crate::plan::TensorId(0);
        let call = crate::ops::Coefs { rows: dy, outs: dy, dy, params: Default::default() };
        let call = OpCall::new("call", call);
        assert_eq!([of(65, 64, 9).of(&call), of(6400, 64, 9).of(&call), of(0, 64, 9).of(&call)], [2, 9, 0]);
    }
}

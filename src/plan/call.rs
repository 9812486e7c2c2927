//! Calls of ops: as the plan holds them, one like the other, and as a struct of its own for each op, with arguments by name.

use std::collections::HashMap;

use crate::plan::{OpDef, OpRef, PlanError, Program, Tensor, TensorId};

/// An op's parameters as words: the bytes of the op's generated `Params`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Words {
    words: [u32; 16],
    len: usize,
}

impl Words {
    fn new<P: bytemuck::Pod>(params: P) -> Self {
        const { assert!(size_of::<P>() <= 64 && size_of::<P>().is_multiple_of(4)) };
        let mut words = [0u32; 16];
        let bytes = bytemuck::bytes_of(&params);
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, len: bytes.len() / 4 }
    }

    fn get<P: bytemuck::Pod>(&self) -> P {
        bytemuck::pod_read_unaligned(&bytemuck::cast_slice(&self.words)[..size_of::<P>()])
    }

    /// The words.
    pub fn words(&self) -> &[u32] {
        &self.words[..self.len]
    }

    /// The raw bytes, as a uniform buffer takes them.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.words())
    }
}

/// A call of one op: its arguments by their names, and its parameters. The table of ops makes the structs that are such.
pub trait Call: Copy {
    /// The op's generated parameter struct.
    type Params: bytemuck::Pod;

    /// Which op.
    fn op() -> OpRef;

    /// The arguments in the op's order; `None` for an absent optional one.
    fn args(&self) -> Vec<Option<TensorId>>;

    /// The parameters.
    fn params(&self) -> Self::Params;

    /// The call of these arguments; `None` if they are not as many as the op has, or one is missing.
    fn of(args: &[Option<TensorId>], params: Self::Params) -> Option<Self>;
}

/// One op call of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct OpCall {
    /// Which op.
    pub op: OpRef,
    /// For people: `blk.3.attn_q`.
    pub label: String,
    args: Vec<Option<TensorId>>,
    params: Words,
}

impl OpCall {
    /// A call as a plan holds it.
    pub fn new<C: Call>(label: impl Into<String>, call: C) -> Self {
        Self { op: C::op(), label: label.into(), args: call.args(), params: Words::new(call.params()) }
    }

    /// The op's definition.
    pub fn def(&self) -> &'static OpDef {
        self.op.def
    }

    /// One entry per argument of the op, in its order; `None` for an absent optional one.
    pub fn args(&self) -> &[Option<TensorId>] {
        &self.args
    }

    /// The same call of other tensors, by those in whose place they are.
    pub fn with(&self, others: &HashMap<TensorId, TensorId>) -> Self {
        let other = |id: &Option<TensorId>| id.map(|id| others.get(&id).copied().unwrap_or(id));
        Self { args: self.args.iter().map(other).collect(), ..self.clone() }
    }

    /// The argument of this name, if the op has one and it is there.
    pub fn arg(&self, name: &str) -> Option<TensorId> {
        let at = self.def().args.iter().position(|arg| arg.name == name)?;
        self.args.get(at).copied().flatten()
    }

    /// The call of one op, if it is of that.
    pub fn get<C: Call>(&self) -> Option<C> {
        if self.op == C::op() { C::of(&self.args, self.params.get()) } else { None }
    }

    /// The parameters of an op's call.
    ///
    /// # Panics
    /// If the call is of another op: a fault of who asks.
    pub fn params<C: Call>(&self) -> C::Params {
        assert!(
            self.op == C::op(),
            "{}: a call of {:?} is taken for one of {:?}",
            self.label,
            self.op,
            C::op()
        );
        self.params.get()
    }

    /// The parameters of whatever op it is, as words.
    pub fn words(&self) -> &Words {
        &self.params
    }

    /// An error about the call.
    pub fn fails(&self, why: impl Into<String>) -> PlanError {
        PlanError::Call { call: self.label.clone(), why: why.into() }
    }
}

/// A call that is being checked, with the program whose tensors it names. Arguments are numbered in the op's order.
pub struct Shapes<'a> {
    /// Where the tensors are.
    pub program: &'a Program,
    /// The call.
    pub call: &'a OpCall,
}

impl Shapes<'_> {
    /// An argument, if it is there, must be so; an error names the call, the argument and the tensor.
    ///
    /// # Errors
    /// [`PlanError::Argument`].
    pub fn require(
        &self,
        arg: usize,
        ok: impl FnOnce(&Tensor) -> bool,
        why: impl FnOnce() -> String,
    ) -> Result<(), PlanError> {
        let Some(id) = self.call.args[arg] else { return Ok(()) };
        let tensor = self.program.get(id);
        if ok(tensor) {
            return Ok(());
        }
        Err(PlanError::Argument {
            call: self.call.label.clone(),
            arg: self.call.def().args[arg].name,
            tensor: tensor.name.clone(),
            why: why(),
        })
    }

    /// Some arguments have rows of this width.
    ///
    /// # Errors
    /// As [`Shapes::require`].
    pub fn wide(&self, args: impl IntoIterator<Item = usize>, width: u32) -> Result<(), PlanError> {
        let mut args = args.into_iter();
        args.try_for_each(|arg| {
            self.require(arg, |t| t.width == width as usize, || format!("must be {width} wide"))
        })
    }

    /// An argument has rows of `stride` elements, of which columns up to `end` are meant.
    ///
    /// # Errors
    /// As [`Shapes::require`].
    pub fn holds(&self, arg: usize, stride: u32, end: u32) -> Result<(), PlanError> {
        let ok = |t: &Tensor| t.width == stride as usize && end as usize <= t.width;
        self.require(arg, ok, || format!("must be {stride} wide and hold column {end}"))
    }
}

//! What a plan knows of an op: its description, which lies with its twin in `ops`.

use super::{DType, Load, OpCall, Over, PlanError, Reverse, Shapes};

/// How an op uses an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written; every active element is.
    Write,
    /// Read and written in place (state).
    Update,
}

/// Types an argument takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accepts {
    /// 32-bit floats.
    F32,
    /// 32-bit words.
    U32,
    /// A weight matrix in any block format.
    Matrix,
    /// KV storage: blocks of 16-bit values, or f32.
    Cache,
}

/// One argument of an op. The name is also that of the shader's binding.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Binding name.
    pub name: &'static str,
    /// Use.
    pub access: Access,
    /// Types.
    pub accepts: Accepts,
    /// May be absent.
    pub optional: bool,
}

impl Arg {
    /// Whether the op writes it.
    pub fn written(&self) -> bool {
        self.access != Access::Read
    }

    /// Whether a tensor of this type may stand here.
    pub fn accepts(&self, dtype: DType) -> bool {
        matches!(
            (self.accepts, dtype),
            (Accepts::F32, DType::F32)
                | (Accepts::U32, DType::U32)
                | (Accepts::Matrix, DType::Matrix(_))
                | (Accepts::Cache, DType::Block16 | DType::F32)
        )
    }
}

/// How much a call computes, in multiply-adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Of matrix products and attention.
    pub products: u64,
    /// All else, roughly.
    pub other: u64,
}

impl Cost {
    /// A few operations for each element of a row.
    pub(crate) const FEW: Self = Self { products: 0, other: 0 };

    pub(crate) fn products(times: u64, sizes: &[u32]) -> Self {
        Self { products: times * product(sizes), other: 0 }
    }

    pub(crate) fn other(times: u64, sizes: &[u32]) -> Self {
        Self { products: 0, other: times * product(sizes) }
    }
}

fn product(sizes: &[u32]) -> u64 {
    sizes.iter().map(|n| u64::from(*n)).product()
}

/// Gradient rule: appends the calls that turn the output's gradient into the inputs' gradients.
pub type GradRule = fn(&mut Reverse<'_>, &OpCall) -> Result<(), PlanError>;

/// One op: everything that a plan, the reverse walk and the executors need to know of it. Twins are in the table of `ops`.
pub struct OpDef {
    /// File stem.
    pub stem: &'static str,
    /// Arguments in the order of [`OpCall::args`].
    pub args: &'static [Arg],
    /// Shape rule.
    pub check: fn(&Shapes<'_>) -> Result<(), PlanError>,
    /// Error bound of a device result against the twin, for outputs of the given reduction length: relative to
    /// the norm of the output, in units of f32 epsilon.
    pub tolerance: fn(&OpCall) -> f64,
    /// Which rows a call works on.
    pub over: fn(&OpCall) -> Over,
    /// What a call costs.
    pub cost: fn(&OpCall, &Load) -> Cost,
    /// Rule of the reverse walk; `None` where no gradient flows (sampling, cache writes, gradients themselves).
    pub grad: Option<GradRule>,
}

/// An op of the table, as a call has it.
#[derive(Clone, Copy)]
pub struct OpRef {
    /// Number in the table.
    pub number: u16,
    /// Description.
    pub def: &'static OpDef,
}

impl PartialEq for OpRef {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl std::fmt::Debug for OpRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.def.stem)
    }
}

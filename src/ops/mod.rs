//! The op table. An op is one stem: `shaders/<stem>.wgsl`, `shaders/params/<stem>.wgsl` and `src/ops/<stem>.rs`
//! (arguments, shape rule, CPU twin, tolerance, gradient rule).

pub mod adamw;
pub mod add;
pub mod attention;
pub mod attention_dkv;
pub mod attention_dq;
pub mod attention_stats;
mod attention_tile;
pub mod bias_back;
pub mod block16;
pub mod coefs;
pub mod cpu;
pub mod divergence;
pub mod dropout;
pub mod embed;
pub mod fill;
pub mod gate;
pub mod gate_back;
pub mod gather;
pub mod gather_back;
pub mod kv_copy;
pub mod kv_write;
pub mod linear;
pub mod linear_back;
pub mod logprob;
pub mod logprob_back;
pub mod lookup;
pub mod lookup_back;
pub mod matmul;
pub mod outer;
pub mod project;
pub mod project_back;
pub mod rms_norm;
pub mod rms_norm_back;
pub mod rms_norm_dw;
pub mod rope;
pub mod sample;
pub mod softcap;
pub mod softcap_back;
pub mod sumsq;

use crate::plan::{DType, OpCall, PlanError, Program, Reverse, Tensor};

/// Parameter structs, generated from `shaders/params/*.wgsl` and `shaders/lib/step_types.wgsl`.
pub mod params {
    include!(concat!(env!("OUT_DIR"), "/params.rs"));
}

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
    const fn new(name: &'static str, access: Access, accepts: Accepts) -> Self {
        Self { name, access, accepts, optional: false }
    }

    const fn read(name: &'static str) -> Self {
        Self::new(name, Access::Read, Accepts::F32)
    }

    const fn write(name: &'static str) -> Self {
        Self::new(name, Access::Write, Accepts::F32)
    }

    const fn update(name: &'static str) -> Self {
        Self::new(name, Access::Update, Accepts::F32)
    }

    const fn input(name: &'static str) -> Self {
        Self::new(name, Access::Read, Accepts::U32)
    }

    const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

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

/// Gradient rule: appends the calls that turn the output's gradient into the inputs' gradients.
pub type GradRule = fn(&mut Reverse<'_>, &OpCall) -> Result<(), PlanError>;

/// One op: everything that an executor or the reverse walk needs to know of it.
pub struct OpDef {
    /// File stem.
    pub stem: &'static str,
    /// Arguments in the order of [`OpCall::args`].
    pub args: &'static [Arg],
    /// Shape rule.
    pub check: fn(&Program, &OpCall) -> Result<(), PlanError>,
    /// CPU twin in single precision.
    pub cpu_f32: fn(&cpu::Context<'_, f32>),
    /// CPU twin in double precision.
    pub cpu_f64: fn(&cpu::Context<'_, f64>),
    /// Error bound of a device result against the twin, for outputs of the given reduction length: relative to
    /// the norm of the output, in units of f32 epsilon.
    pub tolerance: fn(&Program, &OpCall) -> f64,
    /// Rule of the reverse walk; `None` where no gradient flows (sampling, cache writes, gradients themselves).
    pub grad: Option<GradRule>,
}

macro_rules! op_table {
    ($($variant:ident => $module:ident),* $(,)?) => {
        /// Number of an op in the table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)]
        pub enum Op { $($variant),* }

        impl Op {
            /// Every op.
            pub const ALL: &'static [Op] = &[$(Op::$variant),*];

            /// The op's definition.
            pub fn def(self) -> &'static OpDef {
                match self { $(Op::$variant => &$module::DEF),* }
            }
        }
    };
}

op_table! {
    Embed => embed,
    RmsNorm => rms_norm,
    Linear => linear,
    Rope => rope,
    KvWrite => kv_write,
    KvCopy => kv_copy,
    Attention => attention,
    Gate => gate,
    Add => add,
    Gather => gather,
    Softcap => softcap,
    LogProb => logprob,
    Sample => sample,
    LinearBack => linear_back,
    Project => project,
    ProjectBack => project_back,
    Outer => outer,
    BiasBack => bias_back,
    RmsNormBack => rms_norm_back,
    RmsNormDw => rms_norm_dw,
    AttentionStats => attention_stats,
    AttentionDq => attention_dq,
    AttentionDkv => attention_dkv,
    GateBack => gate_back,
    SoftcapBack => softcap_back,
    GatherBack => gather_back,
    LogProbBack => logprob_back,
    Divergence => divergence,
    Coefs => coefs,
    Lookup => lookup,
    LookupBack => lookup_back,
    Dropout => dropout,
    Fill => fill,
    SumSq => sumsq,
    AdamW => adamw,
}

/// Shape rule helper: names the call and the argument in the error.
pub(crate) fn require(
    program: &Program,
    call: &OpCall,
    arg: usize,
    ok: impl FnOnce(&Tensor) -> bool,
    why: impl FnOnce() -> String,
) -> Result<(), PlanError> {
    let Some(id) = call.args[arg] else { return Ok(()) };
    let tensor = program.get(id);
    if ok(tensor) {
        return Ok(());
    }
    Err(PlanError::Argument {
        call: call.label.clone(),
        arg: call.def().args[arg].name,
        tensor: tensor.name.clone(),
        why: why(),
    })
}

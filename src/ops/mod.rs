//! The op table. An op is one stem: `shaders/<stem>.wgsl`, `shaders/params/<stem>.wgsl` and `src/ops/<stem>.rs`
//! (arguments, shape rule, CPU twin, tolerance, gradient rule). A new one takes these and a line in the list of modules here.

#[macro_use]
mod define;

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
pub mod norm_gate;
pub mod norm_linear;
pub mod outer;
pub mod project;
pub mod project_back;
pub mod rms_norm;
pub mod rms_norm_back;
pub mod rms_norm_dw;
pub mod rope;
pub mod rope_write;
pub mod sample;
pub mod softcap;
pub mod softcap_back;
pub mod sumsq;

pub use crate::plan::{Accepts, Access, Arg, Cost, GradRule, OpDef, Over, params};
use crate::plan::{OpCall, OpRef};

/// What an op does on the CPU, in both precisions.
#[derive(Clone, Copy)]
pub struct Twin {
    /// Single precision.
    pub single: fn(&cpu::Context<'_, f32>),
    /// Double precision, against which gradients are checked.
    pub double: fn(&cpu::Context<'_, f64>),
}

macro_rules! op_table {
    ($($variant:ident => $module:ident),* $(,)?) => {
        $(pub use $module::$variant;)*

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

            /// What it does on the CPU.
            pub fn twin(self) -> Twin {
                match self {
                    $(Op::$variant => Twin { single: $module::twin::<f32>, double: $module::twin::<f64> }),*
                }
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/ops.rs"));

impl Op {
    /// The op of a call.
    pub fn of(call: &OpCall) -> Self {
        Self::ALL[usize::from(call.op.number)]
    }
}

impl From<Op> for OpRef {
    fn from(op: Op) -> Self {
        Self { number: op as u16, def: op.def() }
    }
}

impl PartialEq<Op> for OpRef {
    fn eq(&self, op: &Op) -> bool {
        self.number == *op as u16
    }
}

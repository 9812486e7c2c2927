//! Steps that are several in one: how many launches a token takes, and that a plan computes the same with them as without.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{golden, open};
use emberlm::exec::Executor;
use emberlm::exec::cpu::{self, CpuExecutor};
use emberlm::model::{
    AdapterShape, BranchHead, BuildOptions, Head, KvType, Model, PairShape, PlanSpec, Train, build,
};
use emberlm::plan::{
    Layout, Out, PlanId, Program, Row, Step, WeightError, WeightShape, WeightSource, Weights,
};
use emberlm::quant::Format;

/// WebGPU's default limit of a binding.
const BINDING: u64 = 128 << 20;
/// Long enough that attention of a few rows is split.
const CTX: usize = 512;
const ARCHITECTURES: [&str; 16] = [
    "llama-tied",
    "llama-untied",
    "llama3-rope",
    "llama-linear-rope",
    "llama-formats",
    "mistral",
    "qwen2",
    "qwen3-tied",
    "qwen3-untied",
    "qwen3-formats",
    "gemma2",
    "gemma3",
    "yarn",
    "longrope",
    "window",
    "odd-sizes",
];

fn model(name: &str) -> Model {
    open(&golden("arch").join(format!("{name}.gguf")))
}

/// A model's weights, of which the matrices of the layers are in other formats: v and down in the second.
struct Recoded(BTreeMap<String, (WeightShape, Vec<u8>)>, Weights);

impl Recoded {
    fn of(model: &Model, first: Format, second: Format) -> Self {
        let kinds = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
        let mut all = BTreeMap::new();
        let weights = model.weights();
        for layer in 0..model.config().layers.len() {
            for kind in kinds {
                let name = format!("blk.{layer}.{kind}.weight");
                let shape = weights.shape(&name).unwrap();
                let format = if matches!(kind, "attn_v" | "ffn_down") { second } else { first };
                let mut values = vec![0.0; shape.rows * shape.cols];
                shape.format.decode(weights.bytes(&name).unwrap(), &mut values).unwrap();
                let mut bytes = vec![0; format.row_bytes(shape.cols).unwrap() * shape.rows];
                format.encode(&values, &mut bytes).unwrap();
                all.insert(name, (WeightShape { format, ..shape }, bytes));
            }
        }
        Self(all, weights)
    }
}

impl WeightSource for Recoded {
    fn shape(&self, name: &str) -> Option<WeightShape> {
        self.0.get(name).map(|(shape, _)| *shape).or_else(|| self.1.shape(name))
    }

    fn bytes(&self, name: &str) -> Result<&[u8], WeightError> {
        self.0.get(name).map_or_else(|| self.1.bytes(name), |(_, bytes)| Ok(bytes))
    }
}

/// A plan of `rows` rows.
fn program(
    model: &Model,
    weights: &dyn WeightSource,
    rows: usize,
    fused: bool,
    pairs: BTreeMap<String, PairShape>,
) -> Program {
    let options = BuildOptions {
        ctx: CTX,
        slots: 2,
        kv: KvType::F32,
        max_binding: Some(BINDING),
        fused,
        adapters: AdapterShape { pairs, dropout: 0.0 },
        train: Train::Nothing,
        head: BranchHead::Tokens,
        branches: vec![],
    };
    let specs = [PlanSpec::new("step", rows, rows, Head::Logits)];
    build(model.config(), weights, &options, &specs).unwrap()
}

/// What a session's steps make of a text, in pieces of `rows`.
fn logits<F: cpu::CpuReal>(model: &Model, weights: Weights, program: Program, rows: usize) -> Vec<u32>
where
    CpuExecutor<F>: Executor,
{
    let layout = Layout::new(&program, cpu::profile::<F>());
    let trained = program.trained.clone();
    let mut executor = CpuExecutor::<F>::boot(program, &layout, weights, 2).unwrap();
    for (n, id) in trained.into_iter().enumerate() {
        let program = executor.program();
        let count = program.capacity_rows(id) * program.get(id).width;
        let value = |i: usize| ((i * 37 + n * 11) % 23) as f32 / 23.0 - 0.5;
        executor.write(id, &(0..count).map(value).collect::<Vec<_>>()).unwrap();
    }
    let mut all = vec![];
    for piece in 0..3 {
        let row = |t: usize| {
            let pos = (piece * rows + t) as u32;
            Row {
                slot: (t % 2) as u32,
                pos: pos / 2,
                first: 0,
                token: (pos * 7 + 3) % model.config().vocab as u32,
            }
        };
        let rows: Vec<Row> = (0..rows).map(row).collect();
        let outs = (0..rows.len() as u32).map(|row| Out { row, ..Out::default() }).collect();
        let step = Step { rows, outs, ..Step::default() };
        let ticket = executor.submit(PlanId(0), &step).unwrap();
        let mut words = vec![];
        executor.wait(ticket, &mut words).unwrap();
        all.extend(words);
    }
    all
}

fn adapters(model: &Model, kinds: &[&str]) -> BTreeMap<String, PairShape> {
    let layers = 0..model.config().layers.len();
    let labels = layers.flat_map(|l| kinds.iter().map(move |k| format!("blk.{l}.{k}")));
    labels.map(|label| (label, PairShape { rank: 3, scale: 0.5 })).collect()
}

/// The same sums in the same order: bit for bit.
#[test]
fn a_fused_plan_computes_what_the_single_steps_compute() {
    for name in ARCHITECTURES {
        let model = model(name);
        for rows in [1, 2, 8, 20] {
            let of = |fused| program(&model, &*model.weights(), rows, fused, BTreeMap::new());
            assert!(of(true).plans[0].calls.len() < of(false).plans[0].calls.len(), "{name}");
            let [fused, single] =
                [true, false].map(|fused| logits::<f64>(&model, model.weights(), of(fused), rows));
            assert!(fused == single, "{name}, {rows} rows, f64");
            let [fused, single] =
                [true, false].map(|fused| logits::<f32>(&model, model.weights(), of(fused), rows));
            assert!(fused == single, "{name}, {rows} rows, f32");
        }
    }
}

/// Two formats in one product.
#[test]
fn a_fused_plan_meets_mixed_formats() {
    for (name, first, second) in
        [("llama-untied", Format::Q5_0, Format::Q8_0), ("qwen2", Format::Iq4Nl, Format::Q5_0)]
    {
        let model = model(name);
        let weights: Weights = Arc::new(Recoded::of(&model, first, second));
        let of = |fused| program(&model, &*weights, 1, fused, BTreeMap::new());
        let pairs = of(true).plans[0].calls.iter().filter(|call| call.arg("w2").is_some()).count();
        assert_eq!(pairs, model.config().layers.len(), "{name}");
        let [fused, single] = [true, false].map(|fused| logits::<f64>(&model, weights.clone(), of(fused), 1));
        assert!(fused == single, "{name}");
    }
}

/// Adapters see what they are made for, whatever they are added to.
#[test]
fn a_fused_plan_adds_the_same_adapters() {
    let all = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    for name in ["llama-untied", "qwen2", "qwen3-formats", "gemma3"] {
        let model = model(name);
        for kinds in [&all[..], &["attn_q", "attn_v"], &["attn_k"], &["ffn_up"], &["ffn_down", "attn_output"]]
        {
            let of = |fused| program(&model, &*model.weights(), 1, fused, adapters(&model, kinds));
            assert!(of(true).plans[0].calls.len() < of(false).plans[0].calls.len(), "{name}, {kinds:?}");
            let [fused, single] =
                [true, false].map(|fused| logits::<f64>(&model, model.weights(), of(fused), 1));
            assert!(fused == single, "{name}, {kinds:?}");
            let of = program(&model, &*model.weights(), 1, true, BTreeMap::new());
            let plain = logits::<f64>(&model, model.weights(), of, 1);
            assert!(fused != plain, "{name}, {kinds:?}: the adapters change nothing");
        }
    }
}

#[cfg(feature = "gpu")]
mod launches {
    use super::*;
    use emberlm::exec::gpu::{KERNELS, Tuning};

    /// What a device launches in a layer of a plan that decodes one token: for the more launches of both kinds of device, on the
    /// kernels that need nothing but WebGPU's defaults.
    fn of_a_layer(model: &Model, weights: &dyn WeightSource, fused: bool, layer: usize) -> usize {
        let program = program(model, weights, 1, fused, BTreeMap::new());
        let plan = &program.plans[0];
        let prefix = format!("blk.{layer}.");
        let passes = |tuning: Tuning| -> usize {
            let calls = plan.calls.iter().filter(|call| call.label.starts_with(&prefix));
            let launches = calls.map(|call| {
                let capacity = (call.def().over)(call).capacity(plan);
                let kernels = KERNELS.iter().filter(|k| k.op == call.def().stem && k.requires.is_empty());
                let ways = kernels.flat_map(|kernel| kernel.candidates.iter().map(move |way| (kernel, way)));
                let ways = ways.filter(|(_, way)| way.suits(call, capacity, tuning));
                ways.min_by_key(|(_, way)| way.order).unwrap().0.passes.len()
            });
            launches.sum()
        };
        passes(Tuning::Hardware).max(passes(Tuning::Software))
    }

    /// By architecture: before and after. The heads of `llama-tied` and `gemma3` here are too narrow for their rows to be joined
    /// (groups of 32), which those of models that people use are not.
    #[test]
    fn of_a_decoded_token_are_few() {
        for (name, single, fused) in [
            ("llama-untied", 15, 7),
            ("llama3-rope", 15, 7),
            ("mistral", 15, 7),
            ("qwen2", 15, 7),
            ("qwen3-tied", 17, 7),
            ("qwen3-untied", 17, 7),
            ("gemma2", 19, 9),
            ("gemma3", 21, 11),
            ("llama-tied", 15, 9),
        ] {
            let model = model(name);
            // Layers with a window have less context, whose attention need not be split.
            let most = |fused| {
                let layers = 0..model.config().layers.len();
                layers.map(|layer| of_a_layer(&model, &*model.weights(), fused, layer)).max().unwrap()
            };
            assert_eq!([most(false), most(true)], [single, fused], "{name}");
        }
    }

    /// The bar of the design. Files with mixed formats have it too: v is stored with more bits.
    #[test]
    fn of_llama_are_seven_at_most() {
        for name in ["llama-untied", "llama3-rope", "llama-linear-rope", "mistral"] {
            let model = model(name);
            for (first, second) in [(Format::Q4_0, Format::Q4_0), (Format::Q5_0, Format::Q8_0)] {
                let weights = Recoded::of(&model, first, second);
                for layer in 0..model.config().layers.len() {
                    let found = of_a_layer(&model, &weights, true, layer);
                    assert!(found <= 7, "{name}, {first:?} and {second:?}, layer {layer}: {found}");
                }
            }
        }
    }

    /// No kernel binds more buffers than WebGPU's defaults have room for.
    #[test]
    fn kernels_bind_eight_buffers_at_most() {
        for kernel in KERNELS {
            let buffers = kernel.bindings.iter().filter(|b| b.name != "p").count();
            assert!(buffers <= 8, "{} binds {buffers}", kernel.name());
        }
    }
}

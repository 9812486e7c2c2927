//! The memory map: nothing alive overlaps, what is printed is what is allocated, what does not fit is refused.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use emberlm::exec::cpu;
use emberlm::model::{
    AdapterShape, BranchHead, BuildOptions, Head, KvType, Model, ModelError, PlanSpec, Train, build,
    build_fitting,
};
use emberlm::ops::{Access, Op};
use emberlm::plan::{
    BudgetError, DType, Layout, OpCall, Placement, Profile, Program, Role, SegmentKind, Suggestion, TensorId,
};
use emberlm::session::{DeviceChoice, Modes, Session, SessionOptions};

fn golden(name: &str) -> Model {
    Model::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch").join(name)).unwrap()
}

fn device_profile(max_binding: u64) -> Profile {
    Profile {
        align: 256,
        mapped_weights: false,
        params_stride: 256,
        max_binding,
        max_buffer: 1 << 28,
        ring: 3,
        element_scale: 1,
    }
}

fn options(max_binding: Option<u64>) -> BuildOptions {
    BuildOptions {
        ctx: 512,
        slots: 2,
        kv: KvType::Block16,
        max_binding,
        fused: max_binding.is_some(),
        adapters: AdapterShape::default(),
        head: BranchHead::Tokens,
        branches: vec![],
        train: Train::Nothing,
    }
}

fn specs() -> Vec<PlanSpec> {
    vec![
        PlanSpec::new("decode x2", 2, 2, Head::Sample),
        PlanSpec::new("prefill 32", 32, 1, Head::Sample),
        PlanSpec::new("score 32", 32, 32, Head::LogProb),
    ]
}

fn overlap(a: Placement, b: Placement) -> bool {
    (a.segment, a.buffer) == (b.segment, b.buffer)
        && a.offset < b.offset + b.bytes
        && b.offset < a.offset + a.bytes
}

/// Replays every plan and checks that no write touches the bytes of a tensor that is still to be read.
fn check_lives(program: &Program, layout: &Layout) {
    for plan in &program.plans {
        let mut owners: Vec<(TensorId, Placement)> = Vec::new();
        for call in &plan.calls {
            for (arg, id) in call.def().args.iter().zip(call.args()) {
                let Some((id, place)) = id.and_then(|id| Some((id, layout.placement(id)?))) else { continue };
                if arg.access == Access::Write {
                    owners.retain(|(other, p)| *other == id || !overlap(*p, place));
                    if !owners.iter().any(|(other, _)| *other == id) {
                        owners.push((id, place));
                    }
                } else if matches!(program.get(id).role, Role::Activation | Role::Output) {
                    assert!(
                        owners.iter().any(|(o, _)| *o == id),
                        "{}: {} was overwritten",
                        call.label,
                        arg.name
                    );
                }
            }
        }
        if let Some(fetch) = plan.fetch {
            assert!(
                owners.iter().any(|(o, _)| *o == fetch),
                "{}: the fetched tensor was overwritten",
                plan.name
            );
        }
    }
}

#[test]
fn live_tensors_never_share_bytes() {
    for name in ["llama-untied.gguf", "qwen2.gguf", "qwen3-tied.gguf", "gemma2.gguf", "gemma3.gguf"] {
        let model = golden(name);
        for profile in
            [cpu::profile::<f32>(), cpu::profile::<f64>(), device_profile(1 << 27), device_profile(20_000)]
        {
            let limit = (!profile.mapped_weights).then_some(profile.max_binding);
            let program = build(model.config(), &*model.weights(), &options(limit), &specs()).unwrap();
            let layout = Layout::new(&program, profile);
            check_lives(&program, &layout);
            common::assert_arguments_are_apart(&program, &layout);
        }
    }
}

#[test]
fn the_arena_is_smaller_than_the_sum_of_its_tensors() {
    let model = golden("llama-untied.gguf");
    let program = build(model.config(), &*model.weights(), &options(None), &specs()).unwrap();
    let layout = Layout::new(&program, device_profile(1 << 27));
    let sum: u64 = (0..program.tensors.len() as u32)
        .filter_map(|i| layout.placement(TensorId(i)))
        .filter(|p| p.segment == SegmentKind::Arena)
        .map(|p| p.bytes)
        .sum();
    assert!(layout.segment(SegmentKind::Arena).bytes() * 3 < sum, "{sum}");
}

#[test]
fn matrices_are_cut_to_the_binding_limit() {
    let model = golden("llama-untied.gguf");
    let limit = 20_000;
    let program = build(model.config(), &*model.weights(), &options(Some(limit)), &specs()).unwrap();
    let layout = Layout::new(&program, device_profile(limit));
    let mut cut = BTreeSet::new();
    for (index, tensor) in program.tensors.iter().enumerate() {
        if let (DType::Matrix(_), Role::Weight { source, first_row }) = (tensor.dtype, &tensor.role) {
            assert!(layout.placement(TensorId(index as u32)).unwrap().bytes <= limit, "{}", tensor.name);
            if *first_row > 0 {
                cut.insert(source.clone());
            }
        }
    }
    assert!(cut.contains("output.weight") && cut.contains("token_embd.weight"), "{cut:?}");
}

/// A residual is a step where a norm is before it, and otherwise the work of the product before it.
#[test]
fn products_take_residuals_along() {
    for (name, steps) in [("llama-untied.gguf", 0), ("qwen2.gguf", 0), ("gemma2.gguf", 2), ("gemma3.gguf", 2)]
    {
        let model = golden(name);
        let program = build(model.config(), &*model.weights(), &options(None), &specs()).unwrap();
        let layers = model.config().layers.len();
        for plan in &program.plans {
            let count = |fits: &dyn Fn(&OpCall) -> bool| plan.calls.iter().filter(|call| fits(call)).count();
            assert_eq!(count(&|call| call.op == Op::Add), steps * layers, "{name}, {}", plan.name);
            let fused = |call: &OpCall| call.op == Op::Linear && call.arg("residual").is_some();
            assert_eq!(count(&fused), (2 - steps) * layers, "{name}, {}", plan.name);
        }
    }
}

/// The map that is printed, the map that is booted and what the executor has allocated, segment by segment.
fn check_allocation(name: &str, options: &SessionOptions) {
    let model = golden(name);
    let session = Session::new(&model, options).unwrap();
    let layout = session.layout();
    let drawn: Vec<_> = layout.segments.iter().map(|s| (s.kind, s.bytes())).collect();
    let allocated = session.executor().allocated();
    assert_eq!(allocated, drawn, "{name}, {options:?}");
    assert_eq!(allocated.iter().map(|(_, bytes)| bytes).sum::<u64>(), layout.total());
    let profile = emberlm::session::device_profile(options).unwrap();
    let planned = emberlm::session::plan_memory(&model, options, profile).unwrap().1;
    assert_eq!(&planned, layout);
}

#[test]
fn the_printed_total_is_what_the_cpu_executor_allocates() {
    for modes in [Modes::GENERATE, Modes::LOGITS, Modes::SCORE] {
        for kv in [KvType::Block16, KvType::F32] {
            let options =
                SessionOptions { device: DeviceChoice::Cpu, kv, modes, slots: 3, ..Default::default() };
            check_allocation("qwen2.gguf", &options);
        }
    }
}

#[cfg(feature = "gpu")]
#[test]
fn the_printed_total_is_what_the_gpu_executor_allocates() {
    for name in ["llama-untied.gguf", "qwen2.gguf", "qwen3-tied.gguf", "gemma2.gguf", "gemma3.gguf"] {
        for (profile, modes, kv) in [
            ("full", Modes::GENERATE, KvType::Block16),
            ("webgpu-default", Modes::LOGITS, KvType::F32),
            ("v3d", Modes::SCORE, KvType::Block16),
        ] {
            let profile = profile.to_owned();
            let options = SessionOptions {
                device: DeviceChoice::Gpu,
                profile,
                modes,
                kv,
                slots: 3,
                ..Default::default()
            };
            check_allocation(name, &options);
        }
    }
}

#[test]
fn a_budget_too_small_is_refused_with_a_setting_that_fits() {
    let model = golden("llama-untied.gguf");
    let fitting = |ctx: usize, kv, budget| {
        let options = BuildOptions { ctx, kv, ..options(None) };
        build_fitting(
            model.config(),
            &*model.weights(),
            &options,
            &specs(),
            device_profile(1 << 27),
            Some(budget),
        )
    };
    let full = fitting(8192, KvType::F32, u64::MAX).unwrap().1.total();
    let Err(ModelError::Budget(BudgetError::Over { needed, budget, largest, fits })) =
        fitting(8192, KvType::F32, full / 2)
    else {
        panic!("half the memory was enough");
    };
    assert_eq!((needed, budget), (full, full / 2));
    assert!(largest[0].name.starts_with("kv."), "{largest:?}");
    let Some(Suggestion::Settings(fit)) = fits else { panic!("{fits:?}") };
    let kv = if fit.kv16 { KvType::Block16 } else { KvType::F32 };
    let ctx = fit.ctx.unwrap();
    assert!(ctx < 8192 && fitting(ctx, kv, full / 2).is_ok(), "{fit}");
    let message = fitting(8192, KvType::F32, 1000).unwrap_err().to_string();
    assert!(message.contains("the budget is 1000 B") && message.contains("smaller model"), "{message}");
}

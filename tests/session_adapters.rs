//! Adapters at inference: a session with adapters on is one on the model that they are merged into.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;

use common::bounds::MODEL;
use common::{boot, golden, open, options, relative_l2};
use emberlm::adapter::{Adapter, AdapterError, BaseFingerprint, LoraPair};
use emberlm::model::{AdapterShape, KvType, Model};
use emberlm::quant::Format;
use emberlm::quantize::{MergeOptions, Merging, merge};
use emberlm::session::{DeviceChoice, Modes, Session, SessionError, SessionOptions, adapter_room};
use emberlm::text::SamplerParams;

const TOKENS: [u32; 12] = [5, 40, 200, 17, 99, 3, 150, 61, 8, 230, 77, 12];

fn model(name: &str) -> Model {
    open(&golden("arch").join(format!("{name}.gguf")))
}

/// Reproducible factors for the named kinds of matrices of every layer, of rank `rank` and one more in odd layers.
fn adapter(model: &Model, name: &str, kinds: &[&str], rank: usize, alpha: f32, seed: u64) -> Adapter {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) as f32 / (1u64 << 31) as f32 * 2.0 - 1.0) * 0.1
    };
    let mut pairs = Vec::new();
    for layer in 0..model.config().layers.len() {
        for kind in kinds {
            let target = format!("blk.{layer}.{kind}");
            let tensor = model.gguf().tensor(&format!("{target}.weight")).unwrap();
            let (inputs, outputs, rank) = (tensor.dim(0) as usize, tensor.dim(1) as usize, rank + layer % 2);
            let a = (0..rank * inputs).map(|_| next()).collect();
            let b = (0..outputs * rank).map(|_| next()).collect();
            pairs.push(LoraPair { target, rank, inputs, outputs, a, b });
        }
    }
    let architecture = model.config().arch.name.into();
    Adapter { name: name.into(), architecture, alpha, pairs, ..Adapter::default() }
}

/// Two adapters that share some matrices and not others.
fn two(model: &Model) -> [Adapter; 2] {
    let all = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"];
    [adapter(model, "wide", &all, 3, 12.0, 1), adapter(model, "narrow", &["attn_q", "ffn_down"], 2, 5.0, 2)]
}

fn with_room(adapters: AdapterShape) -> SessionOptions {
    let options = options(DeviceChoice::Cpu, KvType::F32, Modes::LOGITS);
    SessionOptions { adapters, chunk: Some(8), logit_rows: 8, ..options }
}

fn logits(session: &mut Session) -> Vec<f32> {
    session.all_logits(&TOKENS).unwrap()
}

/// Logits of the model that the adapters were merged into, all its matrices in F32.
fn merged(model: &Model, adapters: &[(&Adapter, f32)]) -> Vec<f32> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("merged.gguf");
    let merging: Vec<_> =
        adapters.iter().map(|(adapter, scale)| Merging { adapter, scale: *scale }).collect();
    let options = MergeOptions { format: Some(Format::F32), ..MergeOptions::default() };
    merge(model.file(), &merging, &path, &options, &mut |_, _| ControlFlow::Continue(())).unwrap();
    logits(&mut boot(&open(&path), &with_room(AdapterShape::default())))
}

#[test]
fn a_session_with_adapters_is_one_on_the_merged_model() {
    for name in ["llama-untied", "qwen2", "qwen3-tied"] {
        let model = model(name);
        let [wide, narrow] = two(&model);
        let base = merged(&model, &[]);
        let mut session = boot(&model, &with_room(adapter_room([&wide, &narrow])));
        for on in [
            vec![(&wide, 1.0)],
            vec![(&narrow, 1.0)],
            vec![(&wide, 0.7), (&narrow, -1.5)],
            vec![(&narrow, 0.5), (&wide, 1.0)],
        ] {
            session.set_adapters(&on).unwrap();
            let (got, want) = (logits(&mut session), merged(&model, &on));
            let (apart, effect) = (relative_l2(&got, &want), relative_l2(&want, &base));
            let scales: Vec<_> = on.iter().map(|(a, s)| format!("{}:{s}", a.name)).collect();
            println!("{name}, {}: {apart:.1e} apart, the effect is {effect:.1e}", scales.join(" "));
            assert!(effect > 1e-2, "{name}: the adapters do too little ({effect:.1e}) to compare");
            assert!(apart < MODEL, "{name}, {}: {apart:.1e}", scales.join(" "));
            let active: Vec<_> = session.adapters().iter().map(|a| (a.name.clone(), a.scale)).collect();
            assert_eq!(active, on.iter().map(|(a, s)| (a.name.clone(), *s)).collect::<Vec<_>>());
        }
    }
}

/// An adapter of the output, on a model that has it in its embedding: the output alone changes.
#[test]
fn an_adapter_of_a_tied_output_changes_the_output_alone() {
    for name in ["llama-tied", "qwen3-tied", "qwen2"] {
        let model = model(name);
        assert!(model.gguf().tensor("output.weight").is_none());
        let (inputs, outputs) = (model.config().width, model.config().vocab);
        let mut adapter = adapter(&model, "head", &["attn_v"], 2, 6.0, 5);
        let values =
            |count: usize, step: usize| (0..count).map(|i| ((i * step % 23) as f32 - 11.0) / 40.0).collect();
        let (a, b) = (values(3 * inputs, 7), values(outputs * 3, 5));
        adapter.pairs.push(LoraPair { target: "output".into(), rank: 3, inputs, outputs, a, b });
        let base = merged(&model, &[]);
        let mut session = boot(&model, &with_room(adapter_room([&adapter])));
        for scale in [1.0, -0.5] {
            session.set_adapters(&[(&adapter, scale)]).unwrap();
            let (got, want) = (logits(&mut session), merged(&model, &[(&adapter, scale)]));
            assert!(relative_l2(&want, &base) > 1e-2, "{name}: the adapter does too little to compare");
            assert!(relative_l2(&got, &want) < MODEL, "{name}: {}", relative_l2(&got, &want));
        }
        // In the formats of the base the merged file has its embedding as it was, and an output of its own.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("merged.gguf");
        let merging = [Merging { adapter: &adapter, scale: 1.0 }];
        let go_on = &mut |_: usize, _: &emberlm::quantize::Decision| ControlFlow::Continue(());
        merge(model.file(), &merging, &path, &MergeOptions::default(), go_on).unwrap();
        let file = open(&path);
        let bytes = |model: &Model, name: &str| {
            model.file().tensor_bytes(model.gguf().tensor(name).unwrap()).unwrap().to_vec()
        };
        assert_eq!(bytes(&file, "token_embd.weight"), bytes(&model, "token_embd.weight"));
        assert_ne!(bytes(&file, "output.weight"), bytes(&model, "token_embd.weight"));
        assert_eq!(file.gguf().tensors.len(), model.gguf().tensors.len() + 1);
    }
}

#[test]
fn without_adapters_or_with_scale_0_it_is_the_base_bit_for_bit() {
    for name in ["llama-untied", "qwen2", "llama-formats"] {
        let model = model(name);
        let [wide, narrow] = two(&model);
        let base = logits(&mut boot(&model, &with_room(AdapterShape::default())));
        let mut session = boot(&model, &with_room(adapter_room([&wide, &narrow])));
        assert_eq!(logits(&mut session), base, "{name}: booted with room alone");
        session.set_adapters(&[(&wide, 0.0), (&narrow, 0.0)]).unwrap();
        assert_eq!(logits(&mut session), base, "{name}: scale 0");
        session.set_adapters(&[(&wide, 1.0)]).unwrap();
        assert_ne!(logits(&mut session), base, "{name}");
        session.set_adapters(&[]).unwrap();
        assert_eq!(logits(&mut session), base, "{name}: switched off");
        assert!(session.adapters().is_empty());
    }
}

#[test]
fn the_scale_of_the_room_makes_no_difference() {
    let model = model("llama-untied");
    let [wide, _] = two(&model);
    let mut room = adapter_room([&wide]);
    let mut one = boot(&model, &with_room(room.clone()));
    room.pairs.values_mut().for_each(|pair| pair.scale = 4.0);
    room.dropout = 0.5;
    let mut other = boot(&model, &with_room(room));
    one.set_adapters(&[(&wide, 1.0)]).unwrap();
    other.set_adapters(&[(&wide, 1.0)]).unwrap();
    // A power of two, so that dividing and multiplying change no bit.
    assert_eq!(logits(&mut one), logits(&mut other));
}

#[test]
fn switching_forgets_what_slots_hold() {
    let model = model("llama-untied");
    let [wide, _] = two(&model);
    let options = SessionOptions { modes: Modes::GENERATE, ..with_room(adapter_room([&wide])) };
    let mut session = boot(&model, &options);
    let answer = |session: &mut Session| {
        let go_on = &mut |_| ControlFlow::Continue(());
        session.generate(&TOKENS, SamplerParams::greedy(), 8, go_on).unwrap()
    };
    let base = answer(&mut session);
    assert!(answer(&mut session).reused > 0);
    session.set_adapters(&[(&wide, 1.0)]).unwrap();
    let adapted = answer(&mut session);
    assert_eq!(adapted.reused, 0, "keys and values of other weights");
    assert_ne!(adapted.tokens, base.tokens);
    session.set_adapters(&[]).unwrap();
    assert_eq!(answer(&mut session).tokens, base.tokens);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = model("llama-untied");
    let [wide, narrow] = two(&model);
    let mut session = boot(&model, &with_room(adapter_room([&wide])));
    session.set_adapters(&[(&wide, 1.0)]).unwrap();
    let before = logits(&mut session);
    let mut refused = |adapters: &[(&Adapter, f32)]| {
        let error = session.set_adapters(adapters).unwrap_err();
        assert_eq!(logits(&mut session), before, "{error}");
        assert_eq!(session.adapters().len(), 1);
        error
    };
    let room = refused(&[(&wide, 1.0), (&narrow, 1.0)]);
    assert!(
        matches!(&room, SessionError::AdapterRoom { target, needed: 5, rank: 3 } if target == "blk.0.attn_q"),
        "{room:?}"
    );
    let scale = refused(&[(&wide, f32::INFINITY)]);
    assert!(matches!(scale, SessionError::AdapterScale { .. }), "{scale}");
    let mut unsound = wide.clone();
    unsound.pairs[0].b[0] = f32::NAN;
    assert!(matches!(refused(&[(&unsound, 1.0)]), SessionError::Adapter(AdapterError::Tensor { .. })));
    let mut other = wide.clone();
    other.architecture = "qwen2".into();
    assert!(matches!(refused(&[(&other, 1.0)]), SessionError::Adapter(AdapterError::Architecture { .. })));
    other = wide.clone();
    let trained_on = BaseFingerprint { sha256: "0".repeat(64), name: "trained-on.gguf".into(), file_len: 1 };
    other.base = Some(trained_on);
    let base = refused(&[(&other, 1.0)]).to_string();
    assert!(base.contains("trained-on.gguf") && base.contains("llama-untied.gguf"), "{base}");
    // Without room no adapter can be set, and none at all can.
    let mut none = boot(&model, &with_room(AdapterShape::default()));
    none.set_adapters(&[]).unwrap();
    let error = none.set_adapters(&[(&wide, 1.0)]).unwrap_err();
    assert!(matches!(error, SessionError::AdapterRoom { rank: 0, .. }), "{error}");
}

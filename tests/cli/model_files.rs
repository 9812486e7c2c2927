//! What the commands say of model files that are not, or not wholly, understood.

use std::path::Path;

use emberlm::gguf::{GgufFile, GgufWriter, Metadata, TensorSpec};

use crate::adapter::golden;
use crate::common::Sandbox;

/// A copy of a golden model with changed metadata and weights.
fn copy(
    sandbox: &Sandbox,
    name: &str,
    model: &str,
    change: impl Fn(&mut Metadata),
    weights: impl Fn(&str, &mut Vec<u8>),
) -> String {
    let file = GgufFile::open(Path::new(&golden("arch")).join(format!("{model}.gguf"))).unwrap();
    let mut metadata = file.header().metadata.clone();
    change(&mut metadata);
    let tensors = &file.header().tensors;
    let specs: Vec<TensorSpec> = tensors.iter().map(TensorSpec::from).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for tensor in tensors {
        let mut bytes = file.tensor_bytes(tensor).unwrap().to_vec();
        weights(&tensor.name, &mut bytes);
        writer.tensor(&tensor.name, &bytes).unwrap();
    }
    sandbox.write(name, &writer.finish().unwrap()).display().to_string()
}

fn as_it_is(_: &str, _: &mut Vec<u8>) {}

#[test]
fn a_missing_pre_tokenizer_is_warned_of_wherever_text_is_cut() {
    let sandbox = Sandbox::new();
    let model = copy(&sandbox, "m.gguf", "llama-tied", |m| drop(m.remove("tokenizer.ggml.pre")), as_it_is);
    let data =
        sandbox.write("d.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\n").display().to_string();
    let commands: [&[&str]; 5] = [
        &["tokenize", "-m", &model, "it's 12345"],
        &["run", "-m", &model, "--raw", "-p", "x", "-n", "1", "--device", "cpu"],
        &["perplexity", "-m", &model, "-p", "the end of it", "--device", "cpu"],
        &["eval", &data, "-m", &model, "--device", "cpu"],
        &["tune", "sft", "--data", &data, "-m", &model, "--preview"],
    ];
    for args in commands {
        let ran = sandbox.run(args);
        assert_eq!(ran.err.matches("tokenizer.ggml.pre").count(), 1, "{args:?}: {}", ran.err);
        assert!(ran.code == 0 && ran.err.contains("warning:"), "{args:?}: {}", ran.err);
    }
    let whole = sandbox.run(&["tokenize", "-m", &golden("arch/llama-tied.gguf"), "it's 12345"]);
    assert!(whole.code == 0 && whole.err.is_empty(), "{}", whole.err);
}

#[test]
fn every_command_refuses_what_it_cannot_run_by_name() {
    let sandbox = Sandbox::new();
    let change = |m: &mut Metadata| m.set("llama.logit_scale", 0.5f32);
    let model = copy(&sandbox, "m.gguf", "llama-untied", change, as_it_is);
    let data =
        sandbox.write("d.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\n").display().to_string();
    let commands: [&[&str]; 5] = [
        &["run", "-m", &model, "-p", "x"],
        &["plan", "-m", &model],
        &["perplexity", "-m", &model, "-p", "the end of it"],
        &["bench", "-m", &model],
        &["tune", "sft", "--data", &data, "-m", &model, "-o", "x.gguf"],
    ];
    for args in commands {
        let ran = sandbox.run(args);
        assert!(ran.code == 1 && ran.err.contains("llama.logit_scale"), "{args:?}: {}", ran.err);
    }
    let noted = copy(&sandbox, "n.gguf", "llama-untied", |m| m.set("llama.novelty", 1u32), as_it_is);
    let plan = sandbox.run(&["plan", "-m", &noted, "--device", "cpu"]);
    assert!(plan.code == 0 && plan.err.contains("`llama.novelty` = 1"), "{}", plan.err);
}

#[test]
fn numbers_that_are_none_end_commands() {
    let sandbox = Sandbox::new();
    let data =
        sandbox.write("d.jsonl", b"{\"prompt\": \"a\", \"completion\": \"b\"}\n").display().to_string();
    for value in [f32::NAN, f32::INFINITY] {
        let broken = |name: &str, bytes: &mut Vec<u8>| {
            if name == "output_norm.weight" {
                bytes[..4].copy_from_slice(&value.to_le_bytes());
            }
        };
        let model = copy(&sandbox, "m.gguf", "llama-tied", |_| {}, broken);
        let commands: [&[&str]; 3] = [
            &["perplexity", "-m", &model, "-p", "the end of it", "--device", "cpu"],
            &["eval", &data, "-m", &model, "--device", "cpu"],
            &["run", "-m", &model, "--raw", "-p", "x", "-n", "3", "--temp", "0", "--device", "cpu"],
        ];
        for args in commands {
            let ran = sandbox.run(args);
            assert!(ran.code == 1 && ran.err.contains("not numbers"), "{args:?}: {}{}", ran.out, ran.err);
        }
        let ran = sandbox.run(&["quantize", &model, "out.gguf", "f16"]);
        assert!(ran.code == 1 && ran.err.contains("output_norm.weight"), "{}", ran.err);
        assert!(!sandbox.path("out.gguf").exists());
    }
    let large = |name: &str, bytes: &mut Vec<u8>| {
        if name == "blk.1.attn_k.weight" {
            bytes[8..12].copy_from_slice(&7e4f32.to_le_bytes());
        }
    };
    let model = copy(&sandbox, "l.gguf", "llama-tied", |_| {}, large);
    let ran = sandbox.run(&["quantize", &model, "out.gguf", "F16"]);
    let says = ran.err.contains("blk.1.attn_k.weight") && ran.err.contains("weight 2 is 70000");
    assert!(ran.code == 1 && says, "{}", ran.err);
    assert!(!sandbox.path("out.gguf").exists());
    assert_eq!(sandbox.run(&["quantize", &model, "out.gguf", "BF16"]).code, 0);
}

#[test]
fn files_of_other_kinds_are_named() {
    let sandbox = Sandbox::new();
    let mmproj = copy(&sandbox, "p.gguf", "llama-tied", |m| m.set("general.type", "mmproj"), as_it_is);
    let ran = sandbox.run(&["run", "-m", &mmproj, "-p", "x"]);
    assert!(ran.code == 1 && ran.err.contains("mmproj") && ran.err.contains("p.gguf"), "{}", ran.err);
    let part = |m: &mut Metadata| {
        m.set("split.count", 3u32);
        m.set("split.no", 1u32);
    };
    let part = copy(&sandbox, "m-00002-of-00003.gguf", "llama-tied", part, as_it_is);
    let commands: [&[&str]; 4] = [
        &["run", "-m", &part, "-p", "x"],
        &["quantize", &part, "out.gguf", "Q8_0"],
        &["tokenize", "-m", &part, "x"],
        &["inspect", &part],
    ];
    for args in commands {
        let ran = sandbox.run(args);
        let says = ran.err.contains("part 2 of 3") && ran.err.contains("m-00001-of-00003.gguf");
        assert!(ran.code == 1 && says, "{args:?}: {}", ran.err);
    }
}

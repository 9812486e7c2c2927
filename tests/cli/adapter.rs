//! Adapters as files: there and back through PEFT and MLX, shown, merged.

use std::path::Path;

use emberlm::adapter::Adapter;

use crate::bounds;
use crate::common::{Ran, Sandbox};

pub fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name).display().to_string()
}

pub fn base() -> String {
    golden("arch/llama-untied.gguf")
}

/// Runs `ember adapter` and expects success.
fn done(sandbox: &Sandbox, args: &[&str]) -> Ran {
    let ran = adapter(sandbox, args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    ran
}

fn adapter(sandbox: &Sandbox, args: &[&str]) -> Ran {
    sandbox.run(&[&["adapter"], args].concat())
}

/// A home with `a.gguf`, imported from the golden PEFT folder.
pub fn imported() -> Sandbox {
    let sandbox = Sandbox::new();
    let ran = done(&sandbox, &["import", &golden("adapter/peft"), "-m", &base(), "-o", "a.gguf"]);
    assert!(ran.err.contains("9 matrices"), "{}", ran.err);
    sandbox
}

#[test]
fn there_and_back_keeps_every_bit() {
    let sandbox = imported();
    let read = |name: &str| Adapter::open(sandbox.path(name)).unwrap();
    done(&sandbox, &["export", "a.gguf", "-m", &base(), "--to", "peft", "-o", "peft"]);
    done(&sandbox, &["import", "peft", "-m", &base(), "-o", "b.gguf"]);
    assert_eq!(read("b.gguf").pairs, read("a.gguf").pairs);
    assert_eq!(read("b.gguf").base, read("a.gguf").base);
    done(&sandbox, &["export", "a.gguf", "-m", &base(), "--to", "mlx", "-o", "mlx"]);
    done(&sandbox, &["import", "mlx/adapters.safetensors", "-m", &base(), "-o", "c.gguf"]);
    // One matrix has another rank than the rest, so that its B was scaled: equal but for rounding.
    for (a, c) in read("a.gguf").pairs.iter().zip(&read("c.gguf").pairs) {
        assert_eq!(a.a, c.a, "{}", a.target);
        let near = |(x, y): (&f32, &f32)| f64::from((x - y).abs()) <= bounds::ROUNDED * f64::from(x.abs());
        assert!(if a.rank == 2 { a.b == c.b } else { a.b.iter().zip(&c.b).all(near) }, "{}", a.target);
    }
    assert_eq!(adapter(&sandbox, &["export", "a.gguf", "-m", &base(), "--to", "onnx", "-o", "x"]).code, 2);
}

#[test]
fn show_tells_base_sizes_and_norms() {
    let sandbox = imported();
    let shown = done(&sandbox, &["show", "a.gguf", "-m", &base()]);
    for part in ["rank 2 to 3", "llama-untied.gguf", "attn_q", "ffn_down", "64 x 128", "imported_from"] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert!(shown.err.contains("was trained on"), "{}", shown.err);
    let json: serde_json::Value =
        serde_json::from_str(&done(&sandbox, &["show", "a.gguf", "--json"]).out).unwrap();
    assert_eq!(json["targets"].as_array().unwrap().len(), 9);
    let kinds = json["kinds"].as_array().unwrap();
    assert!(kinds.iter().all(|kind| kind["mean_norm"].as_f64().unwrap() > 0.0), "{json}");
    let model = adapter(&sandbox, &["show", &base()]);
    assert!(model.code == 1 && model.err.contains("not a model"), "{}", model.err);
    let other = adapter(&sandbox, &["show", "a.gguf", "-m", &golden("arch/llama-tied.gguf")]);
    assert!(other.code == 1 && other.err.contains("does not fit"), "{}", other.err);
}

#[test]
fn merge_writes_a_model_that_differs_and_runs() {
    let sandbox = imported();
    let merge = |more: &[&str]| {
        adapter(&sandbox, &[&["merge", "-m", &base(), "-o", "out.gguf", "--replace"], more].concat())
    };
    let ran = merge(&["--adapter", "a.gguf:20"]);
    assert!(ran.code == 0 && ran.err.contains("9 tensors re-encoded"), "{}", ran.err);
    let run = |model: &str| {
        let args =
            ["run", "-m", model, "--raw", "-p", "the end", "-n", "12", "--temp", "0", "--device", "cpu"];
        let ran = sandbox.run(&args);
        assert_eq!(ran.code, 0, "{}", ran.err);
        ran.out
    };
    assert_ne!(run("out.gguf"), run(&base()));
    // Nothing merged is the base itself, in the same formats.
    assert_eq!(merge(&["--adapter", "a.gguf:0"]).code, 0);
    assert_eq!(std::fs::read(sandbox.path("out.gguf")).unwrap(), std::fs::read(base()).unwrap());
    let typed = merge(&["--adapter", "a.gguf", "--adapter", "a.gguf:-1", "--type", "q8_0"]);
    assert_eq!(typed.code, 0, "{}", typed.err);
    sandbox.run(&["quantize", &base(), "q8.gguf", "q8_0"]);
    assert_eq!(run("out.gguf"), run("q8.gguf"), "an adapter and its opposite");
    assert_eq!(merge(&[]).code, 2);
    assert_eq!(merge(&["--adapter", "a.gguf:nan"]).code, 2);
}

#[test]
fn another_base_is_refused_unless_forced() {
    let sandbox = imported();
    // The same shapes, other numbers.
    sandbox.run(&["quantize", &base(), "other.gguf", "q8_0"]);
    let commands: [&[&str]; 3] = [
        &["merge", "-m", "other.gguf", "--adapter", "a.gguf", "-o", "out.gguf"],
        &["export", "a.gguf", "-m", "other.gguf", "--to", "peft", "-o", "folder"],
        &["import", "a.gguf", "-m", "other.gguf", "-o", "b.gguf"],
    ];
    for args in commands {
        let refused = adapter(&sandbox, args);
        let names = refused.err.contains("llama-untied.gguf") && refused.err.contains("other.gguf");
        assert!(refused.code == 1 && names && refused.err.contains("--force"), "{}", refused.err);
        assert!(!sandbox.path(args[args.len() - 1]).exists());
        done(&sandbox, &[args, &["--force"]].concat());
    }
}

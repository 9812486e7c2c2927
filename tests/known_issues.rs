//! Known defects of today. Each test holds while its defect is there, and fails once it is mended: then it goes from
//! here, and the test of how it should be is written where the rest of that is tested.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[allow(dead_code, reason = "shared with the command's own tests")]
#[path = "cli/common.rs"]
mod common;

use common::Sandbox;
use emberlm::gguf::{GgufFile, GgufWriter, TensorSpec};

fn tiny_model() -> String {
    format!("{}/tests/golden/arch/llama-tied.gguf", env!("CARGO_MANIFEST_DIR"))
}

/// A base model, which nobody made to chat and which has no template.
fn base_model(sandbox: &Sandbox) -> String {
    let file = GgufFile::open(tiny_model()).unwrap();
    let mut metadata = file.header().metadata.clone();
    metadata.remove("tokenizer.chat_template").expect("a template");
    let specs: Vec<TensorSpec> = file.header().tensors.iter().map(TensorSpec::from).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs).unwrap();
    for tensor in &file.header().tensors {
        writer.tensor(&tensor.name, file.tensor_bytes(tensor).unwrap()).unwrap();
    }
    sandbox.write("base.gguf", &writer.finish().unwrap()).display().to_string()
}

/// There is no such repository: whoever follows the package's address finds nothing.
#[test]
fn the_repository_in_the_manifest_is_a_placeholder() {
    let address = env!("CARGO_PKG_REPOSITORY");
    assert!(address.ends_with("/emberlm/ember"), "it has an address now: {address}");
}

/// A base model goes on with text. In a chat it answers nothing that makes sense, and a line that is soon out of sight
/// is all that says why; it should offer what the model can do, and chat only if asked again.
#[test]
fn a_chat_with_a_base_model_is_only_warned_of() {
    let sandbox = Sandbox::new();
    let model = base_model(&sandbox);
    let args = ["chat", "-m", &model, "--device", "cpu", "-t", "1", "-n", "2", "--no-journal"];
    let ran = sandbox.run_with_input(&args, "hello\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("no chat template") && ran.err.contains("using chatml"), "{}", ran.err);
    assert!(!ran.out.is_empty(), "it answered");
}

/// `ember tune` has ten objectives, of which the map of memory can be drawn for four.
#[test]
fn the_map_of_most_objectives_cannot_be_drawn() {
    let (sandbox, model) = (Sandbox::new(), tiny_model());
    let plan = |objective: &str| {
        let args =
            ["plan", "-m", &model, "--device", "cpu", "--seq", "32", "--rank", "2", "--tune", objective];
        sandbox.run(&args)
    };
    for known in ["sft", "dpo", "grpo", "ppo"] {
        assert_eq!(plan(known).code, 0, "{known}");
    }
    for missing in ["ipo", "orpo", "simpo", "kto", "reward", "rloo"] {
        let help = sandbox.run(&["tune", missing, "--help"]);
        assert_eq!(help.code, 0, "{missing} is an objective");
        let ran = plan(missing);
        assert!(ran.code == 2 && ran.err.contains("possible values"), "{missing}: {} {}", ran.code, ran.err);
    }
}

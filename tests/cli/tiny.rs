//! The model that is within the program: named, fallen back to, and good at its task.

use serde_json::Value;

use crate::common::Sandbox;

fn action(text: &str) -> Value {
    let json = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("no action: {text}"));
    serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
fn it_is_there_without_a_network() {
    let place = Sandbox::new();
    let asked = |text: &str| {
        let ran =
            place.run(&["run", "-m", "tiny", "-p", text, "--temp", "0", "--offline", "--device", "cpu"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        action(&ran.out)
    };
    assert_eq!(asked("Turn off the light in the kitchen.")["room"], "kitchen");
    assert_eq!(asked("What is 3 plus 4?")["text"], "7");
    let listed = place.run(&["models", "--json"]);
    let models: Value = serde_json::from_str(&listed.out).unwrap();
    let tiny = models["models"].as_array().unwrap().iter().find(|m| m["name"] == "tiny").unwrap().clone();
    assert!(tiny["path"].is_string() && tiny["size"].as_u64().unwrap() <= 8 << 20, "{tiny}");
}

#[test]
fn a_chat_falls_back_to_it_and_says_so() {
    let place = Sandbox::new();
    let ran = place.run_with_input(
        &["chat", "--offline", "--device", "cpu", "--temp", "0"],
        "Turn off the light in the kitchen.\n",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("within this program") && ran.err.contains("ember pull"), "{}", ran.err);
    assert_eq!(action(&ran.out)["room"], "kitchen", "{}", ran.out);
    // Who names a model gets that one or an error.
    let named = place.run(&["chat", "-m", "smollm2", "--offline"]);
    assert!(named.code == 1 && named.err.contains("ember pull"), "{}", named.err);
}

//! `--adapter` and `/adapter`.

use serde_json::Value;

use crate::adapter::{base, golden, imported};
use crate::common::{Ran, Sandbox};

fn run(sandbox: &Sandbox, model: &str, more: &[&str]) -> Ran {
    let args = ["run", "-m", model, "--raw", "-p", "the end", "-n", "12", "--temp", "0", "--device", "cpu"];
    sandbox.run(&[&args[..], more].concat())
}

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&done(ran).out).unwrap()
}

#[test]
fn an_adapter_changes_the_answer_as_merging_does() {
    let sandbox = imported();
    let args = ["adapter", "merge", "-m", &base(), "--adapter", "a:20", "-o", "merged.gguf", "--type", "f32"];
    done(sandbox.run(&args));
    let plain = done(run(&sandbox, &base(), &[]));
    let adapted = done(run(&sandbox, &base(), &["--adapter", "a:20"]));
    assert_ne!(adapted.out, plain.out);
    assert_eq!(adapted.out, done(run(&sandbox, "merged.gguf", &[])).out);
    assert!(adapted.err.contains(" with a:20"), "{}", adapted.err);
    assert_eq!(done(run(&sandbox, &base(), &["--adapter", "a.gguf:0"])).out, plain.out);
    let opposite = done(run(&sandbox, &base(), &["--adapter", "a:20", "--adapter", "a.gguf:-20"]));
    assert!(opposite.err.contains("a:20, a:-20"), "{}", opposite.err);
    assert_eq!(opposite.out, plain.out);
}

#[test]
fn adapters_are_found_by_name_and_missing_ones_named() {
    let sandbox = imported();
    let adapter = std::fs::read(sandbox.path("a.gguf")).unwrap();
    let missing = run(&sandbox, &base(), &["--adapter", "poet:0.5"]);
    assert!(missing.code == 1 && missing.err.contains("no adapter `poet`"), "{}", missing.err);
    assert!(missing.err.contains("adapters"), "says where to put one: {}", missing.err);
    sandbox.write("home/adapters/poet.gguf", &adapter);
    let found = done(run(&sandbox, &base(), &["--adapter", "poet:0.5"]));
    assert!(found.err.contains(" with poet:0.5"), "{}", found.err);
    let known = run(&sandbox, &base(), &["--adapter", "pot"]);
    assert!(known.err.contains("one of: poet"), "{}", known.err);
    let model = run(&sandbox, &base(), &["--adapter", &base()]);
    assert!(model.code == 1 && model.err.contains("not a model"), "{}", model.err);
    assert_eq!(run(&sandbox, &base(), &["--adapter", "a.gguf:inf"]).code, 2);
}

#[test]
fn an_adapter_of_another_base_is_refused_by_both_names_unless_forced() {
    let sandbox = imported();
    done(sandbox.run(&["quantize", &base(), "other.gguf", "q8_0"]));
    let refused = run(&sandbox, "other.gguf", &["--adapter", "a"]);
    let names = refused.err.contains("llama-untied.gguf") && refused.err.contains("other.gguf");
    assert!(refused.code == 1 && names && refused.err.contains("--force"), "{}", refused.err);
    done(run(&sandbox, "other.gguf", &["--adapter", "a", "--force"]));
    let shapes = run(&sandbox, &golden("arch/llama-tied.gguf"), &["--adapter", "a", "--force"]);
    assert!(shapes.code == 1 && shapes.err.contains("does not fit"), "{}", shapes.err);
}

#[test]
fn what_measures_a_model_takes_adapters_too() {
    let sandbox = imported();
    sandbox.write("text.txt", "the and then an other one in the end ".repeat(10).as_bytes());
    let measured = |args: &[&str], more: &[&str]| {
        let model = base();
        let all = [args, &["-m", &model, "--device", "cpu", "--json"], more].concat();
        json(sandbox.run(&all))
    };
    let adapter: &[&str] = &["--adapter", "a:20"];
    let perplexity = ["perplexity", "-f", "text.txt", "-c", "64"];
    let (plain, adapted) = (measured(&perplexity, &[]), measured(&perplexity, adapter));
    assert_ne!(plain["mean_nll"], adapted["mean_nll"]);
    assert_eq!((&plain["adapters"], &adapted["adapters"]), (&"".into(), &"a:20".into()));
    let bench = ["bench", "-p", "8", "-n", "4", "-r", "1"];
    let (plain, adapted) = (measured(&bench, &[]), measured(&bench, adapter));
    assert_eq!(adapted["adapters"], "a:20");
    let bytes = |json: &Value| json["bytes_per_token"].as_u64().unwrap();
    assert!(bytes(&adapted) > bytes(&plain));
    let plan = ["plan", "-c", "64"];
    let (plain, adapted) = (measured(&plan, &[]), measured(&plan, adapter));
    assert!(adapted["total"].as_u64() > plain["total"].as_u64());
    let names = |json: &Value| json["tensors"].to_string();
    assert!(names(&adapted).contains("lora_a") && !names(&plain).contains("lora_a"));
}

#[test]
fn a_conversation_switches_adapters_and_goes_on() {
    let sandbox = imported();
    let args = ["chat", "-m", &base(), "-n", "8", "--temp", "0", "--device", "cpu"];
    let said = sandbox.run_with_input(
        &args,
        "hello\n/save 1\n/reset\n/adapter\n/adapter a:20\nhello\n/save 2\n/adapter none\n/adapter nowhere\nmore\n\
         /save 3\n/reset\n/adapter a:0\nhello\n/save 4\n/adapter a:20 a\n/adapter\n",
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let messages = |name: &str| {
        let talk: Value = serde_json::from_slice(&std::fs::read(sandbox.path(name)).unwrap()).unwrap();
        talk["messages"].as_array().unwrap().clone()
    };
    assert_ne!(messages("1"), messages("2"), "the adapter does something");
    assert_eq!(messages("1"), messages("4"), "the model alone again");
    assert_eq!(messages("3")[..2], messages("2")[..], "the conversation stays");
    assert_eq!(messages("3").len(), 4);
    let lines: Vec<&str> =
        said.err.lines().filter(|l| !l.contains("saved") && !l.contains("forgotten")).collect();
    let count = |text: &str| lines.iter().filter(|l| l.contains(text)).count();
    assert_eq!(count("no adapter is on"), 2, "{lines:?}");
    assert_eq!(count("starting the model again"), 2, "for the first, and for two at once: {lines:?}");
    assert_eq!((count("no adapter `nowhere`"), count("on: a:0")), (1, 1), "{lines:?}");
    assert_eq!(lines.last(), Some(&"on: a:20, a"), "{lines:?}");
}

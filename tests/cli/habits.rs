//! Command lines as llama.cpp's users write them.

use crate::common::Sandbox;
use crate::hostile::{self, tiny};

fn run(sandbox: &Sandbox, args: &[&str]) -> crate::common::Ran {
    let model = tiny().display().to_string();
    sandbox.run(&[&["run", "-m", &model, "-p", "the end"][..], args].concat())
}

#[test]
fn other_spellings_mean_the_same() {
    let sandbox = Sandbox::new();
    let cpu = ["-c", "64", "--device", "cpu"];
    let out = |args: &[&str]| {
        let ran = run(&sandbox, &[args, &cpu[..]].concat());
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    };
    let whole = out(&["--temp", "0"]);
    for n in ["-1", "-2"] {
        assert_eq!(out(&["--temp", "0", "-n", n]), whole);
        assert_eq!(out(&["--temperature", "0", "--n-predict", n]), whole);
    }
    assert_eq!(out(&["--temp", "0", "--predict", "3"]), out(&["--temp", "0", "-n", "3"]));
    let sampled = |more: &[&str]| out(&[&["-n", "12", "--seed", "7", "--temp", "1.5"][..], more].concat());
    assert_eq!(sampled(&["--top-k", "-1"]), sampled(&["--top-k", "0"]));
    assert_ne!(sampled(&["--top-k", "-1"]), sampled(&["--top-k", "1"]));
    assert_eq!(sampled(&["-t", "-1"]), sampled(&["--threads", "0"]));
    assert_eq!(sampled(&["-sys", "x"]), sampled(&["--system", "x"]));
    assert_eq!(sampled(&["--system-prompt", "x"]), sampled(&["--system", "x"]));
    let seeds: Vec<String> = (0..3).map(|_| out(&["-n", "12", "--seed", "-1", "--temp", "2"])).collect();
    assert!(seeds[0] != seeds[1] || seeds[1] != seeds[2], "-1 is another seed each time");
    let on_cpu = run(&sandbox, &["-ngl", "0", "-n", "3", "-c", "64"]);
    assert!(on_cpu.code == 0 && on_cpu.err.contains("CPU"), "{}", on_cpu.err);
    assert_eq!(run(&sandbox, &["-n", "3", "-c", "64", "-dev", "none"]).code, 0);
    let model = tiny().display().to_string();
    for args in [
        &["tokenize", "-m", &model, "-p", "-1"][..],
        &["perplexity", "-m", &model, "-p", "the end of it", "-n", "-1", "-c", "0", "--device", "cpu"],
    ] {
        let ran = sandbox.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
    }
}

#[test]
fn numbers_that_mean_nothing_are_refused_by_their_reader() {
    let sandbox = Sandbox::new();
    for (args, says) in [
        (&["-n", "-5"][..], "-1 for no limit"),
        (&["--seed", "-7"], "-1 for a new seed"),
        (&["-t", "-3"], "0 for one per core"),
        (&["--temp", "-1"], "negative"),
        (&["--top-p", "-0.5"], "between 0 and 1"),
        (&["-c", "-1"], "-1"),
        (&["-ngl", "x"], "0 is the CPU"),
        (&["--stop", ""], "ends nothing"),
        (&["-fa"], "leave it out"),
        (&["-fa", "on"], "leave it out"),
        (&["-ctk", "q8_0"], "--kv"),
        (&["--grammar", "x.gbnf"], "grammar"),
        (&["--mirostat", "2"], "--top-p"),
        (&["-hff", "a.gguf"], "-hf OWNER/REPO"),
        (&["-cnv"], "ember chat"),
    ] {
        let ran = run(&sandbox, args);
        assert!(ran.code == 2 && ran.err.contains(says), "{args:?}: {}", ran.err);
        assert!(ran.err.starts_with("error:"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_context_beyond_the_trained_one_is_said_once() {
    let sandbox = Sandbox::new();
    let model = tiny().display().to_string();
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.run(&["inspect", &model, "--json"]).out).unwrap();
    let trained = json["metadata"]["llama.context_length"].as_u64().unwrap();
    let (more, all) = ((trained + 1).to_string(), trained.to_string());
    for args in [
        &["run", "-m", &model, "-p", "a", "-n", "1"][..],
        &["plan", "-m", &model],
        &["perplexity", "-m", &model, "-p", "the end of it"],
        &["bench", "-m", &model, "-p", "2", "-n", "2", "-r", "1"],
    ] {
        let with = |ctx: &str| sandbox.run(&[args, &["--device", "cpu", "-c", ctx][..]].concat());
        let beyond = with(&more);
        assert_eq!(beyond.code, 0, "{args:?}: {}", beyond.err);
        let said = beyond.err.matches(&format!("longer than the {trained}")).count();
        assert!(said == 1 && beyond.err.contains(&more), "{args:?}: {}", beyond.err);
        for ctx in ["0", &all] {
            let within = with(ctx);
            assert!(within.code == 0 && !within.err.contains("longer than"), "{args:?}: {}", within.err);
        }
    }
    let quiet = run(&sandbox, &["-n", "1", "-c", &more, "--device", "cpu", "-q"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (0, ""));
    let whole = run(&sandbox, &["-n", "1", "-c", "0", "--device", "cpu"]);
    assert!(whole.err.contains(&format!("context {trained}")), "{}", whole.err);
}

#[test]
fn what_a_prompt_may_lack_is_said() {
    let sandbox = Sandbox::new();
    let without = |metadata: &mut emberlm::gguf::Metadata| {
        metadata.remove("tokenizer.chat_template");
    };
    let model = hostile::model(&sandbox, "base.gguf", without, str::to_owned);
    let ran = |prompt: &str, more: &[&str]| {
        let args = ["run", "-m", &model, "-p", prompt, "-n", "2", "--device", "cpu"];
        sandbox.run(&[&args[..], more].concat())
    };
    let bare = ran("a", &[]);
    assert!(
        bare.code == 0 && bare.err.contains("no chat template") && bare.err.contains("chatml"),
        "{}",
        bare.err
    );
    assert!(!ran("a", &["--raw"]).err.contains("template"));
    assert!(!ran("a", &["--chat-template", "chatml"]).err.contains("no chat template"));
    let empty = run(&sandbox, &["-p", ""]);
    assert_eq!(empty.code, 2, "given twice: {}", empty.err);
    for nothing in ["", " "] {
        let ran = ran(nothing, &[]);
        assert!(ran.code == 2 && ran.err.contains("the prompt is empty"), "{}", ran.err);
        assert!(ran.err.contains("--raw") && ran.out.is_empty(), "{}", ran.err);
    }
}

#[test]
fn missing_files_are_called_so() {
    let sandbox = Sandbox::new();
    sandbox.write("folder/x", b"");
    for (args, says) in [
        (&["inspect", "none.gguf"][..], "no such file"),
        (&["inspect", "./folder"], "folder"),
        (&["run", "-m", "none.gguf", "-p", "x"], "no such file"),
        (&["run", "-m", "folder", "-p", "x"], "folder"),
        (&["tokenize", "-f", "none.txt"], "no such file"),
        (&["tokenize", "-f", "folder"], "folder"),
    ] {
        let ran = sandbox.run(args);
        assert!(ran.code == 1 && ran.err.contains(says), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(args.iter().find(|a| a.contains("none") || a.contains("folder")).unwrap()));
        assert!(!ran.err.contains("entity") && !ran.err.contains("os error"), "{args:?}: {}", ran.err);
    }
}

//! Commands on a tiny random model of the golden files.

use std::path::{Path, PathBuf};

use crate::bounds;
use crate::common::{Sandbox, sha256};

fn tiny(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch").join(name)
}

fn model() -> String {
    tiny("llama-tied.gguf").display().to_string()
}

fn with_model<'a>(model: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec![args[0], "-m", model];
    all.extend(&args[1..]);
    all
}

fn run(sandbox: &Sandbox, args: &[&str]) -> crate::common::Ran {
    sandbox.run(&with_model(&model(), args))
}

#[test]
fn inspect_shows_metadata_and_tensors() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(&["inspect", &model()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["general.architecture", "\"llama\"", "token_embd.weight", "tokenizer.ggml.tokens", "Formats"]
    {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let short = sandbox.run(&["inspect", &model(), "--json"]);
    let short: serde_json::Value = serde_json::from_str(&short.out).unwrap();
    assert_eq!(short["metadata"]["general.architecture"], "llama");
    assert_eq!(short["metadata"]["tokenizer.ggml.tokens"]["length"], 272);
    let full = sandbox.run(&["inspect", &model(), "--json", "--full"]);
    let full: serde_json::Value = serde_json::from_str(&full.out).unwrap();
    assert_eq!(full["metadata"]["tokenizer.ggml.tokens"].as_array().unwrap().len(), 272);
    assert_eq!(full["tensors"], short["tensors"]);
}

#[test]
fn quantize_writes_a_model_that_runs() {
    let sandbox = Sandbox::new();
    for format in ["q8_0", "Q4_K", "IQ4_NL", "BF16"] {
        let ran = sandbox.run(&["quantize", &model(), "out.gguf", format, "--replace"]);
        assert_eq!(ran.code, 0, "{format}: {}", ran.err);
        let json = sandbox.run(&["inspect", "out.gguf", "--json"]).out;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let types: Vec<_> = json["tensors"].as_array().unwrap().iter().map(|t| t["type"].clone()).collect();
        assert!(types.iter().any(|t| t != "F32" && t != "F16"), "{types:?}");
        let ran = sandbox.run(&["run", "-m", "out.gguf", "-p", "the", "-n", "4", "--device", "cpu"]);
        assert_eq!(ran.code, 0, "{format}: {}", ran.err);
    }
    let before = std::fs::read(sandbox.path("out.gguf")).unwrap();
    let ran = sandbox.run(&["quantize", "out.gguf", "out.gguf", "Q8_0"]);
    assert!(ran.code == 1 && ran.err.contains("out.gguf"), "{}", ran.err);
    assert_eq!(sandbox.run(&["quantize", &model(), "no/such/folder.gguf", "Q8_0"]).code, 1);
    assert_eq!(sandbox.run(&["quantize", &model(), "out.gguf", "Q9_9"]).code, 2);
    let absent = sandbox.run(&["quantize", "smollm2", "out.gguf", "Q8_0"]);
    assert!(absent.code == 1 && absent.err.contains("ember pull"), "{}", absent.err);
    assert_eq!(std::fs::read(sandbox.path("out.gguf")).unwrap(), before);
}

#[test]
fn tokenize_shows_ids_and_pieces() {
    let sandbox = Sandbox::new();
    let ids = run(&sandbox, &["tokenize", "--ids", "-p", "the and"]);
    let ids: Vec<u32> = serde_json::from_str(&ids.out).unwrap();
    assert_eq!(run(&sandbox, &["tokenize", "-p", "the and"]).out.lines().count(), ids.len());
    assert_eq!(run(&sandbox, &["tokenize", "--count", "-p", "the and"]).out.trim(), ids.len().to_string());
    assert_eq!(run(&sandbox, &["tokenize", "the and"]).out.lines().count(), ids.len());
    let piped = sandbox.run_with_input(&with_model(&model(), &["tokenize", "--ids"]), "the and");
    assert_eq!(serde_json::from_str::<Vec<u32>>(&piped.out).unwrap(), ids);
    let text = run(&sandbox, &["tokenize", "--ids", "-p", "<|im_end|>"]);
    let special = run(&sandbox, &["tokenize", "--ids", "--special", "-p", "<|im_end|>"]);
    assert_eq!(special.out.trim(), "[2]");
    assert!(serde_json::from_str::<Vec<u32>>(&text.out).unwrap().len() > 1);
}

#[test]
fn run_prints_the_answer_alone() {
    let sandbox = Sandbox::new();
    let args = ["run", "-p", "the end", "-n", "12", "--seed", "5", "--device", "cpu", "-t", "2"];
    let first = run(&sandbox, &args);
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(!first.out.is_empty() && !first.out.contains("context") && first.err.contains("CPU"));
    assert_eq!(run(&sandbox, &args).out, first.out, "the same seed gives the same text");
    let piped = sandbox.run_with_input(
        &with_model(&model(), &["run", "-n", "12", "--seed", "5", "--device", "cpu", "--quiet"]),
        "the end",
    );
    assert_eq!((piped.out, piped.err.as_str()), (first.out.clone(), ""));
    let other = run(&sandbox, &["run", "-p", "the end", "-n", "12", "--seed", "6", "--device", "cpu"]);
    assert_ne!(other.out, first.out);
    let raw = run(&sandbox, &["run", "--raw", "-p", "the end", "-n", "12", "--temp", "0", "--device", "cpu"]);
    let templated = run(&sandbox, &["run", "-p", "the end", "-n", "12", "--temp", "0", "--device", "cpu"]);
    assert_ne!(raw.out, templated.out, "--raw leaves the template out");
    let stats = run(&sandbox, &["run", "-p", "x", "-n", "3", "--stats", "--device", "cpu"]);
    assert!(stats.err.contains("tok/s"), "{}", stats.err);
}

#[test]
fn chat_templates_can_be_chosen() {
    let sandbox = Sandbox::new();
    let say = |more: &[&str]| {
        let args =
            [&["run", "-p", "the end", "-n", "8", "--temp", "0", "--device", "cpu"][..], more].concat();
        run(&sandbox, &args)
    };
    let own = say(&[]);
    sandbox.write("mine.jinja", b"{{ messages[0]['content'] }}");
    let mine = say(&["--chat-template", "mine.jinja"]);
    let raw = say(&["--raw"]);
    assert_eq!(mine.out, raw.out, "a template that adds nothing is no template");
    assert_ne!(own.out, raw.out);
    // The tiny model's own template is ChatML.
    assert_eq!(say(&["--chat-template", "chatml"]).out, own.out);
    assert_ne!(say(&["--system", "be kind"]).out, own.out);
    let unknown = say(&["--chat-template", "nonsense"]);
    assert!(unknown.code == 1 && unknown.err.contains("chatml"), "{}", unknown.err);
    sandbox.write("bad.jinja", b"{% if %}");
    let bad = say(&["--chat-template", "bad.jinja"]);
    assert!(bad.code == 1 && bad.err.contains("line 1") && bad.err.contains("at: bad.jinja"), "{}", bad.err);
    assert_eq!(say(&["--raw", "--system", "x"]).code, 2);
}

#[test]
fn what_cannot_be_run_says_why() {
    let sandbox = Sandbox::new();
    let long = run(&sandbox, &["run", "-p", &"word ".repeat(200), "-c", "32", "--device", "cpu"]);
    assert!(long.code == 1 && long.err.contains("-c"), "{}", long.err);
    let empty = run(&sandbox, &["run", "--raw", "-p", "", "--device", "cpu"]);
    assert!(empty.code == 1 && empty.err.contains("no tokens"), "{}", empty.err);
    sandbox.write("not.gguf", b"hello, this is text");
    let text = sandbox.run(&["run", "-m", "not.gguf", "-p", "x"]);
    assert!(text.code == 1 && text.err.contains("not.gguf"), "{}", text.err);
    let device = run(&sandbox, &["run", "-p", "x", "--device", "no such adapter"]);
    assert!(device.code == 1 && device.err.contains("ember doctor"), "{}", device.err);
    sandbox.write("latin1.txt", b"caf\xe9");
    let latin = run(&sandbox, &["run", "-f", "latin1.txt"]);
    assert!(
        latin.code == 1 && latin.err.contains("UTF-8") && latin.err.contains("latin1.txt"),
        "{}",
        latin.err
    );
}

#[test]
fn plan_draws_the_map_and_keeps_a_budget() {
    let sandbox = Sandbox::new();
    let drawn = run(&sandbox, &["plan", "--device", "cpu", "-c", "512", "--tensors"]);
    assert_eq!(drawn.code, 0, "{}", drawn.err);
    for part in ["weights", "state", "arena", "total", "mapped", "decode x1", "largest"] {
        assert!(drawn.out.contains(part), "{part}: {}", drawn.out);
    }
    let json = run(&sandbox, &["plan", "--device", "cpu", "-c", "512", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let total = json["total"].as_u64().unwrap();
    let sum: u64 = json["segments"].as_array().unwrap().iter().map(|s| s["bytes"].as_u64().unwrap()).sum();
    assert_eq!(total, sum);
    let fits = run(&sandbox, &["plan", "--device", "cpu", "-c", "512", "--budget", &total.to_string()]);
    assert_eq!(fits.code, 0, "{}", fits.err);
    let over = run(&sandbox, &["plan", "--device", "cpu", "-c", "512", "--budget", &(total - 1).to_string()]);
    assert!(over.code == 1 && over.err.contains("largest") && over.err.contains("try: -c "), "{}", over.err);
    // What it advises fits.
    let advised = over.err.split("try: -c ").nth(1).unwrap().split_whitespace().next().unwrap();
    let again =
        run(&sandbox, &["plan", "--device", "cpu", "-c", advised, "--budget", &(total - 1).to_string()]);
    assert_eq!(again.code, 0, "{}", again.err);
}

#[test]
fn perplexity_counts_every_predicted_token() {
    let sandbox = Sandbox::new();
    let text = "the and then an other one in the end ".repeat(20);
    sandbox.write("text.txt", text.as_bytes());
    let count = run(&sandbox, &["tokenize", "--count", "-f", "text.txt"]).out.trim().parse::<u64>().unwrap();
    let args = ["perplexity", "-f", "text.txt", "-c", "64", "--json", "--device", "cpu"];
    let ran = run(&sandbox, &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let json: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["tokens"], count);
    assert_eq!(json["predicted"], count - count.div_ceil(64));
    let (nll, perplexity) = (json["mean_nll"].as_f64().unwrap(), json["perplexity"].as_f64().unwrap());
    assert!((nll.exp() - perplexity).abs() < bounds::ROUNDED * perplexity);
    assert!((2.0..12.0).contains(&nll), "a random model guesses among 272 tokens: {nll}");
    let short = sandbox.run_with_input(&with_model(&model(), &["perplexity", "--device", "cpu"]), "t");
    assert!(short.code == 1 && short.err.contains("nothing to predict"), "{}", short.err);
}

#[test]
fn bench_reports_what_it_measured() {
    let sandbox = Sandbox::new();
    let args = ["bench", "-p", "32", "-n", "16", "-r", "2", "--device", "cpu"];
    let ran = run(&sandbox, &args);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["prompt", "generation", "GB/s", "load", "first token", "time by op", "linear"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json = run(&sandbox, &[&args[..], &["--json"]].concat()).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["generation_tok_s"]["all"].as_array().unwrap().len(), 2);
    assert!(json["bandwidth_share"].as_f64().unwrap() > 0.0);
    assert!(json["ops"].as_array().unwrap().iter().any(|op| op["op"] == "attention"));
}

#[test]
fn bench_measures_behind_what_is_in_the_cache() {
    let sandbox = Sandbox::new();
    let measured = |depth: &str| {
        let args = ["bench", "-d", depth, "-p", "8", "-n", "4", "-r", "1", "--device", "cpu", "--json"];
        let ran = run(&sandbox, &args);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()
    };
    let (plain, deep) = (measured("0"), measured("48"));
    assert_eq!(deep["n_depth"], 48);
    let read = |json: &serde_json::Value| json["bytes_per_token"].as_u64().unwrap();
    assert!(read(&deep) > read(&plain), "keys and values of 48 positions more");
    // What fills the cache is neither counted nor timed: a token a step, and one for what the prompt ends with.
    let calls = |json: &serde_json::Value| {
        json["ops"].as_array().unwrap().iter().find(|op| op["op"] == "sample").unwrap()["calls"].clone()
    };
    assert_eq!(calls(&deep), calls(&plain));
    let ran = run(&sandbox, &["bench", "-d", "48", "-p", "8", "-n", "4", "-r", "1", "--device", "cpu"]);
    assert!(ran.out.contains("48 tokens"), "{}", ran.out);
    let refused = run(&sandbox, &["bench", "-d", "48", "--batches", "2", "--device", "cpu"]);
    assert_eq!(refused.code, 2, "{}", refused.err);
}

#[test]
fn bench_measures_batches() {
    let sandbox = Sandbox::new();
    let args = ["bench", "--batches", "1,3,8", "-n", "6", "-r", "2", "--device", "cpu"];
    let ran = run(&sandbox, &[&args[..], &["--sampled"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["sequences", "tok/s in all", "gain", "time by op", "linear"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    let json: serde_json::Value =
        serde_json::from_str(&run(&sandbox, &[&args[..], &["--json"]].concat()).out).unwrap();
    let batches = json["batches"].as_array().unwrap();
    assert_eq!(batches.iter().map(|b| b["sequences"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 8]);
    for batch in batches {
        assert_eq!(batch["tok_s"]["all"].as_array().unwrap().len(), 2);
        assert!(batch["gain"].as_f64().unwrap() > 0.0);
        // As many steps as tokens, after each one's first.
        assert!(batch["ops"].as_array().unwrap().iter().any(|op| op["op"] == "sample" && op["calls"] == 6));
    }
    let refused = run(&sandbox, &["bench", "--batches", "9", "--device", "cpu"]);
    assert!(refused.code == 2 && refused.err.contains("1..=8"), "{}", refused.err);
}

#[test]
fn chat_answers_lines_from_a_pipe() {
    let sandbox = Sandbox::new();
    let chat = with_model(&model(), &["chat", "-n", "4", "--device", "cpu", "--seed", "1"]).join("\u{0}");
    let chat: Vec<&str> = chat.split('\u{0}').collect();
    let ran = sandbox.run_with_input(
        &chat,
        "hello\n\n/nonsense\n/system be brief\nand \\\nmore\n/save talk.json\n/quit\nnever\n",
    );
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("no /nonsense") && ran.err.contains("saved 4 messages"), "{}", ran.err);
    let talk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("talk.json")).unwrap()).unwrap();
    assert_eq!(talk["system"], "be brief");
    assert_eq!(talk["messages"][2]["content"], "and \nmore");
    assert_eq!(talk["messages"].as_array().unwrap().len(), 4);
    let ran =
        sandbox.run_with_input(&chat, "/load talk.json\n/load nowhere.json\n/reset\n/save empty.json\n");
    assert!(
        ran.code == 0 && ran.err.contains("loaded 4 messages") && ran.err.contains("nowhere.json"),
        "{}",
        ran.err
    );
    let talk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("empty.json")).unwrap()).unwrap();
    assert_eq!((talk["messages"].as_array().unwrap().len(), &talk["system"]), (0, &"be brief".into()));
}

#[test]
fn a_full_chat_drops_its_oldest_turns() {
    let sandbox = Sandbox::new();
    let model = model();
    let chat = with_model(
        &model,
        &["chat", "-n", "8", "-c", "96", "--device", "cpu", "--temp", "0", "--system", "stay"],
    );
    let ran = sandbox.run_with_input(&chat, &("one two three four\n".repeat(6) + "/save talk.json\n"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("the context is full"), "{}", ran.err);
    let talk: serde_json::Value =
        serde_json::from_slice(&std::fs::read(sandbox.path("talk.json")).unwrap()).unwrap();
    let kept = talk["messages"].as_array().unwrap().len();
    assert!(kept < 12 && kept.is_multiple_of(2), "{kept}");
    assert_eq!(talk["system"], "stay");
    let ran = sandbox.run_with_input(&chat, &"far too long ".repeat(50));
    assert!(ran.code == 1 && ran.err.contains("try: a shorter message"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_answer_cleanly() {
    use std::io::Read;
    use std::process::Stdio;
    let sandbox = Sandbox::new();
    let model = model();
    let args =
        with_model(&model, &["run", "-p", "the", "-c", "60000", "--temp", "0", "--device", "cpu", "--quiet"]);
    let mut child = sandbox.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0];
    out.read_exact(&mut first).unwrap();
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest.last(), Some(&b'\n'));
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_ends_the_answer_quietly() {
    use std::io::Read;
    use std::process::Stdio;
    let sandbox = Sandbox::new();
    let model = model();
    let args =
        with_model(&model, &["run", "-p", "the", "-c", "60000", "--temp", "0", "--device", "cpu", "--quiet"]);
    let mut child = sandbox.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn a_catalogue_name_is_fetched_when_it_is_first_needed() {
    let sandbox = Sandbox::new();
    let bytes = std::fs::read(tiny("llama-tied.gguf")).unwrap();
    sandbox.write("there.gguf", &bytes);
    let sources = crate::common::file_source("there.gguf");
    sandbox.write("catalog.toml", crate::common::catalog(&bytes, Some(&sha256(&bytes)), &sources).as_bytes());
    let offline = sandbox.run(&["run", "-p", "x", "-n", "2", "--offline"]);
    assert!(offline.code == 1 && offline.err.contains("ember pull tiny"), "{}", offline.err);
    let ran = sandbox.run(&["run", "-p", "x", "-n", "2", "--device", "cpu"]);
    assert!(ran.code == 0 && ran.err.contains("once"), "{}", ran.err);
    let again = sandbox.run(&["run", "-m", "T", "-p", "x", "-n", "2", "--device", "cpu", "--offline"]);
    assert!(again.code == 0 && !again.err.contains("fetching"), "{}", again.err);
}

#[test]
fn doctor_names_the_devices() {
    let ran = Sandbox::new().run(&["doctor"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for part in ["CPU", "auto", "smollm2-135m-instruct"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
}

#[test]
fn doctor_says_which_instructions_are_in_use() {
    let doctor = |level: &str| {
        let sandbox = Sandbox::new();
        crate::common::ran(sandbox.command(&["doctor"]).env("EMBER_SIMD", level).output().unwrap()).out
    };
    let limited = doctor("portable");
    assert!(limited.contains("in use: portable (at most what EMBER_SIMD says)"), "{limited}");
    let unknown = doctor("sse9");
    assert!(unknown.contains("EMBER_SIMD is \"sse9\", which is no level"), "{unknown}");
}

/// What a proof has found wrong on a GPU is not used there, and named; who asked for that GPU is told.
#[cfg(feature = "gpu")]
#[test]
fn doctor_names_what_a_gpu_gets_wrong() {
    let sandbox = Sandbox::new();
    let ask = || run(&sandbox, &["run", "--device", "gpu", "--raw", "-p", "a", "-n", "2", "--temp", "0"]);
    let first = ask();
    assert_eq!(first.code, 0, "{}", first.err);
    let doctor = || sandbox.run(&["doctor", "--device", "gpu"]).out;
    assert!(!doctor().contains("is not used"));
    let folder = sandbox.path("home").join("devices");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("proof-");
    let [file] = &files.filter(name).collect::<Vec<_>>()[..] else { panic!("one device has been proven") };
    let text = std::fs::read_to_string(file).unwrap();
    let (_, body) = text.split_once('\n').unwrap();
    assert!(body.lines().count() > 3 && body.lines().all(|line| line.starts_with("right ")), "{body}");
    let body: String = body.lines().map(|line| line.replace("right", "wrong") + " it was off\n").collect();
    let counted = [&(body.len() as u64).to_le_bytes()[..], body.as_bytes()].concat();
    std::fs::write(file, format!("{}\n{body}", sha256(&counted))).unwrap();
    let (refused, said) = (ask(), doctor());
    let off = |line: &&str| line.ends_with("is not used on this GPU: it was off");
    let names: Vec<&str> =
        said.lines().filter(off).filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(names.len(), body.lines().count(), "{said}");
    // An op that can be run in one way only.
    assert!(refused.code == 1 && names.iter().any(|name| refused.err.contains(name)), "{}", refused.err);
}

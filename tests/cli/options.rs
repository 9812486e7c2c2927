//! Options mean what they say: those that would have no effect are refused, or it is said.

use emberlm::adapter::Adapter;
use serde_json::Value;

use crate::prefer::{sandbox, tune};

fn settings(adapter: &Adapter) -> Value {
    serde_json::from_str(&adapter.info["settings"]).unwrap()
}

#[test]
fn an_adapter_that_is_gone_on_from_keeps_its_shape_and_says_so() {
    let sandbox = sandbox();
    let sft = |output: &str, more: &[&str]| {
        let args = ["tune", "sft", "-m", &crate::tune::model(), "--device", "cpu", "--data", "thumbs.jsonl"];
        sandbox.run(&[&args[..], &["--keep", "0", "--max-steps", "2", "-o", output], more].concat())
    };
    let shape = ["--rank", "2", "--alpha", "6", "--targets", "q,down"];
    assert_eq!(sft("first", &shape).code, 0);
    for (more, says) in [
        (&["--rank", "4"][..], "--rank 4 has no effect with --from, whose adapter has rank 2"),
        (&["--targets", "q"], "--targets has no effect with --from, whose adapter has attn_q,ffn_down"),
        (&["--alpha", "2"], "--alpha 2 has no effect"),
        (&["--rslora"], "--rslora has no effect"),
        (&["--rank", "2", "--targets", "all"], "--targets has no effect"),
    ] {
        let ran = sft("second", &[&["--from", "first.gguf"], more].concat());
        assert!(ran.code == 2 && ran.err.contains(says), "{more:?}: {}", ran.err);
    }
    // What agrees may be said, and what is in the file is what the file says.
    for (output, more) in [("plain", &[][..]), ("said", &shape[..])] {
        let ran = sft(output, &[&["--from", "first.gguf", "--dropout", "0.1"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.err);
        let adapter = Adapter::open(sandbox.path(&format!("{output}.gguf"))).unwrap();
        let lora = &settings(&adapter)["lora"];
        assert_eq!((lora["rank"].as_u64(), lora["alpha"].as_f64()), (Some(2), Some(6.0)));
        assert_eq!(lora["targets"], serde_json::json!(["attn_q", "ffn_down"]));
        assert!(adapter.pairs.iter().all(|pair| pair.rank == 2) && adapter.alpha == 6.0);
    }
    let shown = sandbox.run(&["adapter", "show", "plain.gguf"]);
    assert!(shown.out.contains("\"rank\":2") && shown.out.contains("ffn_down"), "{}", shown.out);
    let other = tune(&sandbox, "dpo", "third", &["--data", "pairs.jsonl", "--from", "first.gguf"]);
    assert!(other.code == 2 && other.err.contains("--rank 4 has no effect"), "{}", other.err);
}

#[test]
fn options_without_effect_are_refused() {
    let sandbox = sandbox();
    let pairs = ["--data", "pairs.jsonl"];
    let prompts = ["--prompts", "prompts.jsonl", "--reward", "exact"];
    for (objective, data, more, says) in [
        ("dpo", &pairs[..], &["--eval-every", "2"][..], "--eval-every has no effect"),
        ("reward", &pairs, &["--patience", "2"], "--patience has no effect"),
        (
            "sft",
            &["--data", "thumbs.jsonl"],
            &["--pack", "--batch", "2"],
            "--batch 2 has no effect with --pack",
        ),
        ("grpo", &prompts, &["--reference", "base"], "--reference has no effect"),
        ("ppo", &prompts, &["--kl", "0", "--reference", "start"], "--kl above 0"),
        ("rloo", &prompts, &["--samples", "0", "--samples-every", "2"], "--samples-every has no effect"),
        ("grpo", &prompts, &["--reward-timeout", "2"], "--reward-timeout has no effect"),
        ("grpo", &prompts, &["--reward-restarts", "0"], "--reward-restarts has no effect"),
    ] {
        let ran = tune(&sandbox, objective, "x", &[data, more].concat());
        assert!(ran.code == 2 && ran.err.contains(says), "{more:?}: {}", ran.err);
    }
    let late = tune(&sandbox, "dpo", "late", &[&pairs[..], &["--warmup", "9", "--max-steps", "2"]].concat());
    assert!(late.code == 0 && late.err.contains("never reaches --lr"), "{}", late.err);
}

#[test]
fn numbers_with_which_nothing_is_learnt_are_refused() {
    let sandbox = sandbox();
    for flag in ["--lr", "--epochs", "--max-steps", "--batch", "--accumulate", "--rank", "--save-every"] {
        for value in ["0", "-1", "nan", "inf", "-inf", "1e400", "", "ä"] {
            let value = format!("{flag}={value}");
            let ran = tune(&sandbox, "dpo", "x", &["--data", "pairs.jsonl", &value]);
            assert_eq!(ran.code, 2, "{value}: {}", ran.err);
        }
    }
    for value in [
        "--weight-decay=-1",
        "--clip=nan",
        "--beta=nan",
        "--beta=-1",
        "--dropout=1",
        "--sft=inf",
        "--keep=-1",
    ] {
        let ran = tune(&sandbox, "dpo", "x", &["--data", "pairs.jsonl", value]);
        assert_eq!(ran.code, 2, "{value}: {}", ran.err);
    }
    assert!(!sandbox.path("x.state").exists());
}

#[test]
fn what_differs_from_the_run_that_was_begun_is_said_in_words() {
    let sandbox = sandbox();
    let run = |more: &[&str]| tune(&sandbox, "dpo", "mine", &[&["--data", "pairs.jsonl"], more].concat());
    let steps = ["--max-steps", "3"];
    assert_eq!(run(&[&steps[..], &["--pause-at", "1"]].concat()).code, 0);
    let resume = |more: &[&str]| run(&[&["--resume"], more].concat());
    for (more, says) in [
        (&["--max-steps", "4"][..], "begun with --max-steps 3, now 4"),
        (
            &["--max-steps", "3", "--beta", "0.5", "--lr", "0.25"],
            "--lr 0.00005, now 0.25; --beta 0.1, now 0.5",
        ),
        (&["--max-steps", "3", "--targets", "q"], "now attn_q"),
    ] {
        let ran = resume(more);
        assert!(ran.code == 1 && ran.err.contains(says), "{more:?}: {}", ran.err);
        assert!(ran.err.contains("--restart"), "{}", ran.err);
    }
    let whole = std::fs::read(sandbox.path("pairs.jsonl")).unwrap();
    let row = b"{\"prompt\": \"red\", \"chosen\": \" one\", \"rejected\": \" two\"}\n";
    sandbox.write("pairs.jsonl", &[&whole[..], row].concat());
    let more = resume(&steps);
    assert!(more.err.contains("pairs.jsonl had 12 pairs, has 13 pairs"), "{}", more.err);
    sandbox.write("pairs.jsonl", String::from_utf8(whole).unwrap().replace("red", "blue").as_bytes());
    let other = resume(&steps);
    assert!(other.err.contains("as many (12 pairs), but not the same"), "{}", other.err);
}

//! Records of what a run did outlive its kills.

use std::time::{Duration, Instant};

use crate::prefer::{sandbox, tune};

/// Killed again and again, also just after it was resumed, a run still has a line of each step, once and in order.
#[test]
fn no_step_is_lost_from_the_metrics() {
    const KILLS: u64 = 12;
    for (objective, data) in [
        ("sft", &["--data", "thumbs.jsonl", "--keep", "0"][..]),
        ("dpo", &["--data", "pairs.jsonl"]),
        (
            "grpo",
            &[
                "--prompts",
                "prompts.jsonl",
                "--reward",
                "length:3",
                "--max-new",
                "4",
                "--seq",
                "64",
                "--group",
                "2",
            ],
        ),
    ] {
        let sandbox = sandbox();
        let all = [data, &["--max-steps", "30", "--save-every", "1"]].concat();
        let begun = Instant::now();
        let first = tune(&sandbox, objective, "mine", &[&all[..], &["--pause-at", "6"]].concat());
        assert_eq!(first.code, 0, "{}", first.err);
        let took = begun.elapsed();
        let path = sandbox.path("mine.metrics.jsonl");
        let steps = || -> Vec<u64> {
            let text = std::fs::read_to_string(&path).unwrap();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            whole
                .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["step"].as_u64().unwrap())
                .collect()
        };
        let mut least = steps().len();
        assert_eq!(least, 6);
        let model = crate::tune::model();
        let args = [
            "tune", objective, "-m", &model, "--device", "cpu", "-t", "2", "--rank", "4", "-o", "mine",
            "--resume",
        ];
        for kill in 0..KILLS {
            let mut child = sandbox.command(&[&args[..], &all].concat());
            let mut child = child.stderr(std::process::Stdio::null()).spawn().unwrap();
            let end = Instant::now() + took.mul_f64(0.2 + 0.8 * kill as f64 / KILLS as f64);
            while Instant::now() < end && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = child.kill();
            child.wait().unwrap();
            // What was there when a state was saved is there; every step counts up from the first.
            let now = steps();
            assert!(now.iter().copied().eq(1..=now.len() as u64), "{objective}: {now:?}");
            assert!(now.len() + 1 >= least, "{objective}: {} steps, there were {least}", now.len());
            least = now.len();
        }
        let last = tune(&sandbox, objective, "mine", &[&all[..], &["--resume"]].concat());
        assert_eq!(last.code, 0, "{}", last.err);
        assert!(steps().into_iter().eq(1..=30), "{objective}");
    }
}

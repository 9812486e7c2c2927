//! Programs that behave, and programs that do not.

use std::time::Instant;

use serde_json::{Map, json};

use super::super::Mix;
use super::*;

const SOON: CommandOptions = CommandOptions { timeout: Duration::from_secs(20), restarts: 0 };
const BRIEF: CommandOptions = CommandOptions { timeout: Duration::from_millis(300), restarts: 0 };

fn ask(reward: &mut CommandReward, texts: &[&str]) -> Result<Vec<Option<f64>>, RewardError> {
    let row = Map::from_iter([("answer".to_owned(), json!("a"))]);
    let of = |text| Completion { prompt: "p", completion: text, row: &row, tokens: 1, truncated: false };
    reward.rewards(&texts.iter().map(|&text| of(text)).collect::<Vec<_>>())
}

/// What becomes of two completions.
fn failure(line: &str, options: CommandOptions) -> CommandFailure {
    let mut reward = CommandReward::start(line, options).unwrap();
    match ask(&mut reward, &["a", "b"]) {
        Err(RewardError::Command { failure, .. }) => failure,
        other => panic!("{line}: {other:?}"),
    }
}

/// A shell loop that answers each line with the next of `answers`, then ends with 3.
fn answers(answers: &str) -> String {
    format!("for a in {answers}; do read -r line || exit 0; echo \"$a\"; done; echo no more >&2; exit 3")
}

#[test]
fn one_process_answers_all_batches() {
    let mut reward =
        CommandReward::start("n=0; while read -r line; do n=$((n+1)); echo $n; done", SOON).unwrap();
    reward.ready().unwrap();
    assert_eq!(ask(&mut reward, &["a", "b"]).unwrap(), [Some(1.0), Some(2.0)]);
    assert_eq!(ask(&mut reward, &[]).unwrap(), []);
    assert_eq!(ask(&mut reward, &["c"]).unwrap(), [Some(3.0)]);
    reward.ready().unwrap();
    assert!(reward.notes().is_empty());
}

#[test]
fn it_is_told_what_to_judge() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line =
        format!("while read -r line; do printf '%s\\n' \"$line\" >> {}; echo 1; done", file.path().display());
    let mut reward = CommandReward::start(&line, SOON).unwrap();
    ask(&mut reward, &["one\ntwo", "three"]).unwrap();
    let told = std::fs::read_to_string(file.path()).unwrap();
    let told: Vec<serde_json::Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        told[0],
        json!({"id": 0, "prompt": "p", "completion": "one\ntwo", "row": {"answer": "a"}, "tokens": 1,
               "truncated": false, "remaining": 1})
    );
    assert_eq!((&told[1]["id"], &told[1]["remaining"]), (&json!(1), &json!(0)));
}

#[test]
fn what_is_not_finite_or_silent_is_counted() {
    let command = CommandReward::start(&answers("nan null 0.5 1e999"), SOON).unwrap();
    let mut mix = Mix::new().with(command, 1.0);
    let row = Map::new();
    let completion = Completion { prompt: "", completion: "", row: &row, tokens: 0, truncated: false };
    let scores = mix.score(&[completion; 4]).unwrap();
    assert!(scores.total[0].is_nan() && scores.total[3].is_nan());
    assert_eq!(scores.total[1..3], [0.0, 0.5]);
    assert_eq!((scores.bad, scores.silent), (2, vec![1]));
}

#[test]
fn a_program_that_is_not_there_is_not_tried_again() {
    let options = CommandOptions { restarts: 5, ..SOON };
    let error = failure("no-such-program-of-ours --x", options);
    assert!(matches!(error, CommandFailure::NotRun { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("127") && text.contains("not found") && text.contains("no-such-program-of-ours"),
        "{text}"
    );
}

#[test]
fn ready_sees_a_program_that_has_ended() {
    let mut reward = CommandReward::start("echo oops >&2; exit 1", SOON).unwrap();
    let start = Instant::now();
    let error = loop {
        match reward.ready() {
            Ok(()) => assert!(start.elapsed() < SOON.timeout),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("status: 1") && error.contains("oops"), "{error}");
}

#[test]
fn a_crash_is_reported_with_what_it_said() {
    let CommandFailure::Ended { ended, answered, stderr, .. } = failure(&answers("1"), SOON) else {
        panic!()
    };
    assert_eq!((ended.as_str(), answered, stderr.as_str()), ("ended (exit status: 3)", 1, "no more"));
    let CommandFailure::Ended { ended, .. } = failure("kill -9 $$", SOON) else { panic!() };
    assert!(ended.contains("SIGKILL"), "{ended}");
}

#[test]
fn after_a_crash_only_what_is_open_is_asked_again() {
    let options = CommandOptions { restarts: 2, ..SOON };
    // Each life answers one line with how many there have been.
    let lives = tempfile::NamedTempFile::new().unwrap();
    let path = lives.path().display();
    let line = format!("echo x >> {path}; read -r line; grep -c x {path}; exit 1");
    let mut reward = CommandReward::start(&line, options).unwrap();
    assert_eq!(ask(&mut reward, &["a", "b", "c"]).unwrap(), [Some(1.0), Some(2.0), Some(3.0)]);
    let notes = reward.notes();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].contains("exit status: 1") && notes[0].ends_with("started again"), "{}", notes[0]);
    let error = ask(&mut reward, &["a", "b", "c", "d"]).unwrap_err().to_string();
    assert!(error.contains("started again 2 times"), "{error}");
}

#[test]
fn a_program_that_hangs_is_killed_with_its_children() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = format!("sleep 1000 & echo $! > {}; wait", file.path().display());
    let options = CommandOptions { timeout: Duration::from_secs(3), restarts: 0 };
    let error = failure(&line, options);
    assert!(matches!(error, CommandFailure::Timeout { .. }), "{error}");
    assert!(error.to_string().contains("needs a longer time-out"), "{error}");
    let pid: i32 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    assert!(ends_soon(pid), "the child's child still runs");
}

/// Whether a process is gone, or only waits to be collected.
fn ends_soon(pid: i32) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let out =
            std::process::Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
        let state = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        if state.is_empty() || state.starts_with('Z') {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn dropping_it_ends_the_program() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display();
    // One that ends with its input may tidy up; one that does not is killed.
    let polite = CommandReward::start(&format!("cat >/dev/null; echo bye > {path}"), SOON).unwrap();
    drop(polite);
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "bye\n");
    let start = Instant::now();
    let stubborn =
        CommandReward::start(&format!("trap '' TERM; echo $$ > {path}; while :; do sleep 1; done"), SOON);
    std::thread::sleep(Duration::from_millis(300));
    drop(stubborn.unwrap());
    assert!(start.elapsed() < Duration::from_secs(10));
    let pid: i32 = std::fs::read_to_string(file.path()).unwrap().trim().parse().unwrap();
    assert!(ends_soon(pid));
}

#[test]
fn what_is_no_answer_is_an_error_at_once() {
    let options = CommandOptions { restarts: 5, ..SOON };
    for (line, says) in [
        ("while read -r l; do echo hello; done", "answered `hello`, which is neither"),
        ("while read -r l; do echo; done", "answered ``"),
        ("while read -r l; do echo \"$l\"; done", "answered `{\"id\""),
        ("while read -r l; do echo '{\"score\": 1}'; done", "{\"reward\": NUMBER}"),
        ("read -r l; printf '\\377\\033[2J\\n'; cat", "\\u{1b}[2J"),
        ("read -r l; head -c 200000 /dev/zero | tr '\\0' 1; cat", "65536 bytes in one line"),
    ] {
        let error = failure(line, options);
        assert!(matches!(error, CommandFailure::Garbage { .. }), "{line}: {error}");
        assert!(error.to_string().contains(says), "{line}: {error}");
    }
}

#[test]
fn answers_that_do_not_belong_to_questions_are_found() {
    // Before the first question, at once, or late.
    for line in [
        "echo 0; cat",
        "yes 0",
        "read -r l; echo 1; read -r l; printf '2\\n0\\n'; cat",
        "read -r l; echo 1; read -r l; echo 2; sleep 0.2; echo 0; cat",
    ] {
        let mut reward = CommandReward::start(line, SOON).unwrap();
        let first = if line.starts_with("read") { ask(&mut reward, &["a", "b"]).map(drop) } else { Ok(()) };
        std::thread::sleep(Duration::from_millis(600));
        let error = first.and_then(|()| ask(&mut reward, &["a", "b"]).map(drop)).unwrap_err().to_string();
        assert!(error.contains("not asked for (`0`)"), "{line}: {error}");
    }
    let error = failure("while read -r l; do echo '{\"reward\": 1, \"id\": 1}'; done", SOON);
    assert!(matches!(error, CommandFailure::Order { id: 0, .. }), "{error}");
    let error = failure("read -r l; read -r l; echo 1; cat >/dev/null", BRIEF);
    assert!(matches!(error, CommandFailure::Timeout { .. }), "too few: {error}");
}

#[test]
fn a_closed_pipe_is_no_deadlock() {
    let error = failure("exec >&-; sleep 1000", SOON);
    assert!(matches!(&error, CommandFailure::Ended { ended, .. } if ended == "closed its output"), "{error}");
    let error = failure("exec <&-; sleep 1000", BRIEF);
    assert!(matches!(error, CommandFailure::Timeout { .. }), "{error}");
}

#[test]
fn neither_side_waits_for_the_other_to_read() {
    // More than a pipe holds, in both directions, before either is done.
    let long = "x".repeat(300_000);
    let texts = vec![long.as_str(); 20];
    let line = "while read -r l; do printf '%60000d\\n' 1; head -c 100000 /dev/zero | tr '\\0' e >&2; done";
    let mut reward = CommandReward::start(line, SOON).unwrap();
    assert_eq!(ask(&mut reward, &texts).unwrap(), vec![Some(1.0); 20]);
    // One that never reads what it is given.
    let mut deaf = CommandReward::start("sleep 1000", BRIEF).unwrap();
    assert!(ask(&mut deaf, &texts).is_err());
}

#[test]
fn floods_are_not_kept() {
    let flood = "head -c 100000000 /dev/zero | tr '\\0' y";
    let mut reward =
        CommandReward::start(&format!("{flood} >&2; echo end >&2; while read -r l; do echo 1; done"), SOON)
            .unwrap();
    assert_eq!(ask(&mut reward, &["a"]).unwrap(), [Some(1.0)]);
    let kept = reward.stop();
    assert!(kept.len() <= 4096 && kept.ends_with("end"), "{}", kept.len());
    assert!(matches!(failure(&format!("read -r l; {flood}; cat"), SOON), CommandFailure::Garbage { .. }));
}

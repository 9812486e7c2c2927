//! `ember adapt`: from the journal to a live adapter, refused or switched to; killed at any time, the old one or the new one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use emberlm::adapter::BaseFingerprint;
use emberlm::gguf::GgufFile;
use emberlm::journal::live::{Event, Figure, Live, folder};
use emberlm::journal::{Chosen, Entry, Feedback, Journal, Said};
use emberlm::train::Limits;

use crate::adapter::base;
use crate::bounds;
use crate::common::{Ran, Sandbox};

fn fingerprint() -> BaseFingerprint {
    BaseFingerprint::of(&GgufFile::open(base()).unwrap()).unwrap()
}

fn place(sandbox: &Sandbox) -> PathBuf {
    folder(&sandbox.path("home"), &fingerprint())
}

/// Notes that every answer should have been the same few letters.
pub fn note(sandbox: &Sandbox, questions: std::ops::Range<u32>) {
    std::fs::create_dir_all(sandbox.path("home")).unwrap();
    let mut journal = Journal::open(sandbox.path("home/journal.jsonl")).unwrap();
    for n in questions {
        let entry = Entry {
            base: fingerprint().short().into(),
            messages: vec![Said::user(format!("{n}?"))],
            answer: format!("no {n}"),
            feedback: Feedback::Choice { other: "aye".into(), other_cut: false, chosen: Chosen::Other },
            ..Entry::default()
        };
        journal.append(&entry).unwrap();
    }
}

/// Corrects answers; gives the entries' numbers.
fn correct(sandbox: &Sandbox, facts: &[(&str, &str)]) -> Vec<u64> {
    std::fs::create_dir_all(sandbox.path("home")).unwrap();
    let mut journal = Journal::open(sandbox.path("home/journal.jsonl")).unwrap();
    let entry = |(question, better): &(&str, &str)| Entry {
        base: fingerprint().short().into(),
        messages: vec![Said::user(*question)],
        answer: "no".into(),
        feedback: Feedback::Edit { better: (*better).into() },
        ..Entry::default()
    };
    facts.iter().map(|fact| journal.append(&entry(fact)).unwrap()).collect()
}

fn args(model: &str, more: &[&str]) -> Vec<String> {
    let all =
        ["adapt", "-m", model, "--device", "cpu", "-t", "1", "--yes", "--min-entries", "1", "--lr", "5e-3"];
    let gates = ["--max-perplexity", "1000", "--max-divergence", "10", "--max-canaries", "10"];
    let gates = [&gates[..], &["--max-worst-canary", "20"]].concat();
    let circles = if more.contains(&"--max-circles") { &[][..] } else { &["--max-circles", "31"] };
    all.iter().chain(&gates).chain(circles).chain(more).map(|a| (*a).to_owned()).collect()
}

/// What `args` sets.
const OPEN: Limits =
    Limits { perplexity: 10.0, divergence: 10.0, canaries: 10.0, worst_canary: 20.0, circles: 31 };
/// What the test of a refusal sets.
const SHUT: Limits =
    Limits { perplexity: 0.0, divergence: 0.0, canaries: 0.0, worst_canary: 0.0, circles: 31 };

fn adapt(sandbox: &Sandbox, more: &[&str]) -> Ran {
    let all = args(&base(), more);
    sandbox.run(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What the gates decided is what their figures say: a version has passed all of them, a refusal names each that it did not pass.
/// Divergences are never below zero. Gives back the kinds of events.
fn decided(sandbox: &Sandbox) -> Vec<&'static str> {
    let live = Live::open_to_read(place(sandbox)).unwrap();
    let sound = |figures: &[Figure]| {
        let measured = |f: &&Figure| f.limit.is_some();
        assert!(figures.iter().filter(measured).count() >= 4, "{figures:?}");
        for figure in figures.iter().filter(measured) {
            let (after, limit) = (figure.after.unwrap_or(f64::INFINITY), figure.limit.unwrap());
            assert_eq!(figure.passed, after <= limit, "{figure:?}");
        }
        let divergence = figures.iter().find(|f| f.name == "divergence from the base").unwrap();
        assert!(divergence.before.unwrap() >= 0.0 && divergence.after.unwrap() > 0.0, "{divergence:?}");
    };
    live.log()
        .iter()
        .map(|event| match event {
            Event::Switched { version, .. } => {
                let figures = &live.version(*version).unwrap().figures;
                sound(figures);
                assert!(figures.iter().all(|f| f.passed), "{figures:?}");
                "switched"
            }
            Event::Refused { figures, why, .. } => {
                sound(figures);
                assert!(figures.iter().any(|f| !f.passed), "{figures:?}");
                for figure in figures {
                    assert_eq!(why.contains(&figure.name), !figure.passed, "{why}: {figure:?}");
                }
                "refused"
            }
            Event::RolledBack { .. } => "back",
        })
        .collect()
}

/// Checks the last verdict: that these gates failed and no others, that each limit is what the settings make of what was before
/// (a model without a live adapter is the base that perplexities are compared with), and that `text` shows every figure of it.
fn verdict(sandbox: &Sandbox, text: &str, limits: &Limits, failed: &[&str]) {
    let live = Live::open_to_read(place(sandbox)).unwrap();
    let figures = match live.log().last().unwrap() {
        Event::Switched { version, .. } => &live.version(*version).unwrap().figures,
        Event::Refused { figures, .. } => figures,
        other => panic!("{other:?}"),
    };
    let names: Vec<&str> = figures.iter().filter(|f| !f.passed).map(|f| f.name.as_str()).collect();
    assert_eq!(names, failed, "{text}");
    for figure in figures {
        let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.4}"));
        let limit = figure.limit.map_or(String::new(), |limit| format!(", limit {limit:.4}"));
        let passed = if figure.passed { "ok" } else { "failed" };
        let shown = format!("-> {:>10}{limit}  {passed}", number(figure.after));
        let line = text.lines().find(|line| line.trim_start().starts_with(&figure.name));
        let line = line.unwrap_or_else(|| panic!("{}: {text}", figure.name));
        assert!(line.contains(&number(figure.before)) && line.contains(&shown), "{figure:?}: {line}");
        let (Some(before), Some(limit)) = (figure.before, figure.limit) else { continue };
        let wanted = match figure.name.as_str() {
            "loss on what was held back" | "loss on what was learnt" => before,
            "perplexity of fixed texts" => before * (1.0 + limits.perplexity),
            "surprise at fixed answers" | "surprise at what was learnt before" => before + limits.canaries,
            "most surprising fixed answer" => before + limits.worst_canary,
            "divergence from the base" => limits.divergence.max(before),
            "answers that run in circles" => before + limits.circles as f64,
            other => panic!("{other} is no gate that this test knows"),
        };
        // Limits are float32 on the command line.
        assert!((limit - wanted).abs() <= bounds::ROUNDING * wanted, "{figure:?}: {wanted}");
    }
}

/// The live version and its bytes.
pub fn live(sandbox: &Sandbox) -> Option<(u64, Vec<u8>)> {
    let mut live = Live::open_to_read(place(sandbox)).unwrap();
    let number = live.current()?.number;
    // Reading checks the bytes against the version's sum.
    Some((number, live.bytes(number).unwrap()))
}

/// What is live is what was, or the next version.
pub fn old_or_next(before: &Option<(u64, Vec<u8>)>, after: &Option<(u64, Vec<u8>)>) {
    let number = |state: &Option<(u64, Vec<u8>)>| state.as_ref().map_or(0, |(n, _)| *n);
    let (old, new) = (number(before), number(after));
    assert!(after == before || new == old + 1, "{old} became {new}");
}

#[test]
fn what_is_new_is_learnt_once_judged_and_rolled_back() {
    let sandbox = Sandbox::new();
    note(&sandbox, 0..12);
    let ran = adapt(&sandbox, &[]);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.out.contains("loss on what was held back"), "{}", ran.out);
    assert!(ran.out.contains("answers that run in circles"), "{}", ran.out);
    assert!(ran.err.contains("version 1 is live"), "{}", ran.err);
    assert!(!ran.out.contains("learnt before"), "{}", ran.out);
    verdict(&sandbox, &ran.out, &OPEN, &[]);
    let first = live(&sandbox).unwrap();
    let again = adapt(&sandbox, &[]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("nothing new to learn"), "{}", again.err);
    assert_eq!(live(&sandbox).unwrap(), first);

    // Nothing is as it was: the gates are shut.
    note(&sandbox, 20..28);
    let strict = ["--max-divergence", "0", "--max-canaries", "0", "--max-perplexity", "0", "--lr", "0.01"];
    let shut = [&strict[..], &["--max-worst-canary", "0", "--keep", "0"]].concat();
    let mut all = args(&base(), &[]);
    for pair in shut.chunks(2) {
        match all.iter().position(|a| a == pair[0]) {
            Some(at) => all[at + 1] = pair[1].into(),
            None => all.extend(pair.iter().map(|a| (*a).to_owned())),
        }
    }
    let refused = sandbox.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(refused.code, 1, "{}\n{}", refused.out, refused.err);
    assert!(refused.err.contains("refused") && refused.err.contains("  failed"), "{}", refused.err);
    assert_eq!(live(&sandbox).unwrap(), first, "a refusal leaves every byte of the live adapter");

    let beyond = [
        "perplexity of fixed texts",
        "surprise at fixed answers",
        "most surprising fixed answer",
        "surprise at what was learnt before",
        "divergence from the base",
    ];
    verdict(&sandbox, &refused.err, &SHUT, &beyond);
    let same = sandbox.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(same.code, 0, "{}\n{}", same.out, same.err);
    assert!(same.err.contains("just this was refused"), "the same is not tried twice: {}", same.err);

    let second = adapt(&sandbox, &[]);
    assert_eq!(second.code, 0, "{}\n{}", second.out, second.err);
    for ran in [&refused.err, &second.out] {
        assert!(ran.contains("surprise at what was learnt before"), "{ran}");
    }
    assert_eq!(live(&sandbox).unwrap().0, 2);
    let back = sandbox.run(&["adapter", "rollback", "-m", &base()]);
    assert_eq!(back.code, 0, "{}", back.err);
    assert_eq!(live(&sandbox).unwrap(), first, "a roll back restores bytes");
    assert_eq!(decided(&sandbox), ["switched", "refused", "switched", "back"]);
    let versions = Live::open_to_read(place(&sandbox)).unwrap().versions().to_vec();
    let far = |n: usize| {
        let figure = versions[n].figures.iter().find(|f| f.name == "divergence from the base").unwrap();
        (figure.before.unwrap(), figure.after.unwrap())
    };
    assert_eq!(far(0).0, 0.0, "without an adapter the model is its base, to the bit");
    assert!(far(1).0 > 0.0, "the second begins where the first one ended");

    // What was rolled back is left alone, unless it is asked for.
    let left = adapt(&sandbox, &[]);
    assert!(left.code == 0 && left.err.contains("nothing new to learn") && left.err.contains("--again"));
    assert_eq!(live(&sandbox).unwrap(), first);
    let again = adapt(&sandbox, &["--again"]);
    assert_eq!(again.code, 0, "{}\n{}", again.out, again.err);
    assert_eq!(live(&sandbox).unwrap().0, 3);
}

/// What a random model of some thousand weights needs to learn a word by heart.
const BY_HEART: [&str; 8] = ["--fact-lr", "0.01", "--rounds", "160", "--minutes", "0", "--max-circles", "32"];

#[test]
fn a_fact_corrected_is_a_fact_known() {
    let sandbox = Sandbox::new();
    let ids = correct(&sandbox, &[("Where is the key?", "pot"), ("Who is Ada?", "cat")]);
    let ran = adapt(&sandbox, &BY_HEART);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("to learn: 2 facts"), "{}", ran.err);
    assert!(ran.err.contains("each fact asked for in several wordings"), "{}", ran.err);
    assert!(ran.err.contains("recalled 2 of 2") && ran.err.contains("version 1 is live"), "{}", ran.err);
    for fact in ["known ", "Where is the key? pot", "Who is Ada? cat", "facts that are known"] {
        assert!(ran.out.contains(fact), "{fact}: {}", ran.out);
    }
    let asked = |question: &str| {
        let model = base();
        let args = ["chat", "-m", &model, "--device", "cpu", "-t", "1", "--temp", "0", "-n", "12"];
        sandbox.run_with_input(&args, &format!("{question}\n")).out
    };
    assert!(asked("Where is the key?").contains("pot") && asked("Who is Ada?").contains("cat"));
    let version = || Live::open_to_read(place(&sandbox)).unwrap().current().cloned().unwrap();
    assert_eq!((version().learnt.len(), version().known.len(), version().held_out.len()), (2, 2, 0));

    // Corrected again: the newest answer counts, and the other fact is rehearsed and known still.
    correct(&sandbox, &[("Where is the key?", "tin")]);
    let ran = adapt(&sandbox, &BY_HEART);
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("recalled 1 of 1") && ran.err.contains("learnt before, 1 of 1"), "{}", ran.err);
    let said = asked("Where is the key?");
    assert!(said.contains("tin") && !said.contains("pot"), "{said}");

    // Taken back: it is to be forgotten.
    let mut journal = Journal::open(sandbox.path("home/journal.jsonl")).unwrap();
    let withdrawn = Entry {
        base: fingerprint().short().into(),
        feedback: Feedback::Withdrawn,
        supersedes: Some(ids[1]),
        ..Entry::default()
    };
    journal.append(&withdrawn).unwrap();
    drop(journal);
    let dry = sandbox.run(&["adapt", "-m", &base(), "--dry-run"]);
    assert!(dry.out.contains("forget") && dry.err.contains("to forget: 1 fact"), "{}\n{}", dry.out, dry.err);
}

#[test]
fn what_cannot_be_learnt_is_named_stays_new_and_changes_nothing() {
    let sandbox = Sandbox::new();
    correct(&sandbox, &[("Where is the key?", "under the pot")]);
    let ran = adapt(&sandbox, &["--fact-lr", "1e-9", "--rounds", "1"]);
    assert_eq!(ran.code, 1, "{}\n{}", ran.out, ran.err);
    assert!(
        ran.err.contains("not yet") && ran.err.contains("Where is the key? under the pot"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("facts that are known beyond its limit"), "{}", ran.err);
    assert!(live(&sandbox).is_none());
    let same = adapt(&sandbox, &["--fact-lr", "1e-9", "--rounds", "1"]);
    assert!(same.code == 0 && same.err.contains("just this was refused"), "{}", same.err);
    let dry = sandbox.run(&["adapt", "-m", &base(), "--dry-run"]);
    assert!(dry.out.contains("learn") && dry.out.contains("fact"), "{}", dry.out);
}

#[test]
fn a_chat_learns_and_goes_on_with_what_it_learnt() {
    let sandbox = Sandbox::new();
    note(&sandbox, 0..12);
    let model = base();
    let args = ["chat", "-m", &model, "-n", "4", "--device", "cpu", "-t", "1"];
    let ran = sandbox.run_with_input(&args, "/learn\nhello\n/learn\n");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.is_empty(), "the conversation goes on");
    assert_eq!(decided(&sandbox), ["switched"], "{}", ran.err);
    verdict(&sandbox, &ran.err, &Limits::default(), &[]);
    let version = Live::open_to_read(place(&sandbox)).unwrap().version(1).unwrap().clone();
    let near = |name: &str, before: f64, after: f64| {
        let figure = version.figures.iter().find(|f| f.name == name).unwrap();
        let apart = |got: Option<f64>, want: f64| (got.unwrap() - want).abs() / want;
        let apart = apart(figure.before, before).max(apart(figure.after, after));
        assert!(apart < bounds::CHANGE, "{figure:?}: before {before}, after {after}");
    };
    near("loss on what was held back", 8.0092, 4.9404);
    near("perplexity of fixed texts", 4882.1, 4864.7);
    near("surprise at fixed answers", 1.4375, 1.4602);
    assert_eq!(live(&sandbox).unwrap().0, 1);
    assert!(ran.err.contains("version 1 is live") && !ran.err.contains("refused"), "{}", ran.err);
    assert!(ran.err.contains("nothing new to learn"), "the second /learn: {}", ran.err);
}

/// Killed 200 times at random moments: what is live is the old version or the next one, whole.
#[test]
fn kills_leave_the_old_or_the_new_adapter() {
    const KILLS: u32 = 200;
    let sandbox = Sandbox::new();
    note(&sandbox, 0..2);
    let settings = ["--epochs", "1", "--held-out", "0", "--max-circles", "32"];
    let begun = Instant::now();
    let whole = adapt(&sandbox, &settings);
    assert_eq!(whole.code, 0, "{}\n{}", whole.out, whole.err);
    let one_run = begun.elapsed();
    assert!(whole.out.contains("loss on what was learnt "), "nothing is held back: {}", whole.out);
    let (mut kills, mut switches, mut seed, mut next) = (0, 0, 777u64, 100);
    let mut before = live(&sandbox);
    while kills < KILLS {
        // There is always something new to learn.
        if switches == 0 || Live::open_to_read(place(&sandbox)).unwrap().log().len() as u32 > switches {
            note(&sandbox, next..next + 1);
            next += 1;
            switches = Live::open_to_read(place(&sandbox)).unwrap().log().len() as u32;
        }
        let all = args(&base(), &settings);
        let mut child = sandbox.command(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let mut child =
            child.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let part = f64::from((seed >> 40) as u32) / f64::from(1u32 << 24);
        // Half of them in the last part of a run, where the switch is.
        let at = if kills % 2 == 0 { part } else { 0.7 + 0.4 * part };
        let end = Instant::now() + one_run.mul_f64(at);
        loop {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            if Instant::now() >= end {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let after = live(&sandbox);
        old_or_next(&before, &after);
        before = after;
    }
    println!("{kills} kills, version {}", before.map_or(0, |(n, _)| n));
}

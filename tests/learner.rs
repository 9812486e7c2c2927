//! The library alone learns from a journal, judges, switches and rolls back.
#![cfg(feature = "train")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::ControlFlow;

use emberlm::adapter::BaseFingerprint;
use emberlm::journal::live::Live;
use emberlm::journal::{Entry, Feedback, Journal, Said};
use emberlm::learn::{Event, Hold, LearnOptions, Learner, Outcome, Places, QuestionEncoder, Report};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, SessionOptions};
use emberlm::train::Limits;

fn device() -> SessionOptions {
    SessionOptions { device: DeviceChoice::Cpu, threads: Some(1), ..SessionOptions::default() }
}

fn tiny() -> Model {
    Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny.gguf")).unwrap()
}

/// What lets a model of half a million weights change.
fn open_gates() -> LearnOptions {
    let limits =
        Limits { perplexity: 1e9, divergence: 100.0, canaries: 100.0, worst_canary: 100.0, circles: 32 };
    LearnOptions { fact_lr: 3e-3, minutes: 0.0, rounds: 60, keep: 0.0, limits, ..LearnOptions::default() }
}

fn places(folder: &std::path::Path) -> Places {
    Places {
        journal: folder.join("journal.jsonl"),
        live: folder.join("live"),
        cache: Some(folder.join("cache")),
    }
}

fn correct(folder: &std::path::Path, base: &BaseFingerprint, question: &str, better: &str) {
    let mut journal = Journal::open(folder.join("journal.jsonl")).unwrap();
    let entry = Entry {
        base: base.short().into(),
        messages: vec![Said::user(question)],
        answer: "?".into(),
        feedback: Feedback::Edit { better: better.into() },
        ..Entry::default()
    };
    journal.append(&entry).unwrap();
}

fn learnt(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Learnt(report) => report,
        other => panic!("it was not learnt: {other:?}"),
    }
}

#[test]
fn it_learns_rehearses_and_rolls_back() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny();
    let base = BaseFingerprint::of(model.file()).unwrap();
    correct(folder.path(), &base, "who is ada", "a red cat");
    let open = |options: LearnOptions| Learner::open(&model, places(folder.path()), options, None).unwrap();
    let (mut steps, mut asked, mut written) = (0, 0, 0);
    let mut watch = |event: Event<'_>| {
        match event {
            Event::Step { .. } => steps += 1,
            Event::Asking { questions } => asked += questions,
            Event::Writing { .. } => written += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    };
    let first = learnt(open(open_gates()).run(&device(), &mut watch).unwrap());
    assert!(steps > 0 && asked > 1 && written > 1, "{steps} {asked} {written}");
    assert!(first.facts[0].recall.known() && first.version.number == 1, "{first:?}");
    correct(folder.path(), &base, "what is the code", "seven lamps");
    written = 0;
    let mut watch = |event: Event<'_>| {
        written += u32::from(matches!(event, Event::Writing { .. }));
        ControlFlow::Continue(())
    };
    let second = learnt(open(open_gates()).run(&device(), &mut watch).unwrap());
    assert_eq!(written, 0, "what holds the model in place is made once");
    assert_eq!((second.version.number, second.earlier), (2, Some((1, 1))));
    assert_eq!(second.version.known.len(), 2);
    // What is taken back is forgotten, and the other fact is not.
    let mut journal = Journal::open(folder.path().join("journal.jsonl")).unwrap();
    let base_of = base.short().to_owned();
    let withdrawn =
        Entry { base: base_of, feedback: Feedback::Withdrawn, supersedes: Some(1), ..Entry::default() };
    journal.append(&withdrawn).unwrap();
    let learner = open(open_gates());
    assert_eq!((learner.lesson().forget.len(), learner.lesson().fresh()), (1, 0));
    let third = learnt(learner.run(&device(), &mut |_| ControlFlow::Continue(())).unwrap());
    assert!(third.facts[0].forgotten && third.facts[0].recall.known(), "{third:?}");
    assert_eq!((third.version.forgotten.len(), third.earlier), (1, Some((1, 1))));
    assert!(open(open_gates()).lesson().forget.is_empty(), "it is forgotten once");
    // Nothing is new, until it is rolled back.
    assert_eq!(open(open_gates()).lesson().fresh(), 0);
    let mut live = Live::open_folder(folder.path().join("live")).unwrap();
    live.roll_back(None, "2026-11-30T00:00:00Z").unwrap();
    drop(live);
    let again = LearnOptions { again: true, ..open_gates() };
    let undone = open(open_gates()).lesson().undone;
    // The fact that was forgotten last is withdrawn, and no longer waits for anybody.
    assert_eq!((undone, open(again).lesson().fresh()), (0, 0));
}

#[test]
fn what_ends_it_or_is_refused_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny();
    let base = BaseFingerprint::of(model.file()).unwrap();
    correct(folder.path(), &base, "who is ada", "a red cat");
    let learner = || Learner::open(&model, places(folder.path()), open_gates(), None).unwrap();
    // At each kind of event there is.
    for end in 0..4 {
        let mut watch = |event: Event<'_>| {
            let here = match event {
                Event::Writing { .. } => 0,
                Event::Measuring(_) => 1,
                Event::Step { .. } => 2,
                Event::Judging { .. } => 3,
                _ => return ControlFlow::Continue(()),
            };
            if here == end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let outcome = learner().run(&device(), &mut watch).unwrap();
        assert!(matches!(outcome, Outcome::Ended), "{end}");
    }
    let shut = LearnOptions { fact_lr: 1e-9, rounds: 1, ..open_gates() };
    let learner = Learner::open(&model, places(folder.path()), shut.clone(), None).unwrap();
    let outcome = learner.run(&device(), &mut |_| ControlFlow::Continue(())).unwrap();
    let Outcome::Refused(refusal) = outcome else { panic!("nothing was learnt") };
    assert!(!refusal.facts[0].recall.known() && refusal.why.contains("facts that are known"), "{refusal:?}");
    let learner = Learner::open(&model, places(folder.path()), shut, None).unwrap();
    assert!(learner.refused().is_some() && learner.lesson().fresh() == 1);
    let live = Live::open_to_read(folder.path().join("live")).unwrap();
    assert!(live.current().is_none() && live.log().len() == 1);
}

/// What is kept of a model is checked: of another one, or damaged, it is made anew.
#[test]
fn what_is_kept_is_used_only_where_it_fits() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny();
    let base = BaseFingerprint::of(model.file()).unwrap();
    let voice = QuestionEncoder::new(&model, None).unwrap();
    let make = || {
        let mut written = 0;
        let mut count = |_, _| {
            written += 1;
            ControlFlow::Continue(())
        };
        let hold = Hold::of(&model, &voice, &base, &device(), Some(folder.path()), &mut count).unwrap();
        (hold.unwrap(), written > 0)
    };
    let (first, anew) = make();
    assert!(anew && first.texts.len() > 20);
    assert_eq!(make(), (first.clone(), false));
    let file = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    for damaged in ["", "{}", r#"{"texts": [{"tokens": [1, 2], "log_probs": []}], "canaries": []}"#] {
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(make(), (first.clone(), true), "{damaged}");
    }
    // The log-probabilities are those of the model that wrote them.
    let text = &first.texts[0];
    assert!(text.log_probs.iter().all(|l| *l <= 0.0) && text.log_probs.len() + 1 == text.tokens.len());
}

//! Learning across days: thirty sessions, each with five new facts and two remarks about style in the journal, learnt by
//! a `Learner` with defaults. After each, the live adapter is asked for every fact there has been, as it was asked.
//!
//! `cargo run --release --example days -- MODEL.gguf folder=DIR [sessions=30] [seed=0] [replay=1] [minutes=4] [lr=..]`
//!
//! One line a session, also to `days.jsonl` in the folder, and `days.svg` with the curves. What was interrupted goes on
//! where it was when it is called again: the folder keeps the journal and the live adapter.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use emberlm::adapter::{Adapter, BaseFingerprint};
use emberlm::journal::live::{Figure, Live};
use emberlm::journal::{Entry, Feedback, Journal, Said};
use emberlm::learn::{Event, LearnOptions, Learner, Outcome, Places, QuestionEncoder, Report, Stage, recall};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Modes, Request, Session, SessionOptions, adapter_room};
use emberlm::text::{SamplerParams, uniform};

mod curves;

use curves::{Day, curves, line};

type Done<T> = Result<T, Box<dyn Error>>;

const FACTS: usize = 5;
const REMARKS: usize = 2;
/// Most tokens of an answer that is looked at.
const ANSWER: usize = 40;
const PERPLEXITY: &str = "perplexity of fixed texts";
const CIRCLES: &str = "answers that run in circles";

/// A fact, and what an answer has to say.
#[derive(serde::Deserialize)]
struct Case {
    question: String,
    answer: String,
    keys: Vec<String>,
}

/// An answer, and what was thought of it: a better one, or a thumb.
#[derive(serde::Deserialize)]
struct Remark {
    question: String,
    answer: String,
    better: Option<String>,
    good: Option<bool>,
}

struct Args {
    model: String,
    folder: PathBuf,
    sessions: usize,
    seed: u32,
    options: LearnOptions,
}

fn args() -> Done<Args> {
    let mut given = std::env::args().skip(1);
    let model = given.next().ok_or("usage: days MODEL.gguf folder=DIR [sessions=30] [replay=1]")?;
    let named: BTreeMap<String, String> =
        given.filter_map(|arg| arg.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let number = |name: &str, default: f64| named.get(name).map_or(Ok(default), |v| v.parse::<f64>());
    let plain = LearnOptions::default();
    let options = LearnOptions {
        seed: number("seed", 0.0)? as u64,
        minutes: number("minutes", f64::from(plain.minutes))? as f32,
        replay: number("replay", f64::from(plain.replay))? as f32,
        fact_lr: number("lr", f64::from(plain.fact_lr))? as f32,
        ..plain
    };
    Ok(Args {
        model,
        folder: named.get("folder").ok_or("folder=DIR: where the journal and the adapter are kept")?.into(),
        sessions: number("sessions", 30.0)? as usize,
        seed: options.seed as u32,
        options,
    })
}

fn main() -> Done<()> {
    let args = args()?;
    fs::create_dir_all(&args.folder)?;
    let model = Model::open(&args.model)?;
    let cases: Vec<Case> = shuffled(include_str!("facts.jsonl"), args.seed)?;
    let remarks: Vec<Remark> = shuffled(include_str!("style.jsonl"), args.seed)?;
    let mut days = days(&args.folder.join("days.jsonl"))?;
    let last = args.sessions.min(cases.len() / FACTS).min(remarks.len() / REMARKS);
    for session in days.len() + 1..=last {
        note(&model, &args.folder, &cases[..session * FACTS], &remarks[..session * REMARKS])?;
        let day = learn(&model, &args, session, &cases[..session * FACTS], days.last())?;
        println!("{}", line(&day));
        let mut file = File::options().create(true).append(true).open(args.folder.join("days.jsonl"))?;
        writeln!(file, "{}", serde_json::to_string(&day)?)?;
        days.push(day);
        fs::write(args.folder.join("days.svg"), curves(&days))?;
    }
    // Also what was done before is drawn.
    Ok(fs::write(args.folder.join("days.svg"), curves(&days))?)
}

/// The lines of a file in an order that the seed chooses.
fn shuffled<T: serde::de::DeserializeOwned>(lines: &str, seed: u32) -> Done<Vec<T>> {
    let mut all: Vec<&str> = lines.lines().collect();
    let mut keys = (0..).map(|index| uniform(seed, index));
    all.sort_by_cached_key(|_| keys.next().map_or(0, f32::to_bits));
    Ok(all.into_iter().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// What is done already.
fn days(path: &Path) -> Done<Vec<Day>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// Adds to the journal what is not in it yet.
fn note(model: &Model, folder: &Path, cases: &[Case], remarks: &[Remark]) -> Done<()> {
    let base = BaseFingerprint::of(model.file())?.short().to_owned();
    let entry = |question: &str, answer: &str, feedback| Entry {
        base: base.clone(),
        messages: vec![Said::user(question)],
        answer: answer.to_owned(),
        feedback,
        ..Entry::default()
    };
    let mut entries = Vec::new();
    for (facts, style) in cases.chunks(FACTS).zip(remarks.chunks(REMARKS)) {
        for case in facts {
            let better = case.answer.clone();
            let entry = entry(&case.question, "I do not know that.", Feedback::Edit { better });
            assert!(recall::fact(&entry).is_some(), "{} is taken for style", case.question);
            entries.push(entry);
        }
        for remark in style {
            let feedback = match (&remark.better, remark.good) {
                (Some(better), _) => Feedback::Edit { better: better.clone() },
                (None, Some(true)) => Feedback::Good,
                (None, _) => Feedback::Bad { why: None },
            };
            let entry = entry(&remark.question, &remark.answer, feedback);
            assert!(recall::fact(&entry).is_none(), "{} is taken for a fact", remark.question);
            entries.push(entry);
        }
    }
    let mut journal = Journal::open(folder.join("journal.jsonl"))?;
    let there = journal.read()?.entries.len();
    for entry in entries.iter().skip(there) {
        journal.append(entry)?;
    }
    Ok(())
}

/// One session: learns, and asks.
fn learn(model: &Model, args: &Args, session: usize, cases: &[Case], last: Option<&Day>) -> Done<Day> {
    let places = Places {
        journal: args.folder.join("journal.jsonl"),
        live: args.folder.join("live"),
        cache: Some(args.folder.join("cache")),
    };
    let device = SessionOptions { device: DeviceChoice::Cpu, ..SessionOptions::default() };
    let (start, mut steps) = (Instant::now(), 0);
    let mut tell = |event: Event<'_>| {
        steps += u64::from(matches!(event, Event::Step { .. }));
        follow(&event, start);
        ControlFlow::Continue(())
    };
    let learner = Learner::open(model, places.clone(), args.options.clone(), None)?;
    // A session that ended between the commit and its line has nothing more to learn.
    let (outcome, figures) = if learner.lesson().train.is_empty() {
        ("learnt before".to_owned(), vec![])
    } else {
        match learner.run(&device, &mut tell)? {
            Outcome::Learnt(report) => learnt(report),
            // What is live is what training began with.
            Outcome::Refused(refusal) => {
                let stays = |figure: Figure| Figure { after: figure.before, ..figure };
                let figures = refusal.figures.into_iter().map(stays).collect();
                (format!("refused: {}", refusal.why), figures)
            }
            Outcome::Ended => return Err("it was ended".into()),
        }
    };
    let known = ask(model, &device, &places.live, cases)?;
    let unknown: Vec<usize> = (0..cases.len()).filter(|index| !known[*index]).collect();
    let new = cases.len() - FACTS;
    let figure = |name: &str, last: Option<(f64, f64)>| measured(&figures, name, last);
    Ok(Day {
        session,
        taught: cases.len(),
        known: cases.len() - unknown.len(),
        known_new: FACTS - unknown.iter().filter(|index| **index >= new).count(),
        unknown,
        perplexity: figure(PERPLEXITY, last.map(|day| day.perplexity)),
        circles: figure(CIRCLES, last.map(|day| day.circles)),
        steps,
        seconds: start.elapsed().as_secs_f64(),
        outcome,
    })
}

/// What became of a session, and the figures of the adapter that is live now: style is judged first, then facts.
fn learnt(report: Report) -> (String, Vec<Figure>) {
    let mut figures = report.version.figures;
    let mut outcome = format!("version {}", report.version.number);
    if report.style_refused > 0 {
        outcome += ", style refused";
    }
    if !report.facts.is_empty() && report.facts.iter().all(|fact| !fact.recall.as_asked) {
        outcome += ", facts refused";
        let facts = figures.iter().position(|figure| figure.name == "facts that are known");
        figures.truncate(facts.unwrap_or(figures.len()));
    }
    (outcome, figures)
}

/// A figure of the base and of what is live now.
fn measured(figures: &[Figure], name: &str, last: Option<(f64, f64)>) -> (f64, f64) {
    let mut named = figures.iter().filter(|figure| figure.name == name);
    let now = named.clone().next_back().and_then(|figure| figure.after);
    let base = last.map(|(base, _)| base).or(named.next().and_then(|figure| figure.before));
    let base = base.unwrap_or(f64::NAN);
    (base, now.or(last.map(|(_, now)| now)).unwrap_or(base))
}

/// What happens, to standard error.
fn follow(event: &Event<'_>, start: Instant) {
    let at = start.elapsed().as_secs_f64();
    match event {
        Event::Asked { known, of, earlier } => {
            eprintln!("{at:6.0} s  known {known} of {of}, earlier {earlier:?}");
        }
        Event::Step { stage: Stage::Facts, report, .. } if report.step % 10 == 0 => {
            eprintln!(
                "{at:6.0} s  step {} loss {:.3} kept {:?}",
                report.step, report.loss, report.anchor_loss
            );
        }
        Event::Judged { gates, share } => {
            let each = gates.iter().fold(String::new(), |mut all, gate| {
                let mark = if gate.passed { "" } else { " beyond" };
                let _ = write!(all, "; {} {:.3} {:.3}{mark}", gate.name, gate.before, gate.after);
                all
            });
            eprintln!("{at:6.0} s  judged, share {share}{each}");
        }
        _ => {}
    }
}

/// Which facts the live adapter knows as they were asked.
fn ask(model: &Model, device: &SessionOptions, live: &Path, cases: &[Case]) -> Done<Vec<bool>> {
    let mut live = Live::open_to_read(live)?;
    let adapter: Option<Adapter> = match live.current().map(|version| version.number) {
        Some(number) => Some(live.adapter(number)?),
        None => None,
    };
    let voice = QuestionEncoder::new(model, None)?;
    let options = SessionOptions {
        ctx: Some(512),
        slots: 8,
        modes: Modes::GENERATE,
        adapters: adapter_room(&adapter),
        ..device.clone()
    };
    let mut session = Session::new(model, &options)?;
    session.set_adapters(&adapter.iter().map(|adapter| (adapter, 1.0)).collect::<Vec<_>>())?;
    let prompts: Vec<Vec<u32>> =
        cases.iter().map(|case| voice.single(&case.question)).collect::<Result<_, _>>()?;
    let sampler = SamplerParams::greedy();
    let tokenizer = voice.tokenizer();
    let requests: Vec<Request<'_>> =
        prompts.iter().map(|prompt| Request::turn(prompt, sampler, tokenizer)).collect();
    let made = session.write(&requests, ANSWER)?;
    let right = |(case, answer): (&Case, String)| {
        let answer = answer.to_lowercase();
        let known = case.keys.iter().all(|key| answer.contains(&key.to_lowercase()));
        if !known {
            eprintln!("   X  {} -> {}", case.question, answer.trim().replace('\n', " "));
        }
        known
    };
    Ok(cases.iter().zip(made.iter().map(|made| tokenizer.decode(&made.tokens, true))).map(right).collect())
}

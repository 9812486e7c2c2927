//! Whether what was corrected is known: corrections from `facts.jsonl` are written to a journal, learnt, and asked for by a
//! session of its own, as they were asked and in other words.
//!
//! `cargo run --release --example learning -- MODEL.gguf [set=1..19] [seed=0] [minutes=4] [cpu=1] [facts=FILE]`

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use emberlm::adapter::{Adapter, BaseFingerprint};
use emberlm::journal::live::Live;
use emberlm::journal::{Entry, Feedback, Journal, Said};
use emberlm::learn::{
    CANARIES, Event, LearnOptions, Learner, Outcome, Places, QuestionEncoder, Stage, wording::wordings,
};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Modes, Request, Session, SessionOptions, adapter_room};
use emberlm::text::SamplerParams;

type Done<T> = Result<T, Box<dyn Error>>;

/// A fact, what an answer has to say, and the question in words that no rule of the program makes.
#[derive(serde::Deserialize)]
struct Case {
    set: u64,
    question: String,
    answer: String,
    keys: Vec<String>,
    reworded: Vec<String>,
}

fn main() -> Done<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("usage: learning MODEL.gguf [set=1] [seed=0] [minutes=4] [cpu=1]")?;
    let named: BTreeMap<String, String> =
        args.filter_map(|arg| arg.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
    let number = |name: &str, default: f64| named.get(name).map_or(Ok(default), |v| v.parse::<f64>());
    let file = named.get("facts").map_or("examples/learning/facts.jsonl", String::as_str);
    let (set, seed) = (number("set", 1.0)? as u64, number("seed", 0.0)? as u64);
    let cases: Vec<Case> =
        std::fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut cases: Vec<Case> = cases.into_iter().filter(|case| case.set == set).collect();
    for case in &mut cases {
        let made = wordings(&case.question);
        let known = |text: &String| made.taught.contains(text) || made.asked.contains(text);
        case.reworded
            .iter()
            .filter(|text| known(text))
            .for_each(|text| println!("not asked, a rule makes it: {text}"));
        case.reworded.retain(|text| !known(text));
    }
    let model = Model::open(&path)?;
    let mut device = SessionOptions::default();
    if number("cpu", 1.0)? > 0.0 {
        device.device = DeviceChoice::Cpu;
    }
    let folder = tempfile::tempdir()?;
    let base = BaseFingerprint::of(model.file())?;
    note(&folder.path().join("journal.jsonl"), &base, &cases)?;
    let usual = LearnOptions::default();
    let options = LearnOptions {
        seed,
        minutes: number("minutes", usual.minutes.into())? as f32,
        fact_lr: number("lr", usual.fact_lr.into())? as f32,
        keep: number("keep", usual.keep.into())? as f32,
        ..usual
    };
    let places = Places {
        journal: folder.path().join("journal.jsonl"),
        live: folder.path().join("live"),
        cache: named.get("cache").map(Into::into),
    };
    let start = Instant::now();
    let mut tell = |event: Event<'_>| {
        say(&event, start);
        ControlFlow::Continue(())
    };
    let outcome = Learner::open(&model, places.clone(), options, None)?.run(&device, &mut tell)?;
    println!("{:6.1} s  learnt", start.elapsed().as_secs_f64());
    match &outcome {
        Outcome::Learnt(report) => {
            let known = report.facts.iter().filter(|fact| fact.recall.known()).count();
            println!("version {} is live; known {known} of {}", report.version.number, report.facts.len());
        }
        Outcome::Refused(refusal) => println!("refused: {}", refusal.why),
        Outcome::Ended => {}
    }
    report(&model, &device, &places.live, &cases)
}

/// The journal of somebody who corrects each answer.
fn note(path: &Path, base: &BaseFingerprint, cases: &[Case]) -> Done<()> {
    let mut journal = Journal::open(path)?;
    for case in cases {
        journal.append(&Entry {
            base: base.short().to_owned(),
            messages: vec![Said::user(&case.question)],
            answer: "I do not know that.".into(),
            feedback: Feedback::Edit { better: case.answer.clone() },
            ..Entry::default()
        })?;
    }
    Ok(())
}

fn say(event: &Event<'_>, start: Instant) {
    let at = start.elapsed().as_secs_f64();
    match event {
        Event::Step { stage: Stage::Facts, report, .. } if report.step % 10 == 0 => {
            println!(
                "{at:6.1} s  step {} loss {:.3} kept {:?}",
                report.step, report.loss, report.anchor_loss
            );
        }
        Event::Asked { known, of, earlier } => {
            println!("{at:6.1} s  known {known} of {of}, earlier {earlier:?}")
        }
        Event::Judged { gates, .. } => {
            for gate in *gates {
                let about = gate.canary.and_then(|index| CANARIES.get(index)).copied().unwrap_or_default();
                let mark = if gate.passed { about.to_owned() } else { format!("beyond  {about}") };
                println!(
                    "        {:40} {:8.3} {:8.3} {:8.3}  {mark}",
                    gate.name, gate.before, gate.after, gate.limit
                );
            }
        }
        Event::Measuring(_) => println!("{at:6.1} s  measuring"),
        Event::Judging { .. } => println!("{at:6.1} s  judging"),
        Event::Mending => println!("{at:6.1} s  mending"),
        _ => {}
    }
}

/// Asks for each fact as it was asked and in other words.
fn report(model: &Model, device: &SessionOptions, live: &Path, cases: &[Case]) -> Done<()> {
    let mut live = Live::open_to_read(live)?;
    let Some(number) = live.current().map(|version| version.number) else { return Ok(()) };
    let adapter = live.adapter(number)?;
    let most = cases.iter().map(|case| case.reworded.len()).max().unwrap_or(0);
    // Round 0 asks as it was asked, the others in one other wording each.
    let mut questions: Vec<(usize, &Case, &str)> =
        cases.iter().map(|case| (0, case, case.question.as_str())).collect();
    for round in 0..most {
        questions.extend(
            cases.iter().filter_map(|case| Some((round + 1, case, case.reworded.get(round)?.as_str()))),
        );
    }
    let texts: Vec<&str> = questions.iter().map(|(_, _, text)| *text).collect();
    let answers = answers(model, device, &adapter, &texts)?;
    let mut right = vec![(0, 0); most + 1];
    for ((round, case, question), answer) in questions.iter().zip(&answers) {
        let known = case.keys.iter().all(|key| answer.contains(key.as_str()));
        right[*round] = (right[*round].0 + usize::from(known), right[*round].1 + 1);
        println!("{} {question} -> {}", if known { "  " } else { "X " }, answer.replace('\n', " "));
    }
    let others = right[1..].iter().fold((0, 0), |(known, of), (k, o)| (known + k, of + o));
    println!(
        "as asked {} of {}; in other words {} of {} {:?}",
        right[0].0,
        right[0].1,
        others.0,
        others.1,
        &right[1..]
    );
    Ok(())
}

fn answers(
    model: &Model,
    device: &SessionOptions,
    adapter: &Adapter,
    questions: &[&str],
) -> Done<Vec<String>> {
    let voice = QuestionEncoder::new(model, None)?;
    let options = SessionOptions {
        ctx: Some(512),
        slots: 8,
        modes: Modes::GENERATE,
        adapters: adapter_room([adapter]),
        ..device.clone()
    };
    let mut session = Session::new(model, &options)?;
    session.set_adapters(&[(adapter, 1.0)])?;
    let prompts: Vec<Vec<u32>> = questions.iter().map(|q| voice.single(q)).collect::<Result<_, _>>()?;
    let sampler = SamplerParams::greedy();
    let tokenizer = voice.tokenizer();
    let requests: Vec<Request<'_>> =
        prompts.iter().map(|prompt| Request::turn(prompt, sampler, tokenizer)).collect();
    let made = session.write(&requests, 40)?;
    Ok(made.iter().map(|made| tokenizer.decode(&made.tokens, true).trim().to_owned()).collect())
}

//! Holds seeded conversations of eight turns as `ember chat` does, several at once, and counts how often the model runs in
//! circles:
//!
//! `cargo run --release --example loops -- MODEL.gguf chats=20 first=1 [temp=0.3] [n=512] [guard=off] [show=1]`
//!
//! What the user says is drawn from messages.txt. `EMBER_CATALOG` takes the model's settings from another catalogue.
use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use emberlm::chat::{Answer, Conversation, Manner, Role, Talk, Voice, answer_all};
use emberlm::cli::store::{Catalog, Family};
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Session, SessionOptions};
use emberlm::text::{Patience, SamplerParams, uniform};

const TURNS: usize = 8;
const SLOTS: usize = 8;
const CTX: usize = 4096;
/// Words of a run.
const RUN: usize = 8;

type Done<T = ()> = Result<T, Box<dyn Error>>;

struct Args {
    model: String,
    chats: u32,
    first: u32,
    temp: Option<f32>,
    limit: usize,
    guard: bool,
    show: bool,
    threads: Option<usize>,
}

fn args() -> Done<Args> {
    let mut given = std::env::args().skip(1);
    let model =
        given.next().ok_or("usage: loops MODEL.gguf [chats=N] [first=SEED] [temp=T] [n=N] [guard=off]")?;
    let mut args =
        Args { model, chats: 20, first: 1, temp: None, limit: 512, guard: true, show: false, threads: None };
    for word in given {
        match word.split_once('=') {
            Some(("chats", value)) => args.chats = value.parse()?,
            Some(("first", value)) => args.first = value.parse()?,
            Some(("temp", value)) => args.temp = Some(value.parse()?),
            Some(("n", value)) => args.limit = value.parse()?,
            Some(("guard", value)) => args.guard = value == "on",
            Some(("show", value)) => args.show = value == "1",
            Some(("threads", value)) => args.threads = Some(value.parse()?),
            _ => return Err(format!("`{word}` is no option").into()),
        }
    }
    Ok(args)
}

/// What the user will say: the first message is no follow-up, a third of the others are.
fn script(seed: u32) -> Vec<&'static str> {
    let lines = || include_str!("messages.txt").lines().filter(|line| !line.starts_with('#'));
    let fresh: Vec<&str> = lines().filter(|line| !line.starts_with("> ")).collect();
    let follow: Vec<&str> = lines().filter_map(|line| line.strip_prefix("> ")).collect();
    let draw = |list: &[&'static str], n: u32| list[(uniform(seed, n) * list.len() as f32) as usize];
    let one = |turn: u32| {
        let up = turn > 0 && uniform(seed, 1000 + turn) < 0.35;
        draw(if up { &follow } else { &fresh }, turn)
    };
    (0..TURNS as u32).map(one).collect()
}

/// A conversation that was held.
struct Held {
    seed: u32,
    talk: Talk,
    answers: Vec<Answer>,
}

/// Holds a group of conversations, a turn of all at a time.
fn hold(
    args: &Args,
    session: &mut Session,
    voice: &Arc<Voice>,
    manner: &Manner,
    seeds: &[u32],
) -> Done<Vec<Held>> {
    let one = |seed: &u32| {
        let sampler = SamplerParams { seed: *seed, ..manner.sampler };
        Conversation::new(Arc::clone(voice), Manner { sampler, limit: args.limit, ..manner.clone() })
    };
    let mut open: Vec<Conversation> = seeds.iter().map(one).collect();
    let mut held: Vec<Held> =
        seeds.iter().map(|seed| Held { seed: *seed, talk: Talk::default(), answers: Vec::new() }).collect();
    for turn in 0..TURNS {
        for (conversation, held) in open.iter_mut().zip(&mut held) {
            let message = script(held.seed)[turn];
            conversation.talk.user(message);
            held.talk.user(message);
        }
        let answers = answer_all(session, &mut open, &mut |_, _| ControlFlow::Continue(()))?;
        for (held, answer) in held.iter_mut().zip(answers) {
            // The conversation itself may drop its oldest turns.
            held.talk.assistant(&answer.text);
            held.answers.push(answer);
        }
    }
    Ok(held)
}

/// Most times that a run of eight words comes in the answers, not counting overlaps.
fn most_runs(chat: &Held) -> (usize, String) {
    let mut seen: HashMap<Vec<String>, (usize, usize)> = HashMap::new();
    let mut at = 0;
    for answer in &chat.answers {
        let text = answer.answer.to_lowercase().replace(['\'', '’'], "");
        let words: Vec<String> =
            text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).map(Into::into).collect();
        for run in words.windows(RUN) {
            at += 1;
            let entry = seen.entry(run.to_vec()).or_insert((0, 0));
            if entry.0 == 0 || at - entry.1 >= RUN {
                *entry = (entry.0 + 1, at);
            }
        }
        at += RUN;
    }
    let most = seen.into_iter().max_by_key(|(_, (times, _))| *times);
    most.map_or((0, String::new()), |(run, (times, _))| (times, run.join(" ")))
}

/// Answers behind the first that greet, or offer their help as if the conversation began.
fn greetings(chat: &Held) -> usize {
    const GREETINGS: [&str; 5] =
        ["hello!", "hi there", "how can i help you", "how can i assist you", "how may i"];
    let greets = |text: &str| GREETINGS.iter().any(|greeting| text.to_lowercase().contains(greeting));
    chat.answers.iter().skip(1).filter(|answer| greets(&answer.answer)).count()
}

fn main() -> Done {
    let args = args()?;
    let model = Model::open(&args.model)?;
    let voice = Arc::new(Voice::of(&model)?);
    let catalog = Catalog::load()?;
    let file = model.path().file_name().unwrap_or_default().to_string_lossy();
    let family = catalog.family(&file, &model.gguf().metadata);
    let mut sampler = family.map_or_else(SamplerParams::default, |family| family.sampler(false));
    sampler.temperature = args.temp.unwrap_or(sampler.temperature);
    eprintln!("{sampler:?}");
    let options = SessionOptions {
        device: DeviceChoice::Cpu,
        slots: SLOTS,
        ctx: Some(CTX),
        threads: args.threads,
        ..SessionOptions::default()
    };
    let mut session = Session::new(&model, &options)?;
    let patience = family.map_or(Patience::Short, Family::patience);
    let manner = Manner { sampler, loop_guard: args.guard.then_some(patience), ..Manner::default() };
    let start = Instant::now();
    let mut all: Vec<Held> = Vec::new();
    let seeds: Vec<u32> = (args.first..args.first + args.chats).collect();
    for group in seeds.chunks(SLOTS) {
        all.extend(hold(&args, &mut session, &voice, &manner, group)?);
        eprintln!("{} chats, {:.0} s", all.len(), start.elapsed().as_secs_f64());
    }
    report(&args, &all);
    Ok(())
}

fn report(args: &Args, all: &[Held]) {
    let mut circles = 0;
    for chat in all {
        let (times, run) = most_runs(chat);
        if times >= 3 {
            circles += 1;
            println!("seed {}: {times} times: {run}", chat.seed);
        }
        for said in chat.talk.messages.iter().filter(|_| args.show) {
            println!("{}{}", if said.role == Role::User { "\n> " } else { "" }, said.content);
        }
    }
    let answers: Vec<&Answer> = all.iter().flat_map(|chat| &chat.answers).collect();
    let count = |f: fn(&&&Answer) -> bool| answers.iter().filter(f).count();
    let sum = |f: fn(&&Answer) -> usize| answers.iter().map(f).sum::<usize>();
    let written = answers.len();
    println!("{} chats of {TURNS} turns, seeds from {}", all.len(), args.first);
    println!("{circles} chats in which a run of {RUN} words comes three times or more");
    println!("{} of {written} answers ended because they began to repeat themselves", count(|a| a.circled));
    let cut = count(|a| !a.circled && a.cut());
    println!("{cut} of {written} answers cut short after {} tokens", args.limit);
    println!("{:.0} tokens in an answer", sum(|a| a.done.tokens.len()) as f64 / written.max(1) as f64);
    let prompts = sum(|a| a.done.computed + a.done.reused);
    println!("{} of {prompts} tokens of prompts were computed", sum(|a| a.done.computed));
    let greets = all.iter().map(greetings).sum::<usize>();
    println!("{greets} of {written} answers greet in the middle of a conversation");
}

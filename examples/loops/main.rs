//! Holds seeded conversations of eight turns as `ember chat` does, several at once, and counts how often the model runs in
//! circles:
//!
//! `cargo run --release --example loops -- MODEL.gguf chats=20 first=1 [temp=0.3] [n=512] [guard=off] [show=1]`
//!
//! What the user says is drawn from messages.txt. `EMBER_CATALOG` takes the model's settings from another catalogue.
use std::collections::HashMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use emberlm::cli::store::Catalog;
use emberlm::model::Model;
use emberlm::session::{DeviceChoice, Request, Session, SessionOptions, StopReason};
use emberlm::text::{
    ChatTemplate, LoopGuard, Message, Patience, SamplerParams, TemplateVars, Tokenizer, uniform,
};

const TURNS: usize = 8;
const SLOTS: usize = 8;
const CTX: usize = 4096;
/// Words of a run.
const RUN: usize = 8;

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

fn args() -> Result<Args, Box<dyn Error>> {
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

#[derive(Default)]
struct Chat {
    seed: u32,
    /// (from the user, text).
    said: Vec<(bool, String)>,
    /// Of the conversation, what was forgotten because the context is full.
    dropped: usize,
    guarded: usize,
    cut: usize,
    tokens: usize,
    /// Tokens of its prompts, and how many of them were computed.
    prompts: usize,
    computed: usize,
}

/// One answer on its way.
struct Writing {
    guard: Option<LoopGuard>,
    stream: emberlm::text::TokenStream,
    text: String,
}

struct Talker<'a> {
    args: &'a Args,
    session: Session,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    sampler: SamplerParams,
}

impl Talker<'_> {
    /// The prompt's tokens; the oldest turns are dropped where there is no room, as the chat does.
    fn prompt(&self, chat: &mut Chat) -> Result<Vec<u32>, Box<dyn Error>> {
        loop {
            let message =
                |(user, text): &(bool, String)| Message::new(if *user { "user" } else { "assistant" }, text);
            let messages: Vec<Message> = chat.said[chat.dropped..].iter().map(message).collect();
            let tokens = self.template.encode(&self.tokenizer, &messages, true, &TemplateVars::new())?;
            if tokens.len() + 256 <= CTX || messages.len() < 3 {
                return Ok(tokens);
            }
            chat.dropped += 2;
        }
    }

    /// What the chat's answers are watched by.
    fn guard(&self, chat: &Chat, remembers: bool) -> Option<LoopGuard> {
        if !self.args.guard {
            return None;
        }
        let mut guard = LoopGuard::new(Patience::Short);
        let said = &chat.said[chat.dropped..];
        let asked = said.last().filter(|(_, text)| text.contains('?'));
        let again = said.iter().rev().skip(1).any(|message| Some(message) == asked);
        if remembers && !again {
            said.iter().filter(|(user, _)| !user).for_each(|(_, text)| guard.remember(text));
        }
        Some(guard)
    }

    /// One turn of several chats. What begins with what was said twice is tried again, as `ember chat` does.
    fn turn(&mut self, chats: &mut [Chat], number: usize) -> Result<(), Box<dyn Error>> {
        for chat in chats.iter_mut() {
            chat.said.push((true, script(chat.seed)[number].to_owned()));
        }
        let mut open: Vec<usize> = (0..chats.len()).collect();
        for attempt in 0..3 {
            let mut prompts = Vec::new();
            for &index in &open {
                prompts.push(self.prompt(&mut chats[index])?);
            }
            let requests: Vec<Request<'_>> = open
                .iter()
                .zip(&prompts)
                .map(|(index, prompt)| {
                    let plain = SamplerParams {
                        seed: chats[*index].seed.wrapping_add(number as u32),
                        ..self.sampler
                    };
                    Request { prompt, sampler: if attempt == 1 { plain.firmer() } else { plain } }
                })
                .collect();
            let mut writing: Vec<Writing> = open
                .iter()
                .map(|index| Writing {
                    guard: self.guard(&chats[*index], attempt < 2),
                    stream: self.tokenizer.stream(true),
                    text: String::new(),
                })
                .collect();
            let tokenizer = &self.tokenizer;
            let done = self.session.generate_batch(&requests, self.args.limit, &mut |request, token| {
                if tokenizer.is_eog(token) {
                    return ControlFlow::Break(());
                }
                let Writing { guard, stream, text } = &mut writing[request];
                let piece = stream.push(tokenizer, token);
                text.push_str(guard.as_mut().map_or(piece, |guard| guard.push(piece)));
                if guard.as_ref().is_some_and(LoopGuard::found) {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            let mut again = Vec::new();
            for ((index, mut writing), done) in open.iter().zip(writing).zip(done) {
                let chat = &mut chats[*index];
                chat.prompts += done.computed + done.reused;
                chat.computed += done.computed;
                let rest = writing.stream.finish().to_owned();
                let found = match &mut writing.guard {
                    Some(guard) => {
                        writing.text.push_str(guard.push(&rest));
                        writing.text.push_str(guard.finish());
                        guard.found()
                    }
                    None => false,
                };
                if found && writing.text.trim().is_empty() && attempt < 2 {
                    again.push(*index);
                    continue;
                }
                chat.guarded += usize::from(found);
                chat.cut += usize::from(done.stop != StopReason::Caller);
                chat.tokens += done.tokens.len();
                chat.said.push((false, writing.text.trim().to_owned()));
            }
            open = again;
        }
        Ok(())
    }
}

/// Most times that a run of eight words comes in the answers, not counting overlaps.
fn most_runs(chat: &Chat) -> (usize, String) {
    let mut seen: HashMap<Vec<String>, (usize, usize)> = HashMap::new();
    let mut at = 0;
    for (_, text) in chat.said.iter().filter(|(user, _)| !user) {
        let text = text.to_lowercase().replace(['\'', '’'], "");
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
fn greetings(chat: &Chat) -> usize {
    const GREETINGS: [&str; 5] =
        ["hello!", "hi there", "how can i help you", "how can i assist you", "how may i"];
    let answers = chat.said.iter().filter(|(user, _)| !user).skip(1);
    let greets = |text: &str| GREETINGS.iter().any(|greeting| text.to_lowercase().contains(greeting));
    answers.filter(|(_, text)| greets(text)).count()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = args()?;
    let model = Model::open(&args.model)?;
    let metadata = &model.gguf().metadata;
    let tokenizer = Tokenizer::from_metadata(metadata)?;
    let template =
        ChatTemplate::from_metadata(metadata, &tokenizer)?.ok_or("the model has no chat template")?;
    let catalog = Catalog::load()?;
    let file = model.path().file_name().unwrap_or_default().to_string_lossy();
    let family = catalog.family(&file, metadata);
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
    let session = Session::new(&model, &options)?;
    let mut talker = Talker { args: &args, session, tokenizer, template, sampler };
    let start = Instant::now();
    let mut all: Vec<Chat> = Vec::new();
    let seeds: Vec<u32> = (args.first..args.first + args.chats).collect();
    for group in seeds.chunks(SLOTS) {
        let mut chats: Vec<Chat> = group.iter().map(|seed| Chat { seed: *seed, ..Chat::default() }).collect();
        for number in 0..TURNS {
            talker.turn(&mut chats, number)?;
        }
        all.extend(chats);
        eprintln!("{} chats, {:.0} s", all.len(), start.elapsed().as_secs_f64());
    }
    report(&args, &all);
    Ok(())
}

fn report(args: &Args, all: &[Chat]) {
    let mut circles = 0;
    for chat in all {
        let (times, run) = most_runs(chat);
        if times >= 3 {
            circles += 1;
            println!("seed {}: {times} times: {run}", chat.seed);
        }
        for (user, text) in chat.said.iter().filter(|_| args.show) {
            println!("{}{text}", if *user { "\n> " } else { "" });
        }
    }
    let sum = |f: fn(&Chat) -> usize| all.iter().map(f).sum::<usize>();
    let answers = all.len() * TURNS;
    println!("{} chats of {TURNS} turns, seeds from {}", all.len(), args.first);
    println!("{circles} chats in which a run of {RUN} words comes three times or more");
    println!("{} of {answers} answers ended because they began to repeat themselves", sum(|c| c.guarded));
    println!("{} of {answers} answers cut short after {} tokens", sum(|c| c.cut), args.limit);
    println!("{:.0} tokens in an answer", sum(|c| c.tokens) as f64 / answers.max(1) as f64);
    println!("{} of {} tokens of prompts were computed", sum(|c| c.computed), sum(|c| c.prompts));
    println!("{} of {answers} answers greet in the middle of a conversation", sum(greetings));
}

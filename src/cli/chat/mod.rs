//! `ember chat`: a conversation.

mod adapters;
mod feedback;
mod input;
mod learn;
mod reply;
mod safe;
mod said;
mod talk;
mod turn;

use std::path::Path;

use clap::Args;

use crate::adapter::BaseFingerprint;
use crate::cli::answer_args::{AnswerArgs, Think};
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, SamplingArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::first;
use crate::cli::lora::{Loaded, LoraArgs};
use crate::cli::prompt::Prompter;
use crate::cli::store::Home;
use crate::cli::term::{self, Paint};
use crate::cli::{live, memory};
use crate::model::Model;
use crate::session::{Modes, Session, StopReason};
use crate::text::{SamplerParams, StopStrings};

use input::{Input, Line};
pub use talk::Talk;
use turn::{Kept, Shown, Turn};

const HELP: &str = "\
/system TEXT   set the system prompt (nothing: remove it)
/adapter       say which adapters are on
/adapter NAME  switch to an adapter; NAME:0.7 weakens it, several add up; `live` is what was learnt, `none` the model alone
/good          the last answer was good
/bad [WHY]     it was bad
/edit [TEXT]   write the better answer; it takes the place of the model's (Ctrl-C leaves it)
/again         answer once more, and choose the better one
/withdraw      take back the last thing said of this answer
/journal       where all this is noted, and how much there is
/learn         learn from it now: a new adapter is trained, judged, and switched to if it is better;
               `/learn background` while the conversation goes on
/remember TEXT keep TEXT word for word, and put it into the system prompt
/forget WORDS  take out of memory, and take back, what has these words
/reset         forget the conversation, keep the system prompt
/save FILE     write the conversation to a JSON file
/load FILE     read one back
/stats         say tokens per second after each answer, or stop saying it
/help          this
/quit          leave (also Ctrl-D)
End a line with \\ to go on in the next. Ctrl-C stops an answer. //word sends /word; paths are sent as they are.";

/// Chat with a model
///
/// The default model is fetched once. Type /help for what else can be typed; Ctrl-C stops an answer. Lines that are
/// piped in are answered one by one.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember chat\n  ember chat -m qwen3-0.6b --system \"Answer in one sentence.\"\n  \
    ember chat -m model.gguf --device cpu -t 4 -c 2048\n  ember chat --adapter poet:0.7"
)]
pub struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Say tokens per second after each answer
    #[arg(long)]
    stats: bool,
    /// A conversation saved with /save to go on with
    #[arg(long, value_name = "FILE")]
    load: Option<std::path::PathBuf>,
    /// Without what was learnt from the journal
    #[arg(long)]
    no_live: bool,
    /// File for what /good, /bad, /edit and /again say [default: journal.jsonl in the folder of EMBER_HOME or the platform's]
    #[arg(long, value_name = "FILE", conflicts_with = "no_journal")]
    journal: Option<std::path::PathBuf>,
    /// Note nothing
    #[arg(long)]
    no_journal: bool,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    lora: LoraArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

const NO_SESSION: &str = "the model could not be started again";

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

struct Chat<'a> {
    args: &'a ChatArgs,
    model: Model,
    prompter: Prompter,
    /// None only while another one is booted, whose memory this one's is.
    session: Option<Session>,
    adapters: Vec<Loaded>,
    talk: Talk,
    journal: Kept,
    base: BaseFingerprint,
    /// The last answer, until the conversation is another.
    turn: Option<Turn>,
    stats: bool,
    /// Learning that goes on meanwhile.
    background: Option<learn::Background>,
    /// Answers so far: each has another seed, all follow from the first.
    answers: u32,
    sampler: SamplerParams,
    stop: StopStrings,
}

/// Runs the command.
pub fn run(args: &ChatArgs) -> CliResult {
    first::ask(&args.model)?;
    let model = engine::open_file(&engine::find_or_bundled(&args.model)?)?;
    let mut prompter = Prompter::for_chat(&model, &args.prompt)?;
    if !prompter.think(args.answer.think) {
        term::warn("--think has no effect: the chat template has no switch for it");
    }
    let talk = match &args.load {
        Some(path) => Talk::load(path)?,
        None => Talk::new(args.prompt.system.clone()),
    };
    let base = BaseFingerprint::of(model.file())?;
    let journal = feedback::open(args)?;
    let named = args.lora.adapters.iter().any(|wanted| wanted.name == live::NAME);
    let live = if args.no_live || named { None } else { live::by_default(model.file()) };
    let adapters: Vec<Loaded> = live.into_iter().chain(args.lora.load(&model)?).collect();
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let session = engine::boot_with(&model, options, &adapters)?;
    engine::announce(&session);
    let mut input = Input::new(Home::find().ok().map(|home| home.data.join("history.txt")));
    if input.interactive() {
        term::say(Paint::stderr().dim("/help for help, Ctrl-C stops an answer, Ctrl-D leaves"));
    }
    let thinks = prompter.marks().is_some() && args.answer.think != Think::Off;
    let known = engine::known(&model, thinks)?;
    let sampler = args.sampling.params(known.sampler);
    let stop = args.answer.stop(&known.stop);
    let mut chat = Chat {
        args,
        model,
        prompter,
        session: Some(session),
        adapters,
        talk,
        journal,
        base,
        turn: None,
        stats: args.stats,
        background: None,
        answers: 0,
        sampler,
        stop,
    };
    chat.recall(&mut input);
    loop {
        chat.look_aside(&mut input)?;
        let next = match input.read()? {
            Line::End => Next::Leave,
            Line::Interrupted => return Err(CliError::interrupted()),
            Line::Text(text) if text.trim().is_empty() => Next::GoOn,
            Line::Text(text) => match said::meant(&text) {
                said::Line::Command(command) => chat.command(command, &mut input)?,
                said::Line::Message(text) => chat.answer(text, input.interactive())?,
            },
        };
        if next == Next::Leave {
            return Ok(());
        }
    }
}

impl Chat<'_> {
    /// A command; what goes wrong is said, and the conversation goes on.
    fn command(&mut self, text: &str, input: &mut Input) -> CliResult<Next> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("quit" | "exit" | "q", _) => return Ok(Next::Leave),
            ("help" | "?", _) => term::say(HELP),
            ("reset", _) => {
                self.talk.reset();
                self.turn = None;
                term::say("forgotten");
            }
            ("system", "") => {
                self.talk.system = None;
                term::say("no system prompt now");
            }
            ("system", text) => {
                self.talk.system = Some(text.to_owned());
                term::say("system prompt set");
            }
            ("adapter" | "adapters", "") => self.say_adapters(),
            ("adapter" | "adapters", names) => self.switch_adapters(names)?,
            ("good" | "bad" | "edit" | "again" | "withdraw", rest) => self.feedback(name, rest, input)?,
            ("learn", how) => self.learn(how, input)?,
            ("remember", line) => self.remember(line),
            ("forget", about) => self.forget(about, input)?,
            ("journal", _) => self.say_journal().unwrap_or_else(|error| error.print()),
            ("stats", _) => self.stats = !self.stats,
            ("save" | "load", "") => term::say(format!("/{name} needs the name of a file")),
            ("save", file) => match self.talk.save(Path::new(file), &self.model.config().name) {
                Ok(()) => term::say(format!("saved {} messages to {file}", self.talk.messages.len())),
                Err(error) => error.print(),
            },
            ("load", file) => match Talk::load(Path::new(file)) {
                Ok(talk) => {
                    self.talk = talk;
                    self.turn = None;
                    term::say(format!("loaded {} messages from {file}", self.talk.messages.len()));
                }
                Err(error) => error.print(),
            },
            _ => term::say(said::unknown(name)),
        }
        Ok(Next::GoOn)
    }

    /// What is remembered goes into the prompt; a conversation that was cut off goes on.
    fn recall(&mut self, input: &mut Input) {
        match memory::open() {
            Ok(memory) => {
                let left_out = self.prompter.remember(&memory);
                let lines = memory.lines().len() - left_out;
                if lines > 0 && input.interactive() {
                    let line = format!("{lines} lines of memory are in the prompt (`ember memory list`)");
                    term::say(Paint::stderr().dim(line));
                }
                if left_out > 0 {
                    term::warn(format!(
                        "there is no room in the prompt for the {left_out} oldest lines of memory"
                    ));
                }
            }
            Err(error) => term::warn(format!("without the memory: {error}")),
        }
        self.take_up();
    }

    fn session(&mut self) -> CliResult<&mut Session> {
        self.session.as_mut().ok_or_else(|| CliError::failed(NO_SESSION))
    }

    /// Answers a message, streaming.
    fn answer(&mut self, text: &str, interactive: bool) -> CliResult<Next> {
        self.turn = None;
        self.talk.user(text);
        let tokens = match self.fit() {
            Ok(tokens) => tokens,
            Err(error) => {
                self.talk.messages.pop();
                if !interactive {
                    return Err(error);
                }
                error.print();
                return Ok(Next::GoOn);
            }
        };
        let messages = self.talk.messages.clone();
        let answer = self.generate(&tokens, interactive)?;
        self.talk.assistant(&answer.text);
        let cut = answer.interrupted || answer.circled || answer.done.stop != StopReason::Caller;
        self.note(messages, Shown::new(&answer.text, cut, self.adapters_in_words()));
        if answer.interrupted && !interactive {
            return Err(CliError::interrupted());
        }
        Ok(Next::GoOn)
    }

    /// The prompt's tokens, after dropping as many of the oldest turns as leaves room for an answer.
    fn fit(&mut self) -> CliResult<Vec<u32>> {
        let ctx = self.session()?.ctx();
        let room = self.args.answer.limit().unwrap_or(256).min(ctx / 4).max(1);
        let mut dropped = 0;
        loop {
            let tokens = self.prompter.chat(&self.talk)?;
            if tokens.len() + room <= ctx {
                if dropped > 0 {
                    let turns = if dropped == 1 { "turn" } else { "turns" };
                    let line = format!("(the context is full: the oldest {dropped} {turns} dropped)");
                    term::say(Paint::stderr().dim(line));
                }
                return Ok(tokens);
            }
            if !self.talk.drop_oldest() {
                let what = format!("the message takes {} tokens, the context has {ctx}", tokens.len());
                return Err(CliError::failed(what).advise("a shorter message, or a larger context with -c"));
            }
            dropped += 1;
        }
    }
}

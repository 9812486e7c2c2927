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
use crate::chat::{Chat, ChatError, Manner};
use crate::cli::answer_args::{AnswerArgs, Think, ThoughtsShown};
use crate::cli::args::{ContextArgs, DeviceArgs, ModelArgs, PromptArgs, SamplingArgs, session_options};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::first;
use crate::cli::keys::Held;
use crate::cli::lora::{self, Loaded, LoraArgs};
use crate::cli::prompt::Prompter;
use crate::cli::store::Home;
use crate::cli::term::{self, Paint};
use crate::cli::{live, memory};
use crate::learn::Memory;
use crate::session::Modes;

use input::{Input, Line};
use turn::{JournalOrWhy, Shown, Turn};

/// Most tokens of the memory in a prompt.
const MEMORY: usize = 256;

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

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Leave,
}

/// A chat on a terminal, or in a pipe.
struct Terminal<'a> {
    args: &'a ChatArgs,
    chat: Chat,
    journal: JournalOrWhy,
    base: BaseFingerprint,
    /// The last answer, until the conversation is another.
    turn: Option<Turn>,
    stats: bool,
    /// Learning that goes on meanwhile.
    background: Option<learn::Background>,
}

/// Runs the command.
pub fn run(args: &ChatArgs) -> CliResult {
    first::ask(&args.model)?;
    let file = engine::find_or_bundled(&args.model)?;
    // What is typed while the model loads waits as what is typed during an answer does.
    let keys = input::person().then(Held::new);
    let model = engine::open_file(&file)?;
    let mut prompter = Prompter::for_chat(&model, &args.prompt)?;
    if !prompter.think(args.answer.think) {
        term::warn("--think has no effect: the chat template has no switch for it");
    }
    let mut conversation = prompter.conversation();
    if let Some(path) = &args.load {
        conversation.talk = talk::load(path)?;
    }
    let base = BaseFingerprint::of(model.file())?;
    let journal = feedback::open(args)?;
    let named = args.lora.adapters.iter().any(|wanted| wanted.name == live::NAME);
    let live = if args.no_live || named { None } else { live::by_default(model.file()) };
    let adapters: Vec<Loaded> = live.into_iter().chain(args.lora.load(&model)?).collect();
    let options = session_options(&args.device, &args.context, Modes::GENERATE);
    let chat = Chat::new(&model, options, conversation);
    let mut terminal =
        Terminal { args, chat, journal, base, turn: None, stats: args.stats, background: None };
    terminal.boot(lora::scales(adapters))?;
    engine::announce(terminal.chat.session()?);
    drop(keys);
    let mut input = Input::new(Home::find().ok().map(|home| home.data.join("history.txt")));
    if input.interactive() {
        term::say(Paint::stderr().dim("/help for help, Ctrl-C stops an answer, Ctrl-D leaves"));
    }
    let marks = terminal.chat.conversation.voice().marks();
    let known = engine::known(&model, marks.is_some() && args.answer.think != Think::Off)?;
    terminal.chat.conversation.manner = Manner {
        sampler: args.sampling.params(known.sampler),
        limit: args.answer.chat_limit(marks.is_some()),
        room: args.answer.limit().unwrap_or(256).max(1),
        stop: args.answer.stop(&known.stop),
        loop_guard: args.answer.guards(false).then_some(known.patience),
        thoughts_apart: args.answer.thoughts() != ThoughtsShown::Inline,
    };
    terminal.talk(&mut input)
}

impl Terminal<'_> {
    /// Reads and answers until the end.
    fn talk(&mut self, input: &mut Input) -> CliResult {
        self.recall(input);
        loop {
            self.look_aside(input)?;
            let next = match input.read()? {
                Line::End => Next::Leave,
                Line::Interrupted => return Err(CliError::interrupted()),
                Line::Text(text) if text.trim().is_empty() => Next::GoOn,
                Line::Text(text) => match said::meant(&text) {
                    said::Line::Command(command) => self.command(command, input)?,
                    said::Line::Message(text) => self.answer(text, input.interactive())?,
                },
            };
            if next == Next::Leave {
                return Ok(());
            }
        }
    }

    /// A command; what goes wrong is said, and the conversation goes on.
    fn command(&mut self, text: &str, input: &mut Input) -> CliResult<Next> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        match (name, rest) {
            ("quit" | "exit" | "q", _) => return Ok(Next::Leave),
            ("help" | "?", _) => term::say(HELP),
            ("reset", _) => {
                self.chat.conversation.talk.reset();
                self.turn = None;
                term::say("forgotten");
            }
            ("system", "") => {
                self.chat.conversation.talk.system = None;
                term::say("no system prompt now");
            }
            ("system", text) => {
                self.chat.conversation.talk.system = Some(text.to_owned());
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
            ("save", file) => {
                let talk = &self.chat.conversation.talk;
                match talk::save(talk, Path::new(file), &self.chat.model().config().name) {
                    Ok(()) => term::say(format!("saved {} messages to {file}", talk.messages.len())),
                    Err(error) => error.print(),
                }
            }
            ("load", file) => match talk::load(Path::new(file)) {
                Ok(talk) => {
                    term::say(format!("loaded {} messages from {file}", talk.messages.len()));
                    self.chat.conversation.talk = talk;
                    self.turn = None;
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
                let left_out = self.put_into_prompt(&memory);
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

    /// Puts what is remembered into the prompt, as far as there is room; gives how many lines there was none for.
    fn put_into_prompt(&mut self, memory: &Memory) -> usize {
        let conversation = &mut self.chat.conversation;
        let tokenizer = conversation.voice().tokenizer();
        let (text, left_out) = memory.prompt(MEMORY, |text| tokenizer.encode(text, false, false).len());
        conversation.memory = text;
        left_out
    }

    /// Answers a message, streaming.
    fn answer(&mut self, text: &str, interactive: bool) -> CliResult<Next> {
        self.turn = None;
        let answer = match self.show(interactive, |chat, listener| chat.say(text, listener))? {
            Ok(answer) => answer,
            // It cannot be said; others can.
            Err(error @ (ChatError::TooLong { .. } | ChatError::Template(_))) if interactive => {
                CliError::from(error).print();
                return Ok(Next::GoOn);
            }
            Err(error) => return Err(error.into()),
        };
        let messages = self.chat.conversation.talk.messages.split_last().map(|(_, before)| before.to_vec());
        let shown = Shown::new(&answer.text, answer.cut(), self.adapters_in_words());
        self.note(messages.unwrap_or_default(), shown);
        if answer.interrupted && !interactive {
            return Err(CliError::interrupted());
        }
        Ok(Next::GoOn)
    }
}

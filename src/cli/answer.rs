//! Generating to stdout: pieces of text as they come, until the end of the turn, a stop string, a circle, Ctrl-C or the limit.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use crate::cli::answer_args::ThoughtsShown;
use crate::cli::error::CliResult;
use crate::cli::interrupt::Listen;
use crate::cli::term::{self, Paint};
use crate::session::{Generated, Session};
use crate::text::{LoopGuard, Part, Patience, SamplerParams, StopStrings, ThinkMarks, Thoughts, Tokenizer};

/// Tokens of a prompt's end in which thoughts may be opened.
const LAST: usize = 24;

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// All that the model wrote, its thoughts with their marks included.
    pub text: String,
    /// What it answered.
    pub answer: String,
    /// It ended while the model thought.
    pub thinking: bool,
    /// It ran in a circle and was ended before it went round once more.
    pub circled: bool,
    /// Ctrl-C ended it.
    pub interrupted: bool,
    /// Counts and times.
    pub done: Generated,
}

/// Where an answer ends and how it is shown.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Texts that end it.
    pub stop: StopStrings,
    /// What the model puts around its thoughts, if it thinks.
    pub marks: Option<ThinkMarks>,
    /// What becomes of them.
    pub thoughts: ThoughtsShown,
    /// What watches for circles, and remembers earlier answers; none for a text that may repeat itself.
    pub guard: Option<LoopGuard>,
    /// Nothing on stderr.
    pub quiet: bool,
}

/// What is said of an answer that was ended because it ran in a circle.
pub const CIRCLED: &str = "(ended: it had begun to repeat itself)";

/// Streams the continuation of `prompt` to `out`, which is stdout. Where an answer begins with what was said twice before, nothing
/// of it is shown yet, and another is tried; the third may say it again.
pub fn stream(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sampler: SamplerParams,
    limit: usize,
    manner: &Manner,
    out: &mut dyn Write,
) -> CliResult<Answer> {
    let mut answer = attempt(session, tokenizer, prompt, sampler, limit, manner, out)?;
    let empty = |answer: &Answer| answer.circled && answer.text.trim().is_empty() && !answer.interrupted;
    if empty(&answer) {
        answer = attempt(session, tokenizer, prompt, sampler.firmer(), limit, manner, out)?;
    }
    if empty(&answer) {
        let manner = Manner { guard: Some(LoopGuard::new(Patience::Short)), ..manner.clone() };
        answer = attempt(session, tokenizer, prompt, sampler, limit, &manner, out)?;
    }
    Ok(answer)
}

fn attempt(
    session: &mut Session,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    sampler: SamplerParams,
    limit: usize,
    manner: &Manner,
    out: &mut dyn Write,
) -> CliResult<Answer> {
    let listen = Listen::new();
    let mut teller = Teller::new(manner, tokenizer, prompt);
    let mut pieces = tokenizer.stream(true);
    let mut failed: io::Result<()> = Ok(());
    let done = session.generate(prompt, sampler, limit, &mut |token| {
        if listen.pressed() || tokenizer.is_eog(token) {
            return ControlFlow::Break(());
        }
        // Marks may be control tokens, which are not printed otherwise.
        let mark = teller.marks.filter(|_| tokenizer.is_control(token));
        let mark = mark.and_then(|marks| marks.of_token(tokenizer.token_bytes(token)?));
        failed = match mark {
            Some(mark) => teller.tell(pieces.finish(), out).and_then(|()| teller.tell(mark, out)),
            None => teller.tell(pieces.push(tokenizer, token), out),
        };
        let over = failed.is_err() || teller.over();
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed?;
    teller.tell(pieces.finish(), out)?;
    teller.finish(out)?;
    let (thinking, circled) = (teller.thoughts.thinking(), teller.circled());
    let interrupted = listen.pressed();
    Ok(Answer { text: teller.text, answer: teller.answer, thinking, circled, interrupted, done })
}

/// Tells thoughts from the answer, and shows both.
struct Teller {
    marks: Option<ThinkMarks>,
    thoughts: Thoughts,
    stop: StopStrings,
    guard: Option<LoopGuard>,
    /// Thoughts are shown as they come: of them a circle is only noticed.
    thoughts_guard: Option<LoopGuard>,
    /// Where thoughts go: stdout if that is a terminal, else stderr if that is one.
    to: Option<Stream>,
    hidden: bool,
    /// Some were shown, or it was said that there are some.
    thought: bool,
    parts: Vec<Part>,
    text: String,
    answer: String,
    /// Bytes of the answer and of what was cut off behind it.
    told: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl Teller {
    fn new(manner: &Manner, tokenizer: &Tokenizer, prompt: &[u32]) -> Self {
        let marks = manner.marks.filter(|_| manner.thoughts != ThoughtsShown::Inline);
        let end = prompt.get(prompt.len().saturating_sub(LAST)..).unwrap_or_default();
        let open = marks.filter(|marks| marks.left_open(&tokenizer.decode(end, false)));
        let to = match (io::stdout().is_terminal(), io::stderr().is_terminal() && !manner.quiet) {
            (true, _) => Some(Stream::Out),
            (false, true) => Some(Stream::Err),
            (false, false) => None,
        };
        Self {
            marks,
            thoughts: Thoughts::new(marks, open.is_some()),
            stop: manner.stop.clone(),
            guard: manner.guard.clone(),
            thoughts_guard: manner.guard.as_ref().map(|_| LoopGuard::new(Patience::Long)),
            to,
            hidden: manner.thoughts == ThoughtsShown::Hide,
            thought: false,
            parts: Vec::new(),
            text: open.map_or_else(String::new, |marks| format!("{}\n", marks.open)),
            answer: String::new(),
            told: 0,
        }
    }

    /// Whether it runs in a circle.
    fn circled(&self) -> bool {
        [&self.guard, &self.thoughts_guard].into_iter().flatten().any(LoopGuard::found)
    }

    /// Whether nothing comes any more.
    fn over(&self) -> bool {
        self.stop.found() || self.circled()
    }

    /// Takes the next piece of what the model writes.
    fn tell(&mut self, piece: &str, out: &mut dyn Write) -> io::Result<()> {
        if piece.is_empty() || self.over() {
            return Ok(());
        }
        self.text.push_str(piece);
        self.thoughts.push(piece, &mut self.parts);
        self.show(out)
    }

    fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.thoughts.finish(&mut self.parts);
        self.show(out)?;
        if self.thought && self.to == Some(Stream::Err) {
            self.print("\n", out)?;
        }
        let rest = self.stop.finish();
        match &mut self.guard {
            Some(guard) => {
                for last in [true, false] {
                    let rest = if last { guard.push(rest) } else { guard.finish() };
                    self.answer.push_str(rest);
                    out.write_all(rest.as_bytes())?;
                }
            }
            None => {
                self.answer.push_str(rest);
                out.write_all(rest.as_bytes())?;
            }
        }
        if self.over() {
            // The stop string, or the repetition, and what came with it, is the end of what the model wrote.
            self.text.truncate(self.text.len() - (self.told - self.answer.len()));
        }
        Ok(())
    }

    fn show(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for part in std::mem::take(&mut self.parts) {
            match part {
                Part::Thought(text) => {
                    if let Some(guard) = &mut self.thoughts_guard {
                        guard.push(&text);
                    }
                    self.show_thought(&text, out)?;
                }
                Part::Answer(text) => {
                    if self.answer.is_empty() && self.thought {
                        self.print(if self.hidden { "\n" } else { "\n\n" }, out)?;
                        self.thought = false;
                    }
                    self.told += text.len();
                    let piece = self.stop.push(&text);
                    let piece = match &mut self.guard {
                        Some(guard) => guard.push(piece),
                        None => piece,
                    };
                    self.answer.push_str(piece);
                    out.write_all(piece.as_bytes())?;
                }
            }
        }
        out.flush()
    }

    fn show_thought(&mut self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        if !self.thought {
            self.thought = true;
            let end = if self.hidden { "" } else { "\n" };
            self.print(&format!("thinking…{end}"), out)?;
        }
        if self.hidden { Ok(()) } else { self.print(text, out) }
    }

    /// Prints beside the answer.
    fn print(&self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        match self.to {
            Some(Stream::Out) => out.write_all(Paint::stdout().dim(text).as_bytes()),
            Some(Stream::Err) => {
                term::say_raw(&Paint::stderr().dim(text));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

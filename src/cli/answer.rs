//! Generating to stdout: pieces of text as they come, until the end of the turn, a stop string, Ctrl-C or the limit.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use crate::cli::answer_args::ThoughtsShown;
use crate::cli::error::CliResult;
use crate::cli::interrupt::Listen;
use crate::cli::term::{self, Paint};
use crate::session::{Generated, Session};
use crate::text::{Part, SamplerParams, StopStrings, ThinkMarks, Thoughts, Tokenizer};

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
    /// Nothing on stderr.
    pub quiet: bool,
}

/// Streams the continuation of `prompt` to `out`, which is stdout.
pub fn stream(
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
        let over = failed.is_err() || teller.stop.found();
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    failed?;
    teller.tell(pieces.finish(), out)?;
    teller.finish(out)?;
    let thinking = teller.thoughts.thinking();
    Ok(Answer { text: teller.text, answer: teller.answer, thinking, interrupted: listen.pressed(), done })
}

/// Tells thoughts from the answer, and shows both.
struct Teller {
    marks: Option<ThinkMarks>,
    thoughts: Thoughts,
    stop: StopStrings,
    /// Where thoughts go: stdout if that is a terminal, else stderr if that is one.
    to: Option<Stream>,
    hidden: bool,
    /// Some were shown, or it was said that there are some.
    thought: bool,
    parts: Vec<Part>,
    text: String,
    answer: String,
    /// Bytes of answer and stop string.
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
            to,
            hidden: manner.thoughts == ThoughtsShown::Hide,
            thought: false,
            parts: Vec::new(),
            text: open.map_or_else(String::new, |marks| format!("{}\n", marks.open)),
            answer: String::new(),
            told: 0,
        }
    }

    /// Takes the next piece of what the model writes.
    fn tell(&mut self, piece: &str, out: &mut dyn Write) -> io::Result<()> {
        if piece.is_empty() || self.stop.found() {
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
        self.answer.push_str(rest);
        out.write_all(rest.as_bytes())
    }

    fn show(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for part in std::mem::take(&mut self.parts) {
            match part {
                Part::Thought(text) => self.show_thought(&text, out)?,
                Part::Answer(text) => {
                    if self.answer.is_empty() && self.thought {
                        self.print(if self.hidden { "\n" } else { "\n\n" }, out)?;
                        self.thought = false;
                    }
                    self.told += text.len();
                    let piece = self.stop.push(&text);
                    self.answer.push_str(piece);
                    out.write_all(piece.as_bytes())?;
                }
            }
        }
        if self.stop.found() {
            // The stop string, and what came with it, is the end of what the model wrote.
            self.text.truncate(self.text.len() - (self.told - self.answer.len()));
            self.told = self.answer.len();
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

//! An answer on stdout: pieces of text as they come, thoughts beside them, and Ctrl-C.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use crate::chat::Piece;
use crate::cli::answer_args::ThoughtsShown;
use crate::cli::engine;
use crate::cli::interrupt::Listen;
use crate::cli::term::{self, Paint};

/// What is said of an answer that was ended because it ran in a circle.
pub const CIRCLED: &str = "(ended: it had begun to repeat itself)";

/// Shows an answer while it is written.
pub struct Display<'a> {
    /// Stdout.
    out: &'a mut dyn Write,
    /// Where thoughts go: stdout if that is a terminal, else stderr if that is one.
    to: Option<Stream>,
    hidden: bool,
    /// Some were shown, or it was said that there are some.
    thought: bool,
    /// Some of the answer was shown.
    answered: bool,
    failed: io::Result<()>,
    listen: Listen,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Out,
    Err,
}

impl<'a> Display<'a> {
    /// Listens to Ctrl-C from here on. `quiet`: nothing on stderr.
    pub fn new(thoughts: ThoughtsShown, quiet: bool, out: &'a mut dyn Write) -> Self {
        let to = match (io::stdout().is_terminal(), io::stderr().is_terminal() && !quiet) {
            (true, _) => Some(Stream::Out),
            (false, true) => Some(Stream::Err),
            (false, false) => None,
        };
        let hidden = thoughts == ThoughtsShown::Hide;
        Self { out, to, hidden, thought: false, answered: false, failed: Ok(()), listen: Listen::new() }
    }

    /// Shows a piece; a break where the answer is to end.
    pub fn show(&mut self, piece: Piece<'_>) -> ControlFlow<()> {
        if self.failed.is_ok() {
            self.failed = self.write(piece);
        }
        let over = self.failed.is_err() || (self.listen.pressed() && matches!(piece, Piece::Token(_)));
        if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Ends the answer; whether Ctrl-C did.
    pub fn finish(mut self) -> io::Result<bool> {
        std::mem::replace(&mut self.failed, Ok(()))?;
        if self.thought && self.to == Some(Stream::Err) {
            self.print("\n")?;
        }
        Ok(self.listen.pressed())
    }

    fn write(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Token(_) => return Ok(()),
            Piece::Dropped(turns) => {
                let word = if turns == 1 { "turn" } else { "turns" };
                let line = format!("(the context is full: the oldest {turns} {word} dropped)");
                term::say(Paint::stderr().dim(line));
            }
            Piece::Moved { why, device } => {
                let on = format!("{} {}", engine::kind_name(device.kind), device.name);
                term::say(Paint::stderr().dim(format!("({why}; going on, on {on})")));
            }
            Piece::Thought(text) => {
                if !self.thought {
                    self.thought = true;
                    let end = if self.hidden { "" } else { "\n" };
                    self.print(&format!("thinking…{end}"))?;
                }
                if !self.hidden {
                    self.print(text)?;
                }
            }
            Piece::Answer(text) => {
                if !self.answered && self.thought {
                    self.print(if self.hidden { "\n" } else { "\n\n" })?;
                    self.thought = false;
                }
                self.answered |= !text.is_empty();
                self.out.write_all(text.as_bytes())?;
            }
        }
        self.out.flush()
    }

    /// Prints beside the answer.
    fn print(&mut self, text: &str) -> io::Result<()> {
        match self.to {
            Some(Stream::Out) => self.out.write_all(Paint::stdout().dim(text).as_bytes()),
            Some(Stream::Err) => {
                term::say_raw(&Paint::stderr().dim(text));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

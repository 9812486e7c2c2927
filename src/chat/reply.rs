//! One answer while it is written: thoughts told from it, stop strings, circles, and trying again.

use std::ops::ControlFlow;

use crate::exec::DeviceInfo;
use crate::session::{Generated, StopReason};
use crate::text::{
    LoopGuard, Patience, SamplerParams, StopStrings, ThinkMarks, Thoughts, TokenStream, Tokenizer, Utterance,
};

/// Attempts at an answer that begins with what was said twice before: as it is, ever firmer, and as it is whatever it says.
const ATTEMPTS: u32 = 6;

/// What comes of an answer as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// So many of the oldest turns were dropped, so that there is room for the answer.
    Dropped(usize),
    /// The device failed; the answer goes on where it was, on `device`.
    Moved {
        /// The error.
        why: &'a str,
        /// The same device, opened again, or another.
        device: &'a DeviceInfo,
    },
    /// The next token; its text may come later.
    Token(u32),
    /// Of the model's thoughts, without their marks.
    Thought(&'a str),
    /// Of the answer, in whole characters; empty where some of it is held back that may be the beginning of a stop string or of
    /// a repetition.
    Answer(&'a str),
}

/// What is told of each piece; a `Break` ends the answer.
pub type Listener<'a> = dyn FnMut(Piece<'_>) -> ControlFlow<()> + 'a;

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// All that the model wrote, its thoughts with their marks included.
    pub text: String,
    /// What it answered.
    pub answer: String,
    /// It ended while the model thought.
    pub thinking: bool,
    /// It ran in a circle and was ended before it went round once more.
    pub circled: bool,
    /// The listener ended it.
    pub interrupted: bool,
    /// Counts and times, of the last attempt.
    pub done: Generated,
}

impl Answer {
    /// Whether it did not come to its own end.
    pub fn cut(&self) -> bool {
        let short = matches!(self.done.stop, StopReason::Length | StopReason::ContextFull);
        self.interrupted || self.circled || short
    }
}

/// How an answer begins, each time that it is tried.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub sampler: SamplerParams,
    /// What tells thoughts apart; none, where they are part of the answer.
    pub marks: Option<ThinkMarks>,
    /// The prompt has opened thoughts.
    pub open: bool,
    pub stop: StopStrings,
    /// Remembers what was said before.
    pub guard: Option<LoopGuard>,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub struct Reply {
    start: Start,
    attempt: u32,
    pieces: TokenStream,
    writing: Writing,
    interrupted: bool,
}

impl Reply {
    pub(super) fn new(start: Start) -> Self {
        let writing = Writing::new(&start, start.guard.clone());
        Self { start, attempt: 0, pieces: TokenStream::new(true), writing, interrupted: false }
    }

    /// How the tokens of this attempt are chosen.
    pub fn sampler(&self) -> SamplerParams {
        match self.attempt {
            tries @ 1.. if tries + 1 < ATTEMPTS => self.start.sampler.firmer(tries),
            _ => self.start.sampler,
        }
    }

    /// Takes the next token, which does not end the turn; a `Break` where nothing is to come any more.
    pub fn push(
        &mut self,
        tokenizer: &Tokenizer,
        token: u32,
        listener: &mut Listener<'_>,
    ) -> ControlFlow<()> {
        let writing = &mut self.writing;
        let mut heard = listener(Piece::Token(token));
        if heard.is_continue() {
            // Marks may be control tokens, which give no text otherwise.
            let mark = writing.marks.filter(|_| tokenizer.is_control(token));
            let mark = mark.and_then(|marks| marks.of_token(tokenizer.token_bytes(token)?));
            if let Some(mark) = mark {
                heard = writing.tell(self.pieces.finish(), listener);
                if heard.is_continue() {
                    heard = writing.tell(mark, listener);
                }
            } else {
                heard = writing.tell(self.pieces.push(tokenizer, token), listener);
            }
        }
        self.interrupted |= heard.is_break();
        if heard.is_break() || self.writing.over() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Ends the attempt: what was held back comes out. True if it said nothing but what was said twice before, and another
    /// attempt is to be made of the same prompt.
    pub fn finish(&mut self, listener: &mut Listener<'_>) -> bool {
        let writing = &mut self.writing;
        let mut heard = writing.tell(self.pieces.finish(), listener);
        if writing.finish(listener).is_break() {
            heard = ControlFlow::Break(());
        }
        self.interrupted |= heard.is_break();
        let empty = writing.circled() && writing.text.trim().is_empty() && !self.interrupted;
        if !empty || self.attempt + 1 >= ATTEMPTS {
            return false;
        }
        self.attempt += 1;
        // The last one may say it again.
        let last = self.attempt + 1 == ATTEMPTS;
        let guard = self.start.guard.as_ref();
        let guard = if last { guard.map(LoopGuard::anew) } else { guard.cloned() };
        self.writing = Writing::new(&self.start, guard);
        self.pieces = TokenStream::new(true);
        true
    }

    /// The answer, with what its generation counted.
    pub fn answer(self, done: Generated) -> Answer {
        let (thinking, circled) = (self.writing.thoughts.thinking(), self.writing.circled());
        let Writing { text, answer, .. } = self.writing;
        Answer { text, answer, thinking, circled, interrupted: self.interrupted, done }
    }
}

/// What an attempt has written.
#[derive(Clone, Debug)]
struct Writing {
    marks: Option<ThinkMarks>,
    thoughts: Thoughts,
    stop: StopStrings,
    guard: Option<LoopGuard>,
    /// Thoughts are shown as they come: of them a circle is only noticed.
    thoughts_guard: Option<LoopGuard>,
    parts: Vec<Utterance>,
    text: String,
    answer: String,
    /// Bytes of the answer and of what was cut off behind it.
    told: usize,
}

impl Writing {
    fn new(start: &Start, guard: Option<LoopGuard>) -> Self {
        let open = start.marks.filter(|_| start.open);
        Self {
            marks: start.marks,
            thoughts: Thoughts::new(start.marks, open.is_some()),
            stop: start.stop.clone(),
            thoughts_guard: guard.as_ref().map(|_| LoopGuard::new(Patience::Long)),
            guard,
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
    fn tell(&mut self, piece: &str, listener: &mut Listener<'_>) -> ControlFlow<()> {
        if piece.is_empty() || self.over() {
            return ControlFlow::Continue(());
        }
        self.text.push_str(piece);
        self.thoughts.push(piece, &mut self.parts);
        self.give(listener)
    }

    /// Gives out what was told apart.
    fn give(&mut self, listener: &mut Listener<'_>) -> ControlFlow<()> {
        let mut heard = ControlFlow::Continue(());
        let mut parts = std::mem::take(&mut self.parts);
        for part in parts.drain(..) {
            let said = match &part {
                Utterance::Thought(text) => {
                    if let Some(guard) = &mut self.thoughts_guard {
                        guard.push(text);
                    }
                    listener(Piece::Thought(text))
                }
                Utterance::Answer(text) => {
                    self.told += text.len();
                    let piece = self.stop.push(text);
                    let piece = match &mut self.guard {
                        Some(guard) => guard.push(piece),
                        None => piece,
                    };
                    self.answer.push_str(piece);
                    listener(Piece::Answer(piece))
                }
            };
            if said.is_break() {
                heard = said;
            }
        }
        self.parts = parts;
        heard
    }

    fn finish(&mut self, listener: &mut Listener<'_>) -> ControlFlow<()> {
        self.thoughts.finish(&mut self.parts);
        let mut heard = self.give(listener);
        let rest = self.stop.finish();
        let last = match &mut self.guard {
            Some(guard) => [guard.push(rest).to_owned(), guard.finish().to_owned()].concat(),
            None => rest.to_owned(),
        };
        if !last.is_empty() {
            self.answer.push_str(&last);
            if listener(Piece::Answer(&last)).is_break() {
                heard = ControlFlow::Break(());
            }
        }
        if self.over() {
            // The stop string, or the repetition, and what came with it, is the end of what the model wrote.
            self.text.truncate(self.text.len() - (self.told - self.answer.len()));
        }
        heard
    }
}

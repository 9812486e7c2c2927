//! A session for several who do not wait for each other.

use std::borrow::{Borrow, BorrowMut};
use std::ops::ControlFlow;

use super::schedule::Schedule;
use super::{Generated, Session, SessionError, StopReason};
use crate::text::{SamplerParams, StopStrings, TokenStream, Tokenizer};

/// The number of a job of a [`Scheduler`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(usize);

/// A text that a [`Scheduler`] is to continue, with the adapters that its session has on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Job {
    /// Token ids, at least one and at most a slot's positions.
    pub prompt: Vec<u32>,
    /// How its tokens are chosen.
    pub sampler: SamplerParams,
    /// Most tokens.
    pub limit: usize,
    /// Texts that end it and are not part of it, beside the end of the turn.
    pub stop: Vec<String>,
}

impl Job {
    /// Continues `prompt` to the end of the turn, by at most `limit` tokens.
    pub fn new(prompt: Vec<u32>, sampler: SamplerParams, limit: usize) -> Self {
        Self { prompt, sampler, limit, stop: Vec::new() }
    }

    /// Ends it at any of these texts as well.
    #[must_use]
    pub fn stop_at<S: Into<String>>(self, texts: impl IntoIterator<Item = S>) -> Self {
        Self { stop: texts.into_iter().map(Into::into).collect(), ..self }
    }
}

/// What a step of a [`Scheduler`] brings.
#[derive(Debug)]
pub enum Event<'a> {
    /// The next token of a job; not the one that ends its turn.
    Token(JobId, u32),
    /// The next piece of its text, in whole characters, without control tokens. What may be the beginning of a stop string
    /// comes once it is known not to be one.
    Text(JobId, &'a str),
    /// It has ended; nothing comes of it any more.
    Done(JobId, Generated),
}

/// The text of a job as it comes.
struct Writing {
    id: usize,
    pieces: TokenStream,
    stop: StopStrings,
}

/// Runs jobs on a session, as many at once as it has slots. They join and leave while others run: a newcomer's prompt is computed
/// in pieces, between the others' tokens, and one with little left goes before one with much. What a job gives does not depend on
/// the others (on the CPU, bit for bit).
///
/// Each call of [`Scheduler::step`] is one step of the device, so that the caller can submit and cancel in between. The session
/// is given or lent (`S`: [`Session`] or `&mut Session`), and so is the tokenizer (`T`: [`Tokenizer`], a reference, an `Arc`).
///
/// ```no_run
/// use emberlm::session::{Event, Job, Scheduler, Session};
/// use emberlm::text::{SamplerParams, Tokenizer};
/// use std::ops::ControlFlow;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (session, tokenizer): (Session, Tokenizer) = unreachable!();
/// let prompt = tokenizer.encode("Once upon a time", true, true);
/// let mut scheduler = Scheduler::new(session, &tokenizer);
/// let id = scheduler.submit(Job::new(prompt, SamplerParams::default(), 64).stop_at(["The end"]))?;
/// while scheduler.step(&mut |event| {
///     if let Event::Text(of, text) = event {
///         print!("{text}");
///     }
///     ControlFlow::Continue(())
/// })? {
///     // scheduler.submit(…), scheduler.cancel(id)
/// }
/// # Ok(())
/// # }
/// ```
pub struct Scheduler<S: BorrowMut<Session>, T: Borrow<Tokenizer>> {
    session: S,
    tokenizer: T,
    schedule: Schedule,
    texts: Vec<Writing>,
}

impl<S: BorrowMut<Session>, T: Borrow<Tokenizer>> Scheduler<S, T> {
    /// Nothing to do yet. The session needs the mode `generate`, and a slot for each job that is to run at once.
    pub fn new(session: S, tokenizer: T) -> Self {
        let schedule = Schedule::new(session.borrow(), false);
        Self { session, tokenizer, schedule, texts: Vec::new() }
    }

    /// With prompts computed in pieces of at most `tokens` (at least 1): fewer let others' tokens come sooner, and take more time
    /// in all. At first it is [`Session::chunk`], which is the most.
    #[must_use]
    pub fn with_pieces_of(mut self, tokens: usize) -> Self {
        self.schedule.set_piece(self.session.borrow(), tokens);
        self
    }

    /// The session.
    pub fn session(&self) -> &Session {
        self.session.borrow()
    }

    /// Jobs that run, and those that wait for a slot.
    pub fn load(&self) -> (usize, usize) {
        self.schedule.load()
    }

    /// Takes a job; it runs from the next step on if a slot is free.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] and [`SessionError::ContextFull`] of its prompt.
    pub fn submit(&mut self, job: Job) -> Result<JobId, SessionError> {
        let tokenizer = self.tokenizer.borrow();
        let Job { prompt, sampler, limit, stop } = job;
        let id = self.schedule.submit(self.session.borrow(), &prompt, sampler, limit, tokenizer.eog_ids())?;
        self.texts.push(Writing { id, pieces: tokenizer.stream(true), stop: StopStrings::new(stop) });
        Ok(JobId(id))
    }

    /// Ends a job where it is, with [`StopReason::Caller`]; false if it has ended. Its slot is free from the next step on, which
    /// brings [`Event::Done`] with what it wrote.
    pub fn cancel(&mut self, id: JobId) -> bool {
        self.schedule.cancel(id.0)
    }

    /// Runs one step of the device and tells what it brought; a `Break` ends the job of the event. False if nothing is left to
    /// do.
    ///
    /// # Errors
    /// [`SessionError::NotANumber`] where the model's logits are not finite, and those of the device; all jobs have ended then.
    pub fn step(
        &mut self,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<bool, SessionError> {
        let (texts, tokenizer) = (&mut self.texts, self.tokenizer.borrow());
        let more = self.schedule.step(self.session.borrow_mut(), &mut |id, token| {
            let job = JobId(id);
            let mut over = on_event(Event::Token(job, token)).is_break();
            let writing = texts.iter_mut().find(|writing| writing.id == id)?;
            let text = writing.stop.push(writing.pieces.push(tokenizer, token));
            if !text.is_empty() {
                over |= on_event(Event::Text(job, text)).is_break();
            }
            if writing.stop.found() {
                Some(StopReason::StopString)
            } else {
                over.then_some(StopReason::Caller)
            }
        });
        for (id, made) in self.schedule.done() {
            let at = self.texts.iter().position(|writing| writing.id == id);
            if let Some(mut writing) = at.map(|at| self.texts.swap_remove(at)) {
                for last in [false, true] {
                    let rest =
                        if last { writing.stop.finish() } else { writing.stop.push(writing.pieces.finish()) };
                    if !rest.is_empty() {
                        let _ = on_event(Event::Text(JobId(id), rest));
                    }
                }
            }
            let _ = on_event(Event::Done(JobId(id), made));
        }
        more
    }
}

/// The session is another's from here on.
impl<S: BorrowMut<Session>, T: Borrow<Tokenizer>> Drop for Scheduler<S, T> {
    fn drop(&mut self) {
        self.schedule.drain(self.session.borrow_mut());
    }
}

//! The order of steps: sequences join and leave while others run, and a newcomer's prompt is computed in pieces between the
//! others' tokens.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Generated, Session, SessionError, StopReason, out_row};
use crate::exec::Ticket;
use crate::plan::{PlanId, Row, TOKEN_FROM_TABLE};
use crate::text::SamplerParams;

/// Pieces of other prompts that one which is being computed lets pass at most.
const PATIENCE: usize = 4;

/// What sees each token of a sequence by its number, and may end it.
pub(super) type Listener<'a> = dyn FnMut(usize, u32) -> Option<StopReason> + 'a;

/// A text to be continued, as it waits.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub id: usize,
    pub prompt: Vec<u32>,
    pub sampler: SamplerParams,
    pub limit: usize,
    /// Tokens that end it.
    pub ends: Vec<u32>,
    pub since: Instant,
}

/// A text that is being continued.
struct Sequence {
    wanted: Wanted,
    slot: usize,
    /// The prompt is being computed.
    prefills: bool,
    /// Pieces of others since its last one.
    passed: usize,
    /// Position of the next token to be fed.
    pos: usize,
    /// The next token to be fed, where it is not the last one sampled.
    feed: Option<u32>,
    /// Steps in flight that make a token of it.
    pending: usize,
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    ended: Option<StopReason>,
    computed: usize,
    reused: usize,
    /// When its first and its last token came.
    times: Option<(Instant, Instant)>,
}

impl Sequence {
    fn finish(self) -> (usize, Generated) {
        let (first, last) = self.times.unwrap_or((self.wanted.since, self.wanted.since));
        let made = Generated {
            tokens: self.tokens,
            stop: self.ended.unwrap_or(StopReason::Length),
            computed: self.computed,
            reused: self.reused,
            first_token: first.saturating_duration_since(self.wanted.since),
            decode: last.saturating_duration_since(first),
            log_probs: self.log_probs,
        };
        (self.wanted.id, made)
    }

    /// Takes the next token, which `listener` may end it at.
    fn take(&mut self, token: u32, log_prob: f32, listener: &mut Listener<'_>) {
        let now = Instant::now();
        let (_, last) = self.times.get_or_insert((now, now));
        *last = now;
        self.tokens.push(token);
        self.log_probs.push(log_prob);
        self.ended = if self.wanted.ends.contains(&token) {
            Some(StopReason::EndOfTurn)
        } else {
            let full = (self.tokens.len() >= self.wanted.limit).then_some(StopReason::Length);
            listener(self.wanted.id, token).or(full)
        };
    }
}

/// A step in flight: the sequences it makes tokens of, in the order of its output rows.
struct Flight {
    ticket: Ticket,
    who: Vec<usize>,
}

/// Which sequences run, and which wait.
pub(super) struct Schedule {
    /// Prompts are computed whole, and slots are filled again when all that was fed has come back: most tokens in all, where
    /// nobody waits for one of them.
    whole: bool,
    /// Tokens of a piece of a prompt.
    piece: usize,
    next: usize,
    waiting: VecDeque<Wanted>,
    active: Vec<Sequence>,
    flights: VecDeque<Flight>,
    /// Lists of sequences, used again from step to step.
    spare: Vec<Vec<usize>>,
    /// The step before was a piece of a prompt.
    was_piece: bool,
    /// Of whole prompts: tokens are being made, and nobody joins.
    round: bool,
    done: Vec<(usize, Generated)>,
}

impl Schedule {
    /// With prompts computed whole, for the most tokens in all; else in pieces.
    pub(super) fn new(session: &Session, whole: bool) -> Self {
        let (slots, depth) = (session.slots.len(), session.executor.depth().max(1));
        Self {
            whole,
            piece: session.chunk.max(1),
            next: 0,
            waiting: VecDeque::new(),
            active: Vec::with_capacity(slots),
            flights: VecDeque::with_capacity(depth),
            spare: (0..=depth).map(|_| Vec::with_capacity(slots)).collect(),
            was_piece: false,
            round: false,
            done: Vec::new(),
        }
    }

    /// Computes prompts in pieces of at most `tokens`.
    pub(super) fn set_piece(&mut self, session: &Session, tokens: usize) {
        self.piece = tokens.clamp(1, session.chunk.max(1));
    }

    /// Puts a text at the end of those that wait; the number it has from here on.
    pub(super) fn submit(
        &mut self,
        session: &Session,
        prompt: &[u32],
        sampler: SamplerParams,
        limit: usize,
        ends: &[u32],
    ) -> Result<usize, SessionError> {
        session.check_prompt(prompt)?;
        let id = self.next;
        self.next += 1;
        let (prompt, ends) = (prompt.to_vec(), ends.to_vec());
        self.waiting.push_back(Wanted { id, prompt, sampler, limit, ends, since: Instant::now() });
        Ok(id)
    }

    /// Ends a text where it is; false if it has ended or is not known.
    pub(super) fn cancel(&mut self, id: usize) -> bool {
        if let Some(at) = self.waiting.iter().position(|wanted| wanted.id == id) {
            self.waiting.remove(at);
            self.done.push((id, Generated::nothing(StopReason::Caller)));
            return true;
        }
        let running = self.active.iter_mut().find(|s| s.wanted.id == id && s.ended.is_none());
        running.map(|sequence| sequence.ended = Some(StopReason::Caller)).is_some()
    }

    /// Texts that run, and those that wait.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.active.iter().filter(|s| s.ended.is_none()).count(), self.waiting.len())
    }

    /// What has ended since this was asked last, with its number.
    pub(super) fn done(&mut self) -> std::vec::Drain<'_, (usize, Generated)> {
        self.done.drain(..)
    }

    /// Runs one step of the device; false if nothing is left to do.
    pub(super) fn step(
        &mut self,
        session: &mut Session,
        listener: &mut Listener<'_>,
    ) -> Result<bool, SessionError> {
        let stepped =
            if self.whole { self.step_whole(session, listener) } else { self.step_shared(session, listener) };
        if stepped.is_err() {
            self.drain(session);
            self.active.iter_mut().for_each(|s| s.ended = s.ended.or(Some(StopReason::Caller)));
            self.release();
            let never = self.waiting.drain(..).map(|w| (w.id, Generated::nothing(StopReason::Caller)));
            self.done.extend(never);
        }
        stepped
    }

    /// Waits for what is in flight and forgets it: the session is another's from here on.
    pub(super) fn drain(&mut self, session: &mut Session) {
        for flight in self.flights.drain(..) {
            // What failed has been said, or nobody asks any more.
            let _ = session.executor.wait(flight.ticket, &mut session.words);
        }
    }

    /// Of pieces and tokens in turn.
    fn step_shared(
        &mut self,
        session: &mut Session,
        listener: &mut Listener<'_>,
    ) -> Result<bool, SessionError> {
        self.end_full(session);
        self.release();
        while self.admit(session, listener)? {}
        let piece = self.next_piece(session);
        let who = self.next_tokens(session, false);
        let launched = match piece {
            Some(index) if !self.was_piece || who.is_empty() => {
                self.spare.push(who);
                self.was_piece = true;
                self.run_piece(session, index, listener)?;
                true
            }
            _ => {
                self.was_piece = false;
                self.run_tokens(session, who, listener)?
            }
        };
        if !launched {
            self.accept_oldest(session, listener)?;
        }
        self.release();
        let over = self.active.is_empty() && self.waiting.is_empty();
        if over {
            // Nobody wants what is in flight still.
            self.drain(session);
        }
        Ok(!over)
    }

    /// Of whole prompts first, then of tokens until a slot is free again.
    fn step_whole(
        &mut self,
        session: &mut Session,
        listener: &mut Listener<'_>,
    ) -> Result<bool, SessionError> {
        if !self.round {
            if let Some(index) = self.active.iter().position(|s| s.prefills) {
                self.run_piece(session, index, listener)?;
                return Ok(true);
            }
            // The first token is known before anybody else joins.
            if self.accept_oldest(session, listener)? || self.admit(session, listener)? {
                return Ok(true);
            }
            if self.active.is_empty() {
                return Ok(false);
            }
            self.round = true;
        }
        let leave = !self.waiting.is_empty() && self.active.iter().any(|s| s.ended.is_some());
        let who = self.next_tokens(session, leave);
        if !self.run_tokens(session, who, listener)? && !self.accept_oldest(session, listener)? {
            self.end_full(session);
            self.release();
            self.round = false;
        }
        Ok(true)
    }

    /// Those that have no position left end.
    fn end_full(&mut self, session: &Session) {
        let full =
            |s: &&mut Sequence| s.ended.is_none() && !s.prefills && s.pending == 0 && s.pos >= session.ctx;
        for sequence in self.active.iter_mut().filter(full) {
            sequence.ended = Some(StopReason::ContextFull);
        }
    }

    /// Lets those go that have ended. What is in flight of them comes before whatever their slot is used for next.
    fn release(&mut self) {
        let ended = self.active.extract_if(.., |s| s.ended.is_some());
        self.done.extend(ended.map(Sequence::finish));
    }

    /// Takes the next one that waits into a slot: what is known of its prompt is reused or copied. False if there is none
    /// that can join now.
    fn admit(&mut self, session: &mut Session, listener: &mut Listener<'_>) -> Result<bool, SessionError> {
        if self.active.len() >= session.together() {
            return Ok(false);
        }
        let joins = |wanted: &Wanted| self.whole || !self.later(session, &wanted.prompt);
        let Some(at) = self.waiting.iter().position(joins) else { return Ok(false) };
        let taken: Vec<usize> = self.active.iter().map(|s| s.slot).collect();
        let Some(slot) = session.free_slot(&self.waiting[at].prompt, &taken) else { return Ok(false) };
        let Some(wanted) = self.waiting.remove(at) else { return Ok(false) };
        let mut reused = session.begin(slot, &wanted.prompt)?;
        reused = self.copy_beginning(session, slot, &wanted.prompt, reused, listener)?;
        let most = wanted.limit.min(session.ctx);
        let mut sequence = Sequence {
            slot,
            prefills: true,
            passed: 0,
            pos: wanted.prompt.len(),
            feed: None,
            pending: 0,
            tokens: Vec::with_capacity(most),
            log_probs: Vec::with_capacity(most),
            ended: None,
            computed: 0,
            reused,
            times: None,
            wanted,
        };
        if reused + 1 == sequence.wanted.prompt.len() && sequence.wanted.limit > 0 {
            // The last token goes together with those of other sequences.
            sequence.prefills = false;
            (sequence.pos, sequence.feed) = (reused, sequence.wanted.prompt.last().copied());
        }
        self.active.push(sequence);
        Ok(true)
    }

    /// Whether a prompt that is being computed will soon have much more of this one than any slot has now, to be copied.
    fn later(&self, session: &Session, prompt: &[u32]) -> bool {
        if session.plans.share.is_none() {
            return false;
        }
        let held = (0..session.together()).map(|slot| session.common(slot, prompt)).max().unwrap_or(0);
        self.active.iter().filter(|s| s.prefills && s.ended.is_none()).any(|s| {
            let shared = s.wanted.prompt.iter().zip(prompt).take_while(|(a, b)| a == b).count();
            let shared = shared.min(prompt.len() - 1);
            shared > session.slots[s.slot].held.len() && shared >= held + self.piece
        })
    }

    /// Copies the beginning of a prompt from a slot at work that holds more of it than `held` tokens; how many are held then.
    fn copy_beginning(
        &mut self,
        session: &mut Session,
        slot: usize,
        prompt: &[u32],
        held: usize,
        listener: &mut Listener<'_>,
    ) -> Result<usize, SessionError> {
        let Some(plan) = session.plans.share else { return Ok(held) };
        let others = self.active.iter().map(|s| (s.slot, session.common(s.slot, prompt)));
        let Some((source, most)) = others.max_by_key(|(_, n)| *n) else { return Ok(held) };
        let width = session.executor.program().plans[plan.index()].tokens.max(1);
        for first in (held..most).step_by(width) {
            session.step.clear();
            for pos in first..most.min(first + width) {
                let row = Row::copied(source, slot, pos);
                session.step.rows.push(row);
            }
            let nobody = self.nobody();
            self.launch(session, plan, nobody, listener)?;
        }
        if most > held {
            session.slots[slot].held.extend_from_slice(&prompt[held..most]);
            // Its rings are now the other's.
            session.slots[slot].written = session.slots[source].written;
        }
        Ok(most.max(held))
    }

    /// The sequence whose prompt goes on: the shortest rest, unless another has let too many pass.
    fn next_piece(&mut self, session: &Session) -> Option<usize> {
        let rest = |s: &Sequence| s.wanted.prompt.len() - session.slots[s.slot].held.len();
        let prefill = || self.active.iter().enumerate().filter(|(_, s)| s.prefills && s.ended.is_none());
        let due = prefill().find(|(_, s)| s.passed >= PATIENCE);
        let chosen = due.or_else(|| prefill().min_by_key(|(_, s)| rest(s)))?.0;
        Some(chosen)
    }

    /// Runs the next piece of a prompt; the last one makes the first token.
    fn run_piece(
        &mut self,
        session: &mut Session,
        index: usize,
        listener: &mut Listener<'_>,
    ) -> Result<(), SessionError> {
        let plan = session.plans.prefill.ok_or(SessionError::Mode("generate"))?;
        for (other, sequence) in self.active.iter_mut().enumerate() {
            sequence.passed = if other == index { 0 } else { sequence.passed + 1 };
        }
        let mut who = self.nobody();
        let sequence = &mut self.active[index];
        let (slot, base) = (sequence.slot, session.slots[sequence.slot].held.len());
        let end = sequence.wanted.prompt.len().min(base + self.piece);
        let tokens = &sequence.wanted.prompt[base..end];
        session.step.clear();
        for (pos, token) in (base..).zip(tokens) {
            session.step.rows.push(Row { slot: slot as u32, pos: pos as u32, first: 0, token: *token });
        }
        session.slots[slot].held.extend_from_slice(tokens);
        sequence.computed += tokens.len();
        if end == sequence.wanted.prompt.len() {
            session.step.outs.push(out_row(end - base - 1, slot, end - 1, &sequence.wanted.sampler));
            sequence.prefills = false;
            sequence.pending += 1;
            who.push(sequence.wanted.id);
        }
        self.launch(session, plan, who, listener)
    }

    /// Those that need another token, of which those in flight count as made; nobody, if they are to `leave`.
    fn next_tokens(&mut self, session: &Session, leave: bool) -> Vec<usize> {
        let mut who = self.nobody();
        for sequence in self.active.iter().filter(|s| !leave && s.ended.is_none() && !s.prefills) {
            let wanted = sequence.tokens.len() + sequence.pending < sequence.wanted.limit;
            if wanted && sequence.pos < session.ctx {
                who.push(sequence.wanted.id);
            }
        }
        who
    }

    /// Runs a step that makes a token of each of `who`; false if there are none.
    fn run_tokens(
        &mut self,
        session: &mut Session,
        who: Vec<usize>,
        listener: &mut Listener<'_>,
    ) -> Result<bool, SessionError> {
        if who.is_empty() {
            self.spare.push(who);
            return Ok(false);
        }
        let fits = session.plans.decode.iter().find(|(size, _)| *size >= who.len());
        let (_, plan) = *fits.ok_or(SessionError::Mode("generate"))?;
        session.step.clear();
        let fed = self.active.iter_mut().filter(|s| who.contains(&s.wanted.id));
        for (row, sequence) in fed.enumerate() {
            let (pos, slot, given) = (sequence.pos, sequence.slot, sequence.feed.take());
            let token = given.unwrap_or(TOKEN_FROM_TABLE);
            session.step.rows.push(Row { slot: slot as u32, pos: pos as u32, first: 0, token });
            session.step.outs.push(out_row(row, slot, pos, &sequence.wanted.sampler));
            // A token that the caller gave is held from now on; one that was sampled, once it is known.
            session.slots[slot].held.extend(given);
            sequence.computed += usize::from(given.is_some());
            sequence.pos += 1;
            sequence.pending += 1;
        }
        self.launch(session, plan, who, listener)?;
        Ok(true)
    }

    /// Starts the step that was put together; where the device holds no more of them, the oldest is waited for.
    fn launch(
        &mut self,
        session: &mut Session,
        plan: PlanId,
        who: Vec<usize>,
        listener: &mut Listener<'_>,
    ) -> Result<(), SessionError> {
        let ticket = session.submit(plan)?;
        self.flights.push_back(Flight { ticket, who });
        if self.flights.len() >= session.executor.depth().max(1) {
            self.accept_oldest(session, listener)?;
        }
        Ok(())
    }

    /// Waits for the oldest step in flight and hands its tokens to those that still want them; false if there is none.
    fn accept_oldest(
        &mut self,
        session: &mut Session,
        listener: &mut Listener<'_>,
    ) -> Result<bool, SessionError> {
        let Some(flight) = self.flights.pop_front() else { return Ok(false) };
        session.executor.wait(flight.ticket, &mut session.words)?;
        for (id, sampled) in flight.who.iter().zip(session.words.chunks_exact(4)) {
            let Some(sequence) = self.active.iter_mut().find(|s| s.wanted.id == *id) else { continue };
            sequence.pending -= 1;
            if sequence.ended.is_some() {
                continue;
            }
            if sequence.wanted.limit == 0 {
                sequence.ended = Some(StopReason::Length);
                continue;
            }
            let held = &mut session.slots[sequence.slot].held;
            if sampled[2] != 0 {
                return Err(SessionError::NotANumber(held.len()));
            }
            // The token before this one has been fed by the step that made this one.
            held.extend(sequence.tokens.last());
            sequence.take(sampled[0], f32::from_bits(sampled[1]), listener);
        }
        self.spare.push(flight.who);
        Ok(true)
    }

    fn nobody(&mut self) -> Vec<usize> {
        let mut who = self.spare.pop().unwrap_or_default();
        who.clear();
        who
    }
}

//! The decode loop: sampled tokens stay on the device, the host reads them a few steps behind.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::{Session, SessionError, out_row};
use crate::exec::Ticket;
use crate::plan::{Row, TOKEN_FROM_TABLE};
use crate::text::{Sampler, SamplerParams};

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// The caller said so (end of turn, interrupt).
    Caller,
    /// As many tokens as asked for.
    Length,
    /// No position is left.
    ContextFull,
}

/// What a generation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, the one that the caller stopped at included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// Prompt tokens that were computed.
    pub computed: usize,
    /// Prompt tokens that the slot already held.
    pub reused: usize,
    /// Time from the call to the first token.
    pub first_token: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
    /// Log-probability of each token under the full softmax at the sampler's temperature (at 1 where it is greedy), whatever
    /// the sampler left out; of a sampler of one's own, none.
    pub log_probs: Vec<f32>,
}

/// A text to be continued.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Token ids, at least one.
    pub prompt: &'a [u32],
    /// How its tokens are chosen: with seeds of their own, equal prompts go on differently.
    pub sampler: SamplerParams,
}

/// A request that is being worked on.
struct Sequence {
    /// Its number among the requests.
    request: usize,
    slot: usize,
    sampler: SamplerParams,
    /// Position of the next token to be fed.
    pos: usize,
    /// The next token to be fed, where it is not the last one sampled.
    feed: Option<u32>,
    /// Steps in flight that carry it.
    pending: usize,
    tokens: Vec<u32>,
    log_probs: Vec<f32>,
    ended: Option<StopReason>,
    computed: usize,
    reused: usize,
}

impl Sequence {
    fn finish(self, first_token: Duration, decode: Duration) -> Generated {
        Generated {
            tokens: self.tokens,
            stop: self.ended.unwrap_or(StopReason::Length),
            computed: self.computed,
            reused: self.reused,
            first_token,
            decode,
            log_probs: self.log_probs,
        }
    }
}

/// A step in flight: which sequences it carries, in the order of its rows.
struct Flight {
    ticket: Ticket,
    who: Vec<usize>,
}

impl Session {
    /// Continues `prompt` by at most `limit` tokens, sampled on the device. `on_token` sees each token as it
    /// comes and may end the generation.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampler: SamplerParams,
        limit: usize,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generated, SessionError> {
        let requests = [Request { prompt, sampler }];
        let mut all = self.generate_batch(&requests, limit, &mut |_, token| on_token(token))?;
        all.pop().ok_or(SessionError::EmptyPrompt)
    }

    /// Continues any number of prompts, as many at once as there are slots; the next one begins when one has ended, in
    /// the free slot that holds most of it: conversations go on where they were, in whatever order they come.
    /// Beginnings that a slot at work holds are copied from it. `on_token` gets the request's index and the token.
    pub fn generate_batch(
        &mut self,
        requests: &[Request<'_>],
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, SessionError> {
        let start = Instant::now();
        let mut done: Vec<Option<Generated>> = requests.iter().map(|_| None).collect();
        let mut waiting = requests.iter().enumerate();
        let mut active: Vec<Sequence> = Vec::with_capacity(self.slots.len());
        let mut first_token = Duration::ZERO;
        loop {
            // A slot is free once nothing in flight writes to it any more; before a round, nothing is in flight.
            while active.len() < self.together() {
                let Some((index, request)) = waiting.next() else { break };
                let taken: Vec<usize> = active.iter().map(|s| s.slot).collect();
                let Some(slot) = self.free_slot(request.prompt, &taken) else { break };
                active.push(self.begin_sequence(index, slot, request, limit, &taken, on_token)?);
            }
            if active.is_empty() {
                break;
            }
            if first_token.is_zero() {
                first_token = start.elapsed();
            }
            self.decode_round(&mut active, limit, waiting.len() > 0, on_token)?;
            for sequence in active.extract_if(.., |s| s.ended.is_some()) {
                let decode = start.elapsed().saturating_sub(first_token);
                let request = sequence.request;
                done[request] = Some(sequence.finish(first_token, decode));
            }
        }
        Ok(done.into_iter().flatten().collect())
    }

    /// Most sequences that one step carries.
    fn together(&self) -> usize {
        self.plans.decode.last().map_or(1, |(size, _)| *size).min(self.slots.len())
    }

    /// The free slot that holds most of a prompt; of several, the one that holds least, so that what others may still
    /// want stays.
    fn free_slot(&self, prompt: &[u32], taken: &[usize]) -> Option<usize> {
        let free = (0..self.together()).filter(|slot| !taken.contains(slot));
        free.min_by_key(|slot| (Reverse(self.common(*slot, prompt)), self.slots[*slot].held.len()))
    }

    /// Takes a request into a slot: what is known of its prompt is reused or copied, the rest computed.
    fn begin_sequence(
        &mut self,
        request: usize,
        slot: usize,
        Request { prompt, sampler }: &Request<'_>,
        limit: usize,
        taken: &[usize],
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Sequence, SessionError> {
        let plan = self.plans.prefill.ok_or(SessionError::Mode("generate"))?;
        let mut reused = self.begin(slot, prompt)?;
        reused = self.copy_beginning(slot, prompt, reused, taken)?;
        let mut sequence = Sequence {
            request,
            slot,
            sampler: *sampler,
            pos: prompt.len(),
            feed: None,
            pending: 0,
            tokens: Vec::with_capacity(limit),
            log_probs: Vec::with_capacity(limit),
            ended: (limit == 0).then_some(StopReason::Length),
            computed: prompt.len() - reused,
            reused,
        };
        if reused + 1 == prompt.len() && limit > 0 {
            // The last token goes together with those of other sequences.
            (sequence.pos, sequence.feed) = (reused, prompt.last().copied());
            return Ok(sequence);
        }
        let ticket = self.prefill(plan, slot, &prompt[reused..], *sampler)?;
        if limit == 0 {
            self.executor.wait(ticket, &mut self.words)?;
        } else {
            let flight = Flight { ticket, who: vec![0] };
            sequence.pending = 1;
            self.accept(&flight, std::slice::from_mut(&mut sequence), limit, on_token)?;
        }
        Ok(sequence)
    }

    /// Copies the beginning of a prompt from a slot that holds more of it than `held` tokens; how many are held then.
    fn copy_beginning(
        &mut self,
        slot: usize,
        prompt: &[u32],
        held: usize,
        taken: &[usize],
    ) -> Result<usize, SessionError> {
        let Some(plan) = self.plans.share else { return Ok(held) };
        let others = taken.iter().copied().filter(|other| *other != slot);
        let others = others.map(|other| (other, self.common(other, prompt)));
        let Some((source, most)) = others.max_by_key(|(_, n)| *n) else {
            return Ok(held);
        };
        let width = self.executor.program().plans[plan.index()].tokens.max(1);
        for first in (held..most).step_by(width) {
            self.step.clear();
            for pos in first..most.min(first + width) {
                let row = Row { slot: slot as u32, pos: pos as u32, first: 0, token: source as u32 };
                self.step.rows.push(row);
            }
            let ticket = self.submit(plan)?;
            self.executor.wait(ticket, &mut self.words)?;
        }
        if most > held {
            self.slots[slot].held.extend_from_slice(&prompt[held..most]);
        }
        Ok(most.max(held))
    }

    /// Steps all sequences until all have ended, or, if others wait, one has.
    fn decode_round(
        &mut self,
        sequences: &mut [Sequence],
        limit: usize,
        others_wait: bool,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), SessionError> {
        let depth = self.executor.depth().max(1);
        // The lists are reused from step to step.
        let mut flights: VecDeque<Flight> = VecDeque::with_capacity(depth);
        let mut spare: Vec<Vec<usize>> = (0..=depth).map(|_| Vec::with_capacity(sequences.len())).collect();
        loop {
            let mut who = spare.pop().unwrap_or_default();
            who.clear();
            // A sequence is fed while it may still need the token: those in flight count as made.
            let leave = others_wait && sequences.iter().any(|s| s.ended.is_some());
            for (index, sequence) in sequences.iter().enumerate() {
                let wanted = sequence.tokens.len() + sequence.pending < limit;
                if sequence.ended.is_none() && wanted && sequence.pos < self.ctx && !leave {
                    who.push(index);
                }
            }
            let idle = who.is_empty();
            if idle {
                spare.push(who);
            } else {
                let ticket = self.decode_step(sequences, &who)?;
                flights.push_back(Flight { ticket, who });
            }
            if idle || flights.len() >= depth {
                let Some(flight) = flights.pop_front() else { break };
                self.accept(&flight, sequences, limit, on_token)?;
                spare.push(flight.who);
            }
        }
        let full = |s: &&mut Sequence| s.ended.is_none() && s.pos >= self.ctx;
        for sequence in sequences.iter_mut().filter(full) {
            sequence.ended = Some(StopReason::ContextFull);
        }
        Ok(())
    }

    fn decode_step(&mut self, sequences: &mut [Sequence], who: &[usize]) -> Result<Ticket, SessionError> {
        let fits = self.plans.decode.iter().find(|(size, _)| *size >= who.len());
        let (_, plan) = *fits.ok_or(SessionError::Mode("generate"))?;
        self.step.clear();
        for (row, index) in who.iter().enumerate() {
            let sequence = &mut sequences[*index];
            let pos = sequence.pos;
            let fed = sequence.feed.take();
            self.step.rows.push(Row {
                slot: sequence.slot as u32,
                pos: pos as u32,
                first: 0,
                token: fed.unwrap_or(TOKEN_FROM_TABLE),
            });
            self.step.outs.push(out_row(row, sequence.slot, pos, &sequence.sampler));
            // A token that the caller gave is held from now on; one that was sampled, once it is known.
            self.slots[sequence.slot].held.extend(fed);
            sequence.pos += 1;
            sequence.pending += 1;
        }
        self.submit(plan)
    }

    /// Reads a step's tokens and hands them to those sequences that still want them.
    fn accept(
        &mut self,
        flight: &Flight,
        sequences: &mut [Sequence],
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), SessionError> {
        self.executor.wait(flight.ticket, &mut self.words)?;
        for (index, sampled) in flight.who.iter().zip(self.words.chunks_exact(4)) {
            let Some(sequence) = sequences.get_mut(*index) else { continue };
            sequence.pending -= 1;
            if sequence.ended.is_some() {
                continue;
            }
            let held = &mut self.slots[sequence.slot].held;
            if sampled[2] != 0 {
                return Err(SessionError::NotANumber(held.len()));
            }
            let token = sampled[0];
            // The token before this one has been fed by the step that made this one.
            if let Some(before) = sequence.tokens.last() {
                held.push(*before);
            }
            sequence.tokens.push(token);
            sequence.log_probs.push(f32::from_bits(sampled[1]));
            if on_token(sequence.request, token).is_break() {
                sequence.ended = Some(StopReason::Caller);
            } else if sequence.tokens.len() >= limit {
                sequence.ended = Some(StopReason::Length);
            }
        }
        Ok(())
    }

    /// Like [`Session::generate`] with a sampler of one's own: logits cross to the host at every step.
    /// Needs the mode `logits`.
    pub fn generate_with(
        &mut self,
        prompt: &[u32],
        sampler: &mut dyn Sampler,
        limit: usize,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generated, SessionError> {
        let start = Instant::now();
        let (prefill, decode) = (self.plans.logits_prefill, self.plans.logits);
        let (prefill, decode) =
            (prefill.ok_or(SessionError::Mode("logits"))?, decode.ok_or(SessionError::Mode("logits"))?);
        let reused = self.begin(0, prompt)?;
        let ticket = self.prefill(prefill, 0, &prompt[reused..], SamplerParams::greedy())?;
        let mut logits = self.fetched_f32(ticket)?;
        let first_token = start.elapsed();
        let mut history = prompt.to_vec();
        let mut tokens = Vec::with_capacity(limit);
        let mut stop = StopReason::Length;
        while tokens.len() < limit {
            let token = sampler.sample(&mut logits, &history)?;
            tokens.push(token);
            if on_token(token).is_break() {
                stop = StopReason::Caller;
                break;
            }
            if history.len() >= self.ctx {
                stop = StopReason::ContextFull;
                break;
            }
            if tokens.len() == limit {
                break;
            }
            self.step.clear();
            let pos = history.len();
            self.step.rows.push(Row { slot: 0, pos: pos as u32, first: 0, token });
            self.step.outs.push(out_row(0, 0, pos, &SamplerParams::greedy()));
            let ticket = self.submit(decode)?;
            self.executor.wait(ticket, &mut self.words)?;
            self.slots[0].held.push(token);
            history.push(token);
            logits.clear();
            logits.extend(self.words.iter().map(|w| f32::from_bits(*w)));
        }
        let decode = start.elapsed().saturating_sub(first_token);
        let (computed, log_probs) = (prompt.len() - reused, Vec::new());
        Ok(Generated { tokens, stop, computed, reused, first_token, decode, log_probs })
    }
}

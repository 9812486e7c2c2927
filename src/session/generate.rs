//! The decode loop: sampled tokens stay on the device, the host reads them a few steps behind.

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
}

/// One sequence of a batch.
struct Sequence {
    slot: usize,
    /// Position of the next token to be fed.
    pos: usize,
    tokens: Vec<u32>,
    ended: Option<StopReason>,
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
        let mut all = self.generate_batch(&[prompt], sampler, limit, &mut |_, token| on_token(token))?;
        all.pop().ok_or(SessionError::EmptyPrompt)
    }

    /// Continues several prompts at once, one slot each. `on_token` gets the prompt's index and the token.
    pub fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        sampler: SamplerParams,
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generated>, SessionError> {
        let start = Instant::now();
        let plan = self.plans.prefill.ok_or(SessionError::Mode("generate"))?;
        let mut sequences = Vec::with_capacity(prompts.len());
        let mut done = Vec::with_capacity(prompts.len());
        for (slot, prompt) in prompts.iter().enumerate() {
            let reused = self.begin(slot, prompt)?;
            let ticket = self.prefill(plan, slot, &prompt[reused..], sampler)?;
            let mut sequence =
                Sequence { slot, pos: prompt.len(), tokens: Vec::with_capacity(limit), ended: None };
            if limit == 0 {
                self.executor.wait(ticket, &mut self.words)?;
                sequence.ended = Some(StopReason::Length);
            } else {
                self.accept(ticket, &[slot], std::slice::from_mut(&mut sequence), limit, on_token)?;
            }
            done.push((reused, prompt.len() - reused));
            sequences.push(sequence);
        }
        let first_token = start.elapsed();
        let decoding = Instant::now();
        self.decode_all(&mut sequences, sampler, limit, on_token)?;
        let decode = decoding.elapsed();
        let finish = |(sequence, (reused, computed)): (Sequence, (usize, usize))| Generated {
            tokens: sequence.tokens,
            stop: sequence.ended.unwrap_or(StopReason::Length),
            computed,
            reused,
            first_token,
            decode,
        };
        Ok(sequences.into_iter().zip(done).map(finish).collect())
    }

    /// Steps all sequences that have not ended until none is left.
    fn decode_all(
        &mut self,
        sequences: &mut [Sequence],
        sampler: SamplerParams,
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), SessionError> {
        let depth = self.executor.depth().max(1);
        // Which sequences each step in flight carries; the buffers are reused from step to step.
        let mut flight: VecDeque<(Ticket, Vec<usize>)> = VecDeque::with_capacity(depth);
        let mut spare: Vec<Vec<usize>> = (0..=depth).map(|_| Vec::with_capacity(sequences.len())).collect();
        loop {
            let mut active = spare.pop().unwrap_or_default();
            active.clear();
            // A sequence is fed while it may still need the token: those in flight count as made.
            for (index, sequence) in sequences.iter().enumerate() {
                let pending = flight.iter().filter(|(_, who)| who.contains(&index)).count();
                let wanted = sequence.tokens.len() + pending < limit;
                if sequence.ended.is_none() && wanted && sequence.pos < self.ctx {
                    active.push(index);
                }
            }
            let idle = active.is_empty();
            if idle {
                spare.push(active);
            } else {
                let ticket = self.decode_step(sequences, &active, &sampler)?;
                flight.push_back((ticket, active));
            }
            if idle || flight.len() >= depth {
                let Some((ticket, who)) = flight.pop_front() else { break };
                self.accept(ticket, &who, sequences, limit, on_token)?;
                spare.push(who);
            }
        }
        for sequence in sequences.iter_mut().filter(|s| s.ended.is_none()) {
            sequence.ended = Some(StopReason::ContextFull);
        }
        Ok(())
    }

    fn decode_step(
        &mut self,
        sequences: &mut [Sequence],
        active: &[usize],
        sampler: &SamplerParams,
    ) -> Result<Ticket, SessionError> {
        let fits = self.plans.decode.iter().find(|(size, _)| *size >= active.len());
        let (_, plan) = *fits.ok_or(SessionError::Mode("generate"))?;
        self.step.clear();
        for (row, index) in active.iter().enumerate() {
            let sequence = &mut sequences[*index];
            let pos = sequence.pos;
            self.step.rows.push(Row {
                slot: sequence.slot as u32,
                pos: pos as u32,
                first: 0,
                token: TOKEN_FROM_TABLE,
            });
            self.step.outs.push(out_row(row, sequence.slot, pos, sampler));
            sequence.pos += 1;
        }
        self.submit(plan)
    }

    /// Reads a step's tokens and hands them to those sequences that still want them.
    fn accept(
        &mut self,
        ticket: Ticket,
        who: &[usize],
        sequences: &mut [Sequence],
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), SessionError> {
        self.executor.wait(ticket, &mut self.words)?;
        for (index, sampled) in who.iter().zip(self.words.chunks_exact(4)) {
            let Some(sequence) = sequences.iter_mut().find(|s| s.slot == *index) else { continue };
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
            if on_token(*index, token).is_break() {
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
        Ok(Generated { tokens, stop, computed: prompt.len() - reused, reused, first_token, decode })
    }
}

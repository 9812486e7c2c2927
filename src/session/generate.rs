//! Continuing texts: one, or many at once; sampled tokens stay on the device, the host reads them a few steps behind.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::schedule::Schedule;
use super::{Session, SessionError, out_row};
use crate::plan::Row;
use crate::text::{Sampler, SamplerParams, Tokenizer};

/// Why a generation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// A token that ends a turn, or the text, came.
    EndOfTurn,
    /// A text that ends it came.
    StopString,
    /// The caller said so (an interrupt, a cancellation).
    Caller,
    /// As many tokens as asked for.
    Length,
    /// No position is left.
    ContextFull,
}

/// What a generation did.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The tokens, the one that it was stopped at included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// Prompt tokens that were computed.
    pub computed: usize,
    /// Prompt tokens that the slot already held.
    pub reused: usize,
    /// Time from the request to its first token.
    pub first_token: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
    /// Log-probability of each token under the full softmax at the sampler's temperature (at 1 where it is greedy), whatever
    /// the sampler left out; of a sampler of one's own, none.
    pub log_probs: Vec<f32>,
}

impl Generated {
    /// What there is of a request that never began.
    pub(crate) fn nothing(stop: StopReason) -> Self {
        let (first_token, decode) = (Duration::ZERO, Duration::ZERO);
        let (tokens, log_probs) = (Vec::new(), Vec::new());
        Self { tokens, stop, computed: 0, reused: 0, first_token, decode, log_probs }
    }

    /// This one, which a device's failure ended, and what another session made of the rest.
    pub(crate) fn and(mut self, rest: Generated) -> Self {
        if self.tokens.is_empty() {
            // What was held, and computed, is of no use any more.
            return Self { first_token: self.first_token + rest.first_token, ..rest };
        }
        self.decode += rest.first_token + rest.decode;
        self.computed += rest.computed;
        self.tokens.extend(rest.tokens);
        self.log_probs.extend(rest.log_probs);
        Self { stop: rest.stop, ..self }
    }

    /// Whether it came to its own end.
    pub fn ended(&self) -> bool {
        matches!(self.stop, StopReason::EndOfTurn | StopReason::StopString)
    }

    /// The tokens without the one that ends the turn.
    pub fn body(&self) -> &[u32] {
        match (self.stop, self.tokens.split_last()) {
            (StopReason::EndOfTurn, Some((_, body))) => body,
            _ => &self.tokens,
        }
    }
}

/// A text to be continued.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Token ids, at least one.
    pub prompt: &'a [u32],
    /// How its tokens are chosen: with seeds of their own, equal prompts go on differently.
    pub sampler: SamplerParams,
    /// Tokens that end it; none: it goes on to its limit.
    pub ends: &'a [u32],
}

impl<'a> Request<'a> {
    /// A text that goes on to its limit.
    pub fn new(prompt: &'a [u32], sampler: SamplerParams) -> Self {
        Self { prompt, sampler, ends: &[] }
    }

    /// A turn of a conversation, or a text, that the model ends by itself.
    pub fn turn(prompt: &'a [u32], sampler: SamplerParams, tokenizer: &'a Tokenizer) -> Self {
        Self { prompt, sampler, ends: tokenizer.eog_ids() }
    }
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
        let requests = [Request::new(prompt, sampler)];
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
        let (made, ran) = self.run_all(requests, limit, on_token);
        ran.map(|()| made)
    }

    /// The same of one request; where the session fails, what was made until then comes with the error.
    pub(crate) fn attempt(
        &mut self,
        request: Request<'_>,
        limit: usize,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> (Generated, Result<(), SessionError>) {
        let (mut made, ran) = self.run_all(&[request], limit, &mut |_, token| on_token(token));
        (made.pop().unwrap_or_else(|| Generated::nothing(StopReason::Caller)), ran)
    }

    fn run_all(
        &mut self,
        requests: &[Request<'_>],
        limit: usize,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> (Vec<Generated>, Result<(), SessionError>) {
        let mut schedule = Schedule::new(self, true);
        for Request { prompt, sampler, ends } in requests {
            if let Err(error) = schedule.submit(self, prompt, *sampler, limit, ends) {
                return (Vec::new(), Err(error));
            }
        }
        let mut listener =
            |index: usize, token: u32| on_token(index, token).is_break().then_some(StopReason::Caller);
        let ran = loop {
            match schedule.step(self, &mut listener) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let mut done: Vec<(usize, Generated)> = schedule.done().collect();
        done.sort_by_key(|(index, _)| *index);
        (done.into_iter().map(|(_, made)| made).collect(), ran)
    }

    /// [`Session::generate_batch`] where nobody looks on: what ends a continuation is its request's and the limit.
    ///
    /// # Errors
    /// As there.
    pub fn write(&mut self, requests: &[Request<'_>], limit: usize) -> Result<Vec<Generated>, SessionError> {
        self.generate_batch(requests, limit, &mut |_, _| ControlFlow::Continue(()))
    }

    /// Most sequences that one step carries.
    pub(super) fn together(&self) -> usize {
        self.plans.decode.last().map_or(1, |(size, _)| *size).min(self.slots.len())
    }

    /// The free slot that holds most of a prompt; of several, the one that holds least, so that what others may still
    /// want stays.
    pub(super) fn free_slot(&self, prompt: &[u32], taken: &[usize]) -> Option<usize> {
        let free = (0..self.together()).filter(|slot| !taken.contains(slot));
        free.min_by_key(|slot| (Reverse(self.common(*slot, prompt)), self.slots[*slot].held.len()))
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

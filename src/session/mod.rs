//! Prompt → prefill → decode: slots of the KV cache and the positions in them.
//!
//! A [`Session`] owns an executor booted with a handful of plans. Sequences live in slots; a new prompt reuses
//! the longest prefix that its slot already holds.

mod adapters;
pub(crate) mod auto;
pub(crate) mod boot;
mod generate;
mod options;
pub(crate) mod places;
mod schedule;
mod scheduler;

pub use adapters::{ActiveAdapter, adapter_room};
pub use auto::{Speeds, speeds};
pub use boot::{device_info, device_profile, plan_memory};
pub use generate::{Generated, Request, StopReason};
pub use options::{DeviceChoice, Modes, SessionOptions};
pub use places::boot;
pub use scheduler::{Event, Job, JobId, Scheduler};

use crate::adapter::AdapterError;
#[cfg(feature = "train")]
use crate::exec::Gone;
use crate::exec::{ExecError, Executor, Ticket};
use crate::model::{AdapterShape, Model, ModelError};
use crate::plan::{Layout, Out, PlanId, Row, Step};
use crate::text::{SamplerError, SamplerParams};

/// Why a session could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The model, its plan or its budget.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The device.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The sampler.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// More tokens than positions.
    #[error("{tokens} tokens do not fit the context of {ctx}")]
    ContextFull {
        /// Tokens asked for.
        tokens: usize,
        /// Positions of a slot.
        ctx: usize,
    },
    /// Nothing to start from.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// The session was not booted for this.
    #[error("the session was booted without the mode `{0}`")]
    Mode(&'static str),
    /// The model made logits that are not numbers.
    #[error(
        "the model's logits are not numbers at position {0}: the file is damaged, or the device computes wrongly"
    )]
    NotANumber(usize),
    /// A slot that is not there.
    #[error("slot {slot} is not among the session's {slots}")]
    Slot {
        /// Asked for.
        slot: usize,
        /// There are.
        slots: usize,
    },
    /// An adapter that is not sound, or of another base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A factor of an adapter's effect that cannot be.
    #[error("the scale of adapter `{name}` is {scale}; it must be a finite number")]
    AdapterScale {
        /// The adapter.
        name: String,
        /// What was asked for.
        scale: f32,
    },
    /// Adapters that need more room than the session was booted with.
    #[error(
        "the adapters need rank {needed} of `{target}` and the session was booted with {rank}; boot one with room for \
         them (SessionOptions::adapters)"
    )]
    AdapterRoom {
        /// The matrix.
        target: String,
        /// The sum of the adapters' ranks.
        needed: usize,
        /// What there is; 0 where the matrix was not to be adapted.
        rank: usize,
    },
}

/// One sequence's place in the KV cache.
#[derive(Clone, Debug, Default)]
struct Slot {
    /// Tokens whose keys and values the cache holds; of layers with a window, those that the ring still has.
    held: Vec<u32>,
    /// Positions that were written since the first was written last.
    written: usize,
}

impl Slot {
    /// Cuts the sequence back to so many tokens, which the rings reach.
    fn cut(&mut self, tokens: usize) {
        self.held.truncate(tokens);
        if tokens == 0 {
            self.written = 0;
        }
    }
}

/// The plans a session was booted with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    /// (sequences, plan), ascending.
    decode: Vec<(usize, PlanId)>,
    prefill: Option<PlanId>,
    /// One token row, logits fetched.
    logits: Option<PlanId>,
    logits_prefill: Option<PlanId>,
    score: Option<PlanId>,
    /// Copies keys and values from slot to slot.
    pub(crate) share: Option<PlanId>,
}

#[cfg(feature = "train")]
impl Plans {
    /// The same plans, where the program has `ids[i]` in the place of plan i.
    pub(crate) fn renumbered(&self, ids: &[PlanId]) -> Self {
        let of = |plan: PlanId| ids.get(plan.index()).copied().unwrap_or(plan);
        Self {
            decode: self.decode.iter().map(|(size, plan)| (*size, of(*plan))).collect(),
            prefill: self.prefill.map(of),
            logits: self.logits.map(of),
            logits_prefill: self.logits_prefill.map(of),
            score: self.score.map(of),
            share: self.share,
        }
    }
}

/// Runs one model on one device.
pub struct Session {
    model: Model,
    executor: Box<dyn Executor>,
    layout: Layout,
    plans: Plans,
    slots: Vec<Slot>,
    ctx: usize,
    chunk: usize,
    /// Ranks the factors of each matrix were booted with.
    room: AdapterShape,
    /// The adapters in the factors now.
    active: Vec<ActiveAdapter>,
    step: Step,
    words: Vec<u32>,
}

impl Session {
    /// Opens the device, draws the memory map, checks it against the budget, allocates, and loads the weights.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self, SessionError> {
        boot(model, options)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The device, allocation and timing.
    pub fn executor(&self) -> &dyn Executor {
        &*self.executor
    }

    /// The device, to switch timing on.
    pub fn executor_mut(&mut self) -> &mut dyn Executor {
        &mut *self.executor
    }

    /// Gives the device up, and its memory back; nothing runs any more.
    #[cfg(feature = "train")]
    pub(crate) fn release(&mut self, why: &str) {
        self.executor = Box::new(Gone::of(&*self.executor, why.to_owned()));
    }

    /// The memory map.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Positions of a slot.
    pub fn ctx(&self) -> usize {
        self.ctx
    }

    /// Token rows of a prefill step.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Sequences that can be held at once.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Tokens held by slot 0.
    pub fn held(&self) -> &[u32] {
        &self.slots[0].held
    }

    /// Forgets what a slot holds, so that the next prompt is computed from its start.
    pub fn reset(&mut self) {
        for slot in &mut self.slots {
            slot.held.clear();
        }
    }

    /// Logits of the token after `tokens`, (vocab). Needs the mode `logits`.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, SessionError> {
        let plan = self.plans.logits_prefill.ok_or(SessionError::Mode("logits"))?;
        let reused = self.begin(0, tokens)?;
        let ticket = self.prefill(plan, 0, &tokens[reused..], SamplerParams::greedy())?;
        self.fetched_f32(ticket)
    }

    /// Logits after each of `tokens`, (tokens, vocab), computed anew. Needs the mode `logits`.
    pub fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, SessionError> {
        let plan = self.plans.logits_prefill.ok_or(SessionError::Mode("logits"))?;
        self.reset();
        self.begin(0, tokens)?;
        self.in_windows(plan, tokens, 0, |_| 0)
    }

    /// Log-probability of each token after the first given those before it, (tokens - 1), computed anew.
    /// Needs the mode `score`.
    pub fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, SessionError> {
        self.reset();
        self.score_from(tokens, 1)
    }

    /// Log-probability of each token from index `first` (at least 1) on, given all those before it,
    /// (tokens - first). What slot 0 holds of the tokens before is not computed again. Needs the mode `score`.
    ///
    /// # Errors
    /// [`SessionError::NotANumber`] where the model's logits are not finite, and those of running a plan.
    pub fn score_from(&mut self, tokens: &[u32], first: usize) -> Result<Vec<f32>, SessionError> {
        let plan = self.plans.score.ok_or(SessionError::Mode("score"))?;
        self.begin(0, tokens)?;
        let wanted = first.max(1) - 1;
        let kept = self.reached(0, wanted.min(self.slots[0].held.len()));
        self.slots[0].cut(kept);
        let inputs = &tokens[..tokens.len() - 1];
        let logprobs = self.in_windows(plan, inputs, wanted, |at| tokens[at + 1])?;
        match logprobs.iter().position(|logprob| !logprob.is_finite()) {
            Some(at) => Err(SessionError::NotANumber(wanted + at)),
            None => Ok(logprobs),
        }
    }

    /// Runs what slot 0 does not hold of `tokens` through a plan that may have an output row for each; those from
    /// `wanted` on have one. `label` gives each position's label.
    fn in_windows(
        &mut self,
        plan: PlanId,
        tokens: &[u32],
        wanted: usize,
        label: impl Fn(usize) -> u32,
    ) -> Result<Vec<f32>, SessionError> {
        let width = self.executor.program().plans[plan.index()].outputs.min(self.chunk);
        let mut all = Vec::new();
        for start in (self.slots[0].held.len()..tokens.len()).step_by(width) {
            let window = &tokens[start..tokens.len().min(start + width)];
            self.step.clear();
            for (i, token) in window.iter().enumerate() {
                let at = start + i;
                self.step.rows.push(Row { slot: 0, pos: at as u32, first: 0, token: *token });
                if at >= wanted {
                    let mut out = out_row(i, 0, at, &SamplerParams::greedy());
                    out.label = label(at);
                    self.step.outs.push(out);
                }
            }
            let ticket = self.submit(plan)?;
            self.slots[0].held.extend_from_slice(window);
            all.extend(self.fetched_f32(ticket)?);
        }
        Ok(all)
    }

    fn check_prompt(&self, tokens: &[u32]) -> Result<(), SessionError> {
        match tokens.len() {
            0 => Err(SessionError::EmptyPrompt),
            tokens if tokens > self.ctx => Err(SessionError::ContextFull { tokens, ctx: self.ctx }),
            _ => Ok(()),
        }
    }

    /// Checks a prompt and cuts the slot back to the longest common prefix; how many tokens are reused.
    fn begin(&mut self, slot: usize, tokens: &[u32]) -> Result<usize, SessionError> {
        self.check_prompt(tokens)?;
        let slots = self.slots.len();
        if slot >= slots {
            return Err(SessionError::Slot { slot, slots });
        }
        let common = self.common(slot, tokens);
        self.slots[slot].cut(common);
        Ok(common)
    }

    /// How many tokens a slot holds of a prompt's beginning. The last one is always computed: its logits are what the
    /// caller wants.
    fn common(&self, slot: usize, prompt: &[u32]) -> usize {
        let before_last = prompt.split_last().map_or(prompt, |(_, before)| before);
        let common = self.slots[slot].held.iter().zip(before_last).take_while(|(a, b)| a == b).count();
        self.reached(slot, common)
    }

    /// `tokens` if a slot's sequence can be cut back to so many; else 0, as what their successors would see is overwritten.
    fn reached(&self, slot: usize, tokens: usize) -> usize {
        let ring = self.executor.program().inputs.and_then(|inputs| inputs.ring);
        let reaches = ring.is_none_or(|ring| ring.reaches(tokens, self.slots[slot].written));
        if reaches { tokens } else { 0 }
    }

    /// Runs tokens in chunks; the last one's output row is computed. The ticket is that of the last chunk.
    fn prefill(
        &mut self,
        plan: PlanId,
        slot: usize,
        tokens: &[u32],
        sampler: SamplerParams,
    ) -> Result<Ticket, SessionError> {
        let (mut before, mut last) = (None, None);
        let mut done = 0;
        for chunk in tokens.chunks(self.chunk) {
            done += chunk.len();
            let base = self.slots[slot].held.len();
            self.step.clear();
            for (i, token) in chunk.iter().enumerate() {
                let pos = (base + i) as u32;
                self.step.rows.push(Row { slot: slot as u32, pos, first: 0, token: *token });
            }
            if done == tokens.len() {
                let row = chunk.len() - 1;
                self.step.outs.push(out_row(row, slot, base + row, &sampler));
            }
            if let Some(before) = before.take() {
                self.executor.wait(before, &mut self.words)?;
            }
            // A device that holds two steps computes one while the host prepares the next.
            if self.executor.depth() > 1 {
                before = last.take();
            } else if let Some(ticket) = last.take() {
                self.executor.wait(ticket, &mut self.words)?;
            }
            last = Some(self.submit(plan)?);
            self.slots[slot].held.extend_from_slice(chunk);
        }
        if let Some(before) = before {
            self.executor.wait(before, &mut self.words)?;
        }
        last.ok_or(SessionError::EmptyPrompt)
    }

    fn submit(&mut self, plan: PlanId) -> Result<Ticket, SessionError> {
        for row in &self.step.rows {
            let written = &mut self.slots[row.slot as usize].written;
            *written = (*written).max(row.pos as usize + 1);
        }
        Ok(self.executor.submit(plan, &self.step)?)
    }

    fn fetched_f32(&mut self, ticket: Ticket) -> Result<Vec<f32>, SessionError> {
        self.executor.wait(ticket, &mut self.words)?;
        Ok(self.words.iter().map(|w| f32::from_bits(*w)).collect())
    }
}

/// An output row for token row `row`, at `pos` of `slot`.
fn out_row(row: usize, slot: usize, pos: usize, sampler: &SamplerParams) -> Out {
    Out {
        row: row as u32,
        label: 0,
        seed: sampler.seed,
        top_k: sampler.top_k,
        temperature: sampler.temperature,
        top_p: sampler.top_p,
        min_p: sampler.min_p,
        repeat_penalty: sampler.repeat_penalty,
        repeat_last_n: sampler.repeat_last_n,
        slot: slot as u32,
        pos: pos as u32,
        coef: 0.0,
        dry_multiplier: sampler.dry_multiplier,
        dry_base: sampler.dry_base,
        dry_allowed: sampler.dry_allowed_length,
        dry_last_n: sampler.dry_last_n,
    }
}

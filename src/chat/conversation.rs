//! A conversation without a device: its prompts, and how it is answered.

use std::sync::Arc;

use super::reply::Start;
use super::{Answer, ChatError, Reply, Talk, Voice};
use crate::text::{LoopGuard, Message, Patience, SamplerParams, StopStrings};

/// Tokens of a prompt's end in which thoughts may be opened.
pub(super) const LAST: usize = 24;

/// How a conversation is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Manner {
    /// How tokens are chosen. Each answer has another seed; all follow from this one.
    pub sampler: SamplerParams,
    /// Most tokens of an answer.
    pub limit: usize,
    /// Positions that are kept for an answer, at most a quarter of the context: the oldest turns are dropped where there are
    /// not as many. 0: none, and all of the context may be the prompt's.
    pub room: usize,
    /// Texts that end an answer and are not part of it, beside the end of the turn.
    pub stop: Vec<String>,
    /// How soon an answer is taken for a circle: it is ended then, or tried again where it begins with what was said twice
    /// before. None: never.
    pub loop_guard: Option<Patience>,
    /// Whether thoughts are told from the answer.
    pub thoughts_apart: bool,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            sampler: SamplerParams::default(),
            limit: 512,
            room: 256,
            stop: Vec::new(),
            loop_guard: Some(Patience::Short),
            thoughts_apart: true,
        }
    }
}

/// A conversation: what was said, in whose voice it is answered, and how. It has no device, so that any number of them can
/// share a session ([`answer_all`](super::answer_all)); [`Chat`](super::Chat) is one with a session of its own.
#[derive(Clone, Debug)]
pub struct Conversation {
    voice: Arc<Voice>,
    /// System prompt and messages.
    pub talk: Talk,
    /// How it is answered.
    pub manner: Manner,
    /// What is remembered from elsewhere: it goes into the system prompt, behind the conversation's own.
    pub memory: Option<String>,
    /// Answers so far.
    answers: u32,
}

impl Conversation {
    /// Nothing said yet.
    pub fn new(voice: impl Into<Arc<Voice>>, manner: Manner) -> Self {
        Self { voice: voice.into(), talk: Talk::default(), manner, memory: None, answers: 0 }
    }

    /// Tokenizer and template.
    pub fn voice(&self) -> &Arc<Voice> {
        &self.voice
    }

    /// The prompt's tokens: the conversation, and the beginning of the model's next message.
    ///
    /// # Errors
    /// [`ChatError::Template`] where the template refuses the messages.
    pub fn prompt(&self) -> Result<Vec<u32>, ChatError> {
        let parts: Vec<&str> =
            [self.talk.system.as_deref(), self.memory.as_deref()].into_iter().flatten().collect();
        let system = (!parts.is_empty()).then(|| Message::new("system", parts.join("\n\n"))).into_iter();
        let said = self.talk.messages.iter().map(|m| Message::new(m.role.name(), &m.content));
        self.voice.prompt(&system.chain(said).collect::<Vec<_>>())
    }

    /// The prompt's tokens, after dropping as many of the oldest turns as leaves room for an answer in `ctx` positions; and how
    /// many were dropped.
    ///
    /// # Errors
    /// [`ChatError::TooLong`] where the newest message alone leaves none, and those of [`Conversation::prompt`].
    pub fn fit(&mut self, ctx: usize) -> Result<(Vec<u32>, usize), ChatError> {
        let room = if self.manner.room == 0 { 0 } else { self.manner.room.min(ctx / 4).max(1) };
        let mut dropped = 0;
        loop {
            let tokens = self.prompt()?;
            if tokens.len() + room <= ctx {
                return Ok((tokens, dropped));
            }
            if !self.talk.drop_oldest() {
                return Err(ChatError::TooLong { tokens: tokens.len(), ctx });
            }
            dropped += 1;
        }
    }

    /// Begins an answer to `prompt`.
    pub fn reply(&mut self, prompt: &[u32]) -> Reply {
        let sampler = SamplerParams {
            seed: self.manner.sampler.seed.wrapping_add(self.answers),
            ..self.manner.sampler
        };
        self.answers = self.answers.wrapping_add(1);
        let marks = self.voice.marks().filter(|_| self.manner.thoughts_apart);
        let end = prompt.get(prompt.len().saturating_sub(LAST)..).unwrap_or_default();
        let open = marks.is_some_and(|marks| marks.left_open(&self.voice.tokenizer().decode(end, false)));
        let stop = StopStrings::new(self.manner.stop.iter().map(String::as_str));
        Reply::new(Start { sampler, marks, open, stop, guard: self.guard() })
    }

    /// Takes an answer into the conversation.
    pub fn hear(&mut self, answer: &Answer) {
        self.talk.assistant(&answer.text);
    }

    /// What watches the next answer, and remembers those before, but for those to the same question.
    fn guard(&self) -> Option<LoopGuard> {
        let mut guard = self.manner.loop_guard.map(LoopGuard::new)?;
        let marks = self.voice.marks();
        for said in self.talk.answers_to_others() {
            guard.remember(marks.map_or(said, |marks| marks.answer_of(said)));
        }
        Some(guard)
    }
}

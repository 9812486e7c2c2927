//! Conversations with a model: template, fitting into the context, the end of a turn, text as it comes, adapters.
//!
//! ```no_run
//! use emberlm::chat::{Chat, Piece};
//! use emberlm::model::Model;
//! use emberlm::session::SessionOptions;
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut chat = Chat::open(&Model::open("model.gguf")?, SessionOptions::default())?;
//! let answer = chat.say("Why is the sky blue?", &mut |piece| {
//!     if let Piece::Answer(text) = piece {
//!         print!("{text}");
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! println!("\n{} tokens", answer.done.tokens.len());
//! # Ok(())
//! # }
//! ```

mod conversation;
mod reply;
mod talk;
mod together;
mod voice;

pub use conversation::{Conversation, Manner};
pub use reply::{Answer, Listener, Piece, Reply};
pub use talk::{Role, Said, Talk};
pub use together::{ListenerOfAll, answer_all};
pub use voice::Voice;

use std::sync::Arc;

use crate::adapter::Adapter;
use crate::model::Model;
use crate::session::auto::for_session;
use crate::session::boot::boot_on;
use crate::session::places::{DeviceError, Places};
use crate::session::{Generated, Request, Session, SessionError, SessionOptions, StopReason, adapter_room};
use crate::text::{TemplateError, TokenizerError};

/// Why a conversation could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The model's vocabulary.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The newest message leaves no room for an answer.
    #[error("the message takes {tokens} tokens, the context has {ctx}")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Positions of a slot.
        ctx: usize,
    },
    /// Nothing was said that could be answered.
    #[error("nothing was said yet")]
    NothingSaid,
    /// The session was given up.
    #[error("the model is not in memory")]
    Asleep,
}

/// An adapter, and what its effect is multiplied with.
pub type Scaled = (Adapter, f32);

/// A conversation with a session of its own.
pub struct Chat {
    /// What was said, and how it is answered.
    pub conversation: Conversation,
    model: Model,
    places: Places,
    /// None while another needs the memory.
    session: Option<Session>,
    adapters: Vec<Scaled>,
}

impl Chat {
    /// Boots a session for a conversation with the model's own template, or ChatML where it has none.
    ///
    /// # Errors
    /// The model's tokenizer or template cannot be used, or the session cannot be booted.
    pub fn open(model: &Model, options: SessionOptions) -> Result<Self, ChatError> {
        let mut chat = Self::new(model, options, Conversation::new(Voice::of(model)?, Manner::default()));
        chat.boot(Vec::new())?;
        Ok(chat)
    }

    /// A conversation whose session is not booted yet.
    pub fn new(model: &Model, options: SessionOptions, conversation: Conversation) -> Self {
        let (model, places) = (model.clone(), Places::new(&options));
        Self { conversation, model, places, session: None, adapters: Vec::new() }
    }

    /// Boots a session with room for `adapters`, and switches them on. One that there is goes first, as two would need twice the
    /// memory.
    ///
    /// # Errors
    /// [`ChatError::Session`]; there is no session then.
    pub fn boot(&mut self, adapters: Vec<Scaled>) -> Result<(), ChatError> {
        self.session = None;
        let room = adapter_room(adapters.iter().map(|(adapter, _)| adapter));
        self.places.prefer(|options| for_session(&self.model, options));
        let session = self.places.boot(|device, options| {
            let options = SessionOptions { adapters: room.clone(), ..options.clone() };
            let mut session = boot_on(device, &self.model, &options)?;
            if !adapters.is_empty() {
                session.set_adapters(&pairs(&adapters))?;
            }
            Ok::<_, SessionError>(session)
        })?;
        (self.session, self.adapters) = (Some(session), adapters);
        Ok(())
    }

    /// Boots again where the device has failed: the same if it has got on (`progress`), else another. What is asked next is
    /// computed from its text.
    ///
    /// # Errors
    /// `error`, if it was not the device's or nothing is left to boot on.
    fn recover(&mut self, error: SessionError, progress: bool) -> Result<(), ChatError> {
        let Some(session) = &self.session else { return Err(error.into()) };
        let device = session.executor().device().clone();
        let flees = error.of_device().is_some_and(|e| self.places.flee(&device, e, progress));
        if !flees || self.boot(self.adapters.clone()).is_err() {
            return Err(error.into());
        }
        Ok(())
    }

    /// Gives the session's memory back, until [`Chat::boot`].
    pub fn sleep(&mut self) {
        self.session = None;
    }

    /// The session.
    ///
    /// # Errors
    /// [`ChatError::Asleep`].
    pub fn session(&self) -> Result<&Session, ChatError> {
        self.session.as_ref().ok_or(ChatError::Asleep)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The adapters that are on, or are to be on when there is a session again.
    pub fn adapters(&self) -> &[Scaled] {
        &self.adapters
    }

    /// Switches to `adapters` in the session that there is; false, and all as it was, where they need more room than it has.
    ///
    /// # Errors
    /// Those of [`Session::set_adapters`], and [`ChatError::Asleep`].
    pub fn switch(&mut self, adapters: &[Scaled]) -> Result<bool, ChatError> {
        let session = self.session.as_mut().ok_or(ChatError::Asleep)?;
        match session.set_adapters(&pairs(adapters)) {
            Ok(()) => self.adapters = adapters.to_vec(),
            Err(SessionError::AdapterRoom { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Switches to `adapters`, booting the session again where they need more room or the device has failed; where that fails,
    /// as it was before.
    ///
    /// # Errors
    /// Those of [`Chat::switch`] and [`Chat::boot`].
    pub fn set_adapters(&mut self, adapters: Vec<Scaled>) -> Result<(), ChatError> {
        match self.switch(&adapters) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(ChatError::Session(error)) if error.of_device().is_some() => self.recover(error, true)?,
            Err(error) => return Err(error),
        }
        let before = self.adapters.clone();
        let booted = self.boot(adapters);
        if booted.is_err() {
            self.boot(before)?;
        }
        booted
    }

    /// The user says something, and the model answers; both are in the conversation then.
    ///
    /// # Errors
    /// Those of [`Conversation::fit`] and of the session; the message is not in the conversation then.
    pub fn say(&mut self, text: &str, listener: &mut Listener<'_>) -> Result<Answer, ChatError> {
        self.conversation.talk.user(text);
        let answer = self.write(listener);
        match &answer {
            Ok(answer) => self.conversation.hear(answer),
            Err(_) => drop(self.conversation.talk.messages.pop()),
        }
        answer
    }

    /// Another answer to what was said last; the conversation stays as it is.
    ///
    /// # Errors
    /// As of [`Chat::say`], and [`ChatError::NothingSaid`].
    pub fn answer_again(&mut self, listener: &mut Listener<'_>) -> Result<Answer, ChatError> {
        let messages = &mut self.conversation.talk.messages;
        let first = messages.pop_if(|said| said.role == Role::Assistant);
        let answer = if messages.is_empty() { Err(ChatError::NothingSaid) } else { self.write(listener) };
        self.conversation.talk.messages.extend(first);
        answer
    }

    /// Writes an answer to the conversation. Where it begins with what was said twice before, nothing of it has been told yet,
    /// and another is tried, ever firmer; the last may say it again.
    fn write(&mut self, listener: &mut Listener<'_>) -> Result<Answer, ChatError> {
        let ctx = self.session()?.ctx();
        let (prompt, dropped) = self.conversation.fit(ctx)?;
        if dropped > 0 {
            // What ends an answer is asked at its tokens.
            let _ = listener(Piece::Dropped(dropped));
        }
        let limit = self.conversation.manner.limit.min(ctx);
        let mut reply = self.conversation.reply(&prompt);
        loop {
            let done = self.attempt(&prompt, limit, &mut reply, listener)?;
            if !reply.finish(listener) {
                return Ok(reply.answer(done));
            }
        }
    }

    /// Writes one attempt at an answer. Where the device fails it goes on from its text: the prompt and the tokens so far are
    /// computed again, here or elsewhere.
    fn attempt(
        &mut self,
        prompt: &[u32],
        limit: usize,
        reply: &mut Reply,
        listener: &mut Listener<'_>,
    ) -> Result<Generated, ChatError> {
        let voice = Arc::clone(self.conversation.voice());
        let (tokenizer, mut text) = (voice.tokenizer(), prompt.to_vec());
        let mut made: Option<Generated> = None;
        loop {
            let session = self.session.as_mut().ok_or(ChatError::Asleep)?;
            let before = made.as_ref().map_or(0, |made| made.tokens.len());
            let turn = Request::turn(&text, reply.sampler(), tokenizer);
            let (more, ran) =
                session.attempt(turn, limit - before, &mut |token| reply.push(tokenizer, token, listener));
            let progress = !more.tokens.is_empty();
            text.extend_from_slice(&more.tokens);
            let mut now = match made.take() {
                Some(made) => made.and(more),
                None => more,
            };
            let Err(error) = ran else { return Ok(now) };
            let why = error.to_string();
            self.recover(error, progress)?;
            let session = self.session()?;
            let _ = listener(Piece::Moved { why: &why, device: session.executor().device() });
            if text.len() > session.ctx() || now.tokens.len() >= limit {
                let full = text.len() > session.ctx();
                now.stop = if full { StopReason::ContextFull } else { StopReason::Length };
                return Ok(now);
            }
            made = Some(now);
        }
    }
}

fn pairs(adapters: &[Scaled]) -> Vec<(&Adapter, f32)> {
    adapters.iter().map(|(adapter, scale)| (adapter, *scale)).collect()
}

#[cfg(test)]
mod tests;

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

use crate::adapter::Adapter;
use crate::model::Model;
use crate::session::{Request, Session, SessionError, SessionOptions, adapter_room};
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
    options: SessionOptions,
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
        Self { conversation, model: model.clone(), options, session: None, adapters: Vec::new() }
    }

    /// Boots a session with room for `adapters`, and switches them on. One that there is goes first, as two would need twice the
    /// memory.
    ///
    /// # Errors
    /// [`ChatError::Session`]; there is no session then.
    pub fn boot(&mut self, adapters: Vec<Scaled>) -> Result<(), ChatError> {
        self.session = None;
        let room = adapter_room(adapters.iter().map(|(adapter, _)| adapter));
        let options = SessionOptions { adapters: room, ..self.options.clone() };
        let mut session = Session::new(&self.model, &options)?;
        if !adapters.is_empty() {
            session.set_adapters(&pairs(&adapters))?;
        }
        (self.session, self.adapters) = (Some(session), adapters);
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

    /// Switches to `adapters`, booting the session again where they need more room; where that fails, as it was before.
    ///
    /// # Errors
    /// Those of [`Chat::switch`] and [`Chat::boot`].
    pub fn set_adapters(&mut self, adapters: Vec<Scaled>) -> Result<(), ChatError> {
        if self.switch(&adapters)? {
            return Ok(());
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
        let session = self.session.as_mut().ok_or(ChatError::Asleep)?;
        let (prompt, dropped) = self.conversation.fit(session.ctx())?;
        if dropped > 0 {
            // What ends an answer is asked at its tokens.
            let _ = listener(Piece::Dropped(dropped));
        }
        let limit = self.conversation.manner.limit.min(session.ctx());
        let mut reply = self.conversation.reply(&prompt);
        let tokenizer = self.conversation.voice().tokenizer();
        loop {
            let turn = [Request::turn(&prompt, reply.sampler(), tokenizer)];
            let made = session
                .generate_batch(&turn, limit, &mut |_, token| reply.push(tokenizer, token, listener))?;
            if !reply.finish(listener) {
                let done = made.into_iter().next().ok_or(SessionError::EmptyPrompt)?;
                return Ok(reply.answer(done));
            }
        }
    }
}

fn pairs(adapters: &[Scaled]) -> Vec<(&Adapter, f32)> {
    adapters.iter().map(|(adapter, scale)| (adapter, *scale)).collect()
}

#[cfg(test)]
mod tests;

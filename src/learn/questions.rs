//! From questions and answers to the tokens that one model learns from.

use crate::model::Model;
use crate::text::{ChatTemplate, Message, TemplateVars, ThinkMarks, Tokenizer};
use crate::train::data::{EncodeOptions, Encoder, Example, RowError};

use super::LearnError;

/// Makes prompts of questions, and examples of their answers, for one model. For conversations that go on there is
/// [`chat::Voice`](crate::chat::Voice).
pub struct QuestionEncoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    vars: TemplateVars,
    system: Option<String>,
}

impl QuestionEncoder {
    /// With the model's own template, or another one.
    ///
    /// # Errors
    /// [`LearnError::Tokenizer`] and [`LearnError::Template`] where the model's cannot be used.
    pub fn new(model: &Model, template: Option<ChatTemplate>) -> Result<Self, LearnError> {
        let metadata = &model.gguf().metadata;
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let template = match template {
            Some(template) => Some(template),
            None => ChatTemplate::from_metadata(metadata, &tokenizer)?,
        };
        Ok(Self { tokenizer, template, vars: TemplateVars::new(), system: None })
    }

    /// With a system prompt for single questions.
    pub fn with_system(self, system: Option<String>) -> Self {
        Self { system, ..self }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What the model puts around its thoughts.
    pub fn marks(&self) -> Option<ThinkMarks> {
        ThinkMarks::of(self.template(), &self.tokenizer)
    }

    /// What makes sequences of conversations, each of at most `max_len` tokens.
    pub fn encoder(&self, max_len: usize) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, self.template(), EncodeOptions { max_len, ..EncodeOptions::default() })
    }

    /// The prompt of a conversation whose next message is the model's; without a template, its texts as they are.
    ///
    /// # Errors
    /// [`LearnError::Template`] where the template refuses the messages.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, LearnError> {
        match &self.template {
            Some(template) => Ok(template.encode(&self.tokenizer, messages, true, &self.vars)?),
            None => {
                let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                Ok(self.tokenizer.encode(&format!("{}\n", said.join("\n")), false, true))
            }
        }
    }

    /// The prompt of a single question.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub fn single(&self, question: &str) -> Result<Vec<u32>, LearnError> {
        let system = self.system.iter().map(|text| Message::new("system", text));
        let messages: Vec<Message> = system.chain([Message::new("user", question)]).collect();
        self.prompt(&messages)
    }

    /// An answer to learn.
    ///
    /// # Errors
    /// [`RowError`], as of [`Encoder::reply`].
    pub fn example(&self, messages: &[Message], reply: &str, max_len: usize) -> Result<Example, RowError> {
        self.encoder(max_len).reply(messages, reply)
    }
}

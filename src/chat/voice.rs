//! From messages to prompt tokens.

use super::ChatError;
use crate::model::Model;
use crate::text::{ChatTemplate, Message, TemplateVars, ThinkMarks, Tokenizer};

/// The names that templates have for the switch of a model's thoughts: Qwen, GLM, SmolLM3, Nemotron; DeepSeek, Granite.
const SWITCHES: [&str; 2] = ["enable_thinking", "thinking"];

/// A model's tokenizer and chat template.
#[derive(Debug)]
pub struct Voice {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    vars: TemplateVars,
}

impl Voice {
    /// Of these; without a template, texts are continued as they are.
    pub fn new(tokenizer: Tokenizer, template: Option<ChatTemplate>) -> Self {
        Self { tokenizer, template, vars: TemplateVars::new() }
    }

    /// With the tokenizer and the template of the model's file; ChatML where it has none.
    ///
    /// # Errors
    /// [`ChatError::Tokenizer`] and [`ChatError::Template`] where they cannot be used.
    pub fn of(model: &Model) -> Result<Self, ChatError> {
        let metadata = &model.gguf().metadata;
        let tokenizer = Tokenizer::from_metadata(metadata)?;
        let template = match ChatTemplate::from_metadata(metadata, &tokenizer)? {
            Some(template) => template,
            None => ChatTemplate::builtin("chatml")?.with_tokens_of(&tokenizer),
        };
        Ok(Self::new(tokenizer, Some(template)))
    }

    /// Switches thinking on or off, by the names that templates have for it; false if this one has no switch.
    pub fn think(&mut self, on: bool) -> bool {
        for name in SWITCHES {
            self.vars.insert(name.to_owned(), on.into());
        }
        self.template.as_ref().is_some_and(|template| has_word(template.source(), &SWITCHES))
    }

    /// What the model puts around its thoughts; nothing where a text is continued as it is.
    pub fn marks(&self) -> Option<ThinkMarks> {
        let template = self.template.as_ref()?;
        ThinkMarks::of(Some(template), &self.tokenizer)
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, if there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// A conversation whose next message is the model's; without a template, its texts as they are, a line each.
    ///
    /// # Errors
    /// [`ChatError::Template`] where the template refuses the messages.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, ChatError> {
        match &self.template {
            Some(template) => Ok(template.encode(&self.tokenizer, messages, true, &self.vars)?),
            None => {
                let said: Vec<&str> = messages.iter().map(|message| message.content.as_str()).collect();
                Ok(self.tokenizer.encode(&said.join("\n"), true, true))
            }
        }
    }
}

/// Whether one of `words` stands in a text by itself.
fn has_word(text: &str, words: &[&str]) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| words.contains(&word))
}

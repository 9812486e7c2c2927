//! Prompts that a model is to answer.

use super::chat::{Conversation, vars_of};
use super::encode::Encoder;
use super::error::{Reason, RowError};
use super::note::Notes;
use super::question::Prompt;

impl Encoder<'_> {
    /// Tokens after which the model answers; one position at least is left for that.
    pub(super) fn asked(&self, prompt: &Prompt, notes: &mut Notes) -> Result<Vec<u32>, RowError> {
        let visible = |text: &str| text.bytes().filter(|b| !b.is_ascii_whitespace()).count();
        let bytes = match prompt {
            Prompt::Text { text, .. } => visible(text),
            Prompt::Chat { messages, .. } => messages.iter().map(|m| visible(&m.content)).sum(),
        };
        let max = self.options.max_len;
        if bytes > self.surely_too_long {
            let what = format!("more than the {max} tokens that are allowed");
            return Err(RowError::new(Reason::Overlong, what));
        }
        let tokens = match prompt {
            Prompt::Chat { messages, tools } => {
                let template = self.template_for_chats()?;
                let mut messages = messages.clone();
                self.check_messages(template, &mut messages, tools.as_ref(), notes)?;
                self.put_system(&mut messages);
                let vars = vars_of(tools.as_ref());
                Conversation { encoder: self, template, vars: &vars }.check_written(&messages, notes)?;
                let encoded = template.encode(self.tokenizer, &messages, true, &vars);
                encoded.map_err(|e| RowError::new(Reason::Template, e))?
            }
            Prompt::Text { text, gap } => self.raw_prompt(&format!("{text}{gap}"), notes),
        };
        if tokens.is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the question is empty"));
        }
        let len = tokens.len();
        if len >= max {
            let what = format!(
                "the question has {len} tokens, and at most {} leave room for an answer",
                max.saturating_sub(1)
            );
            return Err(RowError::new(Reason::Overlong, what));
        }
        Ok(tokens)
    }
}

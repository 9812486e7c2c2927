//! Prompts that a model is to answer.

use super::chat::vars_of;
use super::encode::Encoder;
use super::error::{Reason, RowError};
use super::question::Prompt;

impl Encoder<'_> {
    /// Tokens after which the model answers; one position at least is left for that.
    pub(super) fn asked(&self, prompt: &Prompt) -> Result<Vec<u32>, RowError> {
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
                self.refuse_control_texts(messages, tools.as_ref())?;
                let mut messages = messages.clone();
                self.put_system(&mut messages);
                let encoded = template.encode(self.tokenizer, &messages, true, &vars_of(tools.as_ref()));
                encoded.map_err(|e| RowError::new(Reason::Template, e))?
            }
            Prompt::Text { text, gap } => {
                let mut tokens = self.tokenizer.encode(&format!("{text}{gap}"), false, false);
                self.put_bos(&mut tokens);
                tokens
            }
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

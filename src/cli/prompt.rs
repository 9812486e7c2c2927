//! From text to prompt tokens: the chat template, or the text as it is.

use crate::cli::args::PromptArgs;
use crate::cli::chat::{Role, Talk};
use crate::cli::error::CliResult;
use crate::model::Model;
use crate::text::{Segment, Tokenizer};

/// Makes prompts for one model.
pub struct Prompter {
    tokenizer: Tokenizer,
    raw: bool,
    system: Option<String>,
}

impl Prompter {
    /// Reads the tokenizer and the template. `raw`: without a template.
    pub fn new(model: &Model, args: &PromptArgs, raw: bool) -> CliResult<Self> {
        let tokenizer = Tokenizer::from_metadata(&model.gguf().metadata)?;
        Ok(Self { tokenizer, raw, system: args.system.clone() })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// A single question, or a text to be continued.
    pub fn single(&self, text: &str) -> CliResult<Vec<u32>> {
        if self.raw {
            return Ok(self.tokenizer.encode(text, true, true));
        }
        let mut talk = Talk::new(self.system.clone());
        talk.user(text);
        self.chat(&talk)
    }

    /// A conversation whose next message is the model's.
    pub fn chat(&self, talk: &Talk) -> CliResult<Vec<u32>> {
        let mut segments = Vec::new();
        let mut put = |text: &str, message| segments.push(Segment { text: text.into(), message });
        if let Some(system) = &talk.system {
            put("<|im_start|>system\n", None);
            put(system, Some(0));
            put("<|im_end|>\n", None);
        }
        for (i, m) in talk.messages.iter().enumerate() {
            put("<|im_start|>", None);
            put(if m.role == Role::User { "user\n" } else { "assistant\n" }, None);
            put(&m.content, Some(i + 1));
            put("<|im_end|>\n", None);
        }
        put("<|im_start|>assistant\n", None);
        Ok(self.tokenizer.encode_segments(&segments, true))
    }
}

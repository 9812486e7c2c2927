//! From text to prompt tokens: the chat template, or the text as it is.

use std::path::Path;

use crate::chat::{Conversation, Manner, Voice};
use crate::cli::answer_args::Think;
use crate::cli::args::PromptArgs;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::term;
use crate::model::Model;
use crate::text::{ChatTemplate, Message, Tokenizer, builtin_names};
use crate::train::data::{EncodeOptions, Encoder};

/// Makes prompts for one model.
pub struct Prompter {
    voice: Voice,
    system: Option<String>,
}

impl Prompter {
    /// For one prompt: the template asked for, or the model's if it has one, or none; `raw` is none.
    pub fn for_text(model: &Model, args: &PromptArgs, raw: bool) -> CliResult<Self> {
        let tokenizer = engine::tokenizer(model.file())?;
        let template = if raw { None } else { template(model, args, &tokenizer)? };
        if template.is_none() && args.system.is_some() {
            let what = "a system prompt needs a chat template, and the model has none";
            return Err(CliError::usage(what).advise(format!("--chat-template with one of: {}", names())));
        }
        Ok(Self { voice: Voice::new(tokenizer, template), system: args.system.clone() })
    }

    /// For a conversation, which needs a template: ChatML where the model has none.
    pub fn for_chat(model: &Model, args: &PromptArgs) -> CliResult<Self> {
        let tokenizer = engine::tokenizer(model.file())?;
        let template = match template(model, args, &tokenizer)? {
            Some(template) => template,
            None => {
                term::warn(
                    "the model has no chat template and may not be made to chat; using chatml (--chat-template)",
                );
                ChatTemplate::builtin("chatml")?.with_tokens_of(&tokenizer)
            }
        };
        Ok(Self { voice: Voice::new(tokenizer, Some(template)), system: args.system.clone() })
    }

    /// Switches thinking on or off; false if the template has no switch for it.
    pub fn think(&mut self, think: Think) -> bool {
        match think {
            Think::Auto => true,
            Think::On => self.voice.think(true),
            Think::Off => self.voice.think(false),
        }
    }

    /// A conversation with this system prompt, in which nothing was said yet.
    pub fn conversation(self) -> Conversation {
        let mut conversation = Conversation::new(self.voice, Manner::default());
        conversation.talk.system = self.system;
        conversation
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        self.voice.tokenizer()
    }

    /// The chat template, if there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.voice.template()
    }

    /// The system prompt of conversations that have none.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// What makes sequences of rows; the system prompt is that of conversations that have none.
    pub fn encoder(&self, options: EncodeOptions) -> Encoder<'_> {
        Encoder::new(self.tokenizer(), self.template(), options).with_system(self.system())
    }

    /// A single question, or, without a template, a text to be continued.
    pub fn single(&self, text: &str) -> CliResult<Vec<u32>> {
        let system = self.system().map(|system| Message::new("system", system)).into_iter();
        let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
        Ok(self.voice.prompt(&messages)?)
    }
}

/// The template that `--chat-template` names (a built-in one, or a file), else the model's own.
fn template(model: &Model, args: &PromptArgs, tokenizer: &Tokenizer) -> CliResult<Option<ChatTemplate>> {
    let Some(wanted) = &args.chat_template else {
        let own = ChatTemplate::from_metadata(&model.gguf().metadata, tokenizer);
        return own.map_err(|e| CliError::from(e).at(model.path().display()));
    };
    let path = Path::new(wanted);
    let template = if builtin_names().any(|name| name == wanted)
        || !(path.exists() || wanted.contains(['/', '\\', '.']))
    {
        ChatTemplate::builtin(wanted)?
    } else {
        let source = text_file(path)?;
        ChatTemplate::new(&source).map_err(|e| CliError::from(e).at(path.display()))?
    };
    Ok(Some(template.with_tokens_of(tokenizer)))
}

/// The names of the built-in templates.
pub fn names() -> String {
    builtin_names().collect::<Vec<_>>().join(", ")
}

//! From text to prompt tokens: the chat template, or the text as it is.

use std::path::Path;

use crate::cli::answer_args::Think;
use crate::cli::args::PromptArgs;
use crate::cli::chat::Talk;
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::term;
use crate::learn::Memory;
use crate::model::Model;
use crate::text::{ChatTemplate, Message, TemplateVars, ThinkMarks, Tokenizer, builtin_names};
use crate::train::data::{EncodeOptions, Encoder};

/// Makes prompts for one model.
pub struct Prompter {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    system: Option<String>,
    vars: TemplateVars,
    /// Goes into the system prompt of conversations.
    memory: Option<String>,
}

/// Most tokens of the memory in a prompt.
const MEMORY: usize = 256;

impl Prompter {
    /// For one prompt: the template asked for, or the model's if it has one, or none; `raw` is none.
    pub fn for_text(model: &Model, args: &PromptArgs, raw: bool) -> CliResult<Self> {
        let tokenizer = engine::tokenizer(model.file())?;
        let template = if raw { None } else { template(model, args, &tokenizer)? };
        if template.is_none() && args.system.is_some() {
            let what = "a system prompt needs a chat template, and the model has none";
            return Err(CliError::usage(what).advise(format!("--chat-template with one of: {}", names())));
        }
        Ok(Self { tokenizer, template, system: args.system.clone(), vars: TemplateVars::new(), memory: None })
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
        let (template, system) = (Some(template), args.system.clone());
        Ok(Self { tokenizer, template, system, vars: TemplateVars::new(), memory: None })
    }

    /// Switches thinking on or off, by the names that templates have for it; false if this one has no switch.
    pub fn think(&mut self, think: Think) -> bool {
        let on = match think {
            Think::Auto => return true,
            Think::On => true,
            Think::Off => false,
        };
        // Qwen, GLM, SmolLM3, Nemotron; DeepSeek, Granite.
        for name in ["enable_thinking", "thinking"] {
            self.vars.insert(name.to_owned(), on.into());
        }
        self.template
            .as_ref()
            .is_some_and(|template| has_word(template.source(), &["enable_thinking", "thinking"]))
    }

    /// Puts what is remembered into the system prompt of conversations, as far as there is room; gives how many lines
    /// there was none for.
    pub fn remember(&mut self, memory: &Memory) -> usize {
        let (text, left_out) = memory.prompt(MEMORY, |text| self.tokenizer.encode(text, false, false).len());
        self.memory = text;
        left_out
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

    /// The system prompt of conversations that have none.
    pub fn system(&self) -> Option<&str> {
        self.system.as_deref()
    }

    /// What makes sequences of rows; the system prompt is that of conversations that have none.
    pub fn encoder(&self, options: EncodeOptions) -> Encoder<'_> {
        Encoder::new(&self.tokenizer, self.template(), options).with_system(self.system.as_deref())
    }

    /// A single question, or, without a template, a text to be continued.
    pub fn single(&self, text: &str) -> CliResult<Vec<u32>> {
        if self.template.is_none() {
            return Ok(self.tokenizer.encode(text, true, true));
        }
        let mut talk = Talk::new(self.system.clone());
        talk.user(text);
        self.chat(&talk)
    }

    /// A conversation whose next message is the model's.
    pub fn chat(&self, talk: &Talk) -> CliResult<Vec<u32>> {
        let Some(template) = &self.template else {
            return Err(CliError::failed("a conversation needs a chat template"));
        };
        let parts: Vec<&str> =
            [talk.system.as_deref(), self.memory.as_deref()].into_iter().flatten().collect();
        let system = (!parts.is_empty()).then(|| Message::new("system", parts.join("\n\n"))).into_iter();
        let said = talk.messages.iter().map(|m| Message::new(m.role.name(), &m.content));
        let messages: Vec<Message> = system.chain(said).collect();
        Ok(template.encode(&self.tokenizer, &messages, true, &self.vars)?)
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

/// Whether one of `words` stands in a text by itself.
fn has_word(text: &str, words: &[&str]) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| words.contains(&word))
}

/// The names of the built-in templates.
pub fn names() -> String {
    builtin_names().collect::<Vec<_>>().join(", ")
}

//! Chat templates: from messages to the prompt a model was trained on.
//!
//! Model files carry a Jinja template written for Hugging Face's `apply_chat_template`. It is rendered by minijinja,
//! rewritten ([`rewrite`]) so that its expressions do what Python does ([`python`]), with what such templates find there:
//! `trim_blocks` and `lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson` of `json.dumps`,
//! `bos_token` and `eos_token`, and `tools` and `documents`, which are none unless given.
//!
//! A template comes from a file that nobody vouches for, so that its work is bounded.

mod builtin;
mod clock;
#[cfg(feature = "train")]
mod json;
mod python;
mod rewrite;
mod segments;

use std::collections::BTreeMap;
use std::time::SystemTime;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value};
use thiserror::Error;

pub use builtin::builtin_names;
pub use clock::utc;
#[cfg(feature = "train")]
pub use json::from_json;

use super::tokenizer::{Segment, Tokenizer};
use crate::gguf::Metadata;

/// A value for a template: text, numbers, lists, maps.
pub type TemplateValue = Value;
/// Further variables for a template by name, such as `tools` or `enable_thinking`.
pub type TemplateVars = BTreeMap<String, TemplateValue>;

/// The most steps one rendering may take, and about 64 times as many bytes it may make.
const FUEL: u64 = 3_000_000;
const NAME: &str = "chat_template";

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or what else the template knows. Part of the template's text: do
    /// not take it from a stranger.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Further fields for the template, such as `tool_calls` or `name`. Part of the template's text, like the role. A field
    /// called `content` takes the place of the text, for contents in parts or none.
    pub extra: TemplateVars,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: TemplateVars::new() }
    }

    /// With a further field for the template.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<TemplateValue>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// As `apply_chat_template` hands it on: without fields that are none, and with the reasoning under each of its names.
    fn to_value(&self) -> Result<Value, Error> {
        let own =
            [("role", Value::from(self.role.as_str())), ("content", Value::from(self.content.as_str()))];
        let own = own.into_iter().filter(|(name, _)| !self.extra.contains_key(*name));
        let extra = self.extra.iter().map(|(name, value)| (name.as_str(), value.clone()));
        let fields: Vec<_> = own.chain(extra).filter(|(_, value)| !value.is_none()).collect();
        let field =
            |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let reasoning = REASONING.iter().find_map(|name| field(name));
        let mut pairs = Vec::with_capacity(fields.len() + 2);
        if let Some(reasoning) = &reasoning {
            pairs.push(("thinking", reasoning.clone()));
        }
        pairs.extend(fields);
        if let Some(reasoning) = reasoning {
            pairs.push(("reasoning_content", reasoning));
        }
        let pairs = pairs.into_iter().map(|(name, value)| Ok((Value::from(name), python::adopt(&value)?)));
        python::Dict::make(pairs.collect::<Result<Vec<_>, Error>>()?)
    }
}

/// What a message's reasoning is called, the usual name first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Why a template could not be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// The template is not valid Jinja.
    #[error("the chat template is not valid: line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template failed while rendering.
    #[error("the chat template failed: line {line}: {message}")]
    Render {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template refuses these messages by `raise_exception`.
    #[error("the chat template refuses the conversation: {message}")]
    Refused {
        /// In the words of the template.
        message: String,
    },
    /// There is no built-in template of that name.
    #[error("there is no chat template '{name}'; known are: {}", builtin::names_in_line())]
    UnknownName {
        /// The name.
        name: String,
    },
}

/// A chat template, compiled.
#[derive(Clone)]
pub struct ChatTemplate {
    env: Environment<'static>,
    source: String,
    bos: String,
    eos: String,
    clock: Option<SystemTime>,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`], with the line.
    pub fn new(source: &str) -> Result<Self, TemplateError> {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let rewritten = rewrite::rewrite(source)
            .map_err(|e| TemplateError::Syntax { line: e.line, message: e.message })?;
        let mut env = Environment::empty();
        let mut syntax = SyntaxConfig::builder();
        env.set_syntax(syntax.keep_trailing_newline(true).build().map_err(syntax_error)?);
        env.set_fuel(Some(FUEL));
        python::install(&mut env);
        env.add_template_owned(NAME, rewritten).map_err(syntax_error)?;
        Ok(Self { env, source: source.to_owned(), bos: String::new(), eos: String::new(), clock: None })
    }

    /// A built-in template: see [`builtin_names`].
    ///
    /// # Errors
    /// [`TemplateError::UnknownName`].
    pub fn builtin(name: &str) -> Result<Self, TemplateError> {
        let source =
            builtin::source(name).ok_or_else(|| TemplateError::UnknownName { name: name.to_owned() })?;
        Self::new(source)
    }

    /// The template of a model file with its tokenizer's `bos_token` and `eos_token`, if the file has one.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`], with the line.
    pub fn from_metadata(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Option<Self>, TemplateError> {
        let Ok(source) = metadata.get_str("tokenizer.chat_template") else { return Ok(None) };
        Ok(Some(Self::new(source)?.with_tokens_of(tokenizer)))
    }

    /// Sets `bos_token` and `eos_token` to the texts of the tokenizer's tokens.
    pub fn with_tokens_of(self, tokenizer: &Tokenizer) -> Self {
        let text = |id: Option<u32>| {
            let bytes = id.and_then(|id| tokenizer.token_bytes(id)).unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        self.with_tokens(bos, eos)
    }

    /// Sets `bos_token` and `eos_token`.
    pub fn with_tokens(mut self, bos: impl Into<String>, eos: impl Into<String>) -> Self {
        self.bos = bos.into();
        self.eos = eos.into();
        self
    }

    /// Sets the time that `strftime_now` tells, in UTC, instead of the machine's own, so that prompts are the same every day
    /// and everywhere.
    pub fn with_clock(mut self, time: SystemTime) -> Self {
        self.clock = Some(time);
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders the messages. `add_generation_prompt`: the beginning of the assistant's next turn follows. `extra`
    /// variables come on top of the usual ones, and before them where names are the same.
    ///
    /// # Errors
    /// [`TemplateError::Refused`] or [`TemplateError::Render`].
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &TemplateVars,
    ) -> Result<String, TemplateError> {
        let work = python::Rendering::begin();
        let rendered = self.render_bounded(messages, add_generation_prompt, extra).map_err(render_error)?;
        if work.exhausted() {
            return Err(render_error(Error::from(ErrorKind::OutOfFuel)));
        }
        Ok(rendered)
    }

    fn render_bounded(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &TemplateVars,
    ) -> Result<String, Error> {
        let clock = self.clock;
        let strftime = move |format: &str| {
            let moment = clock.map_or_else(clock::Moment::now, clock::Moment::utc);
            clock::strftime(format, &moment)
        };
        let messages = messages.iter().map(Message::to_value).collect::<Result<Vec<_>, _>>()?;
        let mut vars: TemplateVars = TemplateVars::new();
        let mut set = |name: &str, value: Value| vars.insert(name.to_owned(), value);
        set("messages", python::list(messages)?);
        set("add_generation_prompt", Value::from(add_generation_prompt));
        set("bos_token", Value::from(self.bos.as_str()));
        set("eos_token", Value::from(self.eos.as_str()));
        set("tools", Value::from(()));
        set("documents", Value::from(()));
        set("strftime_now", Value::from_function(strftime));
        for (name, value) in extra {
            vars.insert(name.clone(), python::adopt(value)?);
        }
        let template = self.env.get_template(NAME)?;
        template.render(Value::from(vars))
    }

    /// Renders the messages, telling the template's text from the messages' contents, so that a user cannot end their
    /// own turn by typing `<|im_end|>`. The segments put together are what [`Self::render`] gives.
    ///
    /// Each message's characters are followed through the template under assumed names (private-use characters).
    /// Templates that trim contents or put them in any order are no problem. Where a template looks into the
    /// contents (for `</think>`, say), or changes them, that would change its output; then only occurrences of the
    /// `reserved` texts in the contents are marked, by their first character: pass the control tokens' texts
    /// ([`Tokenizer::control_texts`]).
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_segments(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &TemplateVars,
        reserved: &[&str],
    ) -> Result<Vec<Segment>, TemplateError> {
        let render = |messages: &[Message]| self.render(messages, add_generation_prompt, extra);
        segments::trace(messages, reserved, render)
    }

    /// From messages to token ids: renders, and makes control tokens of the template's text alone. The model's
    /// beginning-of-sequence token is added unless the template wrote it.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
        extra: &TemplateVars,
    ) -> Result<Vec<u32>, TemplateError> {
        let reserved: Vec<&str> = tokenizer.control_texts().collect();
        let segments = self.render_segments(messages, add_generation_prompt, extra, &reserved)?;
        let mut ids = tokenizer.encode_segments(&segments, false);
        if let Some(bos) = tokenizer.bos().filter(|bos| tokenizer.adds_bos() && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("bos", &self.bos).field("eos", &self.eos).finish_non_exhaustive()
    }
}

fn syntax_error(error: Error) -> TemplateError {
    TemplateError::Syntax { line: error.line().unwrap_or(0), message: message_of(&error) }
}

fn render_error(error: Error) -> TemplateError {
    if let Some(message) = python::refusal(&error) {
        return TemplateError::Refused { message };
    }
    TemplateError::Render { line: error.line().unwrap_or(0), message: message_of(&error) }
}

fn message_of(error: &Error) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "it takes too many steps".to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

#[cfg(test)]
mod tests;

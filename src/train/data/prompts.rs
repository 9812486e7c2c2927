//! Prompts that a model answers while it learns, with what its answers are judged by.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::encode::Encoder;
use super::error::{Reason, RowError};
use super::example::{Source, TokenCounts, hash};
use super::items::private::FromRow;
use super::items::{Item, Items, Made};
use super::question::Prompt as Asked;
use super::row::{self, MAX_VALUES, conversation, is_string, json_error, separators, string};
use crate::text::Message;

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// The token ids, to the end of the generation prompt: the model's answer comes next.
    pub tokens: Vec<u32>,
    /// What is asked, for people and reward functions: the last turn of the user, or the whole text.
    pub text: String,
    /// Where the row is.
    pub source: Source,
    /// A hash of the tokens.
    pub key: u64,
    /// The row's JSON. Values would take many times the memory of their text.
    row: Box<str>,
    /// The column that became the prompt.
    column: &'static str,
}

impl Prompt {
    /// A prompt of one's own, with `row` for the reward functions.
    pub fn new(tokens: Vec<u32>, text: impl Into<String>, row: &serde_json::Map<String, Value>) -> Self {
        let key = hash(0, &tokens);
        // Writing a map of values does not fail.
        let row = serde_json::to_string(row).unwrap_or_else(|_| "{}".into()).into();
        Self { tokens, text: text.into(), source: Source::default(), key, row, column: "" }
    }

    /// All columns but the one that became the prompt, for reward functions. Read anew at every call.
    pub fn row(&self) -> serde_json::Map<String, Value> {
        // It has been read once before, so that it can be.
        let mut row: serde_json::Map<String, Value> = serde_json::from_str(&self.row).unwrap_or_default();
        row.shift_remove(self.column);
        row
    }
}

/// Prompts. Rows are `prompt`, a string or a list of messages that ends with the user's turn, or `messages`, of which a reply at
/// the end is left out; with `tools` as in a conversation. All other columns are kept ([`Prompt::row`]).
pub type Prompts = Items<Prompt>;

#[derive(Deserialize)]
struct RawPrompt<'a> {
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

/// The turns of a conversation up to where the model speaks.
fn turns(raw: &RawValue, key: &str) -> Result<Vec<Message>, RowError> {
    let mut messages = conversation(raw, key, "user")?;
    if key == "messages" {
        while messages.pop_if(|m| m.role == "assistant").is_some() {}
    }
    match messages.last() {
        Some(last) if last.role == "user" || last.role == "tool" => Ok(messages),
        Some(last) => {
            let what = format!("{key} ends with the turn of `{}`, and the user's must be last", last.role);
            Err(RowError::new(Reason::WrongType, what))
        }
        None => Err(RowError::new(Reason::NothingToTrain, format!("{key} is empty, or replies alone"))),
    }
}

/// What is asked: as it goes to the template, and the text for people.
fn asked(raw: &RawPrompt, text: &str, chats: bool) -> Result<(&'static str, Asked, String), RowError> {
    let (column, value) = match (raw.prompt, raw.messages) {
        (Some(prompt), _) => ("prompt", prompt),
        (None, Some(messages)) => ("messages", messages),
        (None, None) => return Err(row::unknown(text, "known are prompt, and messages")),
    };
    let tools = row::tools(raw.tools)?;
    if column == "prompt" && is_string(value) && !chats {
        let text = string(value, column)?;
        return Ok((column, Asked::Text { text: text.clone(), gap: "" }, text));
    }
    let messages = turns(value, column)?;
    let last = messages.iter().rfind(|m| m.role == "user").map(|m| m.content.clone()).unwrap_or_default();
    Ok((column, Asked::Chat { messages, tools }, last))
}

impl FromRow for Prompt {
    fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError> {
        let raw: RawPrompt = serde_json::from_str(text).map_err(json_error)?;
        let (column, prompt, words) = asked(&raw, text, encoder.template.is_some())?;
        if words.trim().is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the prompt is empty"));
        }
        if separators(text) > MAX_VALUES {
            let what = format!("it has more than {MAX_VALUES} values");
            return Err(RowError::new(Reason::RowTooLong, what));
        }
        // What cannot become values is found now rather than in the midst of a run.
        let _: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(json_error)?;
        let mut tokens = encoder.asked(&prompt)?;
        tokens.shrink_to_fit();
        let key = hash(0, &tokens);
        let prompt = Self { tokens, text: words, source, key, row: text.into(), column };
        Ok(Made::new(vec![prompt], &[]))
    }
}

impl Item for Prompt {
    fn key(&self) -> u64 {
        self.key
    }

    fn counts(&self) -> TokenCounts {
        TokenCounts { trained: 0, total: self.tokens.len() as u64 }
    }
}

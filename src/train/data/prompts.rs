//! Prompts that a model answers while it learns, with what its answers are judged by.

use serde_json::Value;
use serde_json::value::RawValue;

use super::encode::Encoder;
use super::error::{Reason, RowError};
use super::example::{Source, TokenCounts, hash};
use super::fields::{Fields, MAX_VALUES, is_string, json_error, separators, string};
use super::items::private::FromRow;
use super::items::{Item, Items, Made};
use super::message::{self, Turns, conversation};
use super::note::Notes;
use super::question::Prompt as Asked;
use super::row::{CHATS, QUESTIONS, system, with_input};

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

/// Prompts. Rows are `prompt` (or `question`, `query`, `problem`, `instruction`), a string or a list of messages that ends with
/// the user's turn, or `messages` (or `conversations`), of which a reply at the end is left out; with `tools` as in a conversation. All other columns are kept ([`Prompt::row`]).
pub type Prompts = Items<Prompt>;

const COLUMNS: [&str; 14] = [
    "prompt",
    "question",
    "query",
    "problem",
    "instruction",
    "input",
    "context",
    "messages",
    "conversations",
    "conversation",
    "tools",
    "functions",
    "system",
    "system_prompt",
];

/// The turns of a conversation up to where the model speaks.
fn turns(raw: &RawValue, key: &str) -> Result<Turns, RowError> {
    let mut turns = conversation(raw, key, "user")?;
    if CHATS.contains(&key) {
        let end = turns.messages.iter().rposition(|m| m.role != "assistant").map_or(0, |last| last + 1);
        turns.truncate(end);
    }
    match turns.messages.last() {
        Some(last) if last.role == "user" || last.role == "tool" => Ok(turns),
        Some(last) => {
            let what = format!("{key} ends with the turn of `{}`, and the user's must be last", last.role);
            Err(RowError::new(Reason::WrongType, what))
        }
        None => Err(RowError::new(Reason::NothingToTrain, format!("{key} is empty, or replies alone"))),
    }
}

/// What is asked: as it goes to the template, and the text for people.
fn asked(fields: &Fields, encoder: &Encoder) -> Result<(&'static str, Asked, String), RowError> {
    let found = fields.first(&["prompt"]).or_else(|| fields.first(&CHATS));
    let Some((column, value)) =
        found.or_else(|| fields.first(&QUESTIONS)).or_else(|| fields.first(&["instruction"]))
    else {
        return Err(fields.unknown("known are prompt, question, instruction, and messages"));
    };
    let tools = message::tools(fields)?;
    if !is_string(value) || CHATS.contains(&column) {
        let turns = turns(value, column)?.with_system(system(fields)?);
        let last = turns.messages.iter().rfind(|m| m.role == "user").map(|m| m.content.clone());
        return Ok((column, Asked::Chat { messages: turns.messages, tools }, last.unwrap_or_default()));
    }
    let text = with_input(fields, column, string(value, column)?)?;
    if encoder.template.is_none() || encoder.is_templated(&text) {
        return Ok((column, Asked::Text { text: text.clone(), gap: "" }, text));
    }
    let turns = Turns::one("user", text.clone()).with_system(system(fields)?);
    Ok((column, Asked::Chat { messages: turns.messages, tools }, text))
}

impl FromRow for Prompt {
    fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError> {
        let (column, prompt, words) = asked(&Fields::read(text, &COLUMNS)?, encoder)?;
        if words.trim().is_empty() {
            return Err(RowError::new(Reason::NothingToTrain, "the prompt is empty"));
        }
        if separators(text) > MAX_VALUES {
            let what = format!("it has more than {MAX_VALUES} values");
            return Err(RowError::new(Reason::RowTooLong, what));
        }
        // What cannot become values is found now rather than in the midst of a run.
        let _: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(json_error)?;
        let mut notes = Notes::new();
        let mut tokens = encoder.asked(&prompt, &mut notes)?;
        tokens.shrink_to_fit();
        let key = hash(0, &tokens);
        let prompt = Self { tokens, text: words, source, key, row: text.into(), column };
        Ok(Made { notes, ..Made::new(vec![prompt], &[]) })
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

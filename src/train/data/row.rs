//! From a row's JSON text to what it says.

use serde_json::value::RawValue;

use super::error::RowError;
use super::fields::{Bounded, Fields, is_string, json_error, object, string, wrong};
use super::marks;
use super::message::{Turns, conversation, tools};
use super::question;
use crate::text::{Message, TemplateValue};

/// What a row says.
#[derive(Debug)]
pub(super) enum Row {
    Chat(Chat),
    /// Text before and after; `gap` goes between them where there is no chat template.
    Pair {
        prompt: String,
        gap: &'static str,
        completion: String,
    },
    Text(String),
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) turns: Turns,
    /// Replies from here on are trained on.
    pub(super) train_from: usize,
    pub(super) tools: Option<TemplateValue>,
}

/// Columns that are whole conversations.
pub(super) const CHATS: [&str; 3] = ["messages", "conversations", "conversation"];
/// Columns of questions, beside `instruction`, which may have an input.
pub(super) const QUESTIONS: [&str; 4] = ["prompt", "question", "query", "problem"];

/// Columns that belong together, the first that are there count. What has a gap comes of tables, where the answer does not go on
/// where the question ends.
const PAIRS: [(&str, &str, &str); 20] = [
    ("prompt", "completion", ""),
    ("instruction", "output", "\n"),
    ("instruction", "response", "\n"),
    ("instruction", "completion", "\n"),
    ("instruction", "answer", "\n"),
    ("prompt", "response", "\n"),
    ("prompt", "output", "\n"),
    ("prompt", "answer", "\n"),
    ("question", "answer", "\n"),
    ("question", "response", "\n"),
    ("question", "output", "\n"),
    ("question", "completion", "\n"),
    ("query", "response", "\n"),
    ("query", "answer", "\n"),
    ("query", "output", "\n"),
    ("problem", "solution", "\n"),
    ("problem", "answer", "\n"),
    ("input", "output", "\n"),
    ("input", "response", "\n"),
    ("input", "answer", "\n"),
];

const COLUMNS: [&str; 25] = [
    "messages",
    "conversations",
    "conversation",
    "prompt",
    "instruction",
    "question",
    "query",
    "problem",
    "input",
    "context",
    "completion",
    "output",
    "response",
    "answer",
    "solution",
    "choices",
    "text",
    "tools",
    "functions",
    "system",
    "system_prompt",
    "history",
    "weight",
    "train",
    "trainable",
];

const KNOWN: &str = "known are messages (or conversations), prompt with completion, instruction with output, question with \
                     answer, query with response, input with output, and text";

/// The most earlier turns of `history`.
const MAX_HISTORY: usize = 256;

/// The text of a row that is learnt as it stands.
pub(in crate::train) fn text_alone(bytes: &[u8]) -> Result<String, RowError> {
    let fields = Fields::read(object(bytes)?, &["text", "weight", "train", "trainable"])?;
    marks::of_row(&fields)?;
    let text =
        fields.get("text").ok_or_else(|| fields.unknown("a row of a corpus has its text in `text`"))?;
    string(text, "text")
}

/// Reads a row from the text of an object.
pub(super) fn from_object(text: &str) -> Result<Row, RowError> {
    let fields = Fields::read(text, &COLUMNS)?;
    marks::of_row(&fields)?;
    shape(&fields)
}

fn shape(fields: &Fields) -> Result<Row, RowError> {
    if let Some((key, raw)) = fields.first(&CHATS) {
        let turns = conversation(raw, key, "user")?.with_system(system(fields)?);
        return Ok(Row::Chat(Chat { turns, train_from: 0, tools: tools(fields)? }));
    }
    for (question, answer, gap) in PAIRS {
        if let (Some(prompt), Some(completion)) = (fields.get(question), fields.get(answer)) {
            return pair(fields, (question, prompt), gap, (answer, completion));
        }
    }
    if let Some(text) = fields.get("text") {
        return Ok(Row::Text(string(text, "text")?));
    }
    Err(fields.unknown(KNOWN))
}

/// A column with its name.
type Column<'a> = (&'static str, &'a RawValue);

fn pair(
    fields: &Fields,
    (key, prompt): Column,
    gap: &'static str,
    (answer_key, answer): Column,
) -> Result<Row, RowError> {
    let (tools, system) = (tools(fields)?, system(fields)?);
    let history = if key == "instruction" { history(fields)? } else { Turns::default() };
    if !is_string(prompt) || (!is_string(answer) && answer_key == "completion") {
        let mut turns = conversation(prompt, key, "user")?.with_system(system);
        let train_from = turns.messages.len();
        turns.extend(conversation(answer, answer_key, "assistant")?);
        return Ok(Row::Chat(Chat { turns, train_from, tools }));
    }
    let prompt = with_input(fields, key, string(prompt, key)?)?;
    let completion = match answer_key {
        "answer" => question::right_answer(fields.get("choices"), answer)?,
        key => string(answer, key)?,
    };
    if system.is_none() && tools.is_none() && history.messages.is_empty() {
        return Ok(Row::Pair { prompt, gap, completion });
    }
    let mut turns = history.with_system(system);
    turns.push(Message::new("user", prompt), false);
    turns.push(Message::new("assistant", completion), false);
    Ok(Row::Chat(Chat { turns, train_from: 0, tools }))
}

/// What an instruction or a question comes with is part of it.
pub(super) fn with_input(fields: &Fields, key: &str, mut prompt: String) -> Result<String, RowError> {
    let (input, context) = (fields.get("input"), fields.get("context"));
    let wanted = match key {
        "instruction" => input.map(|raw| ("input", raw)).or(context.map(|raw| ("context", raw))),
        _ => None,
    };
    let input = wanted.map(|(key, raw)| string(raw, key)).transpose()?;
    if let Some(input) = input.filter(|input| !input.trim().is_empty()) {
        prompt.push('\n');
        prompt.push_str(&input);
    }
    Ok(prompt)
}

/// The system prompt of a column of its own.
pub(super) fn system(fields: &Fields) -> Result<Option<String>, RowError> {
    let Some((key, raw)) = fields.first(&["system", "system_prompt"]) else { return Ok(None) };
    Ok(Some(string(raw, key)?).filter(|text| !text.trim().is_empty()))
}

/// Earlier turns beside an instruction: a list of pairs of a question and an answer.
fn history(fields: &Fields) -> Result<Turns, RowError> {
    let mut turns = Turns::default();
    let Some(raw) = fields.get("history") else { return Ok(turns) };
    if !raw.get().starts_with('[') {
        return Err(wrong("history", raw, "a list of pairs of a question and an answer"));
    }
    let pairs: Bounded<[String; 2], MAX_HISTORY> = serde_json::from_str(raw.get()).map_err(json_error)?;
    for [question, answer] in pairs.0 {
        turns.push(Message::new("user", question), false);
        turns.push(Message::new("assistant", answer), false);
    }
    Ok(turns)
}

//! From a row's JSON text to what it says. Nothing is copied but what is used, and lists are bounded.

use std::fmt;
use std::marker::PhantomData;

use minijinja::value::Serde;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::error::{Reason, RowError, shorten};
use crate::text::{Message, TemplateValue};

/// The most messages of a conversation: work on one grows with their square.
const MAX_MESSAGES: usize = 512;
/// The deepest nesting.
const MAX_DEPTH: usize = 100;
/// The most values in tools, tool calls and further columns, which take much more memory than their text.
pub(super) const MAX_VALUES: usize = 50_000;

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
    pub(super) messages: Vec<Message>,
    /// Replies from here on are trained on.
    pub(super) train_from: usize,
    pub(super) tools: Option<TemplateValue>,
}

#[derive(Deserialize)]
struct RawRow<'a> {
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    completion: Option<&'a RawValue>,
    #[serde(borrow)]
    instruction: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawMessage<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_calls: Option<&'a RawValue>,
    #[serde(borrow)]
    tool_call_id: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    reasoning_content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawPart<'a> {
    #[serde(borrow)]
    r#type: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Reads a row.
pub(super) fn parse(bytes: &[u8]) -> Result<Row, RowError> {
    from_object(object(bytes)?)
}

/// Reads a row from the text of an object.
pub(super) fn from_object(text: &str) -> Result<Row, RowError> {
    let raw: RawRow = serde_json::from_str(text).map_err(json_error)?;
    shape(&raw, text)
}

/// Bytes as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, RowError> {
    std::str::from_utf8(bytes).map_err(|e| {
        RowError::new(Reason::NotUtf8, format!("the bytes from {} on are no UTF-8", e.valid_up_to() + 1))
    })
}

/// The text of a row that is an object, nested no deeper than is read.
pub(super) fn object(bytes: &[u8]) -> Result<&str, RowError> {
    let text = utf8(bytes)?.trim();
    if text.is_empty() {
        return Err(RowError::new(Reason::Empty, "there is nothing in it"));
    }
    if !text.starts_with('{') {
        let advice = if text.starts_with('[') { " (an array of rows belongs into a .json file)" } else { "" };
        let what = format!("the row is {}, not an object{advice}", kind(text));
        return Err(RowError::new(Reason::WrongType, what));
    }
    if depth(text) > MAX_DEPTH {
        return Err(RowError::new(Reason::BadJson, format!("nested deeper than {MAX_DEPTH}")));
    }
    Ok(text)
}

fn shape(raw: &RawRow, text: &str) -> Result<Row, RowError> {
    if let Some(messages) = raw.messages {
        let messages = conversation(messages, "messages", "user")?;
        return Ok(Row::Chat(Chat { messages, train_from: 0, tools: tools(raw.tools)? }));
    }
    if let (Some(prompt), Some(completion)) = (raw.prompt, raw.completion) {
        if is_string(prompt) && is_string(completion) {
            let (prompt, completion) = (string(prompt, "prompt")?, string(completion, "completion")?);
            return Ok(Row::Pair { prompt, gap: "", completion });
        }
        let mut messages = conversation(prompt, "prompt", "user")?;
        let train_from = messages.len();
        messages.extend(conversation(completion, "completion", "assistant")?);
        return Ok(Row::Chat(Chat { messages, train_from, tools: tools(raw.tools)? }));
    }
    if let (Some(instruction), Some(output)) = (raw.instruction, raw.output) {
        let mut prompt = string(instruction, "instruction")?;
        let input = raw.input.map(|input| string(input, "input")).transpose()?;
        if let Some(input) = input.filter(|input| !input.trim().is_empty()) {
            prompt.push('\n');
            prompt.push_str(&input);
        }
        return Ok(Row::Pair { prompt, gap: "\n", completion: string(output, "output")? });
    }
    if let Some(text) = raw.text {
        return Ok(Row::Text(string(text, "text")?));
    }
    Err(unknown(text, "known are messages, prompt with completion, instruction with output, and text"))
}

/// An object without the keys that are needed, of which `advice` tells.
pub(super) fn unknown(text: &str, advice: &str) -> RowError {
    match serde_json::from_str::<Keys>(text) {
        Ok(keys) => RowError::new(Reason::UnknownShape, format!("it has {}; {advice}", keys.in_words())),
        Err(error) => json_error(error),
    }
}

/// A list of messages, or a string, which is one of `role`.
pub(super) fn conversation(raw: &RawValue, key: &str, role: &str) -> Result<Vec<Message>, RowError> {
    if is_string(raw) && key != "messages" {
        return Ok(vec![Message::new(role, string(raw, key)?)]);
    }
    if !raw.get().starts_with('[') {
        return Err(wrong(key, raw, "a list of messages"));
    }
    let list: Bounded<RawMessage, MAX_MESSAGES> = serde_json::from_str(raw.get()).map_err(json_error)?;
    let name = |i: usize| format!("{key}[{i}]");
    list.0.iter().enumerate().map(|(i, m)| message(m, &name(i))).collect()
}

fn message(raw: &RawMessage, at: &str) -> Result<Message, RowError> {
    let Some(role) = raw.role else {
        return Err(RowError::new(Reason::WrongType, format!("{at} has no role")));
    };
    let role = string(role, &format!("{at}.role"))?;
    // The role is part of the template's text, where control tokens are made.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if role.is_empty() || role.len() > 32 || !role.chars().all(plain) {
        return Err(RowError::new(
            Reason::WrongType,
            format!("{at}.role `{}` cannot be", shorten(&role, 40)),
        ));
    }
    if raw.content.is_none() && raw.tool_calls.is_none() {
        return Err(RowError::new(Reason::WrongType, format!("{at} has no content")));
    }
    let content = raw.content.map(|c| content(c, &format!("{at}.content"))).transpose()?;
    let mut message = Message::new(role, content.unwrap_or_default());
    let texts = [
        ("tool_call_id", raw.tool_call_id),
        ("name", raw.name),
        ("reasoning_content", raw.reasoning_content),
    ];
    for (key, raw) in texts {
        if let Some(raw) = raw {
            message = message.with(key, string(raw, &format!("{at}.{key}"))?);
        }
    }
    if let Some(raw) = raw.tool_calls {
        let mut calls = values(raw, &format!("{at}.tool_calls"))?;
        calls.as_array_mut().into_iter().flatten().for_each(objects_for_arguments);
        if calls.as_array().is_some_and(|calls| !calls.is_empty()) {
            message = message.with("tool_calls", TemplateValue::from(Serde(calls)));
        }
    }
    Ok(message)
}

/// A string, or a list of parts that are text.
fn content(raw: &RawValue, at: &str) -> Result<String, RowError> {
    if !raw.get().starts_with('[') {
        return string(raw, at);
    }
    let parts: Bounded<RawPart, MAX_MESSAGES> = serde_json::from_str(raw.get()).map_err(json_error)?;
    let mut out = String::new();
    for (i, part) in parts.0.iter().enumerate() {
        let kind = part.r#type.map(|t| string(t, &format!("{at}[{i}].type"))).transpose()?;
        match (kind.as_deref(), part.text) {
            (Some("text") | None, Some(text)) => out.push_str(&string(text, &format!("{at}[{i}].text"))?),
            _ => {
                let kind = shorten(kind.as_deref().unwrap_or("unknown"), 40);
                let what = format!("{at}[{i}] is of type `{kind}`; only text is read");
                return Err(RowError::new(Reason::WrongType, what));
            }
        }
    }
    Ok(out)
}

/// Where a call's arguments are a string that holds an object, as in OpenAI's format, templates want the object.
fn objects_for_arguments(call: &mut serde_json::Value) {
    let holder = if call.get("function").is_some() { call.get_mut("function") } else { Some(call) };
    if let Some(arguments) = holder.and_then(|h| h.get_mut("arguments"))
        && let Some(text) = arguments.as_str()
        && let Ok(object @ serde_json::Value::Object(_)) = serde_json::from_str(text)
    {
        *arguments = object;
    }
}

pub(super) fn tools(raw: Option<&RawValue>) -> Result<Option<TemplateValue>, RowError> {
    let Some(raw) = raw else { return Ok(None) };
    let tools = values(raw, "tools")?;
    let some = tools.as_array().is_some_and(|list| !list.is_empty());
    Ok(some.then(|| TemplateValue::from(Serde(tools))))
}

/// A list of anything.
fn values(raw: &RawValue, key: &str) -> Result<serde_json::Value, RowError> {
    if !raw.get().starts_with('[') {
        return Err(wrong(key, raw, "a list"));
    }
    // A string may hold JSON again, so that its commas count too.
    if separators(raw.get()) > MAX_VALUES {
        return Err(RowError::new(Reason::UnsafeTools, format!("{key} has more than {MAX_VALUES} values")));
    }
    serde_json::from_str(raw.get()).map_err(json_error)
}

/// At least as many as there are values, in strings or not.
pub(super) fn separators(text: &str) -> usize {
    text.bytes().filter(|b| matches!(b, b',' | b':' | b'[' | b'{')).count()
}

pub(super) fn is_string(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

pub(super) fn string(raw: &RawValue, key: &str) -> Result<String, RowError> {
    if !is_string(raw) {
        return Err(wrong(key, raw, "a string"));
    }
    serde_json::from_str(raw.get()).map_err(json_error)
}

pub(super) fn wrong(key: &str, raw: &RawValue, wanted: &str) -> RowError {
    RowError::new(Reason::WrongType, format!("{key} is {}, not {wanted}", kind(raw.get())))
}

/// What a JSON text is, by how it begins.
fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "no JSON",
    }
}

pub(super) fn json_error(error: serde_json::Error) -> RowError {
    let reason = if error.is_data() { Reason::WrongType } else { Reason::BadJson };
    RowError::new(reason, error)
}

/// The deepest nesting of brackets outside of strings.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                now += 1;
                deepest = deepest.max(now);
            }
            b']' | b'}' if !in_string => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A list of at most `MAX` elements.
pub(super) struct Bounded<T, const MAX: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a list of at most {MAX}")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut out = Vec::new();
                while let Some(element) = seq.next_element()? {
                    if out.len() == MAX {
                        return Err(de::Error::custom(format!("a list of more than {MAX}")));
                    }
                    out.push(element);
                }
                Ok(out)
            }
        }
        deserializer.deserialize_seq(List::<T, MAX>(PhantomData)).map(Self)
    }
}

/// The first keys of an object.
struct Keys {
    first: Vec<String>,
    more: bool,
}

impl Keys {
    fn in_words(&self) -> String {
        let names: Vec<String> = self.first.iter().map(|key| format!("`{key}`")).collect();
        match (names.is_empty(), self.more) {
            (true, _) => "no keys".to_owned(),
            (false, more) => format!("{}{}", names.join(", "), if more { ", …" } else { "" }),
        }
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Keys { first: Vec::new(), more: false };
                while let Some((key, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    if keys.first.len() < 8 { keys.first.push(shorten(&key, 30)) } else { keys.more = true }
                }
                Ok(keys)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

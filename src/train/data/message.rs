//! Messages of conversations, in the manners of OpenAI and of ShareGPT.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::{Reason, RowError, shorten};
use super::fields::{Bounded, Fields, inner_json, is_string, json_error, string, value, values, wrong};
use super::marks;
use crate::text::{Message, TemplateValue, from_json};

/// The most messages of a conversation: work on one grows with their square.
const MAX_MESSAGES: usize = 512;

/// The roles that are read, for people.
pub(super) const ROLES: &str =
    "system, developer, user (human), assistant (gpt, model, bot) and tool (function, observation)";
/// The roles as they are here.
pub(super) const STANDARD: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Fields that are read, but for [`marks::all`].
const FIELDS: [&str; 13] = [
    "role",
    "from",
    "content",
    "value",
    "text",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "name",
    "reasoning_content",
    "reasoning",
    "thinking",
    "thought",
];
/// Fields that may hold what was thought before an answer; templates look for the first.
const THOUGHTS: [&str; 4] = ["reasoning_content", "reasoning", "thinking", "thought"];

/// Messages, and which of them must not be learnt.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns {
    pub(super) messages: Vec<Message>,
    /// As long as `messages`.
    pub(super) off: Vec<bool>,
}

impl Turns {
    pub(super) fn push(&mut self, message: Message, off: bool) {
        self.messages.push(message);
        self.off.push(off);
    }

    pub(super) fn one(role: &str, text: impl Into<String>) -> Self {
        Self { messages: vec![Message::new(role, text)], off: vec![false] }
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.messages.extend(more.messages);
        self.off.extend(more.off);
    }

    pub(super) fn insert_first(&mut self, message: Message) {
        self.messages.insert(0, message);
        self.off.insert(0, false);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.messages.truncate(len);
        self.off.truncate(len);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let at = at.min(self.messages.len());
        Self { messages: self.messages.split_off(at), off: self.off.split_off(at) }
    }

    /// Puts a system prompt first, unless there is one.
    pub(super) fn with_system(mut self, system: Option<String>) -> Self {
        if let Some(text) = system.filter(|_| self.messages.iter().all(|m| m.role != "system")) {
            self.insert_first(Message::new("system", text));
        }
        self
    }
}

impl From<Vec<Message>> for Turns {
    fn from(messages: Vec<Message>) -> Self {
        let off = vec![false; messages.len()];
        Self { messages, off }
    }
}

/// A list of messages, in a string of JSON or not; one message; or, unless it must be a list, a text, which is one of `role`.
pub(super) fn conversation(raw: &RawValue, key: &str, role: &str) -> Result<Turns, RowError> {
    let listed = key == "messages" || key.starts_with("conversation");
    if is_string(raw) && !listed {
        return Ok(Turns::one(role, string(raw, key)?));
    }
    if let Some(inner) = inner_json(raw, key)? {
        return conversation(&inner, key, role);
    }
    if raw.get().starts_with('{') && !listed {
        let mut turns = Turns::default();
        let fields = Fields::read(raw.get(), &known())?;
        // An object of other fields is no message, and its place wants a list.
        if fields.first(&["role", "from"]).is_none() {
            return Err(wrong(key, raw, "a list of messages"));
        }
        let (message, off) = message(&fields, key)?;
        turns.push(message, off);
        return Ok(turns);
    }
    if !raw.get().starts_with('[') {
        return Err(wrong(key, raw, "a list of messages"));
    }
    let list: Bounded<&RawValue, MAX_MESSAGES> = serde_json::from_str(raw.get()).map_err(json_error)?;
    let known = known();
    let mut turns = Turns::default();
    for (i, raw) in list.0.iter().enumerate() {
        let (message, off) = message(&Fields::read(raw.get(), &known)?, &format!("{key}[{i}]"))?;
        turns.push(message, off);
    }
    Ok(turns)
}

fn known() -> Vec<&'static str> {
    FIELDS.into_iter().chain(marks::all()).collect()
}

/// A role in the names that templates use. Another name than those known stays, for the template may know it.
fn role_of(name: &str) -> (&str, bool) {
    let is = |names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(name));
    match () {
        () if is(&["user", "human", "prompter"]) => ("user", false),
        () if is(&["assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai"]) => ("assistant", false),
        () if is(&["system"]) => ("system", false),
        () if is(&["developer"]) => ("developer", false),
        () if is(&["function_call", "tool_call"]) => ("assistant", true),
        () if is(&["tool", "function", "observation", "function_response", "tool_response"]) => {
            ("tool", false)
        }
        () => (name, false),
    }
}

fn message(fields: &Fields, at: &str) -> Result<(Message, bool), RowError> {
    let Some((key, role)) = fields.first(&["role", "from"]) else {
        return Err(RowError::new(Reason::WrongType, format!("{at} has no role")));
    };
    let named = string(role, &format!("{at}.{key}"))?;
    let (role, calls) = role_of(named.trim());
    // The role is part of the template's text, where control tokens are made.
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if role.is_empty() || role.len() > 32 || !role.chars().all(plain) {
        let what = format!("{at}.role `{}` cannot be; known are {ROLES}", shorten(role, 40));
        return Err(RowError::new(Reason::WrongType, what));
    }
    let said = fields.first(&["content", "value", "text"]);
    let others = fields.get("tool_calls").or(fields.get("function_call"));
    if said.is_none() && others.is_none() {
        let what = format!("{at} has no content; it has {}", fields.in_words());
        return Err(RowError::new(Reason::WrongType, what));
    }
    let text = said.map(|(key, raw)| content(raw, &format!("{at}.{key}"))).transpose()?.unwrap_or_default();
    let mut message = Message::new(role, text);
    for key in ["tool_call_id", "name"] {
        if let Some(raw) = fields.get(key) {
            message = message.with(key, string(raw, &format!("{at}.{key}"))?);
        }
    }
    for key in THOUGHTS {
        let Some(raw) = fields.get(key) else { continue };
        let text = string(raw, &format!("{at}.{key}"))?;
        if !text.trim().is_empty() && !message.extra.contains_key(THOUGHTS[0]) {
            message = message.with(THOUGHTS[0], text.clone());
        }
        message = message.with(key, text);
    }
    if let Some(calls) = tool_calls(fields, &message.content, calls, at)? {
        if calls.from_content {
            message.content.clear();
        }
        message = message.with("tool_calls", from_json(&calls.list));
    }
    Ok((message, !marks::learnt(fields, at)?))
}

struct Calls {
    list: Value,
    from_content: bool,
}

/// The calls of tools of a message, as `tool_calls` has them: of that field, of OpenAI's older one, or of a ShareGPT turn of
/// `function_call`, whose text is the call.
fn tool_calls(fields: &Fields, text: &str, turn: bool, at: &str) -> Result<Option<Calls>, RowError> {
    let mut from_content = false;
    let mut list = if let Some(raw) = fields.get("tool_calls") {
        values(raw, &format!("{at}.tool_calls"))?
    } else if let Some(raw) = fields.get("function_call") {
        let key = format!("{at}.function_call");
        let inner = inner_json(raw, &key)?;
        let call = value(inner.as_deref().unwrap_or(raw), &key)?;
        if call.is_object() { json!([call]) } else { return Err(wrong(&key, raw, "an object")) }
    } else if turn && let Ok(raw) = serde_json::from_str::<&RawValue>(text.trim()) {
        from_content = true;
        let calls = value(raw, &format!("{at}.value"))?;
        if calls.is_array() { calls } else { json!([calls]) }
    } else {
        return Ok(None);
    };
    let calls = list.as_array_mut().into_iter().flatten();
    calls.for_each(|call| {
        wrapped(call);
        objects_for_arguments(call);
    });
    // The text of a turn is a call only if it looks like one.
    let calls = |list: &Value| list.as_array().is_some_and(|calls| !calls.is_empty());
    let named = |call: &Value| call.get("function").and_then(|f| f.get("name")).is_some();
    if from_content && !list.as_array().is_some_and(|calls| calls.iter().all(named)) {
        return Ok(None);
    }
    Ok(calls(&list).then_some(Calls { list, from_content }))
}

/// A bare `{name, arguments}` gets the frame that templates look into.
fn wrapped(call: &mut Value) {
    let bare = call.get("function").is_none() && call.get("name").is_some();
    if bare && call.get("type").is_none() {
        let function = call.take();
        *call = json!({ "type": "function", "function": function });
    }
}

/// Where a call's arguments are a string that holds an object, as in OpenAI's format, templates want the object.
fn objects_for_arguments(call: &mut Value) {
    let holder = if call.get("function").is_some() { call.get_mut("function") } else { Some(call) };
    if let Some(arguments) = holder.and_then(|h| h.get_mut("arguments"))
        && let Some(text) = arguments.as_str()
        && let Ok(object @ Value::Object(_)) = serde_json::from_str(text)
    {
        *arguments = object;
    }
}

/// A string, or a list of parts that are text.
fn content(raw: &RawValue, at: &str) -> Result<String, RowError> {
    if !raw.get().starts_with('[') {
        return string(raw, at);
    }
    let known: Vec<&'static str> = ["type", "text"].into_iter().chain(marks::all()).collect();
    let parts: Bounded<&RawValue, MAX_MESSAGES> = serde_json::from_str(raw.get()).map_err(json_error)?;
    let mut out = String::new();
    for (i, part) in parts.0.iter().enumerate() {
        let part = Fields::read(part.get(), &known)?;
        let kind = part.get("type").map(|t| string(t, &format!("{at}[{i}].type"))).transpose()?;
        if !marks::learnt(&part, &format!("{at}[{i}]"))? {
            let what =
                format!("{at}[{i}] is a part that is not to be learnt; mark whole messages by `train`");
            return Err(RowError::new(Reason::WrongType, what));
        }
        match (kind.as_deref(), part.get("text")) {
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

/// Tools, of a list in a string of JSON or not; OpenAI's older `functions` are put into the frame of tools.
pub(super) fn tools(fields: &Fields) -> Result<Option<TemplateValue>, RowError> {
    let Some((key, raw)) = fields.first(&["tools", "functions"]) else { return Ok(None) };
    // A table's empty cell.
    if is_string(raw) && string(raw, key)?.trim().is_empty() {
        return Ok(None);
    }
    let mut tools = values(raw, key)?;
    if key == "functions" {
        tools.as_array_mut().into_iter().flatten().for_each(wrapped);
    }
    let some = tools.as_array().is_some_and(|list| !list.is_empty());
    Ok(some.then(|| from_json(&tools)))
}

//! The fields of JSON objects, by the names that are asked for. Nothing is copied, and lists are bounded.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;

use super::error::{Reason, RowError, shorten};

/// The deepest nesting.
const MAX_DEPTH: usize = 100;
/// The most values in tools, tool calls and further columns, which take much more memory than their text.
pub(super) const MAX_VALUES: usize = 50_000;
/// How many unknown names are kept for messages.
const SHOWN: usize = 8;

/// An object's fields.
pub(super) struct Fields<'a> {
    found: Vec<(&'static str, Option<&'a RawValue>)>,
    /// The first names in the object.
    names: Vec<String>,
    more: bool,
}

impl<'a> Fields<'a> {
    /// Reads an object; of the fields, those of `known` names.
    pub(super) fn read(text: &'a str, known: &[&'static str]) -> Result<Self, RowError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let fields = Object(known).deserialize(&mut deserializer).map_err(json_error)?;
        deserializer.end().map_err(json_error)?;
        Ok(fields)
    }

    /// A field's value, if it is there and not null.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.found.iter().find(|(found, _)| *found == name).and_then(|(_, value)| *value)
    }

    /// Whether a field is there, be it null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(found, _)| *found == name)
    }

    /// The first of `names` that is there and not null.
    pub(super) fn first(&self, names: &[&'static str]) -> Option<(&'static str, &'a RawValue)> {
        names.iter().find_map(|name| self.get(name).map(|value| (*name, value)))
    }

    /// The names of the fields.
    pub(super) fn in_words(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|key| format!("`{key}`")).collect();
        match (names.is_empty(), self.more) {
            (true, _) => "no keys".to_owned(),
            (false, more) => format!("{}{}", names.join(", "), if more { ", …" } else { "" }),
        }
    }

    /// An object without the keys that are needed, of which `advice` tells.
    pub(super) fn unknown(&self, advice: &str) -> RowError {
        RowError::new(Reason::UnknownShape, format!("it has {}; {advice}", self.in_words()))
    }
}

struct Object<'k>(&'k [&'static str]);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Fields<'de>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields { found: Vec::new(), names: Vec::new(), more: false };
        while let Some(key) = map.next_key_seed(Key { known: self.0, names: &mut fields.names })? {
            let Name::Known(name) = key else {
                fields.more |= key == Name::Further;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if fields.has(name) {
                return Err(de::Error::custom(format!("duplicate field `{name}`")));
            }
            fields.found.push((name, map.next_value()?));
        }
        Ok(fields)
    }
}

#[derive(PartialEq)]
enum Name {
    Known(&'static str),
    Other,
    /// Another one, which is not among the names kept.
    Further,
}

struct Key<'k, 'n> {
    known: &'k [&'static str],
    names: &'n mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = Name;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Name, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
        let kept = self.names.len() < SHOWN;
        if kept {
            self.names.push(shorten(name, 30));
        }
        match self.known.iter().find(|known| **known == name) {
            Some(known) => Ok(Name::Known(known)),
            None if kept => Ok(Name::Other),
            None => Ok(Name::Further),
        }
    }
}

/// Bytes as text.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, RowError> {
    std::str::from_utf8(bytes).map_err(|e| {
        let what = format!("the bytes from {} on are no UTF-8; convert the file", e.valid_up_to() + 1);
        RowError::new(Reason::NotUtf8, what)
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
    not_too_deep(text)?;
    Ok(text)
}

fn not_too_deep(text: &str) -> Result<(), RowError> {
    if depth(text) > MAX_DEPTH {
        return Err(RowError::new(Reason::BadJson, format!("nested deeper than {MAX_DEPTH}")));
    }
    Ok(())
}

/// A value that stands in a string as JSON, as tables keep what is nested: none if it is a string of something else.
pub(super) fn inner_json(raw: &RawValue, key: &str) -> Result<Option<Box<RawValue>>, RowError> {
    if !is_string(raw) {
        return Ok(None);
    }
    let text = string(raw, key)?;
    let text = text.trim();
    if !text.starts_with(['[', '{']) {
        return Ok(None);
    }
    not_too_deep(text)?;
    let inside = |e| RowError::new(Reason::BadJson, format!("{key} is a string of JSON that is wrong: {e}"));
    RawValue::from_string(text.to_owned()).map(Some).map_err(inside)
}

/// A list of anything.
pub(super) fn values(raw: &RawValue, key: &str) -> Result<serde_json::Value, RowError> {
    if let Some(inner) = inner_json(raw, key)? {
        return values(&inner, key);
    }
    if !raw.get().starts_with('[') {
        return Err(wrong(key, raw, "a list"));
    }
    value(raw, key)
}

/// Anything, if it is not too large.
pub(super) fn value(raw: &RawValue, key: &str) -> Result<serde_json::Value, RowError> {
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

//! Rules on completions that should be JSON. All are strict: but for white space around it, the text must be JSON and
//! nothing else, or, for the `fenced-` rules, what lies in the first Markdown fence must be.

use serde_json::Value;

/// Which part of a completion is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// What lies in the first block between lines of three backticks.
    Fenced,
}

impl Scope {
    /// That part of a text, trimmed; `None` where there is no closed fence.
    pub(super) fn of(self, text: &str) -> Option<&str> {
        match self {
            Scope::Whole => Some(text.trim()),
            Scope::Fenced => fenced(text).map(str::trim),
        }
    }
}

/// The first block between a line that begins with three backticks (and may name a language) and one of only those.
fn fenced(text: &str) -> Option<&str> {
    let (mut at, mut from) = (0, None);
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        match from {
            None if bare.starts_with("```") => from = Some(at + line.len()),
            Some(from) if bare == "```" => return text.get(from..at),
            _ => {}
        }
        at += line.len();
    }
    None
}

/// Whether it is a JSON value, and, where keys are given, an object that has them all.
pub(super) fn valid(text: &str, keys: &[String]) -> bool {
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => keys.iter().all(|key| object.contains_key(key)),
        Ok(_) => keys.is_empty(),
        Err(_) => false,
    }
}

/// From 0 to 1 as it comes closer to an object with these keys, so that there is something to learn from before the
/// first valid one: 0.2 for beginning with `{` (0.1 for having one at all), 0.4 shared by the keys that are written as
/// `"KEY":`, 0.1 for being an object, 0.3 shared by the keys that it has. Only an object with all of them gets 1.
fn parts(text: &str, keys: &[String]) -> f64 {
    let tenths = |wanted: f64, share: usize| wanted * share as f64 / keys.len().max(1) as f64;
    let opening = match text.find('{') {
        Some(0) => 2.0,
        Some(_) => 1.0,
        None => 0.0,
    };
    let written = keys.iter().filter(|key| is_written(text, key)).count();
    let object = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(object)) => {
            1.0 + tenths(3.0, keys.iter().filter(|key| object.contains_key(*key)).count())
        }
        _ => 0.0,
    };
    (opening + tenths(4.0, written) + object) / 10.0
}

/// [`parts`] of that part of a text; half of those of all of it where there is no closed fence.
pub(super) fn parts_of(text: &str, part: Scope, keys: &[String]) -> f64 {
    part.of(text).map_or_else(|| parts(text.trim(), keys) / 2.0, |text| parts(text, keys))
}

/// Whether `"KEY"` stands in the text with a colon behind it.
fn is_written(text: &str, key: &str) -> bool {
    let quoted = Value::from(key).to_string();
    text.match_indices(&quoted)
        .any(|(at, _)| text.get(at + quoted.len()..).is_some_and(|rest| rest.trim_start().starts_with(':')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds;

    fn keys(list: &str) -> Vec<String> {
        list.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn only_json_is_json() {
        for text in ["{}", "[1]", "5", "\"x\"", "null"] {
            assert!(valid(text, &[]), "{text}");
        }
        for text in ["", "{", "{} x", "{'a': 1}", "{\"a\": 1,}", "```json\n{}\n```", &"[".repeat(100_000)] {
            assert!(!valid(text, &[]), "{text:.20}");
        }
        assert!(valid(r#"{"a": 1, "b": null, "c": 2}"#, &keys("a,b")));
        assert!(!valid(r#"{"a": 1}"#, &keys("a,b")));
        assert!(!valid("[\"a\"]", &keys("a")));
    }

    #[test]
    fn fences_are_judged_only_where_asked_for() {
        assert_eq!(Scope::Fenced.of("Here:\n```json\n{\"a\": 1}\n```\nDone."), Some("{\"a\": 1}"));
        assert_eq!(Scope::Fenced.of("```\n1\n```\n```\n2\n```"), Some("1"));
        assert_eq!(Scope::Fenced.of("```\n```"), Some(""));
        assert_eq!(Scope::Fenced.of("```json\r\n{}\r\n```\r\n"), Some("{}"));
        for text in ["{}", "```json\n{}", "```json {} ```", ""] {
            assert_eq!(Scope::Fenced.of(text), None, "{text}");
        }
        assert_eq!(Scope::Whole.of(" \n{} "), Some("{}"));
    }

    #[test]
    fn partial_credit_rises_towards_the_object() {
        let steps = [
            "The name is Ada.",
            "Here: {",
            "{",
            r#"{"name": "Ada""#,
            r#"{"name": "Ada", "age" : 36"#,
            r#"{"name": "Ada", "age": 36}"#,
        ];
        let given: Vec<f64> = steps.iter().map(|text| parts(text, &keys("name,age"))).collect();
        for (got, wanted) in given.iter().zip([0.0, 0.1, 0.2, 0.4, 0.6, 1.0]) {
            assert!((got - wanted).abs() < bounds::DOUBLES, "{given:?}");
        }
        let empty = parts("{}", &keys("name,age"));
        assert!((empty - 0.3).abs() < bounds::DOUBLES, "{empty}");
        assert!(
            parts(r#"{"x": {"name": 1, "age": 2}}"#, &keys("name,age")) < 0.8,
            "nested keys are not its own"
        );
    }
}

//! Lines to and from a reward command.

use serde_json::{Map, Value, json};

use super::super::Completion;

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Answer {
    /// The reward, also one that is not finite; `None` for `null`.
    pub(super) value: Option<f64>,
    /// Which question it answers, where it says so.
    pub(super) id: Option<u64>,
}

/// The line of a question, with its end.
pub(super) fn question(completion: &Completion<'_>, id: u64, remaining: usize) -> Vec<u8> {
    let line = json!({
        "id": id,
        "prompt": completion.prompt,
        "completion": completion.completion,
        "row": completion.row,
        "tokens": completion.tokens,
        "truncated": completion.truncated,
        "remaining": remaining,
    });
    // JSON escapes line ends within strings.
    format!("{line}\n").into_bytes()
}

/// Reads an answer: a number, `true`, `false`, `null`, or an object with one of these as `reward`.
pub(super) fn parse(line: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(line).ok()?.trim();
    // Also `nan`, `inf` and `-Infinity`, as programs print them.
    if let Ok(value) = text.parse::<f64>() {
        return Some(Answer { value: Some(value), id: None });
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => from_object(&object, None),
        Ok(value) => Some(Answer { value: reward(&value)?, id: None }),
        Err(_) => with_python_numbers(text),
    }
}

fn from_object(object: &Map<String, Value>, null: Option<f64>) -> Option<Answer> {
    let value = reward(object.get("reward")?)?.or(null);
    let id = match object.get("id") {
        Some(id) => Some(id.as_u64()?),
        None => None,
    };
    Some(Answer { value, id })
}

/// The outer `None` is no reward.
fn reward(value: &Value) -> Option<Option<f64>> {
    match value {
        Value::Number(number) => Some(Some(number.as_f64()?)),
        Value::Bool(yes) => Some(Some(f64::from(u8::from(*yes)))),
        Value::Null => Some(None),
        _ => None,
    }
}

/// Python's `json.dumps` writes `NaN` and `Infinity`, which are no JSON: the reward there is then not a number.
fn with_python_numbers(text: &str) -> Option<Answer> {
    let plain = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
    match serde_json::from_str(&plain).ok()? {
        Value::Object(object) => from_object(&object, Some(f64::NAN)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_form_are_read() {
        let value = |line: &str| parse(line.as_bytes()).map(|answer| answer.value);
        for (line, wanted) in [
            ("0.5", 0.5),
            (" -2\r", -2.0),
            ("1e3", 1000.0),
            (r#"{"reward": 0.25}"#, 0.25),
            (r#"{"reward": 1, "why": "it is right", "parts": [1]}"#, 1.0),
            (r#"{"reward": true}"#, 1.0),
            ("false", 0.0),
        ] {
            assert_eq!(value(line), Some(Some(wanted)), "{line}");
        }
        for line in ["null", r#"{"reward": null}"#] {
            assert_eq!(value(line), Some(None), "{line}");
        }
        for line in
            ["nan", "NaN", "inf", "-Infinity", r#"{"reward": NaN}"#, r#"{"reward": -Infinity}"#, "1e999"]
        {
            let read = value(line).flatten();
            assert!(read.is_some_and(|value| !value.is_finite()), "{line}: {read:?}");
        }
        for line in ["", "ok", "[1]", "\"1\"", r#"{"score": 1}"#, r#"{"reward": "1"}"#, "{", "1 2", "0,5"] {
            assert_eq!(value(line), None, "{line}");
        }
        assert_eq!(parse(b"\xff"), None);
        assert_eq!(parse(br#"{"reward": 1, "id": 7}"#).and_then(|a| a.id), Some(7));
        assert_eq!(parse(br#"{"reward": 1, "id": "x"}"#), None);
    }

    #[test]
    fn a_question_is_one_line() {
        let row = Map::from_iter([("answer".to_owned(), json!("a\nb"))]);
        let completion =
            Completion { prompt: "p\r\n", completion: "c\u{2028}\n", row: &row, tokens: 3, truncated: true };
        let line = String::from_utf8(question(&completion, 5, 1)).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["completion"], "c\u{2028}\n");
        assert_eq!(read["row"]["answer"], "a\nb");
        assert_eq!((&read["tokens"], &read["truncated"], &read["id"]), (&json!(3), &json!(true), &json!(5)));
    }
}

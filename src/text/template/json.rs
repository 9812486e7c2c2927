//! Values of JSON for templates.

use minijinja::Value;
use serde_json::{Number, Value as Json};

/// A JSON value as templates see it: objects keep their order, integers stay whole numbers. By hand, since serde shows numbers
/// as maps where another crate has switched serde_json's `arbitrary_precision` on.
pub fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => items.iter().map(from_json).collect(),
        Json::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(key, value)| (key.as_str(), from_json(value))))
        }
    }
}

fn from_number(number: &Number) -> Value {
    let whole = number.as_i64().map(Value::from).or_else(|| number.as_u64().map(Value::from));
    whole.or_else(|| number.as_f64().map(Value::from)).unwrap_or_else(|| Value::from(number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_numbers_and_order_stays() {
        let json: Json =
            serde_json::from_str(r#"{"b": [1, -2, 2.5, 1.0, 18446744073709551615], "a": null}"#).unwrap();
        let template = crate::text::ChatTemplate::new("{{ x }} {{ x.b[0] + 1 }}").unwrap();
        let vars = [("x".to_owned(), from_json(&json))].into();
        let text = template.render(&[], false, &vars).unwrap();
        assert_eq!(text, "{'b': [1, -2, 2.5, 1.0, 18446744073709551615], 'a': None} 2");
    }
}

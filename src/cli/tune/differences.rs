//! What differs between a run and the one that was begun, in words and flags.

use serde_json::Value;

use crate::train::Difference;

/// Settings whose flags have other names.
const FLAGS: [(&str, &str); 9] = [
    ("learning_rate", "lr"),
    ("against", "reference"),
    ("prompts", "prompts-per-step"),
    ("clip_range", "epsilon"),
    ("desirable", "desirable-weight"),
    ("undesirable", "undesirable-weight"),
    ("max_length", "n-predict"),
    ("temperature", "temp"),
    ("lora", "rank"),
];

/// `--rank 8, now 16`, for each.
pub fn of_settings(differences: &[Difference]) -> Vec<String> {
    differences.iter().flat_map(|d| flat(&d.name, &d.was, &d.is)).collect()
}

/// Goes into objects: their members are what has flags.
fn flat(name: &str, was: &Value, is: &Value) -> Vec<String> {
    if was == is {
        return Vec::new();
    }
    if let (Some(was), Some(is)) = (was.as_object(), is.as_object()) {
        let none = &Value::Null;
        let names = is.keys().chain(was.keys().filter(|name| !is.contains_key(*name)));
        return names
            .flat_map(|name| flat(name, was.get(name).unwrap_or(none), is.get(name).unwrap_or(none)))
            .collect();
    }
    let flag = FLAGS.iter().find(|(setting, _)| *setting == name).map_or(name, |(_, flag)| flag);
    vec![format!("--{} {}, now {}", flag.replace('_', "-"), shown(was), shown(is))]
}

/// A value as it stands on a command line.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not set".into(),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        // Settings are single precision, and JSON has them in double.
        Value::Number(n) if n.is_f64() => n.as_f64().map_or(String::new(), |v| (v as f32).to_string()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn settings_differ_by_their_flags() {
        let one = |name: &str, was: Value, is: Value| {
            of_settings(&[Difference { name: name.into(), was, is }]).join("; ")
        };
        assert_eq!(one("epochs", json!(5), json!(6)), "--epochs 5, now 6");
        assert_eq!(one("learning_rate", json!(0.1f32), json!(1e-4f32)), "--lr 0.1, now 0.0001");
        let lora = |rank: u32, targets: &[&str]| json!({ "rank": rank, "targets": targets });
        assert_eq!(one("lora", lora(8, &["q"]), lora(16, &["q"])), "--rank 8, now 16");
        assert_eq!(one("lora", lora(8, &["q"]), lora(8, &["q", "v"])), "--targets q, now q,v");
        assert_eq!(one("max_steps", Value::Null, json!(3)), "--max-steps not set, now 3");
    }
}

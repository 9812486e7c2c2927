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

/// What stands for the data and the model of a run: names with what is shown of them, and what only has to be the same.
#[derive(serde::Serialize, serde::Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The model: its name.
    pub model: String,
    /// The first digits of its fingerprint.
    pub base: String,
    /// The data's files.
    pub data: Vec<String>,
    /// What is in them.
    pub contents: String,
    /// What came of them, such as `40 pairs`.
    pub items: String,
    /// What the model sees of it.
    pub sequences: String,
    /// What is held out.
    pub held_out: String,
    /// What is in that.
    pub held_out_contents: String,
    /// How it is read or judged.
    pub how: String,
    /// The adapter it begins with.
    pub from: Option<String>,
    /// What is in that.
    pub from_contents: String,
}

impl Identity {
    /// How it differs from that of the run that was begun, in words.
    pub fn differences(&self, was: &Identity) -> Vec<String> {
        let mut said = Vec::new();
        if (&self.model, &self.base) != (&was.model, &was.base) {
            said.push(match self.model == was.model {
                true => format!("another file of the model {}", was.model),
                false => format!("the model {}, now {}", was.model, self.model),
            });
        }
        if self.data != was.data {
            said.push(format!("the data {}, now {}", was.data.join(" "), self.data.join(" ")));
        } else if self.contents != was.contents {
            let counts = if self.items == was.items {
                format!("as many ({}), but not the same", self.items)
            } else {
                format!("had {}, has {}", was.items, self.items)
            };
            said.push(format!("other data: {} {counts}", self.data.join(" ")));
        } else if self.sequences != was.sequences || self.items != was.items {
            let counts = if self.items == was.items {
                String::new()
            } else {
                format!(": {}, now {}", was.items, self.items)
            };
            said.push(format!(
                "other sequences of the same data{counts} (--system, --chat-template, --seq, --truncate or --val)"
            ));
        }
        if (&self.held_out, &self.held_out_contents) != (&was.held_out, &was.held_out_contents) {
            said.push(format!("{} held out, now {}", was.held_out, self.held_out));
        }
        if self.how != was.how {
            said.push(format!("{}, now {}", was.how, self.how));
        }
        let from = |identity: &Identity| identity.from.clone().unwrap_or("no adapter".into());
        if self.from != was.from {
            said.push(format!("--from {}, now {}", from(was), from(self)));
        } else if self.from_contents != was.from_contents {
            said.push(format!("--from {}, which has changed", from(self)));
        }
        said
    }
}

/// How two runs differ in what they were begun with, if that can be told.
pub fn of_identities(was: &str, is: &str) -> Vec<String> {
    let read = |text| serde_json::from_str::<Identity>(text).ok();
    match (read(was), read(is)) {
        (Some(was), Some(is)) => is.differences(&was),
        _ => vec!["what cannot be told: another version of the program began it".into()],
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

    #[test]
    fn data_differ_by_what_people_know_of_them() {
        let was = Identity {
            model: "tiny".into(),
            base: "aa".into(),
            data: vec!["pairs.jsonl".into()],
            contents: "1".into(),
            items: "40 pairs".into(),
            sequences: "x".into(),
            held_out: "0 pairs".into(),
            held_out_contents: String::new(),
            how: String::new(),
            from: None,
            from_contents: String::new(),
        };
        let said = |change: &dyn Fn(&mut Identity)| {
            let mut now = was.clone();
            change(&mut now);
            let json = |identity: &Identity| serde_json::to_string(identity).unwrap();
            of_identities(&json(&was), &json(&now)).join("; ")
        };
        let more = said(&|i| (i.contents, i.items) = ("2".into(), "41 pairs".into()));
        assert_eq!(more, "other data: pairs.jsonl had 40 pairs, has 41 pairs");
        assert!(said(&|i| i.contents = "2".into()).contains("as many (40 pairs), but not the same"));
        assert!(said(&|i| i.sequences = "y".into()).contains("other sequences of the same data"));
        assert_eq!(said(&|i| i.from = Some("a.gguf".into())), "--from no adapter, now a.gguf");
        assert_eq!(said(&|_| {}), "");
        assert!(of_identities("base 1, data 2", "{}")[0].contains("another version"));
    }
}

//! What stands for the model and the data of a run, so that it is not resumed with others.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::adapter::BaseFingerprint;
use crate::cli::error::{CliError, CliResult};
use crate::cli::tune::shared::OutputArgs;
use crate::model::Model;
use crate::train::data::{DataFile, Item, Items};

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
pub fn differences(was: &str, is: &str) -> Vec<String> {
    let read = |text| serde_json::from_str::<Identity>(text).ok();
    match (read(was), read(is)) {
        (Some(was), Some(is)) => is.differences(&was),
        _ => vec!["what cannot be told: another version of the program began it".into()],
    }
}

/// What a checkpoint must have been begun with: the model and the data (`what` are its items), and, in words, how the data
/// is read.
pub fn identity<T: Item>(
    model: &Model,
    data: &Items<T>,
    validation: &Items<T>,
    output: &OutputArgs,
    (what, how): (&str, &str),
) -> CliResult<String> {
    let base = BaseFingerprint::of(model.file())?;
    let none = validation.items.is_empty();
    let (from, from_contents) = output.begun_with()?;
    let identity = Identity {
        model: model.config().name.clone(),
        base: base.sha256.chars().take(16).collect(),
        data: data.files.iter().map(|file| file.path.display().to_string()).collect(),
        contents: hashes(&data.files),
        items: format!("{} {what}", data.items.len()),
        sequences: digest(data),
        held_out: format!("{} {what}", validation.items.len()),
        held_out_contents: if none { String::new() } else { hashes(&validation.files) },
        how: how.to_owned(),
        from,
        from_contents,
    };
    serde_json::to_string(&identity).map_err(CliError::failed)
}

/// What stands for the sequences: with another template or system prompt the same files make others.
fn digest<T: Item>(data: &Items<T>) -> String {
    let tokens = data.counts();
    let mut all = Sha256::new_with_prefix(format!("{} {} ", tokens.trained, tokens.total));
    data.items.iter().for_each(|item| item.identify(&mut |bytes| all.update(bytes)));
    short_hash(all.finalize())
}

/// The first digits of a hash.
pub fn short_hash(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Notes on the data that go into the adapter.
pub fn info<T: Item>(data: &Items<T>) -> std::collections::BTreeMap<String, String> {
    let name = |p: &Path| p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let names = data.files.iter().map(|f| name(&f.path)).collect::<Vec<_>>().join(" ");
    [
        ("data.files".to_owned(), names),
        ("data.sha256".to_owned(), hashes(&data.files)),
        ("data.sequences".to_owned(), data.items.len().to_string()),
    ]
    .into()
}

fn hashes(files: &[DataFile]) -> String {
    files.iter().map(|f| f.sha256.get(..16).unwrap_or(&f.sha256)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

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
            differences(&json(&was), &json(&now)).join("; ")
        };
        let more = said(&|i| (i.contents, i.items) = ("2".into(), "41 pairs".into()));
        assert_eq!(more, "other data: pairs.jsonl had 40 pairs, has 41 pairs");
        assert!(said(&|i| i.contents = "2".into()).contains("as many (40 pairs), but not the same"));
        assert!(said(&|i| i.sequences = "y".into()).contains("other sequences of the same data"));
        assert_eq!(said(&|i| i.from = Some("a.gguf".into())), "--from no adapter, now a.gguf");
        assert_eq!(said(&|_| {}), "");
        assert!(differences("base 1, data 2", "{}")[0].contains("another version"));
    }
}

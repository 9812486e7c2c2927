//! A conversation, and its JSON file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::output;
use crate::io::Existing;
use crate::journal::{Role, Said};

/// A system prompt and what was said since.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Talk {
    /// The model it was with, for people.
    #[serde(default)]
    pub model: String,
    /// The system prompt.
    #[serde(default)]
    pub system: Option<String>,
    /// User and assistant in turn.
    pub messages: Vec<Said>,
}

impl Talk {
    /// Nothing said yet.
    pub fn new(system: Option<String>) -> Self {
        Self { system, ..Self::default() }
    }

    /// The user says something.
    pub fn user(&mut self, text: &str) {
        self.messages.push(Said::user(text));
    }

    /// The model says something.
    pub fn assistant(&mut self, text: &str) {
        self.messages.push(Said::assistant(text.trim()));
    }

    /// Puts another text in the place of the model's last answer.
    pub fn say_instead(&mut self, text: &str) {
        if let Some(said) = self.messages.last_mut().filter(|said| said.role == Role::Assistant) {
            said.content = text.to_owned();
        }
    }

    /// Forgets all messages.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Drops the oldest turn: the user's message and the answer. False if only the newest message is left.
    pub fn drop_oldest(&mut self) -> bool {
        let next = self.messages.iter().skip(1).position(|m| m.role == Role::User);
        match next {
            Some(at) => {
                self.messages.drain(..=at);
                true
            }
            None => false,
        }
    }

    /// Writes it, whole or not at all, for its owner alone. Only a conversation that was saved before makes way for it.
    pub fn save(&self, path: &Path, model: &str) -> CliResult {
        let talk = Talk { model: model.to_owned(), ..self.clone() };
        let text = serde_json::to_string_pretty(&talk).map_err(|e| CliError::failed(e).at(path.display()))?;
        let existing = if was_saved(path) { Existing::Replace } else { Existing::Refuse };
        match output::write_text(path, &format!("{text}\n"), existing) {
            Err(_) if existing == Existing::Refuse && output::taken(path) => {
                Err(CliError::failed("the file is no saved conversation, and stays as it is")
                    .at(path.display())
                    .advise("another name"))
            }
            written => written.map(drop),
        }
    }

    /// Reads it back.
    pub fn load(path: &Path) -> CliResult<Self> {
        let text = text_file(path)?;
        serde_json::from_str(&text).map_err(|e| {
            CliError::failed(format!("not a saved conversation: {e}"))
                .at(path.display())
                .advise("a file made with /save")
        })
    }
}

/// Whether a file is a conversation as [`Talk::save`] writes it: with nothing else in it, such as data to learn from.
fn was_saved(path: &Path) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Saved {
        #[serde(rename = "model")]
        _model: String,
        #[serde(rename = "system", deserialize_with = "Option::deserialize")]
        _system: Option<String>,
        #[serde(rename = "messages")]
        _messages: Vec<Said>,
    }
    path.is_file()
        && std::fs::read(path).is_ok_and(|bytes| {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
            serde_json::from_slice::<Saved>(bytes).is_ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_turns_go_first_and_the_newest_message_stays() {
        let mut talk = Talk::new(Some("be brief".into()));
        for turn in ["a", "b"] {
            talk.user(turn);
            talk.assistant(&turn.to_uppercase());
        }
        talk.user("c");
        assert!(talk.drop_oldest());
        assert_eq!(talk.messages[0].content, "b");
        assert!(talk.drop_oldest());
        assert_eq!(talk.messages.len(), 1);
        assert!(!talk.drop_oldest());
        assert_eq!((talk.messages[0].content.as_str(), talk.system.as_deref()), ("c", Some("be brief")));
    }

    #[test]
    fn a_saved_conversation_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("talk.json");
        let mut talk = Talk::new(Some("s".into()));
        talk.user("tell me \"a\"\nstory");
        talk.assistant(" no ");
        talk.save(&path, "tiny").unwrap();
        let loaded = Talk::load(&path).unwrap();
        assert_eq!(
            (loaded.messages, loaded.system, loaded.model),
            (talk.messages.clone(), talk.system.clone(), "tiny".into())
        );
        talk.user("more");
        talk.save(&path, "tiny").unwrap();
        assert_eq!(Talk::load(&path).unwrap().messages, talk.messages, "a saved one makes way");
        std::fs::write(&path, "{}").unwrap();
        assert!(Talk::load(&path).unwrap_err().what.contains("not a saved conversation"));
    }

    #[test]
    fn only_a_saved_conversation_makes_way_for_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let talk = Talk::new(None);
        for bytes in [
            &b"my diary"[..],
            // Data to learn from looks like one.
            br#"{"messages": [{"role": "user", "content": "a"}]}"#,
            br#"{"model": "m", "system": null, "messages": [], "notes": "mine"}"#,
            b"GGUF\x03\0\0\0",
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = talk.save(&path, "tiny").unwrap_err();
            assert!(error.what.contains("no saved conversation"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::write(&path, b"\xef\xbb\xbf{\"model\": \"m\", \"system\": null, \"messages\": []}").unwrap();
        talk.save(&path, "tiny").unwrap();
        #[cfg(unix)]
        assert!(crate::io::private::is_private(&path));
        let folder = talk.save(dir.path(), "tiny").unwrap_err();
        assert!(folder.what.contains("is a folder"), "{folder}");
    }
}

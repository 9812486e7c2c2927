//! A conversation, and its JSON file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
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

    /// Writes it, whole or not at all.
    pub fn save(&self, path: &Path, model: &str) -> CliResult {
        let talk = Talk { model: model.to_owned(), ..self.clone() };
        let text = serde_json::to_string_pretty(&talk).map_err(|e| CliError::failed(e).at(path.display()))?;
        crate::io::replace_file(path, |out| -> Result<(), crate::io::IoError> {
            use std::io::Write;
            let written = out.0.write_all(text.as_bytes()).and_then(|()| out.0.write_all(b"\n"));
            written.map_err(|source| crate::io::IoError::System {
                action: "write",
                path: path.to_owned(),
                source,
            })
        })?;
        Ok(())
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
            (talk.messages, talk.system, "tiny".into())
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(Talk::load(&path).unwrap_err().what.contains("not a saved conversation"));
    }
}

//! The JSON file of a conversation.

use std::path::Path;

use serde::Deserialize;

use crate::chat::{Said, Talk};
use crate::cli::error::{CliError, CliResult};
use crate::cli::input::text_file;
use crate::cli::output;
use crate::io::Existing;

/// Writes a conversation, whole or not at all, for its owner alone. Only one that was saved before makes way for it.
pub fn save(talk: &Talk, path: &Path, model: &str) -> CliResult {
    let talk = Talk { model: model.to_owned(), ..talk.clone() };
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

/// Reads one back.
pub fn load(path: &Path) -> CliResult<Talk> {
    let text = text_file(path)?;
    serde_json::from_str(&text).map_err(|e| {
        CliError::failed(format!("not a saved conversation: {e}"))
            .at(path.display())
            .advise("a file made with /save")
    })
}

/// Whether a file is a conversation as [`save`] writes it: with nothing else in it, such as data to learn from.
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
    fn a_saved_conversation_loads_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("talk.json");
        let mut talk = Talk::new(Some("s".into()));
        talk.user("tell me \"a\"\nstory");
        talk.assistant(" no ");
        save(&talk, &path, "tiny").unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(
            (loaded.messages, loaded.system, loaded.model),
            (talk.messages.clone(), talk.system.clone(), "tiny".into())
        );
        talk.user("more");
        save(&talk, &path, "tiny").unwrap();
        assert_eq!(load(&path).unwrap().messages, talk.messages, "a saved one makes way");
        std::fs::write(&path, "{}").unwrap();
        assert!(load(&path).unwrap_err().what.contains("not a saved conversation"));
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
            let error = save(&talk, &path, "tiny").unwrap_err();
            assert!(error.what.contains("no saved conversation"), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
        std::fs::write(&path, b"\xef\xbb\xbf{\"model\": \"m\", \"system\": null, \"messages\": []}").unwrap();
        save(&talk, &path, "tiny").unwrap();
        #[cfg(unix)]
        assert!(crate::io::private::is_private(&path));
        let folder = save(&talk, dir.path(), "tiny").unwrap_err();
        assert!(folder.what.contains("is a folder"), "{folder}");
    }
}

//! What is found out about devices, kept in files: each with a checksum, so that a damaged one is none.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::io::{IoError, Manner, write_bytes};

/// SHA-256 of texts, in hexadecimal.
pub fn digest<S: AsRef<str>>(parts: &[S]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.as_ref().len() as u64).to_le_bytes());
        hash.update(part.as_ref().as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a file, if it is there as it was written.
pub fn read(file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let (sum, body) = text.split_once('\n')?;
    (sum == digest(&[body])).then(|| body.to_owned())
}

/// Writes one, and its folder.
///
/// # Errors
/// [`IoError`] if that is not possible: then it is found out again next time.
pub fn write(file: &Path, body: &str) -> Result<(), IoError> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(|source| IoError::System {
            action: "make",
            path: folder.to_owned(),
            source,
        })?;
    }
    write_bytes(file, Manner::default(), whole(body).as_bytes()).map(drop)
}

/// What a file holds: the checksum of a text, and the text.
pub fn whole(body: &str) -> String {
    format!("{}\n{body}", digest(&[body]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_note_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new").join("note.txt");
        assert_eq!(read(&file), None);
        write(&file, "one\ntwo\n").unwrap();
        assert_eq!(read(&file).as_deref(), Some("one\ntwo\n"));
        let text = std::fs::read_to_string(&file).unwrap();
        for damaged in [text.replace("two", "tow"), text.replace("two\n", ""), String::new(), "x".into()] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(read(&file), None);
        }
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}

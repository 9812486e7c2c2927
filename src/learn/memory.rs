//! What a person wants remembered, word for word: a plain text file of one's own, a line each, which goes into the system
//! prompt as far as its budget reaches, the newest lines first.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::io::{Access, IoError, Manner, private, write_bytes};

/// The longest file that is read, in bytes.
const MOST: u64 = 1 << 20;
/// What stands above the lines in a prompt.
const HEAD: &str = "Remember these facts:";

/// Lines to be remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    path: PathBuf,
    lines: Vec<String>,
}

impl Memory {
    /// Reads the file at `path`; one that does not exist holds nothing. Blank lines and those that begin with `#` do not
    /// count.
    ///
    /// # Errors
    /// It is there and cannot be read, is no UTF-8 text, or has more than a MiB.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, IoError> {
        let path = path.into();
        let failed = |source| IoError::system("read", &path, source);
        let text = match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => return Err(IoError::NotAFile { path }),
            Ok(metadata) if metadata.len() > MOST => {
                return Err(failed(Error::other(format!(
                    "it has {} bytes, at most {MOST} are read",
                    metadata.len()
                ))));
            }
            Ok(_) => fs::read_to_string(&path).map_err(failed)?,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let lines =
            lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect();
        Ok(Self { path, lines })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is remembered, the oldest first.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Adds a line, unless it is there; false if it is.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was then.
    pub fn add(&mut self, line: &str) -> Result<bool, IoError> {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        // A line that began with the comment sign would not be read again.
        let line = line.trim_start_matches('#').trim().to_owned();
        if line.is_empty() || self.lines.iter().any(|known| known.eq_ignore_ascii_case(&line)) {
            return Ok(false);
        }
        let mut lines = self.lines.clone();
        lines.push(line);
        self.replace(lines)?;
        Ok(true)
    }

    /// Takes out the lines that have all of the words of `about` in them, and gives them.
    ///
    /// # Errors
    /// The file cannot be written; it is as it was then.
    pub fn forget(&mut self, about: &str) -> Result<Vec<String>, IoError> {
        let (gone, lines): (Vec<String>, Vec<String>) =
            self.lines.iter().cloned().partition(|line| mentions(line, about));
        if !gone.is_empty() {
            self.replace(lines)?;
        }
        Ok(gone)
    }

    /// Writes the file whole or not at all. Comments of the old one stay, above.
    fn replace(&mut self, lines: Vec<String>) -> Result<(), IoError> {
        let old = fs::read_to_string(&self.path).unwrap_or_default();
        let comments = old.lines().filter(|line| line.trim_start().starts_with('#'));
        let all = comments.chain(lines.iter().map(String::as_str));
        let text: String = all.flat_map(|line| [line, "\n"]).collect();
        if let Some(folder) = self.path.parent() {
            private::make_folders(folder).map_err(|e| IoError::system("create", folder, e))?;
        }
        write_bytes(&self.path, Manner { access: Access::Private, ..Manner::default() }, text.as_bytes())?;
        self.lines = lines;
        Ok(())
    }

    /// What goes into a system prompt: the newest lines whose text has at most `budget` tokens by `count`, in their order; and
    /// how many lines were left out. `None` where nothing is remembered or fits.
    pub fn prompt(&self, budget: usize, count: impl Fn(&str) -> usize) -> (Option<String>, usize) {
        let text = |from: usize| {
            let lines = self.lines[from..].iter().map(|line| format!("- {line}"));
            std::iter::once(HEAD.to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
        };
        let fits = (0..self.lines.len()).find(|from| count(&text(*from)) <= budget);
        match fits {
            Some(from) => (Some(text(from)), from),
            None => (None, self.lines.len()),
        }
    }
}

/// Whether a text has all words of `about`, in any order and case.
pub fn mentions(text: &str, about: &str) -> bool {
    let small = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\'' || c == '-'));
        words.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let (there, wanted) = (small(text), small(about));
    !wanted.is_empty() && wanted.iter().all(|word| there.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_once_forgotten_by_their_words_and_comments_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/memory.txt");
        let mut memory = Memory::open(&path).unwrap();
        assert!(memory.lines().is_empty() && memory.add(" My dentist is\nDr Ito. ").unwrap());
        assert!(!memory.add("my dentist is Dr Ito.").unwrap() && !memory.add("  ").unwrap());
        fs::write(&path, "# mine\n\nMy dentist is Dr Ito.\nThe key is under the pot.\n").unwrap();
        let mut memory = Memory::open(&path).unwrap();
        assert!(memory.add("# Tea at five").unwrap());
        assert_eq!(memory.lines(), ["My dentist is Dr Ito.", "The key is under the pot.", "Tea at five"]);
        assert_eq!(memory.forget("dentist ito").unwrap(), ["My dentist is Dr Ito."]);
        assert!(memory.forget("dentist").unwrap().is_empty() && memory.forget("").unwrap().is_empty());
        assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\nThe key is under the pot.\nTea at five\n");
        #[cfg(unix)]
        assert!(private::is_private(&path));
    }

    #[test]
    fn the_newest_lines_that_fit_go_into_the_prompt() {
        let memory = Memory { path: PathBuf::new(), lines: vec!["a b c".into(), "d".into(), "e".into()] };
        let words = |text: &str| text.split_whitespace().count();
        assert_eq!(memory.prompt(100, words), (Some("Remember these facts:\n- a b c\n- d\n- e".into()), 0));
        assert_eq!(memory.prompt(7, words), (Some("Remember these facts:\n- d\n- e".into()), 1));
        assert_eq!(memory.prompt(4, words), (None, 3));
        assert_eq!(Memory::default().prompt(100, words), (None, 0));
    }
}

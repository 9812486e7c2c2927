//! Where the user's messages come from: a line editor on a terminal, plain lines elsewhere.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::Config;
use rustyline::error::ReadlineError;

use super::safe::{Safe, SafeEditor};
use crate::cli::error::{CliError, CliResult};
use crate::cli::term;
use crate::io::{Existing, output, private};

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A message or command.
    Text(String),
    /// No more.
    End,
    /// Ctrl-C, twice.
    Interrupted,
}

/// The source.
pub enum Input {
    /// A person.
    Editor {
        /// The editor.
        editor: Box<SafeEditor>,
        /// Where its history is kept, if anywhere.
        history: Option<PathBuf>,
    },
    /// A pipe or file.
    Lines,
}

impl Input {
    /// A line editor with this history file, if stdin and stdout are a terminal.
    pub fn new(history: Option<PathBuf>) -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let config = Config::builder().auto_add_history(false).bracketed_paste(true).build();
        match SafeEditor::with_config(config) {
            Ok(mut editor) if terminal => {
                editor.set_helper(Some(Safe));
                if let Some(path) = &history {
                    // No history yet, or one that cannot be read: the chat works without.
                    let _ = editor.load_history(path);
                }
                Self::Editor { editor: Box::new(editor), history }
            }
            _ => Self::Lines,
        }
    }

    /// Whether a person types.
    pub fn interactive(&self) -> bool {
        matches!(self, Self::Editor { .. })
    }

    /// The next message; lines that end with a backslash go on in the next.
    pub fn read(&mut self) -> CliResult<Line> {
        match self {
            Self::Lines => read_lines(&mut std::io::stdin().lock()),
            Self::Editor { editor, history } => read_edited(editor, history.as_deref()),
        }
    }

    /// Asks for a text, with `text` to begin with where it can be edited; none if there is no answer. Without a terminal
    /// it is the next message.
    pub fn ask(&mut self, prompt: &str, text: &str) -> CliResult<Option<String>> {
        match self {
            Self::Lines => Ok(match read_lines(&mut std::io::stdin().lock())? {
                Line::Text(text) => Some(text),
                Line::End | Line::Interrupted => None,
            }),
            Self::Editor { editor, .. } => ask_edited(editor, prompt, text),
        }
    }
}

/// Asks; none if Ctrl-C or Ctrl-D was pressed.
fn ask_edited(editor: &mut SafeEditor, prompt: &str, text: &str) -> CliResult<Option<String>> {
    let mut answer = String::new();
    let mut before = text;
    loop {
        match editor.readline_with_initial(if answer.is_empty() { prompt } else { "… " }, (before, "")) {
            Ok(line) if append(&mut answer, &line) => before = "",
            Ok(_) => return Ok(Some(answer)),
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(None),
            Err(ReadlineError::Io(error)) => return Err(error.into()),
            Err(other) => return Err(CliError::failed(format!("cannot read the terminal: {other}"))),
        }
    }
}

fn read_edited(editor: &mut SafeEditor, history: Option<&Path>) -> CliResult<Line> {
    let mut text = String::new();
    let mut warned = false;
    loop {
        match editor.readline(if text.is_empty() { "> " } else { "… " }) {
            Ok(line) => {
                if append(&mut text, &line) {
                    continue;
                }
                if !text.trim().is_empty() {
                    remember(editor, history, &text);
                }
                return Ok(Line::Text(text));
            }
            Err(ReadlineError::Eof) => return Ok(Line::End),
            // A half-typed message is thrown away; at an empty prompt the second one leaves.
            Err(ReadlineError::Interrupted) if !text.is_empty() => text.clear(),
            Err(ReadlineError::Interrupted) if !warned => {
                warned = true;
                term::say("(Ctrl-C again, or /quit, to leave)");
            }
            Err(ReadlineError::Interrupted) => return Ok(Line::Interrupted),
            Err(ReadlineError::Io(error)) => return Err(error.into()),
            Err(other) => return Err(CliError::failed(format!("cannot read the terminal: {other}"))),
        }
    }
}

/// Adds a message to the history; one that cannot be written is not worth a complaint.
fn remember(editor: &mut SafeEditor, history: Option<&Path>, text: &str) {
    let _ = editor.add_history_entry(text);
    if let Some(path) = history {
        let _ = path.parent().map(private::make_folders);
        let _ = save_history(editor, path);
    }
}

/// Writes the history beside its place and puts it there in one step. What another chat has added meanwhile comes first.
fn save_history(editor: &mut DefaultEditor, path: &Path) -> Option<()> {
    let target = output::check(path, Existing::Replace).ok()?;
    let name = format!(".{}.{}.tmp", target.file_name()?.to_string_lossy(), std::process::id());
    let beside = target.with_file_name(name);
    let _ = std::fs::copy(&target, &beside);
    let written = editor.append_history(&beside).and_then(|()| Ok(std::fs::rename(&beside, &target)?));
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.ok()
}

fn read_lines(source: &mut dyn BufRead) -> CliResult<Line> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if source.read_line(&mut line)? == 0 {
            return Ok(if text.is_empty() { Line::End } else { Line::Text(text) });
        }
        if !append(&mut text, line.trim_end_matches(['\n', '\r'])) {
            return Ok(Line::Text(text));
        }
    }
}

/// Appends a line; true if it says that another one follows.
fn append(text: &mut String, line: &str) -> bool {
    match line.strip_suffix('\\') {
        Some(line) => {
            text.push_str(line);
            text.push('\n');
            true
        }
        None => {
            text.push_str(line);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_backslash_goes_on() {
        let mut source = &b"one \\\ntwo\r\n\nthree\\\n"[..];
        let mut next = || read_lines(&mut source).unwrap();
        assert_eq!(next(), Line::Text("one \ntwo".into()));
        assert_eq!(next(), Line::Text(String::new()));
        assert_eq!(next(), Line::Text("three\n".into()));
        assert_eq!(next(), Line::End);
    }
}

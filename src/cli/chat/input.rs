//! Where the user's messages come from: a line editor on a terminal, plain lines elsewhere.

use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};

use rustyline::Config;
use rustyline::error::ReadlineError;

use super::safe::{Safe, SafeEditor};
use crate::cli::error::{CliError, CliResult};
use crate::cli::term;
use crate::io::text::{Encoding, TextReader, sniff};
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
    Lines(Piped),
}

/// Lines of a pipe or file.
pub struct Piped {
    /// None before the first line has been asked for: what it is shows by how it begins.
    source: Option<Box<dyn BufRead>>,
    /// Lines read so far.
    line: u64,
}

/// Whether somebody types and reads.
pub fn person() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

impl Input {
    /// A line editor with this history file, if stdin and stdout are a terminal.
    pub fn new(history: Option<PathBuf>) -> Self {
        let terminal = person();
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
            _ => Self::Lines(Piped { source: None, line: 0 }),
        }
    }

    /// Whether a person types.
    pub fn interactive(&self) -> bool {
        matches!(self, Self::Editor { .. })
    }

    /// The next message; lines that end with a backslash go on in the next.
    pub fn read(&mut self) -> CliResult<Line> {
        match self {
            Self::Lines(piped) => piped.read(),
            Self::Editor { editor, history } => read_edited(editor, history.as_deref()),
        }
    }

    /// Asks for a text, with `text` to begin with where it can be edited; none if there is no answer. Without a terminal
    /// it is the next message.
    pub fn ask(&mut self, prompt: &str, text: &str) -> CliResult<Option<String>> {
        match self {
            Self::Lines(piped) => Ok(match piped.read()? {
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
fn save_history(editor: &mut SafeEditor, path: &Path) -> Option<()> {
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

impl Piped {
    fn of(source: impl BufRead + 'static) -> CliResult<Self> {
        Ok(Self { source: Some(unmarked(source)?), line: 0 })
    }

    /// The next message. One that is no text is said and passed over: the conversation goes on.
    fn read(&mut self) -> CliResult<Line> {
        if self.source.is_none() {
            *self = Self::of(BufReader::new(std::io::stdin()))?;
        }
        let Some(source) = &mut self.source else { return Ok(Line::End) };
        let (mut text, mut bad) = (String::new(), None);
        loop {
            let mut bytes = Vec::new();
            match source.read_until(b'\n', &mut bytes) {
                Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                    term::warn(format!(
                        "line {} of the messages is {e}; what follows is lost",
                        self.line + 1
                    ));
                    return Ok(Line::End);
                }
                read => read?,
            };
            if bytes.is_empty() && bad.is_none() {
                return Ok(if text.is_empty() { Line::End } else { Line::Text(text) });
            }
            self.line += u64::from(!bytes.is_empty());
            let goes_on = match as_text(&bytes) {
                Ok(line) => append(&mut text, line.trim_end_matches(['\n', '\r'])),
                Err(why) => {
                    bad.get_or_insert((self.line, why));
                    bytes.strip_suffix(b"\n").unwrap_or(&bytes).ends_with(b"\\")
                }
            };
            if goes_on {
                continue;
            }
            let Some((line, why)) = bad.take() else { return Ok(Line::Text(text)) };
            term::warn(format!("line {line} of the messages is {why}; the message is left out"));
            text.clear();
        }
    }
}

/// A line's text, or what it is instead.
fn as_text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.contains(&0) {
        return Err("no text (it has zero bytes)".to_owned());
    }
    std::str::from_utf8(bytes)
        .map_err(|e| format!("not UTF-8 at byte {} (convert it, e.g. with iconv)", e.valid_up_to() + 1))
}

/// The source as UTF-8, without a byte order mark. More than one byte is only waited for where the first begins a mark.
fn unmarked(mut source: impl BufRead + 'static) -> CliResult<Box<dyn BufRead>> {
    let first = source.fill_buf()?.to_vec();
    let (encoding, mark) = match first.first() {
        Some(0xef | 0xfe | 0xff) => sniff(&first).unwrap_or((Encoding::Utf8, 0)),
        _ => (Encoding::Utf8, 0),
    };
    source.consume(mark);
    Ok(match encoding {
        Encoding::Utf8 => Box::new(source),
        _ => Box::new(BufReader::new(TextReader::of(source, encoding))),
    })
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

    fn lines(bytes: &'static [u8]) -> Vec<Line> {
        let mut piped = Piped::of(bytes).unwrap();
        let mut lines = Vec::new();
        while lines.last() != Some(&Line::End) {
            lines.push(piped.read().unwrap());
        }
        lines
    }

    fn text(text: &str) -> Line {
        Line::Text(text.into())
    }

    #[test]
    fn a_trailing_backslash_goes_on() {
        let lines = lines(b"one \\\ntwo\r\n\nthree\\\n");
        assert_eq!(lines, [text("one \ntwo"), text(""), text("three\n"), Line::End]);
    }

    #[test]
    fn lines_that_are_no_text_are_passed_over() {
        assert_eq!(lines(b"caf\xe9\nstill here\n"), [text("still here"), Line::End]);
        assert_eq!(lines(b"one\na\0b\nthree"), [text("one"), text("three"), Line::End]);
        // With all lines of their message.
        assert_eq!(lines(b"a\\\n\xff\\\nb\nnext\n"), [text("next"), Line::End]);
        assert_eq!(lines(b"\xff\\\n"), [Line::End]);
    }

    #[test]
    fn messages_are_read_without_marks_and_from_utf16() {
        assert_eq!(lines(b"\xef\xbb\xbfone\ntwo\n"), [text("one"), text("two"), Line::End]);
        assert_eq!(lines(b"\xff\xfeo\0n\0e\0\r\0\n\0\xe9\0\n\0"), [text("one"), text("é"), Line::End]);
        assert_eq!(lines(b"\xfe\xff\0o\0n\0e\0\n\xd8"), [text("one"), Line::End]);
    }
}

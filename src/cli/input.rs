//! Text from `-p`, from a file, or from a pipe.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::{CliError, CliResult};
use crate::io::text::{self, TextError};

/// Where the text comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct InputArgs {
    /// The text; without it, what is piped in
    #[arg(short = 'p', long = "prompt", value_name = "TEXT", allow_hyphen_values = true)]
    pub prompt: Option<String>,
    /// Read the text from a file (- is stdin); follows -p where both are given
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl InputArgs {
    /// The text. Stdin is read only where nothing else is given and it is not a terminal.
    pub fn read(&self) -> CliResult<String> {
        let file = self.file.as_deref().map(read_file).transpose()?;
        match (&self.prompt, file) {
            (Some(prompt), Some(file)) => Ok(format!("{prompt}\n\n{file}")),
            (Some(prompt), None) => Ok(prompt.clone()),
            (None, Some(file)) => Ok(file),
            (None, None) if std::io::stdin().is_terminal() => {
                Err(CliError::usage("no text").advise("give it with -p, with -f FILE, or pipe it in"))
            }
            (None, None) => read_stdin(),
        }
    }
}

/// A text file, or stdin for `-`.
pub fn read_file(path: &Path) -> CliResult<String> {
    if path == Path::new("-") { read_stdin() } else { text_file(path) }
}

/// A text file: UTF-8 or UTF-16, without its byte order mark. What is no text is refused by name.
pub fn text_file(path: &Path) -> CliResult<String> {
    let bytes = std::fs::read(path).map_err(|e| CliError::file(path, &e))?;
    decode(bytes).map_err(|e| e.at(path.display()))
}

fn read_stdin() -> CliResult<String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    decode(bytes).map_err(|e| e.at("stdin"))
}

fn decode(bytes: Vec<u8>) -> CliResult<String> {
    text::decode(bytes).map_err(|error| match error {
        TextError::Io(error) => error.into(),
        other => CliError::failed(other),
    })
}

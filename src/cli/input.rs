//! Text from `-p`, from a file, or from a pipe.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::{CliError, CliResult};

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
    if path == Path::new("-") {
        return read_stdin();
    }
    let bytes = std::fs::read(path).map_err(|e| CliError::file(path, &e))?;
    utf8(bytes).map_err(|e| e.at(path.display()))
}

fn read_stdin() -> CliResult<String> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    utf8(bytes).map_err(|e| e.at("stdin"))
}

fn utf8(bytes: Vec<u8>) -> CliResult<String> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        CliError::failed(format!("the text is not UTF-8 (byte {at})")).advise("convert it, e.g. with iconv")
    })
}

//! Files that commands write: what is there already stays, and nothing is written onto what is read.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::error::{CliError, CliResult};
use crate::cli::term;
use crate::io::{Access, Existing, IoError, Manner, output, write_bytes};

/// What becomes of a file that is there.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ReplaceArgs {
    /// Write although a file of that name is there; it stays under another, such as NAME.1.gguf
    #[arg(long)]
    pub replace: bool,
}

impl ReplaceArgs {
    /// As files are written.
    pub fn existing(self) -> Existing {
        if self.replace { Existing::Keep } else { Existing::Refuse }
    }

    /// Checks that `output` can be written, before any work is done.
    pub fn check(self, output: &Path, inputs: &[&Path]) -> CliResult {
        not_an_input(output, inputs)?;
        output::check(output, self.existing()).map(drop).map_err(refused)
    }
}

/// Refuses to write what is read, whatever the options.
pub fn not_an_input(output: &Path, inputs: &[&Path]) -> CliResult {
    match inputs.iter().find(|input| output::same_file(input, output)) {
        None => Ok(()),
        Some(input) => Err(CliError::failed(format!("`{}` is read, and would be written", input.display()))
            .advise("another name for what is written")),
    }
}

/// What stands in the way of an output, with what to do about a file.
pub fn refused(error: IoError) -> CliError {
    match error {
        IoError::Exists { path } => {
            let kept = output::numbered(&path, 1);
            let kept = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
            CliError::failed("a file of that name is there, and stays as it is")
                .at(path.display())
                .advise("another name")
                .advise(format!("--replace, which keeps the old one as {kept} or the next free number"))
        }
        other => other.into(),
    }
}

/// Writes a text made of what somebody said, for its owner alone, whole or not at all. Gives the name of a file that is kept.
pub fn write_text(path: &Path, text: &str, existing: Existing) -> CliResult<Option<PathBuf>> {
    write_bytes(path, Manner { existing, access: Access::Private }, text.as_bytes()).map_err(refused)
}

/// Whether a plain file with something in it is there.
pub fn taken(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| there.is_file() && there.len() > 0)
}

/// Says where old files are now.
pub fn say_kept(path: &Path, kept: &[PathBuf]) {
    for old in kept {
        term::say(format!("what was {} is now {}", path.display(), old.display()));
    }
}

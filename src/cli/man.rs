//! `ember man`: manual pages, made of the commands as they are.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::cli::error::{CliError, CliResult};
use crate::cli::term;
use crate::io::output;

/// Print a manual page
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:\n  ember man | man -l -\n  ember man tune sft > ember-tune-sft.1\n  \
    ember man --all ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Of which command [default: of ember itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder instead, each as COMMAND.1
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    all: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ManArgs) -> CliResult {
    let mut root = super::command();
    root.build();
    match &args.all {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|e| CliError::file(folder, &e))?;
            write_all(&root, folder)
        }
        None => Ok(term::data().write_all(&page(find(&root, &args.command)?)?)?),
    }
}

/// The command that these words name.
fn find<'c>(root: &'c Command, words: &[String]) -> CliResult<&'c Command> {
    let mut here = root;
    for word in words {
        here = here.find_subcommand(word).ok_or_else(|| {
            let known: Vec<&str> = here.get_subcommands().map(Command::get_name).collect();
            let failure =
                CliError::usage(format!("{} has no command `{word}`", name(here).replace('-', " ")));
            if known.is_empty() { failure } else { failure.advise(format!("one of: {}", known.join(", "))) }
        })?;
    }
    Ok(here)
}

/// `ember-tune-sft`
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> CliResult<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(command.clone()).render(&mut text)?;
    Ok(text)
}

/// Pages of a command and of all below it. Those of an earlier version make way.
fn write_all(command: &Command, folder: &Path) -> CliResult {
    let path = folder.join(format!("{}.1", name(command)));
    let page = page(command)?;
    output::check(&path, crate::io::Existing::Replace)?;
    std::fs::write(&path, page).map_err(|e| CliError::file(&path, &e))?;
    command.get_subcommands().try_for_each(|sub| write_all(sub, folder))
}

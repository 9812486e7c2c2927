//! `ember memory`: what is remembered word for word.

use std::io::Write;
use std::process::Command;

use clap::{Args, Subcommand};

use crate::cli::error::{CliError, CliResult};
use crate::cli::show;
use crate::cli::store::Home;
use crate::cli::term;
use crate::learn::Memory;

/// See and change what is remembered word for word
///
/// Each line of a plain text file of your own goes into the system prompt of chats, the newest first, as far as there is room.
/// In a chat, /remember adds a line and /forget takes some out.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember memory add \"The spare key is under the blue flowerpot.\"\n  ember memory list\n  \
    ember memory forget key\n  ember memory edit"
)]
pub struct MemoryArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Print the lines, the oldest first
    List,
    /// Add a line
    Add {
        /// What is to be remembered
        text: String,
    },
    /// Take out the lines that have all of these words
    Forget {
        /// A word or more
        #[arg(required = true)]
        words: Vec<String>,
    },
    /// Open the file in the editor that VISUAL or EDITOR names
    Edit,
}

/// Opens the memory.
pub fn open() -> CliResult<Memory> {
    let path = Home::find()?.data.join("memory.txt");
    Ok(Memory::open(&path)?)
}

/// Runs the command.
pub fn run(args: &MemoryArgs) -> CliResult {
    let mut memory = open()?;
    match &args.what {
        What::List => {
            let mut out = term::listing();
            for line in memory.lines() {
                writeln!(out, "{}", show::line(line))?;
            }
            if memory.lines().is_empty() {
                term::say("nothing is remembered; /remember in a chat, or `ember memory add`");
            }
        }
        What::Add { text } => {
            if text.trim().is_empty() {
                return Err(CliError::usage("there is nothing to remember in an empty text"));
            }
            let new = memory.add(text)?;
            term::say(if new { "remembered" } else { "that is remembered already" });
        }
        What::Forget { words } => {
            let gone = memory.forget(&words.join(" "))?;
            for line in &gone {
                term::say(format!("forgotten: {}", show::line(line)));
            }
            if gone.is_empty() {
                term::say("no line has all of these words");
            }
        }
        What::Edit => edit(&memory)?,
    }
    Ok(())
}

fn edit(memory: &Memory) -> CliResult {
    let named =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let Some(editor) = named else {
        return Err(CliError::failed("neither VISUAL nor EDITOR names an editor")
            .advise(format!("any editor: the file is {}", memory.path().display())));
    };
    if let Some(folder) = memory.path().parent() {
        crate::io::private::make_folders(folder).map_err(|e| CliError::file(folder, &e))?;
    }
    // An editor may be named with arguments.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or(&editor);
    let status = Command::new(program).args(words).arg(memory.path()).status();
    let status = status.map_err(|e| CliError::failed(format!("`{program}` cannot be started: {e}")))?;
    if !status.success() {
        return Err(CliError::failed(format!("`{program}` ended with {status}")));
    }
    // What was written has to be readable, and is looked at now rather than in the next chat.
    let lines = Memory::open(memory.path())?.lines().len();
    term::say(format!("{lines} lines are remembered"));
    Ok(())
}

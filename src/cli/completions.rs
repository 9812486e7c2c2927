//! `ember completions`: what a shell needs to complete commands and options.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::cli::error::CliResult;
use crate::cli::term;

/// Print the completions of a shell
///
/// They are made of the options that this very program has.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember completions bash > ~/.local/share/bash-completion/completions/ember\n  \
    ember completions zsh > ~/.zfunc/_ember\n  ember completions fish > ~/.config/fish/completions/ember.fish\n  \
    ember completions powershell >> $PROFILE"
)]
pub struct CompletionsArgs {
    /// Of which shell: bash, elvish, fish, powershell or zsh
    #[arg(value_enum, hide_possible_values = true)]
    shell: Shell,
}

/// Runs the command.
pub fn run(args: &CompletionsArgs) -> CliResult {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "ember", &mut text);
    Ok(term::data().write_all(&text)?)
}

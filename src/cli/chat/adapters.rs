//! `/adapter` in a conversation.

use super::Terminal;
use crate::chat::Scaled;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::{self, Loaded};
use crate::cli::term;

impl Terminal<'_> {
    pub(super) fn say_adapters(&mut self) {
        match self.chat.session().map(|session| session.adapters()) {
            Ok(active) if !active.is_empty() => term::say(format!("on: {}", lora::in_words(active))),
            _ => term::say("no adapter is on"),
        }
    }

    /// Switches to the adapters named, or to none. What cannot be used is said, and all stays as it was; an error is one
    /// after which the conversation cannot go on.
    pub(super) fn switch_adapters(&mut self, names: &str) -> CliResult {
        let wanted = match self.open_adapters(names) {
            Ok(wanted) => lora::scales(wanted),
            Err(error) => {
                error.print();
                return Ok(());
            }
        };
        if !self.chat.switch(&wanted)? {
            term::say("these adapters need more room: starting the model again");
            self.boot_again(wanted)?;
        }
        self.say_adapters();
        Ok(())
    }

    fn open_adapters(&self, names: &str) -> CliResult<Vec<Loaded>> {
        if names == "none" {
            return Ok(Vec::new());
        }
        let open = |name| {
            let wanted = lora::scaled(name).map_err(CliError::usage)?;
            Loaded::open(&wanted, self.chat.model().file(), self.args.lora.force)
        };
        names.split_whitespace().map(open).collect()
    }

    /// Boots a session with room for `wanted`, or, where that fails, one as before.
    pub(super) fn boot_again(&mut self, wanted: Vec<Scaled>) -> CliResult {
        let before = self.chat.adapters().to_vec();
        if let Err(error) = self.boot(wanted) {
            error.print();
            self.boot(before)?;
        }
        Ok(())
    }

    pub(super) fn boot(&mut self, adapters: Vec<Scaled>) -> CliResult {
        let booted = self.chat.boot(adapters);
        booted.map_err(|e| CliError::from(e).at(self.chat.model().path().display()))
    }
}

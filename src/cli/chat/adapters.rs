//! `/adapter` in a conversation.

use super::Chat;
use crate::cli::args::session_options;
use crate::cli::error::{CliError, CliResult};
use crate::cli::lora::{self, Loaded};
use crate::cli::{engine, term};
use crate::session::Modes;

impl Chat<'_> {
    pub(super) fn say_adapters(&mut self) {
        match self.session.as_ref().map(|session| session.adapters()) {
            Some(active) if !active.is_empty() => term::say(format!("on: {}", lora::in_words(active))),
            _ => term::say("no adapter is on"),
        }
    }

    /// Switches to the adapters named, or to none. What cannot be used is said, and all stays as it was; an error is one
    /// after which the conversation cannot go on.
    pub(super) fn switch_adapters(&mut self, names: &str) -> CliResult {
        let wanted = match self.open_adapters(names) {
            Ok(wanted) => wanted,
            Err(error) => {
                error.print();
                return Ok(());
            }
        };
        if lora::switch(self.session()?, &wanted)? {
            self.adapters = wanted;
        } else {
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
            Loaded::open(&wanted, self.model.file(), self.args.lora.force)
        };
        names.split_whitespace().map(open).collect()
    }

    /// Boots a session with room for `wanted`, or, where that fails, one as before.
    pub(super) fn boot_again(&mut self, wanted: Vec<Loaded>) -> CliResult {
        // Two would need twice the memory.
        self.session = None;
        let options = session_options(&self.args.device, &self.args.context, Modes::GENERATE);
        match engine::boot_with(&self.model, options.clone(), &wanted) {
            Ok(session) => {
                self.session = Some(session);
                self.adapters = wanted;
            }
            Err(error) => {
                error.print();
                self.session = Some(engine::boot_with(&self.model, options, &self.adapters)?);
            }
        }
        Ok(())
    }
}

//! `/learn` in a conversation.

use super::Chat;
use crate::cli::adapt::{self, LearnArgs, Prepared, What};
use crate::cli::args::session_options;
use crate::cli::error::CliResult;
use crate::cli::{engine, journal, live, term};
use crate::session::Modes;

impl Chat<'_> {
    /// Learns what was noted and goes on with what came of it; an error is one after which the conversation cannot go on.
    pub(super) fn learn(&mut self) -> CliResult {
        // Two models at once would need twice the memory.
        self.session = None;
        let learnt = self.learn_from_journal();
        let wanted = match learnt {
            Ok(true) => self.with_live(),
            Ok(false) => self.adapters.clone(),
            Err(error) => {
                error.print();
                self.adapters.clone()
            }
        };
        let options = session_options(&self.args.device, &self.args.context, Modes::GENERATE);
        self.session = Some(engine::boot_with(&self.model, options, &wanted)?);
        self.adapters = wanted;
        self.say_adapters();
        Ok(())
    }

    /// Whether there is something new.
    fn learn_from_journal(&mut self) -> CliResult<bool> {
        let path = journal::place(self.args.journal.as_deref())?;
        let entries = adapt::entries_of(&path, &self.base)?;
        let what = What { min_entries: 1, held_out: 0.2, again: false };
        let prepared = Prepared::new(&live::place(&self.base)?, self.base.clone(), entries, &what)?;
        adapt::say_summary(&prepared.lesson);
        let (args, device) = (LearnArgs::default(), &self.args.device);
        if let Some(why) = prepared.why_not(&what, &args) {
            term::say(why);
            return Ok(false);
        }
        let version = prepared.finish(&self.model, &args, |task| adapt::learn(task, &args, device))?;
        crate::cli::adapter::print_figures(&mut term::log(), &version.figures)?;
        term::say(format!("version {} is live; `ember adapter rollback` goes back", version.number));
        Ok(true)
    }

    /// The adapters of the chat, with what is live now in the place of what was.
    fn with_live(&self) -> Vec<crate::cli::lora::Loaded> {
        let others =
            self.adapters.iter().filter(|loaded| !loaded.adapter.name.starts_with(live::NAME)).cloned();
        live::by_default(self.model.file()).into_iter().chain(others).collect()
    }
}

//! One answer of the model: how it is shown, and what is said of its end.

use std::io::Write;

use super::Terminal;
use crate::chat::{Answer, Chat, ChatError, Listener};
use crate::cli::answer::{CIRCLED, Display};
use crate::cli::engine;
use crate::cli::error::CliResult;
use crate::cli::keys::Held;
use crate::cli::term::{self, Paint};
use crate::session::StopReason;

impl Terminal<'_> {
    /// Streams an answer to stdout: the one that `ask` asks the chat for. The outer error is one of the terminal.
    pub(super) fn show(
        &mut self,
        interactive: bool,
        ask: impl FnOnce(&mut Chat, &mut Listener<'_>) -> Result<Answer, ChatError>,
    ) -> CliResult<Result<Answer, ChatError>> {
        let mut out = term::answer();
        let _held = interactive.then(Held::new);
        let mut display = Display::new(self.args.answer.thoughts(), false, &mut out);
        let said = match ask(&mut self.chat, &mut |piece| display.show(piece)) {
            Ok(said) => said,
            Err(error) => return Ok(Err(error)),
        };
        let answer = Answer { interrupted: display.finish()?, ..said };
        writeln!(out)?;
        if interactive {
            writeln!(out)?;
        }
        out.flush()?;
        self.say_of_end(&answer)?;
        if self.stats {
            term::say(Paint::stderr().dim(engine::stats_line(&answer.done)));
        }
        Ok(Ok(answer))
    }

    /// Why an answer ended, where that was not its own end.
    fn say_of_end(&self, answer: &Answer) -> CliResult {
        let dim = |text: &str| term::say(Paint::stderr().dim(text));
        if answer.circled {
            dim(CIRCLED);
        } else if answer.done.stop == StopReason::ContextFull {
            dim("(cut short: the context is full; -c takes a larger one)");
        } else if answer.thinking && !answer.interrupted {
            dim("(it ended while the model was thinking: -n takes more tokens)");
        } else if answer.done.stop == StopReason::Length && self.args.answer.limit_is_default() {
            let limit = self.chat.conversation.manner.limit.min(self.chat.session()?.ctx());
            dim(&format!(
                "(cut short after {limit} tokens: -n takes more, -n -1 as many as there is room for)"
            ));
        }
        Ok(())
    }
}

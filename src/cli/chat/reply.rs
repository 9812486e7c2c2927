//! One answer of the model: how it is made, shown, and what is said of its end.

use std::io::Write;

use super::{Chat, NO_SESSION};
use crate::cli::answer::{self, Answer, Manner};
use crate::cli::engine;
use crate::cli::error::{CliError, CliResult};
use crate::cli::keys::Held;
use crate::cli::term::{self, Paint};
use crate::journal::Role;
use crate::session::StopReason;
use crate::text::LoopGuard;

impl Chat<'_> {
    /// Streams an answer to stdout.
    pub(super) fn generate(&mut self, tokens: &[u32], interactive: bool) -> CliResult<Answer> {
        let mut sampler = self.sampler;
        sampler.seed = sampler.seed.wrapping_add(self.answers);
        self.answers += 1;
        let most = self.args.answer.chat_limit(self.prompter.marks().is_some());
        let limit = most.min(self.session()?.ctx());
        let manner = Manner {
            stop: self.stop.clone(),
            marks: self.prompter.marks(),
            thoughts: self.args.answer.thoughts(),
            guard: self.guard(),
            quiet: false,
        };
        let mut out = term::answer();
        let _held = interactive.then(Held::new);
        let Some(session) = &mut self.session else { return Err(CliError::failed(NO_SESSION)) };
        let answer =
            answer::stream(session, self.prompter.tokenizer(), tokens, sampler, limit, &manner, &mut out)?;
        writeln!(out)?;
        if interactive {
            writeln!(out)?;
        }
        out.flush()?;
        self.say_of_end(&answer, limit);
        if self.stats {
            term::say(Paint::stderr().dim(engine::stats_line(&answer.done)));
        }
        Ok(answer)
    }

    /// What watches the next answer, and remembers those before; not where the user asks the same again, and may get the same.
    fn guard(&self) -> Option<LoopGuard> {
        let mut guard = self.args.answer.guard(false)?;
        let marks = self.prompter.marks();
        let messages = &self.talk.messages;
        // "Go on" is no question.
        let question = messages.last().filter(|m| m.content.contains('?'));
        let asked = |role, text: &str| role == Role::User && question.is_some_and(|m| same(&m.content, text));
        if !messages.iter().rev().skip(1).any(|m| asked(m.role, &m.content)) {
            for said in messages.iter().filter(|m| m.role == Role::Assistant) {
                guard.remember(marks.map_or(&said.content, |marks| marks.answer_of(&said.content)));
            }
        }
        Some(guard)
    }

    /// Why an answer ended, where that was not its own end.
    fn say_of_end(&self, answer: &Answer, limit: usize) {
        let dim = |text: &str| term::say(Paint::stderr().dim(text));
        if answer.circled {
            dim(answer::CIRCLED);
        } else if answer.done.stop == StopReason::ContextFull {
            dim("(cut short: the context is full; -c takes a larger one)");
        } else if answer.thinking && !answer.interrupted {
            dim("(it ended while the model was thinking: -n takes more tokens)");
        } else if answer.done.stop == StopReason::Length && self.args.answer.limit_is_default() {
            dim(&format!(
                "(cut short after {limit} tokens: -n takes more, -n -1 as many as there is room for)"
            ));
        }
    }
}

/// Whether two messages ask the same, as far as letters go.
fn same(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<Vec<_>>()
    };
    letters(a) == letters(b)
}

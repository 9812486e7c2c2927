//! Rewards from a program of the user's: a line of JSON for each completion, a line with a number back.

mod answer;
mod child;
#[cfg(all(test, unix))]
mod tests;

use std::process::ExitStatus;
use std::time::Duration;

use super::error::{CommandFailure, shorten};
use super::{Completion, Reward, RewardError};
use child::{Child, Event, MAX_LINE};

/// How a reward command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandOptions {
    /// Longest time from one answer to the next.
    pub timeout: Duration,
    /// How often it is started again within one batch when it ends or is too slow.
    pub restarts: u32,
}

impl Default for CommandOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), restarts: 2 }
    }
}

/// How long a program that closed its output may take to end.
const ENDING: Duration = Duration::from_secs(1);

/// A program that judges. It is started once, through the shell (`sh -c`, on Windows `cmd /C`), and reads a line of JSON
/// for each completion on stdin:
///
/// `{"id": 0, "prompt": "…", "completion": "…", "row": {"answer": "…"}, "tokens": 12, "truncated": false, "remaining": 7}`
///
/// It answers each, in order, with a line on stdout: a number or `{"reward": NUMBER}`, `null` in place of the number when
/// it has nothing to say, and must flush its output (Python is told not to buffer). `remaining` is the number of lines that
/// follow in this batch, so that a program may read them all before it answers. An answer may repeat the `id`, which is
/// then checked. Whatever it writes to stderr is kept for error messages. At the end its stdin is closed, and what still
/// runs two seconds later is killed, on Unix with all processes that it started.
///
/// A program that ends or is too slow is started again and asked what it has not answered yet; answers that cannot be
/// understood are an error at once, since it would be wrong to guess which answer belongs where.
#[derive(Debug)]
pub struct CommandReward {
    name: String,
    line: String,
    options: CommandOptions,
    child: Option<Child>,
    /// Answers since it was started.
    answered: u64,
    /// The next question.
    id: u64,
    notes: Vec<String>,
}

impl CommandReward {
    /// Starts it.
    ///
    /// # Errors
    /// [`RewardError::Command`] when the shell cannot be started; what goes wrong later shows when it is asked, or in
    /// [`ready`](Reward::ready).
    pub fn start(line: &str, options: CommandOptions) -> Result<Self, RewardError> {
        let name = format!("command:{line}");
        let mut reward =
            Self { name, line: line.to_owned(), options, child: None, answered: 0, id: 0, notes: Vec::new() };
        reward.child().map_err(|failure| reward_error(line, failure))?;
        Ok(reward)
    }

    fn child(&mut self) -> Result<&mut Child, CommandFailure> {
        if self.child.is_none() {
            self.answered = 0;
        }
        match &mut self.child {
            Some(child) => Ok(child),
            none => Ok(none.insert(Child::start(&self.line).map_err(CommandFailure::Start)?)),
        }
    }

    /// Asks what is not answered yet.
    fn ask(
        &mut self,
        batch: &[Completion<'_>],
        answers: &mut Vec<Option<f64>>,
    ) -> Result<(), CommandFailure> {
        self.quiet()?;
        let open = batch.get(answers.len()..).unwrap_or_default();
        let first = self.id;
        let numbered = (first..).zip((0..open.len()).rev()).zip(open);
        let lines = numbered.flat_map(|((id, remaining), c)| answer::question(c, id, remaining)).collect();
        self.child()?.send(lines);
        self.id += open.len() as u64;
        for id in first..self.id {
            answers.push(self.answer(id)?);
            self.answered += 1;
        }
        match self.child()?.waiting() {
            // One that ends now has said all that it was asked.
            None | Some(Event::End) => Ok(()),
            Some(event) => Err(self.unasked(event)),
        }
    }

    /// Waits for one answer.
    fn answer(&mut self, id: u64) -> Result<Option<f64>, CommandFailure> {
        let timeout = self.options.timeout;
        let line = match self.child()?.next(timeout) {
            Some(Event::Line(line)) => line,
            Some(Event::TooLong) => return Err(self.garbage(too_long())),
            Some(Event::End) => return Err(self.ended()),
            None => return Err(CommandFailure::Timeout { timeout, restarts: 0, stderr: self.stop() }),
        };
        match answer::parse(&line) {
            Some(answer) if answer.id.is_none_or(|given| given == id) => Ok(answer.value),
            Some(_) => Err(CommandFailure::Order { line: shown(&line), id }),
            None => Err(self.garbage(shown(&line))),
        }
    }

    /// Nothing came since the last answer.
    fn quiet(&mut self) -> Result<(), CommandFailure> {
        match self.child()?.waiting() {
            None => Ok(()),
            Some(event) => Err(self.unasked(event)),
        }
    }

    /// A line that nobody asked for makes it uncertain which answers belong to which questions.
    fn unasked(&mut self, event: Event) -> CommandFailure {
        match event {
            Event::Line(line) => CommandFailure::Surplus { line: shown(&line) },
            Event::TooLong => CommandFailure::Surplus { line: too_long() },
            Event::End => self.ended(),
        }
    }

    fn garbage(&mut self, line: String) -> CommandFailure {
        CommandFailure::Garbage { line, stderr: self.stop() }
    }

    /// Kills it; what it wrote to stderr.
    fn stop(&mut self) -> String {
        let Some(mut child) = self.child.take() else { return String::new() };
        child.finish(Duration::ZERO);
        child.stderr()
    }

    /// It ended, or at least closed its output.
    fn ended(&mut self) -> CommandFailure {
        let status = self.child.as_mut().and_then(|child| child.finish(ENDING));
        let (answered, stderr) = (self.answered, self.stop());
        match status {
            Some(status) => match cannot_run(status) {
                Some(why) => CommandFailure::NotRun { ended: format!("{status}: {why}"), stderr },
                None => CommandFailure::Ended {
                    ended: format!("ended ({status})"),
                    answered,
                    restarts: 0,
                    stderr,
                },
            },
            None => {
                CommandFailure::Ended { ended: "closed its output".into(), answered, restarts: 0, stderr }
            }
        }
    }
}

/// The shell's way to say that it cannot run a program.
fn cannot_run(status: ExitStatus) -> Option<&'static str> {
    match status.code().filter(|_| cfg!(unix))? {
        126 => Some("the program cannot be executed"),
        127 => Some("the program is not found"),
        _ => None,
    }
}

fn shown(line: &[u8]) -> String {
    format!("`{}`", shorten(&String::from_utf8_lossy(line), 80))
}

fn too_long() -> String {
    format!("more than {MAX_LINE} bytes in one line")
}

fn reward_error(line: &str, failure: CommandFailure) -> RewardError {
    RewardError::Command { command: shorten(line, 120), failure }
}

impl Reward for CommandReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn rewards(&mut self, batch: &[Completion<'_>]) -> Result<Vec<Option<f64>>, RewardError> {
        let mut answers = Vec::with_capacity(batch.len());
        let mut restarts = 0;
        while answers.len() < batch.len() {
            let Err(failure) = self.ask(batch, &mut answers) else { break };
            self.stop();
            if restarts == self.options.restarts || !failure.may_pass() {
                return Err(reward_error(&self.line, failure.after(restarts)));
            }
            restarts += 1;
            let note = format!("{}; started again", reward_error(&self.line, failure));
            self.notes.push(note);
        }
        Ok(answers)
    }

    fn ready(&mut self) -> Result<(), RewardError> {
        let state = match self.child().map(Child::has_ended) {
            Ok(true) => Err(self.ended()),
            Ok(false) => self.quiet(),
            Err(failure) => Err(failure),
        };
        state.map_err(|failure| {
            self.stop();
            reward_error(&self.line, failure)
        })
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }
}

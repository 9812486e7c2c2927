//! What can be wrong with rewards.

use std::path::PathBuf;
use std::time::Duration;

/// Why there are no rewards.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A rule that cannot be understood.
    #[error("reward `{rule}`: {why}")]
    Rule {
        /// As it was given, shortened.
        rule: String,
        /// What is wrong, and what is right.
        why: String,
    },
    /// A JSON schema that cannot be used.
    #[error("{}: {why}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A reward that did not give one number per completion.
    #[error("the reward `{name}` gave {given} numbers for {wanted} completions")]
    Count {
        /// The reward.
        name: String,
        /// Numbers it gave.
        given: usize,
        /// Completions.
        wanted: usize,
    },
    /// A reward command failed.
    #[error("reward command `{command}`: {failure}")]
    Command {
        /// Its command line, shortened.
        command: String,
        /// How.
        failure: CommandFailure,
    },
}

/// How a reward command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandFailure {
    /// The shell could not be started.
    #[error("cannot be started: {0}")]
    Start(std::io::Error),
    /// The shell does not find the program, or cannot execute it.
    #[error("{ended}; check the path and what is installed{}", said(stderr))]
    NotRun {
        /// The exit status, in words.
        ended: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// It ended, or closed its output, before all answers were there.
    #[error("{ended} after {answered} answers{}{}", again(*.restarts), said(stderr))]
    Ended {
        /// How: the exit status, in words.
        ended: String,
        /// Answers it gave since it was started.
        answered: u64,
        /// Times it was started again for this batch.
        restarts: u32,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// No answer in time.
    #[error(
        "no answer within {} s{}; it must answer each line it is given and flush its output, or needs a longer \
         time-out{}",
        timeout.as_secs_f64(), again(*.restarts), said(stderr)
    )]
    Timeout {
        /// The time allowed for one answer.
        timeout: Duration,
        /// Times it was started again for this batch.
        restarts: u32,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// A line that is no answer.
    #[error(
        "answered {line}, which is neither a number nor {{\"reward\": NUMBER}}; anything else belongs on stderr{}",
        said(stderr)
    )]
    Garbage {
        /// The line, shortened, or what it was.
        line: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// More answers than questions: it is not known which belong together.
    #[error("wrote a line that it was not asked for ({line}); it must answer each line with exactly one")]
    Surplus {
        /// The line, shortened.
        line: String,
    },
    /// An answer with the id of another question.
    #[error("answered {line} where the answer to id {id} was due; answers must come in order")]
    Order {
        /// The line, shortened.
        line: String,
        /// The id of the question.
        id: u64,
    },
}

impl CommandFailure {
    /// Whether it may go well when the program is started again.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Ended { .. } | Self::Timeout { .. })
    }

    /// With the number of times that the program was started again.
    #[must_use]
    pub(super) fn after(mut self, times: u32) -> Self {
        if let Self::Ended { restarts, .. } | Self::Timeout { restarts, .. } = &mut self {
            *restarts = times;
        }
        self
    }
}

fn again(restarts: u32) -> String {
    match restarts {
        0 => String::new(),
        1 => ", also when started again".into(),
        n => format!(", also when started again {n} times"),
    }
}

fn said(stderr: &str) -> String {
    match stderr.trim_end() {
        "" => String::new(),
        text => format!("; on stderr it wrote:\n{text}"),
    }
}

/// The first `max` characters, with control characters made visible.
pub(super) fn shorten(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

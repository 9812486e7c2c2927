//! What a command ends with when it does not end well: `error: what`, where, and what to try.

use std::fmt;
use std::io;

use crate::adapter::AdapterError;
use crate::chat::ChatError;
use crate::cli::show;
use crate::cli::store::StoreError;
use crate::cli::term::{self, Paint};
use crate::cli::tune::differences;
use crate::exec::ExecError;
use crate::gguf::GgufError;
use crate::io::{CommitError, IoError};
use crate::journal::JournalError;
use crate::journal::live::LiveError;
use crate::learn::LearnError;
use crate::model::ModelError;
use crate::plan::BudgetError;
use crate::quantize::QuantizeError;
use crate::session::SessionError;
use crate::text::{TemplateError, TokenizerError, builtin_names};
use crate::train::corpus::CorpusError;
use crate::train::data::DataError;
use crate::train::{CheckpointError, TrainError};

/// How a command ended badly; each has its exit code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Something failed: 1.
    Failed,
    /// The command line was wrong: 2.
    Usage,
    /// The user pressed Ctrl-C: 130, as shells have it.
    Interrupted,
    /// Whoever read our output went away: nothing to say, 0.
    ClosedPipe,
}

impl Ending {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Ending::ClosedPipe => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::Interrupted => 130,
        }
    }
}

/// A command's error, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// Exit code and manner.
    pub ending: Ending,
    /// What was wrong.
    pub what: String,
    /// Where: a file, an address, a tensor.
    pub place: Option<String>,
    /// What to do about it; a line each.
    pub advice: Vec<String>,
}

/// What every command returns.
pub type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    fn new(ending: Ending, what: impl fmt::Display) -> Self {
        let what = plainly(&what.to_string());
        let full = what.contains(crate::io::FULL) && !what.contains("make room");
        let advice = full.then(|| "make room on that disk, or write to another one".to_owned());
        Self { ending, what, place: None, advice: advice.into_iter().collect() }
    }

    /// A failure.
    pub fn failed(what: impl fmt::Display) -> Self {
        Self::new(Ending::Failed, what)
    }

    /// A wrong command line.
    pub fn usage(what: impl fmt::Display) -> Self {
        Self::new(Ending::Usage, what)
    }

    /// Ctrl-C.
    pub fn interrupted() -> Self {
        Self::new(Ending::Interrupted, "interrupted")
    }

    /// A command line that cannot be read, in the parser's words.
    pub fn of_parser(error: &clap::Error) -> Self {
        let rendered = error.render();
        let plain = rendered.to_string();
        Self::new(Ending::Usage, plain.strip_prefix("error: ").unwrap_or(&plain).trim_end())
    }

    /// An ending of which all has been said.
    pub fn said(ending: Ending) -> Self {
        Self::new(ending, "")
    }

    /// Adds where it happened.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice.push(advice.to_string());
        self
    }

    /// An I/O error on a file the user named.
    pub fn file(path: &std::path::Path, error: &io::Error) -> Self {
        let failure = Self::failed(plain(error)).at(path.display());
        match error.kind() {
            io::ErrorKind::NotFound => failure.advise("check the path"),
            io::ErrorKind::IsADirectory => failure.advise("the path of a file in it"),
            io::ErrorKind::PermissionDenied => {
                failure.advise("check the permissions of the file and of its folder")
            }
            io::ErrorKind::QuotaExceeded => failure.advise("make room, or another place"),
            _ => failure,
        }
    }

    /// Prints it on stderr, unless there is nothing to say.
    pub fn print(&self) {
        if matches!(self.ending, Ending::ClosedPipe | Ending::Interrupted) || self.what.is_empty() {
            return;
        }
        let paint = Paint::stderr();
        // Names of files and models are in it: none may begin a line and look like another message.
        let what = match self.ending {
            Ending::Failed => self.what.replace('\n', "\n  "),
            _ => self.what.clone(),
        };
        let mut text = format!("{} {what}", paint.red("error:"));
        if let Some(place) = &self.place {
            text.push_str(&format!("\n  {} {}", paint.dim("at:"), show::line(place)));
        }
        for advice in &self.advice {
            text.push_str(&format!("\n  {} {advice}", paint.cyan("try:")));
        }
        term::say(text);
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.place {
            Some(place) => write!(f, " ({place})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

/// Errors of writing to stdout; files name their path through [`CliError::file`].
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Ending::ClosedPipe, "closed pipe"),
            io::ErrorKind::Interrupted => Self::interrupted(),
            _ => Self::failed(plain(&error)),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let failure = Self::failed(&error);
        match error {
            StoreError::Catalog { path, .. } => failure
                .at(path.display())
                .advise("correct it, or unset EMBER_CATALOG to use the built-in one"),
            StoreError::Unknown { known, .. } => {
                failure.advise(format!("one of: {}", known.join(", "))).advise("or the path of a GGUF file")
            }
            StoreError::NoHome => failure.advise("set EMBER_HOME to a folder of your choice"),
            StoreError::Io { path, error } => Self::file(&path, &error),
            StoreError::Remote { url, .. } => failure.at(url),
            StoreError::Pip { .. } => failure.advise("check that `python3 -m pip --version` works"),
            StoreError::Archive { path, .. } => failure.at(path.display()),
            StoreError::Mismatch { from, .. } => {
                failure.at(from).advise("fetch it again; if it stays so, the source has changed")
            }
            StoreError::NotInRepository { repo, there, .. } if !there.is_empty() => {
                failure.advise(format!("-hf {repo}:QUANT with one of: {}", there.join(", ")))
            }
            StoreError::NotInRepository { .. } => failure.advise(
                "a repository with files that end in .gguf; those of language models often end in -GGUF",
            ),
            StoreError::Licence { name, licence, .. } => {
                failure.advise(format!("read it, then `ember pull {name} --accept-licence {licence}`"))
            }
            // Each attempt was said when it failed.
            StoreError::AllFailed { by_hand, .. } => by_hand.into_iter().fold(failure, Self::advise),
        }
    }
}

/// Layers whose errors already say where and what to do.
macro_rules! says_it_all {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::failed(error)
            }
        })*
    };
}

says_it_all!(
    AdapterError,
    CommitError,
    CorpusError,
    DataError,
    GgufError,
    QuantizeError,
    IoError,
    JournalError,
    LiveError,
    TokenizerError
);

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Budget(refusal) => Self::from(refusal),
            other => Self::failed(other),
        }
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Model(error) => error.into(),
            TrainError::Exec(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<LearnError> for CliError {
    fn from(error: LearnError) -> Self {
        match error {
            LearnError::Tokenizer(error) => error.into(),
            LearnError::Template(error) => error.into(),
            LearnError::Model(error) => error.into(),
            LearnError::Journal(error) => error.into(),
            LearnError::Live(error) => error.into(),
            LearnError::Adapter(error) => error.into(),
            LearnError::Session(error) => error.into(),
            LearnError::Train(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<CheckpointError> for CliError {
    fn from(error: CheckpointError) -> Self {
        let differs = |differences: Vec<String>| {
            Self::failed(format!("this run was begun with {}", differences.join("; ")))
                .advise("the same as then with --resume, --restart to throw its state away, or another -o")
        };
        match error {
            CheckpointError::Settings(settings) => differs(differences::of_settings(&settings)),
            CheckpointError::Identity { was, is } => differs(differences::of_identities(&was, &is)),
            CheckpointError::Train(error) => (*error).into(),
            other => Self::failed(other),
        }
    }
}

impl From<BudgetError> for CliError {
    fn from(error: BudgetError) -> Self {
        let fits = match &error {
            BudgetError::Over { fits, .. } | BudgetError::Binding { fits, .. } => fits.clone(),
        };
        let failure = Self::failed(error.with_fit(None));
        fits.into_iter().fold(failure, Self::advise)
    }
}

impl From<ExecError> for CliError {
    fn from(error: ExecError) -> Self {
        let advice = match &error {
            ExecError::NoDevice(_) => Some("`--device cpu`, and `ember doctor` for what was found"),
            ExecError::OutOfMemory(_) => {
                Some("a smaller context (-c), or `--device cpu`; `ember plan` draws the map")
            }
            ExecError::DeviceLost(_) => Some("again with a smaller --max-submit-ms, or `--device cpu`"),
            _ => None,
        };
        let failure = Self::failed(error);
        advice.into_iter().fold(failure, Self::advise)
    }
}

impl From<SessionError> for CliError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Model(error) => error.into(),
            SessionError::Exec(error) => error.into(),
            SessionError::EmptyPrompt => Self::failed(error).advise("a text, by -p, -f or a pipe"),
            SessionError::ContextFull { .. } => {
                Self::failed(error).advise("a shorter text, or a larger context with -c")
            }
            other => Self::failed(other),
        }
    }
}

impl From<ChatError> for CliError {
    fn from(error: ChatError) -> Self {
        match error {
            ChatError::Tokenizer(error) => error.into(),
            ChatError::Template(error) => error.into(),
            ChatError::Session(error) => error.into(),
            ChatError::TooLong { .. } => {
                Self::failed(error).advise("a shorter message, or a larger context with -c")
            }
            ChatError::Asleep => Self::failed("the model could not be started again"),
            ChatError::NothingSaid => Self::failed(error),
        }
    }
}

impl From<TemplateError> for CliError {
    fn from(error: TemplateError) -> Self {
        let names = || builtin_names().collect::<Vec<_>>().join(", ");
        let advice = match &error {
            TemplateError::Syntax { .. } | TemplateError::Render { .. } => {
                Some(format!("another template, with --chat-template and one of: {}", names()))
            }
            _ => None,
        };
        let failure = Self::failed(error);
        advice.into_iter().fold(failure, Self::advise)
    }
}

/// The error in words, without the operating system's number.
fn plain(error: &io::Error) -> String {
    crate::io::in_words(error)
}

/// What systems and libraries say, and how it is said here.
const WORDS: [(&str, &str); 5] = [
    ("No space left on device", crate::io::FULL),
    ("There is not enough space on the disk.", crate::io::FULL),
    ("no storage space", crate::io::FULL),
    ("entity not found", "no such file or folder"),
    ("No such file or directory", "no such file or folder"),
];

/// A text in plain words: without the system's numbers, and one thing always by the same name.
fn plainly(text: &str) -> String {
    WORDS.iter().fold(without_numbers(text), |text, (theirs, ours)| text.replace(theirs, ours))
}

/// A text without the numbers that the operating system gives its errors.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => out.push_str(rest),
            _ => out = format!("{out} (os error {part}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_pipe_is_quiet_and_succeeds() {
        let error = CliError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(error.ending, Ending::ClosedPipe);
        assert_eq!(error.ending.code(), 0);
    }

    #[test]
    fn a_full_disk_is_called_so_wherever_it_is_met() {
        let full = || io::Error::from_raw_os_error(if cfg!(windows) { 112 } else { 28 });
        let path = std::path::Path::new("x");
        let kind = embedded_io::ErrorKind::Other;
        let detail = full().to_string();
        let sections = crate::io::SectionsError::Write { section: "s".into(), offset: 9, kind, detail };
        let system = IoError::System { action: "write", path: path.into(), source: full() };
        for error in [
            CliError::from(full()),
            CliError::file(path, &full()),
            CliError::from(system),
            CliError::from(CheckpointError::Saving(sections)),
            CliError::from(StoreError::io(path, full())),
            CliError::failed(format!("cannot write: {}", full())),
        ] {
            assert!(error.what.contains("the disk is full"), "{error}");
            let said = format!("{} {}", error.what, error.advice.concat());
            assert_eq!(said.matches("make room").count(), 1, "{said}");
            assert!(!said.contains("os error") && !said.contains("damaged"), "{said}");
        }
    }

    #[test]
    fn what_a_library_says_gets_advice_with_flags() {
        let advice = |error: CliError, flag: &str| {
            assert!(!error.what.contains(flag), "{error}");
            assert!(error.advice.iter().any(|line| line.contains(flag)), "{:?}", error.advice);
        };
        advice(SessionError::ContextFull { tokens: 9, ctx: 8 }.into(), "-c");
        advice(ChatError::TooLong { tokens: 9, ctx: 8 }.into(), "-c");
        let broken = TemplateError::Render { line: 3, message: "no".into() };
        advice(ChatError::Template(broken).into(), "--chat-template");
    }

    #[test]
    fn os_numbers_are_left_out() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(plain(&error), "no such file or folder");
        let text = "cannot open `x`: Gone (os error 2); check (os error x) it: Full (os error 28)";
        assert_eq!(CliError::failed(text).what, "cannot open `x`: Gone; check (os error x) it: Full");
    }
}

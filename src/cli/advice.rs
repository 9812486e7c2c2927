//! What to do about an error of the library, in the command's own words: the library says what was wrong, and which settings
//! would do; here they become flags.

use crate::adapter::AdapterError;
use crate::chat::ChatError;
use crate::cli::error::CliError;
use crate::cli::term::{self, Paint};
use crate::cli::tune::differences;
use crate::exec::ExecError;
use crate::gguf::GgufError;
use crate::io::{CommitError, IoError};
use crate::journal::JournalError;
use crate::journal::live::LiveError;
use crate::learn::LearnError;
use crate::model::{ModelError, OtherKind};
use crate::plan::{BudgetError, Fit, Suggestion};
use crate::quantize::QuantizeError;
use crate::session::SessionError;
use crate::text::{TemplateError, TokenizerError, builtin_names};
use crate::train::corpus::CorpusError;
use crate::train::data::{DataError, Note, Reason, Report};
use crate::train::reward::{CommandFailure, RewardError};
use crate::train::{CheckpointError, TrainError};

/// What fits, as flags.
fn flags(fit: &Fit) -> String {
    let number = |flag: &str, n: Option<usize>| n.map(|n| format!("{flag} {n}"));
    let flags = [
        number("-c", fit.ctx),
        fit.kv16.then(|| "--kv f16".into()),
        number("--batch", fit.batch),
        number("--seq", fit.seq),
        fit.recompute.then(|| "--recompute all".into()),
        number("--chunk", fit.outputs),
        number("--rank", fit.rank),
        fit.budget.map(|bytes| format!("--budget {}MiB", bytes.div_ceil(1 << 20))),
    ];
    flags.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn suggestion(suggestion: &Suggestion) -> String {
    match suggestion {
        Suggestion::Settings(fit) => flags(fit),
        Suggestion::SmallerModel => "a smaller model, or a smaller format (`ember quantize`)".into(),
        Suggestion::OtherDevice => "another device (--device), or a smaller model".into(),
    }
}

/// A refusal where `together` sequences of at most `seq` tokens always make a step: a batch changes nothing there, so that
/// what fits is said as a length.
pub fn without_batch(mut error: TrainError, seq: u32, together: usize) -> CliError {
    if let TrainError::Model(ModelError::Budget(refusal)) = &mut error
        && let Some(Suggestion::Settings(fit)) = refusal.fits_mut()
        && let Some(batch) = fit.batch.take()
    {
        let rows = batch * fit.seq.unwrap_or(seq as usize);
        fit.seq = Some((rows / together.max(1)).max(2));
    }
    error.into()
}

/// Another template.
fn template() -> String {
    let names = builtin_names().collect::<Vec<_>>().join(", ");
    format!("another template, with --chat-template and one of: {names}")
}

fn on_reason(reason: Reason) -> Option<String> {
    match reason {
        Reason::NoTemplate | Reason::PrefixBroken | Reason::CallsNotWritten => Some(template()),
        _ => None,
    }
}

/// What to do about rows that were not used, or not as they may have been meant.
fn on_report(report: &Report) -> Vec<String> {
    let mut advice: Vec<String> = report.skipped.keys().filter_map(|reason| on_reason(*reason)).collect();
    advice.dedup();
    if report.notes.contains_key(&Note::ControlTokens) {
        advice.push("`ember tokenize --special` shows the tokens of a text with control tokens".into());
    }
    advice
}

/// Says what became of rows, if there is something to say.
pub fn warn_of(report: &Report) {
    if report.is_notable() {
        term::warn(report);
        let paint = Paint::stderr();
        on_report(report).iter().for_each(|line| term::say(format!("  {} {line}", paint.cyan("try:"))));
    }
}

/// Nothing could be made of any row.
pub fn nothing_in(report: &Report) -> CliError {
    on_report(report).into_iter().fold(CliError::failed(report), CliError::advise)
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

says_it_all!(CommitError, CorpusError, GgufError, IoError, JournalError, TokenizerError);

impl From<AdapterError> for CliError {
    fn from(error: AdapterError) -> Self {
        let failure = Self::failed(&error);
        match error {
            AdapterError::NotAnAdapter { .. } => failure.advise("`ember inspect` shows what a file is"),
            AdapterError::WholeModel { .. } => failure.advise("the converted model, with -m"),
            AdapterError::NoAlpha { .. } => failure.advise("--alpha with the adapter's alpha"),
            AdapterError::OtherBase { trained_on, given } => Self::failed(format!(
                "the adapter was trained on {trained_on}, and the model given is {given}"
            ))
            .advise("that model, or --force to apply it all the same"),
            _ => failure,
        }
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> Self {
        let failure = Self::failed(&error);
        match &error {
            DataError::NotRows { .. } => failure.advise("`ember perplexity -f` measures plain text"),
            DataError::Row(problem) => on_reason(problem.reason).into_iter().fold(failure, Self::advise),
            DataError::NothingLeft(report) => on_report(report).into_iter().fold(failure, Self::advise),
            _ => failure,
        }
    }
}

impl From<RewardError> for CliError {
    fn from(error: RewardError) -> Self {
        match error {
            RewardError::Schema { path, why } => Self::failed(why).at(path.display()),
            RewardError::Command { failure: CommandFailure::Timeout { .. }, .. } => {
                Self::failed(error).advise("a longer --reward-timeout")
            }
            other => Self::failed(other),
        }
    }
}

impl From<QuantizeError> for CliError {
    fn from(error: QuantizeError) -> Self {
        match error {
            QuantizeError::Adapter(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<LiveError> for CliError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Adapter(error) => error.into(),
            other => Self::failed(other),
        }
    }
}

impl From<ModelError> for CliError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Budget(refusal) => Self::from(refusal),
            ModelError::OtherKind(OtherKind::Adapter) => {
                Self::failed(error).advise("its base with -m, and this one with --adapter")
            }
            ModelError::OtherKind(OtherKind::Vocabulary) => {
                Self::failed(error).advise("`ember tokenize`, for which it is enough")
            }
            other => Self::failed(other),
        }
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Model(error) => error.into(),
            TrainError::Exec(error) => error.into(),
            TrainError::Reward(error) => error.into(),
            TrainError::Writing(error) => error.into(),
            TrainError::Corpus(error) => error.into(),
            TrainError::Rows { .. } => Self::failed(error).advise("a larger --seq, or a shorter text"),
            TrainError::ShortText { .. } => Self::failed(error).advise("a smaller --seq, or more text"),
            TrainError::NotFinite { .. } => {
                Self::failed(error).advise("a lower --lr, or a look at the data with --preview")
            }
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
    fn from(mut error: BudgetError) -> Self {
        let fits = error.fits_mut().take();
        let failure = Self::failed(error);
        fits.iter().map(suggestion).fold(failure, Self::advise)
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
            SessionError::Adapter(error) => error.into(),
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
        let failure = Self::failed(&error);
        match error {
            TemplateError::Syntax { .. } | TemplateError::Render { .. } => failure.advise(template()),
            _ => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advised(error: impl Into<CliError>, flag: &str) {
        let error = error.into();
        assert!(!error.what.contains(flag), "{error}");
        assert!(error.advice.iter().any(|line| line.contains(flag)), "{:?}", error.advice);
    }

    #[test]
    fn what_a_library_says_gets_advice_with_flags() {
        advised(SessionError::ContextFull { tokens: 9, ctx: 8 }, "-c");
        advised(ChatError::TooLong { tokens: 9, ctx: 8 }, "-c");
        advised(
            ChatError::Template(TemplateError::Render { line: 3, message: "no".into() }),
            "--chat-template",
        );
        advised(TrainError::Rows { rows: 9, capacity: 8 }, "--seq");
        advised(TrainError::ShortText { seq: 512 }, "--seq");
        advised(TrainError::NotFinite { step: 3, strikes: 3, loss: f64::NAN }, "--lr");
        advised(ModelError::OtherKind(OtherKind::Adapter), "--adapter");
        advised(AdapterError::NoAlpha { file: "adapter_config.json" }, "--alpha");
        let other = || AdapterError::OtherBase { trained_on: "a".into(), given: "b".into() };
        advised(other(), "--force");
        advised(QuantizeError::Adapter(other()), "--force");
        advised(SessionError::Adapter(other()), "--force");
        let failure = CommandFailure::Timeout {
            timeout: std::time::Duration::from_secs(1),
            restarts: 0,
            stderr: String::new(),
        };
        let slow = RewardError::Command { command: "judge".into(), failure };
        advised(TrainError::Reward(slow), "--reward-timeout");
    }

    #[test]
    fn what_fits_becomes_flags() {
        let of = |fit: Fit| suggestion(&Suggestion::from(fit));
        assert_eq!(of(Fit { ctx: Some(64), kv16: true, ..Fit::default() }), "-c 64 --kv f16");
        let all = Fit {
            batch: Some(1),
            seq: Some(16),
            recompute: true,
            outputs: Some(16),
            rank: Some(8),
            budget: Some(3 << 20),
            ..Fit::default()
        };
        assert_eq!(of(all), "--batch 1 --seq 16 --recompute all --chunk 16 --rank 8 --budget 3MiB");
    }

    #[test]
    fn advice_is_given_in_flags_that_matter() {
        let advice = |fit: Fit, together| {
            let refusal = BudgetError::Over { needed: 2, budget: 1, largest: vec![], fits: None };
            let refusal = refusal.with_fit(Some(fit.into()));
            let error = TrainError::Model(ModelError::Budget(refusal));
            without_batch(error, 1024, together).advice.remove(0)
        };
        let one = || Fit { batch: Some(1), ..Fit::default() };
        assert_eq!(advice(one(), 2), "--seq 512");
        assert_eq!(advice(Fit { seq: Some(256), rank: Some(8), ..one() }, 2), "--seq 128 --rank 8");
        assert_eq!(advice(Fit { seq: Some(256), outputs: Some(16), ..one() }, 1), "--seq 256 --chunk 16");
        assert_eq!(
            advice(Fit { seq: Some(64), budget: Some(3 << 20), ..one() }, 1),
            "--seq 64 --budget 3MiB"
        );
        assert_eq!(advice(Fit { recompute: true, ..Fit::default() }, 2), "--recompute all");
    }
}

//! `ember adapt`: from the journal to a new live adapter, in one transaction. Training and gates are [`learn()`]'s, a
//! function from a [`Task`] to an [`Outcome`].

mod fixed;
mod learn;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::adapter::{Adapter, BaseFingerprint};
use crate::cli::adapter::print_figures;
use crate::cli::args::{DeviceArgs, ModelArgs, number};
use crate::cli::error::{CliError, CliResult};
use crate::cli::journal::{entries, now, place, warn_of_problems};
use crate::cli::{engine, live, show, term};
use crate::io::FolderSlots;
use crate::journal::live::{Figure, Learnt, Live, Refused, Version};
use crate::journal::{Entry, Key, Lesson, demonstrations, preferences, read, thumbs};
use crate::model::Model;

/// Learn from what you said of the model's answers
///
/// What /good, /bad, /edit and /again noted in chats becomes an update of the model's live adapter. The update is judged
/// on what was held back, and on what must not change; then it is switched to in one step, whole or as far as the limits
/// allow, or refused with the figures.
/// `ember adapter log` shows what happened, `ember adapter rollback` takes it back.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember adapt --dry-run\n  ember adapt --yes\n  ember adapt --again --min-entries 1"
)]
pub struct AdaptArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Journal to learn from [default: journal.jsonl in the folder of EMBER_HOME or the platform's]
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) what: What,
    #[command(flatten)]
    pub(crate) learn: LearnArgs,
    #[command(flatten)]
    pub(crate) device: DeviceArgs,
    /// Say what would be learnt, and learn nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Which entries are learnt.
#[derive(Args, Clone, Debug)]
pub struct What {
    /// Wait until this many entries are new
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub min_entries: usize,
    /// Part of the new questions that is held back to judge by
    #[arg(long, value_name = "PART", default_value_t = 0.2, value_parser = part)]
    pub held_out: f32,
    /// Also what was learnt and rolled back, or refused
    #[arg(long)]
    pub again: bool,
}

/// At least one question has to be left to learn from.
fn part(text: &str) -> Result<f32, String> {
    number(text)
        .and_then(|v| if (0.0..1.0).contains(&v) { Ok(v) } else { Err("must be from 0 to below 1".into()) })
}

pub use learn::{LearnArgs, learn};

/// What is to be learnt, and from where.
pub struct Task<'a> {
    /// The base model.
    pub model: &'a Model,
    /// Its fingerprint.
    pub base: &'a BaseFingerprint,
    /// The adapter that training begins from; `None`: the base alone.
    pub live: Option<(&'a Version, &'a Adapter)>,
    /// What to learn, what to judge by, and what was learnt before.
    pub lesson: &'a Lesson,
}

/// What came of training and judging.
pub enum Outcome {
    /// The new adapter passed every gate.
    Better {
        /// The adapter, in place of the live one.
        adapter: Adapter,
        /// What the gates measured.
        figures: Vec<Figure>,
    },
    /// It did not.
    Refused {
        /// What the gates measured.
        figures: Vec<Figure>,
        /// Why, in a few words.
        why: String,
    },
}

/// A transaction that is about to begin. While it is open no other process can change the live adapter.
pub struct Prepared {
    live: Live<FolderSlots>,
    /// What there is to learn.
    pub lesson: Lesson,
    base: BaseFingerprint,
}

/// Runs the command.
pub fn run(args: &AdaptArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let base = BaseFingerprint::of(model.file())?;
    let journal = place(args.journal.as_deref())?;
    let mine = entries_of(&journal, &base)?;
    if args.dry_run {
        let lesson = plan(mine, &live::open(&base)?, &args.what);
        return print_lesson(&lesson, &args.what);
    }
    let folder = live::place(&base)?;
    let prepared = Prepared::new(&folder, base, mine, &args.what)?;
    say_summary(&prepared.lesson);
    if let Some(why) = prepared.why_not(&args.what, &args.learn) {
        term::say(why);
        return Ok(());
    }
    if !args.yes {
        confirm()?;
    }
    let version =
        prepared.finish(&model, &args.learn, |task| learn::learn(task, &args.learn, &args.device))?;
    print_figures(&mut term::listing(), &version.figures)?;
    term::say(format!("version {} is live; `ember adapter rollback` goes back", version.number));
    Ok(())
}

/// The journal's entries of one base model; lines that cannot be read are warned of.
pub fn entries_of(journal: &Path, base: &BaseFingerprint) -> CliResult<Vec<Entry>> {
    let reading = read(journal)?;
    warn_of_problems(journal, &reading);
    Ok(reading.entries.into_iter().filter(|entry| entry.base == base.short()).collect())
}

fn plan(entries: Vec<Entry>, live: &Live<FolderSlots>, what: &What) -> Lesson {
    Lesson::plan(entries, &live.cursor(), what.again, f64::from(what.held_out))
}

/// Why there is not enough to learn yet, if there is not.
fn too_little(lesson: &Lesson, what: &What) -> Option<String> {
    let undone = match lesson.undone {
        0 => String::new(),
        n => format!("; {} of what was rolled back are left out (--again)", entries(n)),
    };
    match lesson.fresh() {
        0 => Some(format!("there is nothing new to learn{undone}")),
        n if n < what.min_entries => {
            let wanted = what.min_entries;
            Some(format!(
                "{} new, {wanted} are waited for (--min-entries {n} learns now){undone}",
                entries(n)
            ))
        }
        _ if lesson.train.is_empty() => Some("all that is new is held back to judge by".into()),
        _ => None,
    }
}

impl Prepared {
    /// Opens the live adapter in `folder` for changes, and sorts the entries.
    ///
    /// # Errors
    /// That another process is learning, or that the store cannot be used.
    pub fn new(folder: &Path, base: BaseFingerprint, mine: Vec<Entry>, what: &What) -> CliResult<Self> {
        let live = Live::open_folder(folder).map_err(|e| CliError::from(e).at(folder.display()))?;
        let lesson = plan(mine, &live, what);
        Ok(Self { live, lesson, base })
    }

    /// Why nothing is to be learnt now, if nothing is: too little is new, or just that was refused already.
    pub fn why_not(&self, what: &What, learn: &LearnArgs) -> Option<String> {
        let before = || {
            let (time, why) = self.live.refused(&learn.identity(&self.lesson))?;
            let (time, why) = (show::line(time), show::line(why));
            Some(format!(
                "just this was refused on {time}: {why}; say more, or learn it otherwise (--again: all the same)"
            ))
        };
        too_little(&self.lesson, what).or_else(|| if what.again { None } else { before() })
    }

    /// Learns, and switches to what came of it; or notes the refusal, and gives it as the error.
    pub fn finish(
        mut self,
        model: &Model,
        args: &LearnArgs,
        learn: impl FnOnce(&Task<'_>) -> CliResult<Outcome>,
    ) -> CliResult<Version> {
        let before = self.live.current().cloned();
        let adapter = before.as_ref().map(|version| self.live.adapter(version.number)).transpose()?;
        let task = Task {
            model,
            base: &self.base,
            live: before.as_ref().zip(adapter.as_ref()),
            lesson: &self.lesson,
        };
        match learn(&task)? {
            Outcome::Better { mut adapter, figures } => {
                adapter.base = Some(self.base.clone());
                adapter.check_base(model.file(), false)?;
                let keys = |entries: &[Entry]| entries.iter().map(Entry::key).collect::<Vec<Key>>();
                let (learnt, held_out) = (keys(&self.lesson.train), keys(&self.lesson.held_out));
                Ok(self.live.switch(&adapter, Learnt { learnt, held_out, figures }, &now())?)
            }
            Outcome::Refused { figures, why } => {
                // With the error they belong to; in a chat, answers have the other stream for themselves.
                print_figures(&mut term::log(), &figures)?;
                let error =
                    CliError::failed(format!("the new adapter is refused: {why}; nothing was changed"));
                let (entries, lesson) = (self.lesson.train.len(), args.identity(&self.lesson));
                self.live.refuse(Refused { entries, figures, why, lesson }, &now())?;
                Err(error.advise("`ember adapter log` for all figures"))
            }
        }
    }
}

/// How many examples of which kind.
fn kinds<'a>(entries: impl IntoIterator<Item = &'a Entry> + Clone) -> String {
    let [likes, pairs] = [thumbs(entries.clone()).len(), preferences(entries.clone()).len()];
    format!("{likes} thumbs, {pairs} pairs, {} better answers", demonstrations(entries).len())
}

/// Says how much there is to learn and to judge by.
pub fn say_summary(lesson: &Lesson) {
    term::say(format!("to learn: {} ({})", entries(lesson.train.len()), kinds(&lesson.train)));
    term::say(format!("to judge by: {} ({})", entries(lesson.held_out.len()), kinds(&lesson.held_out)));
    if !lesson.earlier.is_empty() {
        term::say(format!("learnt before: {}", entries(lesson.earlier.len())));
    }
}

/// Each entry in a line.
fn print_lesson(lesson: &Lesson, what: &What) -> CliResult {
    let mut out = std::io::BufWriter::new(term::listing());
    for (use_for, entries) in [("learn", &lesson.train), ("judge", &lesson.held_out)] {
        for entry in entries {
            let question = entry.messages.last().map_or("", |said| said.content.as_str());
            let (id, kind) = (entry.id, entry.feedback.name());
            writeln!(out, "{use_for}  {id:>5}  {kind:<6}  {} -> {}", short(question), short(&entry.answer))?;
        }
    }
    out.flush()?;
    say_summary(lesson);
    if let Some(why) = too_little(lesson, what) {
        term::say(why);
    }
    Ok(())
}

/// The beginning of a text, in one line.
fn short(text: &str) -> String {
    const MOST: usize = 40;
    let line = show::line(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn confirm() -> CliResult {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage("there is nobody to ask").advise("--yes, or --dry-run"));
    }
    term::say_raw("learn from this? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::interrupted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::testing::{adapter_for, golden, golden_path};
    use crate::journal::{Feedback, Journal, Said, Standing};

    const WHAT: What = What { min_entries: 2, held_out: 0.2, again: false };

    fn noted(path: &Path, base: &BaseFingerprint, questions: std::ops::Range<u32>) {
        let mut journal = Journal::open(path).unwrap();
        for n in questions {
            let entry = Entry {
                base: base.short().into(),
                messages: vec![Said::user(format!("{n}?"))],
                answer: n.to_string(),
                feedback: Feedback::Edit { better: format!("better {n}") },
                ..Entry::default()
            };
            journal.append(&entry).unwrap();
            // Of another model: none of this one's business.
            journal.append(&Entry { base: "other".into(), ..entry }).unwrap();
        }
    }

    #[test]
    fn what_is_new_is_learnt_once_and_a_refusal_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, folder) = (dir.path().join("j.jsonl"), dir.path().join("live"));
        let model = Model::open(golden_path("llama-tied")).unwrap();
        let base = BaseFingerprint::of(model.file()).unwrap();
        let learn = LearnArgs::default();
        let prepare = |what: &What| {
            Prepared::new(&folder, base.clone(), entries_of(&path, &base).unwrap(), what).unwrap()
        };
        assert!(too_little(&prepare(&WHAT).lesson, &WHAT).unwrap().contains("nothing new"));
        noted(&path, &base, 0..1);
        assert!(too_little(&prepare(&WHAT).lesson, &WHAT).unwrap().contains("1 entry new, 2 are waited for"));
        noted(&path, &base, 1..20);
        let figures = || vec![Figure { name: "loss".into(), passed: true, ..Figure::default() }];
        let refused = prepare(&WHAT).finish(&model, &learn, |task| {
            assert!(task.live.is_none() && too_little(task.lesson, &WHAT).is_none());
            Ok(Outcome::Refused { figures: figures(), why: "it got worse".into() })
        });
        assert!(refused.unwrap_err().what.contains("it got worse"));
        // The same again waits for something to change: what is said, how it is learnt, or the user's mind.
        assert!(prepare(&WHAT).why_not(&WHAT, &learn).unwrap().contains("it got worse"));
        assert_eq!(prepare(&WHAT).why_not(&WHAT, &LearnArgs { lr: 1e-5, ..learn.clone() }), None);
        let again = What { again: true, ..WHAT };
        assert_eq!(prepare(&again).why_not(&again, &learn), None);
        assert_eq!(prepare(&WHAT).lesson.fresh(), 20, "a refusal learns nothing");
        let failed = prepare(&WHAT).finish(&model, &learn, |_| Err(CliError::interrupted()));
        assert_eq!(failed.unwrap_err(), CliError::interrupted());

        let adapter = adapter_for(&golden("llama-tied"), 1);
        let better = |adapter: &Adapter| Ok(Outcome::Better { adapter: adapter.clone(), figures: figures() });
        let version = prepare(&WHAT).finish(&model, &learn, |_| better(&adapter)).unwrap();
        assert_eq!((version.number, version.learnt.len() + version.held_out.len()), (1, 20));
        assert!(!version.held_out.is_empty());
        let lesson = prepare(&WHAT).lesson;
        assert_eq!((lesson.fresh(), lesson.earlier.len()), (0, version.learnt.len()));
        // The next one begins from it, and an adapter of another model does not get in.
        noted(&path, &base, 20..30);
        let wrong = prepare(&WHAT).finish(&model, &learn, |task| {
            let (live, begun) = task.live.unwrap();
            assert_eq!((live.number, &begun.pairs, task.lesson.fresh()), (1, &adapter.pairs, 10));
            better(&adapter_for(&golden("llama-untied"), 1))
        });
        assert!(wrong.unwrap_err().what.contains("does not fit"));
        prepare(&WHAT).finish(&model, &learn, |_| better(&adapter)).unwrap();
        let mut live = Live::open_folder(&folder).unwrap();
        assert_eq!(live.log().len(), 3);
        live.roll_back(None, &now()).unwrap();
        drop(live);
        let lesson = prepare(&WHAT).lesson;
        assert_eq!((lesson.fresh(), lesson.undone), (0, 10));
        assert_eq!(prepare(&What { again: true, ..WHAT }).lesson.fresh(), 10);
        let busy = prepare(&WHAT);
        assert!(Prepared::new(&folder, base.clone(), Vec::new(), &WHAT).is_err());
        assert_eq!(
            busy.live.cursor().standing(busy.lesson.earlier[0].key()),
            Standing::Learnt { version: 1 }
        );
    }

    #[test]
    fn entries_are_shown_in_a_line() {
        assert_eq!(short("a\n b\u{7}"), "a b\\u{7}");
        assert_eq!(short(&"é".repeat(50)).chars().count(), 41);
        assert!(part("1").is_err() && part("0.5").is_ok());
    }
}

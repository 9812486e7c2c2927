//! `ember adapt`: from the journal to a new live adapter, in one transaction.

mod learn;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;

use crate::adapter::BaseFingerprint;
use crate::cli::adapter::print_figures;
use crate::cli::args::{DeviceArgs, ModelArgs, number};
use crate::cli::error::{CliError, CliResult};
use crate::cli::journal::{entries, place, warn_of_problems};
use crate::cli::store::Home;
use crate::cli::{engine, live, show, term};
use crate::journal::{Entry, Lesson, preferences, read, thumbs};
use crate::learn::{LearnOptions, Learner, Outcome, Places, Report, lesson, recall};
use crate::model::Model;

/// Learn from what you said of the model's answers
///
/// What /good, /bad, /edit and /again noted in chats becomes an update of the model's live adapter. A correction that tells
/// something new is taught until the model knows it when asked, also in other words; all else says how to answer. The update
/// is judged on what is known, on what was held back, and on what must not change; then it is switched to in one step, or
/// refused with the figures.
/// `ember adapter log` shows what happened, `ember adapter rollback` takes it back.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Examples:\n  ember adapt --dry-run\n  ember adapt --yes\n  ember adapt --yes --duty 30%\n  ember adapt --again"
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
    /// Wait until this many entries are new [default: what there is is learnt; fewer than 8 are asked about first]
    #[arg(long, value_name = "N")]
    pub min_entries: Option<usize>,
    /// Part of the new questions that is held back to judge by; facts are asked for instead
    #[arg(long, value_name = "PART", default_value_t = LearnOptions::default().held_out, value_parser = part)]
    pub held_out: f32,
    /// Also what was learnt and rolled back, or refused
    #[arg(long)]
    pub again: bool,
}

impl Default for What {
    fn default() -> Self {
        Self { min_entries: None, held_out: LearnOptions::default().held_out, again: false }
    }
}

/// Fewer entries than these say little of what they are judged by.
pub const FEW: usize = 8;

/// At least one question has to be left to learn from.
fn part(text: &str) -> Result<f32, String> {
    number(text)
        .and_then(|v| if (0.0..1.0).contains(&v) { Ok(v) } else { Err("must be from 0 to below 1".into()) })
}

pub use learn::{LearnArgs, learn, missed, print_facts, recalled, takes};

/// Runs the command.
pub fn run(args: &AdaptArgs) -> CliResult {
    let model = engine::open(&args.model)?;
    let base = BaseFingerprint::of(model.file())?;
    let journal = place(args.journal.as_deref())?;
    if args.dry_run {
        let mut reading = read(&journal)?;
        warn_of_problems(&journal, &reading);
        let lesson = lesson(&mut reading, &live::open(&base)?, &base, &args.learn.options(&args.what));
        return print_lesson(&lesson, &args.what);
    }
    let learner = open(&model, &base, journal, &args.what, &args.learn)?;
    say_summary(learner.lesson());
    if let Some(why) = why_not(&learner, &args.what) {
        term::say(why);
        return Ok(());
    }
    if !args.yes {
        term::say(takes(&args.learn));
        confirm()?;
    }
    match learn(learner, &args.learn, &args.device)? {
        Outcome::Learnt(report) => {
            let mut out = term::listing();
            print_facts(&mut out, &report.facts)?;
            print_figures(&mut out, &report.version.figures)?;
            say_learnt(&report);
            Ok(())
        }
        other => Err(unlearnt(other)?),
    }
}

/// Opens the transaction; lines of the journal that cannot be read are warned of.
pub fn open<'m>(
    model: &'m Model,
    base: &BaseFingerprint,
    journal: PathBuf,
    what: &What,
    args: &LearnArgs,
) -> CliResult<Learner<'m>> {
    let folder = live::place(base)?;
    let places = Places {
        journal: journal.clone(),
        live: folder.clone(),
        cache: Home::find().ok().map(|home| home.data.join("learn")),
    };
    let learner = Learner::open(model, places, args.options(what), args.template(model)?);
    let learner = learner.map_err(|e| CliError::from(e).at(folder.display()))?;
    warn_of_problems(&journal, learner.reading());
    Ok(learner)
}

/// What is said of a new version.
pub fn say_learnt(report: &Report) {
    if let Some(recalled) = recalled(&report.facts) {
        term::say(recalled);
    }
    if let Some((known, of)) = report.earlier {
        term::say(format!("of what was learnt before, {known} of {of} are known"));
    }
    if report.style_refused > 0 {
        let count = entries(report.style_refused);
        term::say(format!("{count} about how to answer would have changed too much, and are left for later"));
    }
    term::say(format!("version {} is live; `ember adapter rollback` goes back", report.version.number));
}

/// Why nothing was learnt, with the figures.
pub fn unlearnt(outcome: Outcome) -> CliResult<CliError> {
    let Outcome::Refused(refusal) = outcome else {
        term::say("stopped: nothing was changed");
        return Ok(CliError::interrupted());
    };
    // With the error they belong to; in a chat, answers have the other stream for themselves.
    let mut log = term::log();
    print_facts(&mut log, &refusal.facts)?;
    print_figures(&mut log, &refusal.figures)?;
    let error = CliError::failed(format!("the new adapter is refused: {}; nothing was changed", refusal.why));
    Ok(error.advise("`ember adapter log` for all figures"))
}

/// Why there is not enough to learn yet, if there is not.
fn too_little(lesson: &Lesson, what: &What) -> Option<String> {
    let undone = match lesson.undone {
        0 => String::new(),
        n => format!("; {} of what was rolled back are left out (--again)", entries(n)),
    };
    let wanted = what.min_entries.unwrap_or(1);
    match lesson.fresh() + lesson.forget.len() {
        0 => Some(format!("there is nothing new to learn{undone}")),
        n if n < wanted => Some(format!(
            "{} new, {wanted} are waited for (--min-entries {n} learns now){undone}",
            entries(n)
        )),
        _ if lesson.train.is_empty() && lesson.forget.is_empty() => {
            Some("all that is new is held back to judge by".into())
        }
        _ => None,
    }
}

/// Why nothing is to be learnt now, if nothing is: too little is new, or just that was refused already.
pub fn why_not(learner: &Learner<'_>, what: &What) -> Option<String> {
    let before = || {
        let (time, why) = learner.refused()?;
        let (time, why) = (show::line(time), show::line(why));
        Some(format!(
            "just this was refused on {time}: {why}; say more, or learn it otherwise (--again: all the same)"
        ))
    };
    too_little(learner.lesson(), what).or_else(|| if what.again { None } else { before() })
}

fn is_fact(entry: &Entry) -> bool {
    recall::fact(entry).is_some()
}

/// How many of which kind.
fn kinds<'a>(all: impl IntoIterator<Item = &'a Entry>) -> String {
    let (facts, style): (Vec<&Entry>, Vec<&Entry>) = all.into_iter().partition(|entry| is_fact(entry));
    let count = |n: usize, one: &str, many: &str| match n {
        0 => None,
        1 => Some(format!("1 {one}")),
        n => Some(format!("{n} {many}")),
    };
    let (likes, pairs) = (thumbs(style.iter().copied()).len(), preferences(style.iter().copied()).len());
    let kinds = [
        count(facts.len(), "fact", "facts"),
        count(likes, "thumb", "thumbs"),
        count(pairs, "pair of answers", "pairs of answers"),
    ];
    let kinds: Vec<String> = kinds.into_iter().flatten().collect();
    if kinds.is_empty() { "nothing".into() } else { kinds.join(", ") }
}

/// Says how much there is to learn, and by what it will be judged.
pub fn say_summary(lesson: &Lesson) {
    term::say(format!("to learn: {}", kinds(&lesson.train)));
    let facts = lesson.train.iter().filter(|entry| is_fact(entry)).count();
    let mut by = Vec::new();
    if facts > 0 {
        by.push("each fact asked for in several wordings".to_owned());
    }
    if facts < lesson.train.len() {
        by.push(match lesson.held_out.len() {
            0 => "how well the rest is learnt, as nothing of it can be held back".into(),
            n => format!("{} held back", entries(n)),
        });
    }
    by.push("what must not change".into());
    term::say(format!("judged by: {}", by.join("; ")));
    if !lesson.earlier.is_empty() {
        term::say(format!("learnt before: {}", kinds(&lesson.earlier)));
    }
    if !lesson.forget.is_empty() {
        term::say(format!("to forget: {}", kinds(&lesson.forget)));
    }
}

/// Each entry in a line.
fn print_lesson(lesson: &Lesson, what: &What) -> CliResult {
    let mut out = std::io::BufWriter::new(term::listing());
    for (use_for, entries) in
        [("learn", &lesson.train), ("judge", &lesson.held_out), ("forget", &lesson.forget)]
    {
        for entry in entries {
            let question = entry.messages.last().map_or("", |said| said.content.as_str());
            let kind = if is_fact(entry) { "fact" } else { entry.feedback.name() };
            let id = entry.id;
            writeln!(out, "{use_for:<6} {id:>5}  {kind:<6}  {} -> {}", short(question), short(told(entry)))?;
        }
    }
    out.flush()?;
    say_summary(lesson);
    if let Some(why) = too_little(lesson, what) {
        term::say(why);
    }
    Ok(())
}

/// What an entry is about: the correction, or the answer.
fn told(entry: &Entry) -> &str {
    recall::fact(entry).map_or(entry.answer.as_str(), |(_, better)| better)
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
    use crate::journal::Feedback;

    #[test]
    fn entries_are_shown_in_a_line() {
        assert_eq!(short("a\n b\u{7}"), "a b\\u{7}");
        assert_eq!(short(&"é".repeat(50)).chars().count(), 41);
        assert!(part("1").is_err() && part("0.5").is_ok());
    }

    #[test]
    fn too_little_is_waited_for() {
        let what = What { min_entries: Some(2), ..What::default() };
        let mut lesson = Lesson::default();
        assert!(too_little(&lesson, &what).unwrap().contains("nothing new"));
        lesson.train.push(Entry { feedback: Feedback::Good, ..Entry::default() });
        assert!(too_little(&lesson, &what).unwrap().contains("1 entry new, 2 are waited for"));
        assert_eq!(too_little(&lesson, &What::default()), None);
        lesson.train.push(Entry::default());
        assert_eq!(too_little(&lesson, &what), None);
    }
}

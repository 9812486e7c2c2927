//! `ember adapter log` and `ember adapter rollback`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use crate::adapter::BaseFingerprint;
use crate::cli::args::ModelArgs;
use crate::cli::error::{CliError, CliResult};
use crate::cli::journal::{entries, now};
use crate::cli::live;
use crate::cli::show;
use crate::cli::term::{self, Paint};
use crate::journal::live::{Event, Figure, Live, Version};

/// Show what was learnt from the journal, version by version
///
/// Each version with what it learnt and what the gates measured, what was refused, and what was rolled back.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Go back to what was live before
///
/// The version before becomes live again, bit for bit. What only the newer one learnt is not learnt again unless it is
/// asked for. Nothing is lost: `--to` also goes forward again, while the version is kept.
#[derive(Args, Clone, Debug)]
pub struct RollbackArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Version to go to; 0 is the model alone [default: the one before]
    #[arg(long, value_name = "N")]
    to: Option<u64>,
}

/// Runs `log`.
pub fn log(args: &LogArgs) -> CliResult {
    let base = BaseFingerprint::of(&super::base(&args.model)?)?;
    let store = live::open(&base)?;
    let current = store.current().map(|version| version.number);
    let mut out = std::io::BufWriter::new(term::report(args.json));
    if args.json {
        let all =
            json!({ "base": base.sha256, "live": current, "versions": store.versions(), "log": store.log() });
        writeln!(out, "{all:#}")?;
        return Ok(out.flush()?);
    }
    for event in store.log() {
        print_event(&mut out, event, |number| store.version(number), current)?;
    }
    out.flush()?;
    term::say(match current {
        Some(number) => format!("version {number} is live for {base}"),
        None => format!("nothing is live for {base}"),
    });
    Ok(())
}

/// Runs `rollback`.
pub fn rollback(args: &RollbackArgs) -> CliResult {
    let base = BaseFingerprint::of(&super::base(&args.model)?)?;
    let place = live::place(&base)?;
    let failed = |e| CliError::from(e).at(place.display());
    let from = Live::open_to_read(&place).map_err(failed)?;
    // The folder is not made only to find nothing in it.
    if from.versions().is_empty() {
        return Err(CliError::failed(format!("nothing was learnt for {base} yet")));
    }
    if from.current().is_none() && args.to.is_none() {
        let error = CliError::failed(format!("the model alone is in use already for {base}"));
        return Err(error.advise("--to N goes to a version that `ember adapter log` lists"));
    }
    drop(from);
    let back = Live::open_folder(&place).map_err(failed)?.roll_back(args.to, &now()).map_err(failed)?;
    term::say(match back {
        Some(version) => {
            format!("version {} of {} is live again", version.number, show::line(&version.time))
        }
        None => "the model alone is live again".into(),
    });
    Ok(())
}

fn print_event<'a>(
    out: &mut dyn Write,
    event: &Event,
    version: impl Fn(u64) -> Option<&'a Version>,
    current: Option<u64>,
) -> std::io::Result<()> {
    let name = |number: &Option<u64>| number.map_or("the model alone".into(), |n| format!("version {n}"));
    match event {
        Event::Switched { time, version: number } => {
            let Some(version) = version(*number) else { return Ok(()) };
            let learnt = entries(version.learnt.len());
            let marks = match (current == Some(*number), version.kept) {
                (true, _) => " (live)",
                (false, true) => "",
                (false, false) => " (no longer kept)",
            };
            let heading = Paint::stdout().bold(format!("version {number}{marks}"));
            writeln!(
                out,
                "{}  {heading}  from {}: learnt {learnt}, judged by {}; sha256 {}",
                show::line(time),
                name(&version.parent),
                version.held_out.len(),
                show::line(version.sha256.get(..12).unwrap_or_default()),
            )?;
            print_figures(out, &version.figures)
        }
        Event::Refused { time, live, entries: count, figures, why, .. } => {
            let count = entries(usize::try_from(*count).unwrap_or(usize::MAX));
            writeln!(
                out,
                "{}  refused after {count}: {}; {} stayed",
                show::line(time),
                show::line(why),
                name(live)
            )?;
            print_figures(out, figures)
        }
        Event::RolledBack { time, from, to } => {
            writeln!(out, "{}  back from {} to {}", show::line(time), name(from), name(to))
        }
    }
}

/// What gates measured, a line each.
pub fn print_figures(out: &mut dyn Write, figures: &[Figure]) -> std::io::Result<()> {
    let number = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.4}"));
    let names: Vec<String> = figures.iter().map(|figure| show::line(&figure.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (figure, name) in figures.iter().zip(names) {
        let limit = figure.limit.map_or(String::new(), |limit| format!(", limit {limit:.4}"));
        let about = match show::line(&figure.about) {
            about if about.is_empty() => about,
            about => format!(": {about}"),
        };
        writeln!(
            out,
            "    {name:<width$} {:>10} -> {:>10}{limit}  {}{about}",
            number(figure.before),
            number(figure.after),
            if figure.passed { "ok" } else { "failed" },
        )?;
    }
    Ok(())
}

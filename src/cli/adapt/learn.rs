//! The training and the judging of `ember adapt` and `/learn`.

use std::ops::ControlFlow;
use std::path::Path;

use clap::Args;
use sha2::{Digest, Sha256};

use super::fixed::{CANARIES, FIXED, QUESTIONS, asked, canaries};
use super::{Outcome, Task};
use crate::adapter::Adapter;
use crate::cli::args::{ContextArgs, DeviceArgs, PromptArgs, positive, session_options};
use crate::cli::error::{CliError, CliResult};
use crate::cli::interrupt::Listen;
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::term::{self, Paint, parse_bytes};
use crate::cli::tune::steps::shown;
use crate::cli::tune::{keep, shared::weight};
use crate::journal::live::Figure;
use crate::journal::{Entry, Lesson};
use crate::session::Modes;
use crate::train::data::{EncodeOptions, Encoder, Example, Items, Pair, Report, Thumb};
use crate::train::objective::{Dpo, Kto, PairObjective};
use crate::train::{
    Against, Feedback, FeedbackOptions, Gate, Limits, LoraOptions, Place, Recompute, SHARES, Settings,
    Standards, Trial, Verdict, Watch, adapt,
};

/// The longest text that is learnt.
const SEQ: usize = 2048;
/// Entries that were learnt before and are looked at again.
const REMEMBERED: usize = 16;

/// How it is learnt, and how far the new adapter may go.
#[derive(Args, Clone, Debug)]
pub struct LearnArgs {
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = 2e-4, value_parser = positive, help_heading = "Training")]
    pub lr: f32,
    /// Rank of a new adapter; one that exists keeps its own [default: 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Training")]
    pub rank: Option<u32>,
    /// Times to go through the entries [default: so often that there are about 40 steps, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    pub epochs: Option<u64>,
    /// Weight of learning better answers as they are, beside preferring them
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = weight, help_heading = "Training")]
    pub sft: f32,
    /// Weight of staying as it is on texts that the model writes itself first; 0 for not at all
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = weight, help_heading = "Training")]
    pub keep: f32,
    /// Random seed
    #[arg(short = 's', long, value_name = "N", default_value_t = 0, help_heading = "Training")]
    pub seed: u64,
    /// Most rise of the perplexity of fixed texts, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = weight, help_heading = "Gates")]
    pub max_perplexity: f32,
    /// Most divergence from the base, in nats a token of what it writes, over the whole vocabulary
    #[arg(long, value_name = "NATS", default_value_t = 0.1, value_parser = weight, help_heading = "Gates")]
    pub max_divergence: f32,
    /// Most that answers to fixed questions, and those learnt before, may become less likely, in nats a token
    #[arg(long, value_name = "NATS", default_value_t = 0.2, value_parser = weight, help_heading = "Gates")]
    pub max_canaries: f32,
    /// Most that the answer to any one fixed question may become less likely, in nats a token
    #[arg(long, value_name = "NATS", default_value_t = 1.0, value_parser = weight, help_heading = "Gates")]
    pub max_worst_canary: f32,
    /// How many more answers than before may run in circles, of 32 (32: they are not looked at)
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Gates")]
    pub max_circles: usize,
    /// Refuse to start if the memory map is larger; layers are run again where that makes it fit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Device")]
    pub budget: Option<u64>,
    /// Chat template: a built-in name, or the path of a Jinja file [default: the model's own]
    #[arg(long, value_name = "NAME|PATH", help_heading = "Data")]
    pub chat_template: Option<String>,
}

impl LearnArgs {
    /// What stands for a lesson that is learnt this way, by this version of the program.
    pub fn identity(&self, lesson: &Lesson) -> String {
        let mut all = Sha256::new_with_prefix(format!("{} {self:?}", env!("CARGO_PKG_VERSION")));
        for part in [&lesson.train, &lesson.held_out, &lesson.earlier] {
            part.iter().for_each(|entry| all.update(entry.key().to_string()));
            all.update("/");
        }
        all.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Default for LearnArgs {
    /// As the command line has them.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            learn: LearnArgs,
        }
        <Line as clap::Parser>::parse_from(["adapt"]).learn
    }
}

/// Trains a shadow adapter on the lesson and judges it.
pub fn learn(task: &Task<'_>, args: &LearnArgs, device: &DeviceArgs) -> CliResult<Outcome> {
    let prompt = PromptArgs { system: None, chat_template: args.chat_template.clone() };
    let prompter = Prompter::for_text(task.model, &prompt, false)?;
    let context = ContextArgs { budget: args.budget, ..ContextArgs::default() };
    let device = session_options(device, &context, Modes::GENERATE);
    let (lesson, held_out) =
        (feedback(&task.lesson.train, &prompter), feedback(&task.lesson.held_out, &prompter));
    if lesson.is_empty() {
        return Err(CliError::failed("none of the entries can be learnt from"));
    }
    let (mut written, mut steady) = (Vec::new(), Vec::new());
    for (index, text) in
        keep::texts(task.model, &prompter, &device, args.seed as u32)?.into_iter().enumerate()
    {
        // A third of what the base writes is not learnt to be kept: it is what the divergence is measured on.
        if index % 3 == 0 { written.push(text) } else { steady.push(text) }
    }
    let tokenizer = prompter.tokenizer();
    let standards = Standards {
        canaries: canaries(task, &prompter, &device)?,
        learnt: learnt_before(&task.lesson.earlier, &prompter),
        texts: FIXED.iter().map(|text| tokenizer.encode(text, false, true)).collect(),
        written,
        asked: if args.max_circles < QUESTIONS { asked(&prompter)? } else { vec![] },
    };
    let trial = Trial { lesson, held_out, steady, standards, limits: limits(args) };
    let from = task.live.map(|(_, adapter)| adapter);
    let (options, settings) = (options(&trial.lesson, args), settings(trial.lesson.len(), args, from));
    if let Some(rank) = args.rank.filter(|rank| *rank as usize != settings.lora.rank) {
        let keeps = settings.lora.rank;
        term::warn(format!("--rank {rank} has no effect: the live adapter keeps its rank of {keeps}"));
    }
    let steps = trial.lesson.len().div_ceil(settings.batch) as u64 * settings.epochs;
    let place = Place { device, recompute: Recompute::Auto, ..Place::default() };
    let listen = Listen::new();
    let mut bar = Bar::items(steps);
    let mut done = 0;
    let mut watch = |event: Watch<'_>| {
        match event {
            Watch::Measuring => note(format!("measuring the model as it is, then {steps} steps")),
            Watch::Step(report) => {
                done = report.step;
                bar.item(report.step, &format!("loss {:.3}{}", report.loss, shown(&report.metrics)));
            }
            Watch::Judging { share } => {
                bar.clear();
                if share == SHARES[0] && done < steps {
                    let why = "what it is judged by is predicted no better";
                    term::say(format!("ended after step {done}: {why}"));
                }
                note(format!("judging {}", portion(share)));
            }
            Watch::Judged { gates, .. } => match beyond(gates) {
                Some(beyond) => note(format!("too much: {beyond}")),
                None => return ControlFlow::Continue(()),
            },
        }
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let verdict = adapt(task.model, trial, &options, &settings, &place, from, &mut watch);
    bar.clear();
    let Some(verdict) = verdict? else {
        term::say("stopped: nothing was changed");
        return Err(CliError::interrupted());
    };
    Ok(outcome(verdict))
}

fn outcome(verdict: Verdict) -> Outcome {
    let mut figures: Vec<Figure> = verdict.gates.iter().map(figure).collect();
    if !verdict.passed() {
        return Outcome::Refused { figures, why: beyond(&verdict.gates).unwrap_or_default() };
    }
    if verdict.share < 1.0 {
        figures.push(taken(verdict.share));
        term::say(format!("{} stays within all limits, and is taken", portion(verdict.share)));
    }
    Outcome::Better { adapter: verdict.adapter, figures }
}

/// How far the new adapter may go.
fn limits(args: &LearnArgs) -> Limits {
    Limits {
        perplexity: f64::from(args.max_perplexity) / 100.0,
        divergence: f64::from(args.max_divergence),
        canaries: f64::from(args.max_canaries),
        worst_canary: f64::from(args.max_worst_canary),
        circles: args.max_circles,
    }
}

/// A quiet line about what goes on.
fn note(text: String) {
    term::say(Paint::stderr().dim(text));
}

fn portion(share: f64) -> String {
    if share < 1.0 { format!("{:.0}% of the change", share * 100.0) } else { "the whole change".into() }
}

/// What did not stay within its limit, if anything did not.
fn beyond(gates: &[Gate]) -> Option<String> {
    let names: Vec<&str> = gates.iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect();
    let limits = if names.len() == 1 { "its limit" } else { "their limits" };
    (!names.is_empty()).then(|| format!("{} above {limits}", names.join(", ")))
}

fn figure(gate: &Gate) -> Figure {
    let finite = |v: f64| v.is_finite().then_some(v);
    let about = gate.canary.and_then(|canary| CANARIES.get(canary));
    Figure {
        name: gate.name.into(),
        before: finite(gate.before),
        after: finite(gate.after),
        limit: finite(gate.limit),
        passed: gate.passed,
        about: about.map_or(String::new(), |question| (*question).to_owned()),
    }
}

/// For the log: what was taken of the change.
fn taken(share: f64) -> Figure {
    let name = "share of the change that is taken".to_owned();
    Figure { name, before: Some(1.0), after: Some(share), passed: true, ..Figure::default() }
}

/// Pairs for edits and choices, thumbs for the rest; what cannot be encoded is warned of.
fn feedback(entries: &[Entry], prompter: &Prompter) -> Vec<Feedback> {
    let options = EncodeOptions { max_len: SEQ, ..EncodeOptions::default() };
    let encoder = prompter.encoder(options);
    let mut all = Vec::new();
    for entry in entries {
        let made = match (entry.preference(), entry.thumb()) {
            (Some(p), _) => one::<Pair>(&p.row(), &encoder).map(|pair| Feedback::Pair {
                chosen: without_end(pair.chosen, p.chosen_cut),
                rejected: without_end(pair.rejected, p.rejected_cut),
            }),
            (None, Some(t)) => one::<Thumb>(&t.row(), &encoder).map(|thumb| Feedback::Thumb {
                example: without_end(thumb.example, t.cut),
                desirable: thumb.desirable,
            }),
            (None, None) => continue,
        };
        match made {
            Ok(feedback) => all.push(feedback),
            Err(why) => term::warn(format!("entry {} is left out: {why}", entry.id)),
        }
    }
    all
}

/// The answers of the newest entries that were learnt before and liked.
fn learnt_before(entries: &[Entry], prompter: &Prompter) -> Vec<Example> {
    let liked = |item| match item {
        Feedback::Pair { chosen, .. } => Some(chosen),
        Feedback::Thumb { example, desirable } => desirable.then_some(example),
        Feedback::Example(example) => Some(example),
    };
    let newest = &entries[entries.len().saturating_sub(REMEMBERED)..];
    feedback(newest, prompter).into_iter().filter_map(liked).collect()
}

/// The only item of a row.
fn one<T: crate::train::data::Item>(row: &serde_json::Value, encoder: &Encoder<'_>) -> Result<T, String> {
    let (mut items, mut report) = (Items::<T>::default(), Report::default());
    let read = items.read(Path::new("journal.jsonl"), row.to_string().as_bytes(), encoder, &mut report);
    read.map_err(|e| e.to_string())?;
    items.items.pop().ok_or_else(|| report.to_string().trim().to_owned())
}

/// Nothing is learnt of where an answer ends that was cut off.
fn without_end(example: Example, cut: bool) -> Example {
    let Some(last) = example.trained.iter().rposition(|t| *t).filter(|_| cut) else { return example };
    let (tokens, trained) = (example.tokens[..last].to_vec(), example.trained[..last].to_vec());
    Example { tokens, trained, ..example }
}

fn options(lesson: &[Feedback], args: &LearnArgs) -> FeedbackOptions {
    let count = |good: bool| {
        let is = |item: &&Feedback| matches!(item, Feedback::Thumb { desirable, .. } if *desirable == good);
        lesson.iter().filter(is).count() as f64
    };
    let (good, bad) = (count(true), count(false));
    // The rarer kind counts for as much, within reason.
    let balance = |mine: f64, other: f64| if mine > 0.0 { (other / mine).clamp(1.0, 4.0) } else { 1.0 };
    FeedbackOptions {
        pairs: PairObjective::Dpo(Dpo::default()),
        kto: Kto {
            desirable_weight: balance(good, bad),
            undesirable_weight: balance(bad, good),
            ..Kto::default()
        },
        sft: f64::from(args.sft),
        against: Against::Start,
    }
}

fn settings(items: usize, args: &LearnArgs, live: Option<&Adapter>) -> Settings {
    const BATCH: usize = 4;
    const STEPS: usize = 40;
    let rank = args.rank.unwrap_or(16) as usize;
    let new = LoraOptions { rank, alpha: 2.0 * rank as f32, ..LoraOptions::default() };
    let an_epoch = items.div_ceil(BATCH).max(1);
    Settings {
        lora: live.map_or(new, |live| LoraOptions::of(live, 0.0)),
        learning_rate: args.lr,
        batch: BATCH,
        epochs: args.epochs.unwrap_or_else(|| STEPS.div_ceil(an_epoch).clamp(1, 8) as u64),
        keep: args.keep,
        seq: SEQ,
        seed: args.seed,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_gate_that_failed() {
        let gate = |name, passed| Gate { name, before: 1.0, after: 2.0, limit: 1.5, passed, canary: None };
        let one = [gate("loss", false), gate("divergence", true)];
        assert_eq!(beyond(&one).unwrap(), "loss above its limit");
        assert_eq!(
            beyond(&[one[0].clone(), gate("perplexity", false)]).unwrap(),
            "loss, perplexity above their limits"
        );
        assert_eq!(beyond(&one[1..]), None);
    }
}

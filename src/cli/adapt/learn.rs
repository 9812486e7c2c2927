//! How `ember adapt` and `/learn` learn: flags, and what is shown meanwhile.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;

use super::What;
use crate::cli::args::{ContextArgs, DeviceArgs, PromptArgs, or, positive, session_options};
use crate::cli::error::CliResult;
use crate::cli::interrupt::Listen;
use crate::cli::progress::Bar;
use crate::cli::prompt::Prompter;
use crate::cli::show;
use crate::cli::term::{self, Paint, parse_bytes};
use crate::cli::tune::{drive::duty, shared::weight, steps::shown};
use crate::learn::{Event, FactReport, LearnOptions, Learner, Outcome, Stage, beyond};
use crate::model::Model;
use crate::session::Modes;
use crate::text::ChatTemplate;
use crate::train::{Limits, LoraOptions};

fn at_least_one(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "must be a number of at least 1".to_owned())
}

/// How it is learnt, and how far the new adapter may go.
#[derive(Args, Clone, Debug)]
pub struct LearnArgs {
    /// Minutes that learning may take, about; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().minutes, value_parser = weight, help_heading = "Training")]
    pub minutes: f32,
    /// Rehearsed examples of what was learnt before, to each new one
    #[arg(long, value_name = "X", default_value_t = LearnOptions::default().replay, value_parser = weight, help_heading = "Training")]
    pub replay: f32,
    /// Part of the time that the machine works on it, such as 30%
    #[arg(long, value_name = "PART", value_parser = duty, help_heading = "Training")]
    pub duty: Option<f64>,
    /// Learning rate of facts: corrections that tell something new
    #[arg(long, value_name = "X", default_value_t = LearnOptions::default().fact_lr, value_parser = positive, help_heading = "Training")]
    pub fact_lr: f32,
    /// Most times to go through the facts
    #[arg(long, value_name = "N", default_value_t = LearnOptions::default().rounds, value_parser = at_least_one, help_heading = "Training")]
    pub rounds: u64,
    /// Learning rate of all else that was said: how to answer
    #[arg(long, value_name = "X", default_value_t = LearnOptions::default().lr, value_parser = positive, help_heading = "Training")]
    pub lr: f32,
    /// Rank of a new adapter; one that exists keeps its own.
    #[arg(help = or("Rank of a new adapter; one that exists keeps its own", LoraOptions::default().rank), long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096), help_heading = "Training")]
    pub rank: Option<u32>,
    /// Times to go through what is no fact [default: so often that there are about 40 steps, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Training")]
    pub epochs: Option<u64>,
    /// Weight of learning better answers as they are, beside preferring them
    #[arg(long, value_name = "X", default_value_t = LearnOptions::default().sft, value_parser = weight, help_heading = "Training")]
    pub sft: f32,
    /// Weight of staying as it is on texts that the model writes itself first; 0 for not at all
    #[arg(long, value_name = "X", default_value_t = LearnOptions::default().keep, value_parser = weight, help_heading = "Training")]
    pub keep: f32,
    /// Random seed
    #[arg(short = 's', long, value_name = "N", default_value_t = LearnOptions::default().seed, help_heading = "Training")]
    pub seed: u64,
    /// Most rise of the perplexity of fixed texts, in percent (of all versions together: twice that)
    #[arg(long, value_name = "PERCENT", default_value_t = (100.0 * Limits::default().perplexity) as f32, value_parser = weight, help_heading = "Gates")]
    pub max_perplexity: f32,
    /// Most divergence from the base, in nats a token of what it writes, over the whole vocabulary (facts: three times that; many
    /// versions together: up to three times as far again, by a fifth a version)
    #[arg(long, value_name = "NATS", default_value_t = Limits::default().divergence as f32, value_parser = weight, help_heading = "Gates")]
    pub max_divergence: f32,
    /// Most that fixed answers, and those learnt before, may become less likely, in nats a token (by facts: twice that)
    #[arg(long, value_name = "NATS", default_value_t = Limits::default().canaries as f32, value_parser = weight, help_heading = "Gates")]
    pub max_canaries: f32,
    /// Most that any one fixed answer may become less likely, in nats a token (by facts: three times that)
    #[arg(long, value_name = "NATS", default_value_t = Limits::default().worst_canary as f32, value_parser = weight, help_heading = "Gates")]
    pub max_worst_canary: f32,
    /// How many more answers than before may run in circles, of 32 (32: they are not looked at)
    #[arg(long, value_name = "N", default_value_t = Limits::default().circles, help_heading = "Gates")]
    pub max_circles: usize,
    /// Refuse to start if the memory map is larger; layers are run again where that makes it fit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, help_heading = "Device")]
    pub budget: Option<u64>,
    /// Chat template: a built-in name, or the path of a Jinja file [default: the model's own]
    #[arg(long, value_name = "NAME|PATH", help_heading = "Data")]
    pub chat_template: Option<String>,
}

impl LearnArgs {
    /// As the library has them.
    pub fn options(&self, what: &What) -> LearnOptions {
        LearnOptions {
            held_out: what.held_out,
            again: what.again,
            lr: self.lr,
            fact_lr: self.fact_lr,
            rank: self.rank.map(|rank| rank as usize),
            epochs: self.epochs,
            rounds: self.rounds,
            minutes: self.minutes,
            replay: self.replay,
            sft: self.sft,
            keep: self.keep,
            seed: self.seed,
            duty: self.duty.map_or(LearnOptions::default().duty, |duty| duty as f32),
            limits: Limits {
                perplexity: f64::from(self.max_perplexity) / 100.0,
                divergence: f64::from(self.max_divergence),
                canaries: f64::from(self.max_canaries),
                worst_canary: f64::from(self.max_worst_canary),
                circles: self.max_circles,
            },
        }
    }

    /// The template that is not the model's own.
    pub fn template(&self, model: &Model) -> CliResult<Option<ChatTemplate>> {
        if self.chat_template.is_none() {
            return Ok(None);
        }
        let prompt = PromptArgs { system: None, chat_template: self.chat_template.clone() };
        Ok(Prompter::for_text(model, &prompt, false)?.template().cloned())
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

/// Learns, with progress; Ctrl-C ends it and changes nothing.
pub fn learn(learner: Learner<'_>, args: &LearnArgs, device: &DeviceArgs) -> CliResult<Outcome> {
    let context = ContextArgs { budget: args.budget, ..ContextArgs::default() };
    let device = session_options(device, &context, Modes::GENERATE);
    let listen = Listen::new();
    let mut shown = Shown::default();
    let outcome = learner.run(&device, &mut |event| {
        shown.show(&event);
        if listen.pressed() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    shown.clear();
    Ok(outcome?)
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    /// What the bar counts, and its length.
    bar: Option<(&'static str, u64, Bar)>,
    done: u64,
}

impl Shown {
    fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::Writing { done, total } => {
                if self.bar.is_none() {
                    self.note("the model writes the texts that hold it in place: once");
                }
                self.count("writing", *done as u64, *total as u64, "");
            }
            Event::LeftOut { entry, why } => {
                self.warn(format!("entry {entry} is left out: {}", show::line(why)))
            }
            Event::Measuring(_) => self.note("measuring the model as it is"),
            Event::Step { stage, report, done, total } => {
                let what = match stage {
                    Stage::Style => "style",
                    Stage::Facts => "facts",
                };
                let line = format!("loss {:.3}{}", report.loss, shown(&report.metrics));
                self.count(what, *done, *total, &line);
            }
            Event::Asking { questions } => self.note(&format!("asking {questions} questions")),
            Event::Asked { known, of, earlier } => {
                let earlier =
                    earlier.map_or(String::new(), |(known, of)| format!(", {known} of {of} learnt before"));
                self.note(&format!("known: {known} of {of}{earlier}"));
            }
            Event::Judging { share, .. } => self.note(&format!("judging {}", portion(*share))),
            Event::Judged { gates, .. } => {
                if let Some(beyond) = beyond(*gates) {
                    self.note(&format!("too much: {beyond}"));
                }
            }
            Event::Mending => self.note("moving back what went too far, with the facts in view"),
            Event::StyleRefused { gates } => {
                let why = beyond(*gates).unwrap_or_default();
                self.warn(format!("what was said of how to answer is left out: {why}"));
            }
        }
    }

    fn count(&mut self, what: &'static str, done: u64, total: u64, line: &str) {
        let same = self.bar.as_ref().is_some_and(|(name, length, _)| *name == what && *length == total);
        if !same {
            self.clear();
            let mut bar = Bar::phase(what, total);
            bar.start_from(done.saturating_sub(1));
            self.bar = Some((what, total, bar));
        }
        self.done = done;
        if let Some((_, _, bar)) = &mut self.bar {
            bar.item(done, line);
        }
    }

    fn note(&mut self, text: &str) {
        self.clear();
        term::say(Paint::stderr().dim(text));
    }

    fn warn(&mut self, text: String) {
        self.clear();
        term::warn(text);
    }

    fn clear(&mut self) {
        if let Some((_, _, mut bar)) = self.bar.take() {
            bar.clear();
        }
    }
}

fn portion(share: f64) -> String {
    if share < 1.0 { format!("{:.0}% of the change", share * 100.0) } else { "the whole change".into() }
}

/// A verdict that names each fact.
pub fn print_facts(out: &mut dyn Write, facts: &[FactReport]) -> std::io::Result<()> {
    for fact in facts {
        let recall = fact.recall;
        let verdict = match (recall.known(), fact.forgotten) {
            (true, false) => "known",
            (false, false) => "not yet",
            (true, true) => "forgotten",
            (false, true) => "still there",
        };
        let asked = if recall.as_asked { 1 } else { 0 };
        let (right, of) = (recall.others + asked, recall.of + 1);
        let (question, answer) = (show::line(&fact.question), show::line(&fact.answer));
        writeln!(out, "    {verdict:<11} {right}/{of}  {question} {answer}")?;
    }
    Ok(())
}

/// `recalled 7 of 8`, and what is not yet known.
pub fn recalled(facts: &[FactReport]) -> Option<String> {
    let new = facts.iter().filter(|fact| !fact.forgotten).count();
    let missing: Vec<String> = missed(facts).map(|fact| show::line(&fact.question)).collect();
    let not_yet =
        if missing.is_empty() { String::new() } else { format!("; not yet: {}", missing.join(" ")) };
    (new > 0).then(|| format!("recalled {} of {new}{not_yet}", new - missing.len()))
}

/// Facts that are not known yet.
pub fn missed(facts: &[FactReport]) -> impl Iterator<Item = &FactReport> {
    facts.iter().filter(|fact| !fact.forgotten && !fact.recall.known())
}

/// About how long it takes at most.
pub fn takes(args: &LearnArgs) -> String {
    let duty = args.duty.unwrap_or(1.0);
    match Duration::from_secs_f32(args.minutes.max(0.0) * 60.0).as_secs() {
        0 => "it takes as long as it needs (--minutes limits it)".into(),
        seconds if duty < 1.0 => {
            format!("it takes about {} minutes at most (--minutes)", seconds.div_ceil(60))
        }
        seconds => format!("it takes {} minutes at most, or little more (--minutes)", seconds.div_ceil(60)),
    }
}

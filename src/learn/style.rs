//! How to answer, learnt from pairs of answers and from thumbs.

use std::ops::ControlFlow;

use super::{Event, LearnError, LearnOptions, QuestionEncoder, Stage};
use crate::adapter::Adapter;
use crate::journal::Entry;
use crate::model::Model;
use crate::train::data::Example;
use crate::train::objective::{Dpo, Kto, PairObjective};
use crate::train::{
    Against, Feedback, FeedbackOptions, LoraOptions, Place, Settings, Trial, Verdict, Watch, adapt,
};

/// The longest text that is learnt.
pub(super) const SEQ: usize = 2048;
/// Entries that were learnt before and are looked at again.
const REMEMBERED: usize = 16;
const BATCH: usize = 4;
/// Steps that are aimed at.
const STEPS: usize = 40;

/// Trains on a trial and judges it; `None`: it was ended.
pub(super) fn learn(
    model: &Model,
    trial: Trial,
    options: &LearnOptions,
    place: &Place,
    from: Option<&Adapter>,
    events: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Option<Verdict>, LearnError> {
    let (objective, settings) =
        (objective(&trial.lesson, options), settings(trial.lesson.len(), options, from));
    let total = trial.lesson.len().div_ceil(settings.batch) as u64 * settings.epochs;
    let mut watch = |watch: Watch<'_>| match watch {
        Watch::Measuring => events(Event::Measuring(Stage::Style)),
        Watch::Step(report) => events(Event::Step { stage: Stage::Style, report, done: report.step, total }),
        Watch::Judging { share } => events(Event::Judging { stage: Stage::Style, share }),
        Watch::Judged { gates, share } => events(Event::Judged { gates, share }),
    };
    let mut pause = options.pause();
    Ok(adapt(model, trial, &objective, &settings, place, from, &mut watch, &mut pause)?)
}

/// Pairs for edits and choices, thumbs for the rest; `left_out` gets what cannot be encoded, and why.
pub(super) fn feedback<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    voice: &QuestionEncoder,
    left_out: &mut dyn FnMut(&Entry, String),
) -> Vec<Feedback> {
    let mut all = Vec::new();
    for entry in entries {
        let reply = |text: &str, cut: bool| {
            voice.example(&entry.prompt(), text, SEQ).map(|example| without_end(example, cut))
        };
        let made = match (entry.preference(), entry.thumb()) {
            (Some(p), _) => reply(&p.chosen, p.chosen_cut).and_then(|chosen| {
                let rejected = reply(&p.rejected, p.rejected_cut)?;
                Ok(Feedback::Pair { chosen, rejected })
            }),
            (None, Some(t)) => {
                reply(&t.completion, t.cut).map(|example| Feedback::Thumb { example, desirable: t.good })
            }
            (None, None) => continue,
        };
        match made {
            Ok(feedback) => all.push(feedback),
            Err(why) => left_out(entry, why.to_string()),
        }
    }
    all
}

/// The answers of the newest entries that were learnt before and liked.
pub(super) fn learnt_before(entries: &[Entry], voice: &QuestionEncoder) -> Vec<Example> {
    let liked = |item| match item {
        Feedback::Pair { chosen, .. } => Some(chosen),
        Feedback::Thumb { example, desirable } => desirable.then_some(example),
        Feedback::Example(example) => Some(example),
    };
    let newest = &entries[entries.len().saturating_sub(REMEMBERED)..];
    feedback(newest, voice, &mut |_, _| ()).into_iter().filter_map(liked).collect()
}

/// Nothing is learnt of where an answer ends that was cut off.
fn without_end(example: Example, cut: bool) -> Example {
    let Some(last) = example.trained.iter().rposition(|t| *t).filter(|_| cut) else { return example };
    let (tokens, trained) = (example.tokens[..last].to_vec(), example.trained[..last].to_vec());
    Example { tokens, trained, ..example }
}

fn objective(lesson: &[Feedback], options: &LearnOptions) -> FeedbackOptions {
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
        sft: f64::from(options.sft),
        against: Against::Start,
    }
}

fn settings(items: usize, options: &LearnOptions, live: Option<&Adapter>) -> Settings {
    let an_epoch = items.div_ceil(BATCH).max(1);
    Settings {
        lora: lora(options, live),
        learning_rate: options.lr,
        batch: BATCH,
        epochs: options.epochs.unwrap_or_else(|| STEPS.div_ceil(an_epoch).clamp(1, 8) as u64),
        keep: options.keep,
        seq: SEQ,
        seed: options.seed,
        ..Settings::default()
    }
}

/// The shape of what is trained: that of the live adapter, if there is one.
pub(super) fn lora(options: &LearnOptions, live: Option<&Adapter>) -> LoraOptions {
    let new = options.rank.map_or_else(LoraOptions::default, LoraOptions::of_rank);
    live.map_or(new, |live| LoraOptions::of(live, 0.0))
}

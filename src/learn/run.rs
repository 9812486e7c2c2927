//! The transaction: style, then facts, each judged, then one commit.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::fixed::{ASKED, CANARIES, FIXED};
use super::hold::write;
use super::recall::fact;
use super::{Event, Events, Hold, LearnError, Learner, Stage, facts, now, style};
use crate::adapter::Adapter;
use crate::journal::live::{Figure, Learnt, Refused, Version};
use crate::journal::{Entry, Key};
use crate::session::{Modes, Session, SessionOptions};
use crate::text::SamplerParams;
use crate::train::{
    Course, Fact, Gate, LEAST_ROUNDS, Lecture, Place, Recall, Recompute, Settings, Standards, Taught, Trial,
    Verdict, teach,
};

/// Facts of a step.
const BATCH: usize = 8;
/// Most tokens of an answer that takes the place of what is forgotten.
const PLAIN: usize = 32;

/// How well one fact is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactReport {
    /// The entry's.
    pub key: Key,
    /// What was asked.
    pub question: String,
    /// What is right.
    pub answer: String,
    /// How well it is known.
    pub recall: Recall,
    /// It was to be forgotten, and `recall` says how well it is.
    pub forgotten: bool,
}

/// What a model has learnt.
#[derive(Clone, Debug)]
pub struct Report {
    /// The version that is live now.
    pub version: Version,
    /// Each new fact, and each that was to be forgotten.
    pub facts: Vec<FactReport>,
    /// Facts learnt before that are known, of how many.
    pub earlier: Option<(usize, usize)>,
    /// Entries about style that were learnt.
    pub style: usize,
    /// Entries about style that were not, as they went too far.
    pub style_refused: usize,
}

/// A new adapter that was not good enough; what was live before still is.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why, in a few words.
    pub why: String,
    /// What the gates measured.
    pub figures: Vec<Figure>,
    /// Each new fact.
    pub facts: Vec<FactReport>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// A new version is live.
    Learnt(Report),
    /// Nothing has changed.
    Refused(Refusal),
    /// It was ended; nothing has changed.
    Ended,
}

/// What came of facts.
struct Facts {
    taught: Taught,
    reports: Vec<FactReport>,
    earlier: Vec<Key>,
}

impl Learner<'_> {
    /// Learns, and switches to what came of it; or notes the refusal. `events` sees what happens and may end it all.
    ///
    /// # Errors
    /// [`LearnError`]; what was live before still is.
    pub fn run(mut self, device: &SessionOptions, events: Events<'_>) -> Result<Outcome, LearnError> {
        let begun = Instant::now();
        let before = self.live.current().cloned();
        let live = before.as_ref().map(|version| self.live.adapter(version.number)).transpose()?;
        if let Some(adapter) = &live {
            adapter.check_base(self.model.file(), false)?;
        }
        let mut progress = |done, total| events(Event::Writing { done, total });
        let cache = self.cache.as_deref();
        let hold = Hold::of(self.model, &self.voice, &self.base, device, cache, &mut progress)?;
        let Some(hold) = hold else { return Ok(Outcome::Ended) };
        let place = Place { device: device.clone(), recompute: Recompute::Auto, ..Place::default() };
        let (new_facts, style): (Vec<Entry>, Vec<Entry>) =
            self.lesson.train.iter().cloned().partition(|entry| fact(entry).is_some());
        let styled = match style.is_empty() {
            true => None,
            false => match self.style(&style, &hold, &place, live.as_ref(), events)? {
                None => return Ok(Outcome::Ended),
                Some(verdict) => Some(verdict),
            },
        };
        let refused = styled.as_ref().filter(|verdict| !verdict.passed());
        if let Some(Verdict { gates, .. }) = refused
            && events(Event::StyleRefused { gates }).is_break()
        {
            return Ok(Outcome::Ended);
        }
        let good_style = styled.as_ref().filter(|verdict| verdict.passed());
        let from = good_style.map(|verdict| &verdict.adapter).or(live.as_ref());
        let learnt = if new_facts.is_empty() && self.lesson.forget.is_empty() {
            None
        } else {
            let until = self.until(begun);
            match self.facts(&new_facts, &hold, &place, from, before.as_ref(), until, events)? {
                None => return Ok(Outcome::Ended),
                Some(learnt) => Some(learnt),
            }
        };
        self.finish(&style, styled, learnt)
    }

    /// When training has to end.
    fn until(&self, begun: Instant) -> Option<Instant> {
        let minutes = self.options.minutes;
        (minutes > 0.0).then(|| begun + Duration::from_secs_f32(60.0 * minutes))
    }

    /// Learns what is said of style; `None`: it was ended.
    fn style(
        &self,
        style: &[Entry],
        hold: &Hold,
        place: &Place,
        live: Option<&Adapter>,
        events: Events<'_>,
    ) -> Result<Option<Verdict>, LearnError> {
        let mut left_out = Vec::new();
        let mut note = |entry: &Entry, why: String| left_out.push((entry.id, why));
        let lesson = style::feedback(style, &self.voice, &mut note);
        let held_out = style::feedback(&self.lesson.held_out, &self.voice, &mut note);
        if lesson.is_empty() {
            return Err(LearnError::Nothing(left_out.pop().map_or(String::new(), |(_, why)| why)));
        }
        for (entry, why) in left_out {
            if events(Event::LeftOut { entry, why }).is_break() {
                return Ok(None);
            }
        }
        let facts = self.live.current().is_some_and(|version| !version.known.is_empty());
        let limits = if facts { self.options.style_limits_after_facts() } else { self.options.limits };
        let standards = self.standards(hold)?;
        let trial = Trial { lesson, held_out, steady: hold.steady(true), standards, limits };
        style::learn(self.model, trial, &self.options, place, live, events)
    }

    /// Answers whose style was learnt, to be held as the model gives them now.
    fn style_as_it_is(&self) -> impl Iterator<Item = (Vec<u32>, Option<Vec<f32>>)> + use<> {
        let all = self.lesson.earlier.iter().chain(&self.lesson.train);
        let style: Vec<Entry> = all.filter(|entry| fact(entry).is_none()).cloned().collect();
        style::learnt_before(&style, &self.voice).into_iter().map(|example| (example.tokens, None))
    }

    fn standards(&self, hold: &Hold) -> Result<Standards, LearnError> {
        let tokenizer = self.voice.tokenizer();
        let style: Vec<Entry> =
            self.lesson.earlier.iter().filter(|entry| fact(entry).is_none()).cloned().collect();
        let questions = CANARIES.iter().chain(&ASKED).map(|question| self.voice.single(question));
        let circles = self.options.limits.circles < CANARIES.len() + ASKED.len();
        Ok(Standards {
            canaries: hold.canaries(),
            learnt: style::learnt_before(&style, &self.voice),
            texts: FIXED.iter().map(|text| tokenizer.encode(text, false, true)).collect(),
            base_perplexity: Some(hold.perplexity),
            written: hold.measured(),
            asked: if circles { questions.collect::<Result<_, _>>()? } else { vec![] },
        })
    }

    /// Teaches the facts; `None`: it was ended.
    #[allow(clippy::too_many_arguments)]
    fn facts(
        &self,
        new: &[Entry],
        hold: &Hold,
        place: &Place,
        from: Option<&Adapter>,
        before: Option<&Version>,
        until: Option<Instant>,
        events: Events<'_>,
    ) -> Result<Option<Facts>, LearnError> {
        let known: HashSet<Key> =
            before.into_iter().flat_map(|version| version.known.iter().copied()).collect();
        let (mut course_facts, mut reports) = (Vec::new(), Vec::new());
        for entry in new {
            match facts::taught(entry, &self.voice, true) {
                Ok(made) => {
                    course_facts.push(made);
                    reports.push(report(entry, false));
                }
                Err(error) => {
                    if events(Event::LeftOut { entry: entry.id, why: error.to_string() }).is_break() {
                        return Ok(None);
                    }
                }
            }
        }
        for (entry, made) in self.forgetting(place)? {
            course_facts.push(made);
            reports.push(report(&entry, true));
        }
        if course_facts.is_empty() {
            return Err(LearnError::Nothing("no question and answer can be encoded".into()));
        }
        let (earlier, keys) = self.earlier(new, &known);
        // Where style was learnt too, answers of the base's would take it back.
        let styled = self.lesson.train.len() > new.len()
            || self.lesson.earlier.iter().any(|entry| fact(entry).is_none());
        let course = Course {
            facts: course_facts,
            known_before: keys.iter().filter(|key| known.contains(key)).count(),
            earlier,
            steady: hold.steady(styled).into_iter().chain(self.style_as_it_is()).collect(),
            standards: self.standards(hold)?,
            limits: self.options.fact_limits(),
            replay: f64::from(self.options.replay),
            rounds: self.options.rounds,
            until,
        };
        let Some(taught) = self.teach(course, place, from, events)? else { return Ok(None) };
        for (report, recall) in reports.iter_mut().zip(&taught.facts) {
            report.recall = *recall;
        }
        Ok(Some(Facts { taught, reports, earlier: keys }))
    }

    fn teach(
        &self,
        course: Course,
        place: &Place,
        from: Option<&Adapter>,
        events: Events<'_>,
    ) -> Result<Option<Taught>, LearnError> {
        let settings = Settings {
            lora: style::lora(&self.options, from),
            learning_rate: self.options.fact_lr,
            batch: BATCH,
            // A fact is learnt at a higher rate than style, and holding on has to be as strong.
            keep: 2.0 * self.options.keep,
            seq: style::SEQ,
            seed: self.options.seed,
            ..Settings::default()
        };
        let mut watch = |lecture: Lecture<'_>| match lecture {
            Lecture::Measuring => events(Event::Measuring(Stage::Facts)),
            Lecture::Step { report, round, steps } => {
                // Most are known after the rounds that are gone in any case.
                let rounds = round.max(LEAST_ROUNDS.min(self.options.rounds));
                let total = (steps * rounds).max(report.step);
                events(Event::Step { stage: Stage::Facts, report, done: report.step, total })
            }
            Lecture::Asking { questions } => events(Event::Asking { questions }),
            Lecture::Asked { known, of, earlier } => events(Event::Asked { known, of, earlier }),
            Lecture::Judging => events(Event::Judging { stage: Stage::Facts, share: 1.0 }),
            Lecture::Judged(gates) => events(Event::Judged { gates, share: 1.0 }),
            Lecture::Mending => events(Event::Mending),
        };
        let mut pause = self.options.pause();
        Ok(teach(self.model, course, &settings, place, from, &mut watch, &mut pause)?)
    }

    /// Facts that were learnt before, with their keys: those first that were not known last.
    fn earlier(&self, new: &[Entry], known: &HashSet<Key>) -> (Vec<Fact>, Vec<Key>) {
        let asked: HashSet<Key> = new.iter().map(Entry::prompt_key).collect();
        let mut all: Vec<&Entry> = self.lesson.earlier.iter().filter(|entry| fact(entry).is_some()).collect();
        // What is corrected again is no longer so.
        all.retain(|entry| !asked.contains(&entry.prompt_key()));
        all.sort_by_key(|entry| known.contains(&entry.key()));
        let made = all
            .iter()
            .filter_map(|entry| Some((facts::taught(entry, &self.voice, false).ok()?, entry.key())));
        made.unzip()
    }

    /// What was taken back, with what the base says in its place.
    fn forgetting(&self, place: &Place) -> Result<Vec<(Entry, Fact)>, LearnError> {
        let entries: Vec<&Entry> = self.lesson.forget.iter().filter(|entry| fact(entry).is_some()).collect();
        if entries.is_empty() {
            return Ok(vec![]);
        }
        let prompts: Vec<Vec<u32>> =
            entries.iter().map(|entry| self.voice.prompt(&entry.prompt())).collect::<Result<_, _>>()?;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let options = SessionOptions {
            ctx: Some(longest + PLAIN),
            slots: prompts.len().min(8),
            modes: Modes::GENERATE,
            ..place.device.clone()
        };
        let mut session = Session::new(self.model, &options)?;
        let answers = write(&mut session, &self.voice, &prompts, PLAIN, SamplerParams::greedy())?;
        let mut made = Vec::new();
        for (entry, answer) in entries.into_iter().zip(answers) {
            let answer = self.voice.tokenizer().decode(&answer, true);
            // The base may have said it by itself: then there is nothing to forget.
            if let Ok(forgotten) = facts::forgotten(entry, answer.trim(), &self.voice)
                && (forgotten.known)(&answer)
            {
                made.push((entry.clone(), forgotten));
            }
        }
        Ok(made)
    }

    /// One commit: a new version, or the note of a refusal.
    fn finish(
        mut self,
        style: &[Entry],
        styled: Option<Verdict>,
        learnt: Option<Facts>,
    ) -> Result<Outcome, LearnError> {
        let good_style = styled.as_ref().filter(|verdict| verdict.passed());
        let good_facts = learnt.as_ref().filter(|facts| facts.taught.passed());
        let adapter = good_facts.map(|facts| &facts.taught.adapter);
        let adapter = adapter.or(good_style.map(|verdict| &verdict.adapter)).cloned();
        let mut figures = Vec::new();
        if let Some(verdict) = &styled {
            figures.extend(verdict.gates.iter().map(figure));
            if verdict.passed() && verdict.share < 1.0 {
                figures.push(share(verdict.share));
            }
        }
        figures.extend(learnt.iter().flat_map(|facts| &facts.taught.gates).map(figure));
        let reports = learnt.as_ref().map_or(vec![], |facts| facts.reports.clone());
        let Some(mut adapter) = adapter else {
            let failed =
                styled.iter().flat_map(|v| &v.gates).chain(learnt.iter().flat_map(|f| &f.taught.gates));
            let why = beyond(failed).unwrap_or_default();
            let lesson = self.options.identity(&self.lesson);
            let entries = self.lesson.train.len();
            self.live
                .refuse(Refused { entries, figures: figures.clone(), why: why.clone(), lesson }, &now())?;
            return Ok(Outcome::Refused(Refusal { why, figures, facts: reports }));
        };
        adapter.base = Some(self.base.clone());
        adapter.check_base(self.model.file(), false)?;
        let mut new = Learnt { figures, ..Learnt::default() };
        new.held_out = self.lesson.held_out.iter().map(Entry::key).collect();
        if good_style.is_some() {
            new.learnt.extend(style.iter().map(Entry::key));
        }
        let mut earlier = None;
        if let Some(facts) = good_facts {
            let good = |forgotten: bool| {
                let wanted = move |r: &&FactReport| r.forgotten == forgotten && r.recall.known();
                facts.reports.iter().filter(wanted).map(|report| report.key)
            };
            new.learnt.extend(good(false));
            new.forgotten.extend(good(true));
            let still = facts.earlier.iter().zip(&facts.taught.earlier);
            let still: Vec<Key> = still.filter(|(_, known)| **known).map(|(key, _)| *key).collect();
            earlier = (!facts.earlier.is_empty()).then_some((still.len(), facts.earlier.len()));
            new.known =
                new.learnt.iter().copied().filter(|key| good(false).any(|good| good == *key)).collect();
            new.known.extend(still);
        } else if let Some(before) = self.live.current() {
            // They were not asked for: what is said of them is what was.
            new.known.clone_from(&before.known);
        }
        let version = self.live.switch(&adapter, new, &now())?;
        let style_learnt = if good_style.is_some() { style.len() } else { 0 };
        let facts_kept = if good_facts.is_some() { reports } else { unlearnt(reports) };
        Ok(Outcome::Learnt(Report {
            version,
            facts: facts_kept,
            earlier,
            style: style_learnt,
            style_refused: style.len() - style_learnt,
        }))
    }
}

fn report(entry: &Entry, forgotten: bool) -> FactReport {
    let (question, answer) = fact(entry).unwrap_or_default();
    FactReport {
        key: entry.key(),
        question: question.to_owned(),
        answer: answer.to_owned(),
        recall: Recall::default(),
        forgotten,
    }
}

/// Facts of a course that was refused: none is known.
fn unlearnt(mut reports: Vec<FactReport>) -> Vec<FactReport> {
    reports
        .iter_mut()
        .for_each(|report| report.recall = Recall { as_asked: false, others: 0, ..report.recall });
    reports
}

/// What did not stay within its limit, if anything did not.
pub(crate) fn beyond<'a>(gates: impl IntoIterator<Item = &'a Gate>) -> Option<String> {
    let names: Vec<&str> = gates.into_iter().filter(|gate| !gate.passed).map(|gate| gate.name).collect();
    let limits = if names.len() == 1 { "its limit" } else { "their limits" };
    (!names.is_empty()).then(|| format!("{} beyond {limits}", names.join(", ")))
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
fn share(share: f64) -> Figure {
    let name = "share of the change that is taken".to_owned();
    Figure { name, before: Some(1.0), after: Some(share), passed: true, ..Figure::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_every_gate_that_failed() {
        let gate = |name, passed| Gate { name, before: 1.0, after: 2.0, limit: 1.5, passed, canary: None };
        let all = [gate("loss", false), gate("divergence", true), gate("perplexity", false)];
        assert_eq!(beyond(&all[..2]).unwrap(), "loss beyond its limit");
        assert_eq!(beyond(&all).unwrap(), "loss, perplexity beyond their limits");
        assert_eq!(beyond(&all[1..2]), None);
    }
}

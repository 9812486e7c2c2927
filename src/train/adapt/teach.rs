//! Teaching facts: a question and its right answer, learnt in several wordings until the model gives it when it is asked, in
//! wordings that were not taught too. Facts learnt before are rehearsed meanwhile; what has nothing to do with them is held
//! in place, and where it was moved too far, it is moved back while the facts stay in view.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::circles;
use super::judge::{Gate, Judge, Limits, Standards};
use crate::adapter::Adapter;
use crate::model::{BranchHead, Model};
use crate::train::data::{Batching, Example, Random};
use crate::train::task::SftTask;
use crate::train::trainer::Boot;
use crate::train::{Place, Rollouts, Settings, StepReport, TrainError, Trainer};

/// Whether an answer says what it should.
pub type Known = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// Something that the model is to know.
#[derive(Clone)]
pub struct Fact {
    /// The answer to the question, first as it was asked, then in other wordings.
    pub taught: Vec<Example>,
    /// Prompts that ask for it: first the question as it was asked, then wordings that are not taught.
    pub asked: Vec<Vec<u32>>,
    /// Whether an answer is right.
    pub known: Known,
    /// It is something to forget: what is right is not to say it.
    pub forget: bool,
}

/// How well a fact is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recall {
    /// Right when asked as it was taught.
    pub as_asked: bool,
    /// Right in so many
    pub others: usize,
    /// of so many other wordings.
    pub of: usize,
}

impl Recall {
    /// Known: as asked, and in at least half of the other wordings.
    pub fn known(self) -> bool {
        self.as_asked && 2 * self.others >= self.of
    }

    /// Known in so many wordings that there is nothing more to do.
    pub(super) fn firm(self) -> bool {
        self.as_asked && 4 * self.others >= 3 * self.of
    }
}

/// What is taught, and what it is judged by.
pub struct Course {
    /// What is new.
    pub facts: Vec<Fact>,
    /// What was learnt before, what is known least first.
    pub earlier: Vec<Fact>,
    /// How many of the facts learnt before were known last.
    pub known_before: usize,
    /// Texts on which the model is to stay, with the log-probabilities of all tokens but the first; `None`: as they are now.
    pub steady: Vec<(Vec<u32>, Option<Vec<f32>>)>,
    /// What else it is judged by.
    pub standards: Standards,
    /// How far the model may go.
    pub limits: Limits,
    /// Rehearsed examples of earlier facts to each new one.
    pub replay: f64,
    /// Most times that the facts are gone through.
    pub rounds: u64,
    /// When training has to end.
    pub until: Option<Instant>,
}

/// What came of a course.
#[derive(Clone, Debug)]
pub struct Taught {
    /// The new adapter.
    pub adapter: Adapter,
    /// How it was judged; the first two gates are about what is known.
    pub gates: Vec<Gate>,
    /// How well each new fact is known.
    pub facts: Vec<Recall>,
    /// Which of the earlier facts are known.
    pub earlier: Vec<bool>,
    /// Steps of the optimizer.
    pub steps: u64,
}

impl Taught {
    /// Whether it passed everything.
    pub fn passed(&self) -> bool {
        self.gates.iter().all(|gate| gate.passed)
    }
}

/// What happens in a course.
pub enum Lecture<'a> {
    /// What training begins with is about to be measured.
    Measuring,
    /// A step of training.
    Step {
        /// What it did.
        report: &'a StepReport,
        /// The round, from 1.
        round: u64,
        /// Steps of a round.
        steps: u64,
    },
    /// The facts are about to be asked for.
    Asking {
        /// How many questions.
        questions: usize,
    },
    /// So many of the new facts are known.
    Asked {
        /// How many,
        known: usize,
        /// of how many.
        of: usize,
        /// And of those learnt before, if they were asked for.
        earlier: Option<(usize, usize)>,
    },
    /// All gates are about to be measured.
    Judging,
    /// They were.
    Judged(&'a [Gate]),
    /// What was moved too far is about to be moved back.
    Mending,
}

/// Most tokens of an answer that is looked at.
pub(super) const ANSWER: usize = 40;
/// Rounds before the facts are asked for first; the last of them and all that follow are gone at half the learning rate.
const BLIND: u64 = 3;
/// Rounds that are gone where there is time for them, though all is known by then: other wordings than those that are asked for
/// here gain by it.
pub const LEAST_ROUNDS: u64 = 6;
/// Most wordings of a fact that a round takes; the next one takes others.
const WORDINGS: usize = 12;
/// A round's loss below which it is worth asking. How a wording is answered (`learn/wording/answers.rs`) is chance to the model, and
/// leaves some of it.
const LEARNT: f64 = 0.6;
/// Rounds of moving back, at most.
const MENDING: usize = 5;
/// And those that are gone however late it is: to refuse what took minutes for the want of one more would be a waste.
const IN_ANY_CASE: usize = 2;
/// Steps of one, and how many texts each holds in place.
const MENDING_STEPS: usize = 6;
const MENDING_ANCHORS: usize = 4;
/// Steps until the learning rate is whole.
const WARM_UP: u64 = 3;

/// Teaches the facts of a course to a shadow adapter, beginning with `from`, and judges it. `watch` sees what happens and may
/// end it all; then there is no result. `pause` is called after each step with the time it took.
///
/// # Errors
/// As [`Trainer::new`] and [`Trainer::step`].
pub fn teach(
    model: &Model,
    course: Course,
    settings: &Settings,
    place: &Place,
    from: Option<&Adapter>,
    watch: &mut dyn FnMut(Lecture<'_>) -> ControlFlow<()>,
    pause: &mut dyn FnMut(Duration),
) -> Result<Option<Taught>, TrainError> {
    let taught = School::open(model, course, settings, place, from, watch, pause).and_then(School::run);
    match taught {
        Ok(taught) => Ok(Some(taught)),
        Err(Stop::Left) => Ok(None),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Why a course ends before its end.
pub(super) enum Stop {
    /// `watch` ended it.
    Left,
    Error(TrainError),
}

impl From<TrainError> for Stop {
    fn from(error: TrainError) -> Self {
        Stop::Error(error)
    }
}

pub(super) type Step<T> = Result<T, Stop>;

pub(super) struct School<'a> {
    pub(super) trainer: Trainer,
    pub(super) judge: Judge,
    pub(super) facts: Vec<Fact>,
    pub(super) earlier: Vec<Fact>,
    /// Of each fact its examples, by their numbers in the trainer's data; new facts first.
    pub(super) places: Vec<Range<usize>>,
    pub(super) known_before: usize,
    pub(super) replay: f64,
    pub(super) rounds: u64,
    pub(super) until: Option<Instant>,
    pub(super) rate: f64,
    pub(super) batch: usize,
    pub(super) random: Random,
    /// How well each new fact is known, as last asked.
    pub(super) recalls: Vec<Recall>,
    /// Which earlier facts are known, as last asked; `None`: not asked yet.
    pub(super) earlier_known: Option<Vec<bool>>,
    /// How often each earlier fact was rehearsed.
    pub(super) rehearsed: Vec<u64>,
    /// How long the last questions took, and all that judging takes.
    pub(super) asking: Duration,
    pub(super) watch: &'a mut dyn FnMut(Lecture<'_>) -> ControlFlow<()>,
    pub(super) pause: &'a mut dyn FnMut(Duration),
}

impl<'a> School<'a> {
    fn open(
        model: &Model,
        course: Course,
        settings: &Settings,
        place: &Place,
        from: Option<&Adapter>,
        watch: &'a mut dyn FnMut(Lecture<'_>) -> ControlFlow<()>,
        pause: &'a mut dyn FnMut(Duration),
    ) -> Step<Self> {
        let mut examples: Vec<Example> = Vec::new();
        let mut places = Vec::new();
        for fact in course.facts.iter().chain(&course.earlier) {
            places.push(examples.len()..examples.len() + fact.taught.len());
            examples.extend(fact.taught.iter().cloned());
        }
        let mut trainer = boot(model, examples, &course, settings, place, from)?;
        if settings.keep > 0.0 {
            trainer.anchor_each(course.steady)?;
        }
        go_on(watch(Lecture::Measuring))?;
        let start = Instant::now();
        let judge = Judge::new(model, &mut trainer, course.standards, course.limits, false)?;
        // As long as it took now it takes again at the end.
        let judging = start.elapsed();
        Ok(Self {
            trainer,
            judge,
            places,
            known_before: course.known_before,
            replay: course.replay,
            rounds: course.rounds.max(1),
            until: course.until.map(|until| until.checked_sub(judging).unwrap_or(start)),
            rate: f64::from(settings.learning_rate),
            batch: settings.batch.max(1),
            random: Random::new(settings.seed, 0),
            recalls: vec![Recall::default(); course.facts.len()],
            earlier_known: None,
            rehearsed: vec![0; course.earlier.len()],
            facts: course.facts,
            earlier: course.earlier,
            asking: Duration::ZERO,
            watch,
            pause,
        })
    }

    fn run(mut self) -> Step<Taught> {
        for round in 1..=self.rounds {
            let loss = self.round(round)?;
            let last = round == self.rounds || self.is_late();
            if !last && (round < BLIND || loss > LEARNT) {
                continue;
            }
            let firm = self.ask()?;
            if last || (round >= LEAST_ROUNDS && firm && self.earlier_hold()?) {
                break;
            }
        }
        let gates = self.settle()?;
        let adapter = self.trainer.adapter(BTreeMap::new())?;
        let earlier = self.earlier_known.unwrap_or_else(|| vec![false; self.earlier.len()]);
        let steps = self.trainer.step_count();
        Ok(Taught { adapter, gates, facts: self.recalls, earlier, steps })
    }

    /// Goes once through what is new, and rehearses; gives the mean loss.
    fn round(&mut self, round: u64) -> Step<f64> {
        let mut items: Vec<usize> = Vec::new();
        for (range, recall) in self.places.iter().zip(&self.recalls) {
            let times = if round > BLIND && !recall.firm() { 2 } else { 1 };
            for _ in 0..times {
                items.extend(drawn(range, &mut self.random));
            }
        }
        let rehearsals = self.rehearsals((items.len() as f64 * self.replay).ceil() as usize);
        items.extend(rehearsals);
        self.random.shuffle(&mut items);
        // The last round before the questions settles what the first ones moved.
        let (rate, anchors) = if round >= BLIND { (0.5 * self.rate, 2) } else { (self.rate, 1) };
        self.steps(&items, round, rate, anchors)
    }

    /// Steps through examples; gives the mean loss.
    fn steps(&mut self, items: &[usize], round: u64, rate: f64, anchors: usize) -> Step<f64> {
        let steps = items.len().div_ceil(self.batch) as u64;
        let mut sum = 0.0;
        for batch in items.chunks(self.batch) {
            // The first steps of AdamW are as long as the rate says, whatever the gradient: they begin small.
            let warm = (self.trainer.step_count() + 1).min(WARM_UP) as f64 / WARM_UP as f64;
            let report = self.trainer.study(batch, rate * warm, anchors, self.pause)?;
            sum += report.loss;
            go_on((self.watch)(Lecture::Step { report: &report, round, steps }))?;
        }
        Ok(sum / steps.max(1) as f64)
    }

    /// Examples of earlier facts, about so many: of those that are not known first, then of those rehearsed least.
    fn rehearsals(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.earlier.len()).collect();
        self.random.shuffle(&mut order);
        // Before they were asked for, the order of the course counts: what was known least comes first.
        let weak = self.earlier.len().min(count / 4);
        order.sort_by_key(|index| match &self.earlier_known {
            Some(known) => (u64::from(known[*index]), self.rehearsed[*index]),
            None => (self.rehearsed[*index], u64::from(*index >= weak)),
        });
        let mut items = Vec::new();
        for index in order {
            if items.len() >= count {
                break;
            }
            self.rehearsed[index] += 1;
            let range = self.places[self.facts.len() + index].clone();
            items.push(range.start);
            if range.len() > 1 {
                items.push(range.start + 1 + self.random.below(range.len() - 1));
            }
        }
        items
    }

    /// Judges, and moves back what was moved too far while there is time.
    fn settle(&mut self) -> Step<Vec<Gate>> {
        for mending in 0.. {
            if self.earlier_known.is_none() {
                self.earlier_hold()?;
            }
            go_on((self.watch)(Lecture::Judging))?;
            let mut gates: Vec<Gate> =
                [Some(self.recalled()), self.forgotten()].into_iter().flatten().collect();
            let asked = gates.len();
            gates.extend(self.judge.judge(&mut self.trainer)?);
            go_on((self.watch)(Lecture::Judged(&gates)))?;
            // What is not known is not known by moving back.
            let too_far = gates.iter().skip(asked).any(|gate| !gate.passed);
            let enough = mending >= IN_ANY_CASE && self.is_late();
            if !too_far || mending == MENDING || enough {
                return Ok(gates);
            }
            go_on((self.watch)(Lecture::Mending))?;
            let mut items: Vec<usize> =
                self.places[..self.facts.len()].iter().map(|range| range.start).collect();
            let wanted = MENDING_STEPS * self.batch;
            items.extend(self.rehearsals(wanted.saturating_sub(items.len())));
            while items.len() < wanted {
                let fact = self.random.below(self.facts.len());
                let range = self.places[fact].clone();
                items.push(range.start + self.random.below(range.len()));
            }
            self.random.shuffle(&mut items);
            self.steps(&items, self.rounds + 1 + mending as u64, 0.3 * self.rate, MENDING_ANCHORS)?;
            self.earlier_known = None;
            self.ask()?;
        }
        Ok(vec![])
    }

    /// No fewer facts may be known than before, and one of the new ones has to be.
    fn recalled(&self) -> Gate {
        let facts = self.facts.iter().zip(&self.recalls).filter(|(fact, _)| !fact.forget);
        let new = facts.clone().filter(|(_, recall)| recall.known()).count();
        let old = self.earlier_known.as_ref().map_or(0, |all| all.iter().filter(|known| **known).count());
        let before = self.known_before as f64;
        let least = if facts.count() > 0 { before.max(1.0) } else { before };
        Gate::at_least("facts that are known", before, (new + old) as f64, least)
    }

    /// Something of what is to be forgotten has to be.
    fn forgotten(&self) -> Option<Gate> {
        let all: Vec<&Recall> = self
            .facts
            .iter()
            .zip(&self.recalls)
            .filter(|(fact, _)| fact.forget)
            .map(|(_, recall)| recall)
            .collect();
        let gone = all.iter().filter(|recall| recall.known()).count();
        (!all.is_empty()).then(|| Gate::at_least("facts that are forgotten", 0.0, gone as f64, 1.0))
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() + self.asking >= until)
    }
}

/// What a round takes of a fact's examples: the question as it was asked, and some of the other wordings. Where there are many,
/// it is taken as often as two of them: what was promised first is that.
fn drawn(examples: &Range<usize>, random: &mut Random) -> Vec<usize> {
    let mut others: Vec<usize> = examples.clone().skip(1).collect();
    let as_asked = examples.clone().take(1);
    if others.len() < WORDINGS {
        return as_asked.chain(others).collect();
    }
    random.shuffle(&mut others);
    others.truncate(WORDINGS - 2);
    as_asked.clone().chain(as_asked).chain(others).collect()
}

pub(super) fn go_on(flow: ControlFlow<()>) -> Step<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stop::Left),
    }
}

fn boot(
    model: &Model,
    examples: Vec<Example>,
    course: &Course,
    settings: &Settings,
    place: &Place,
    from: Option<&Adapter>,
) -> Result<Trainer, TrainError> {
    let prompts = || course.facts.iter().chain(&course.earlier).flat_map(|fact| &fact.asked);
    let longest = prompts().map(Vec::len).max().unwrap_or(1);
    let standards = course.standards.rollouts().unwrap_or(Rollouts { slots: 1, ctx: 1 });
    let rollouts = Rollouts {
        slots: prompts().count().clamp(1, circles::SLOTS).max(standards.slots),
        ctx: (longest + ANSWER).max(standards.ctx),
    };
    let steady = course.steady.iter().map(|(tokens, _)| tokens.len()).max().unwrap_or(0);
    // Chance may put the longest example into a step several times.
    let example = examples.iter().map(|example| example.tokens.len()).max().unwrap_or(0);
    let rows = course.standards.rows().max(steady).max(settings.batch.max(1) * example);
    let task = SftTask::new(examples, vec![], settings).with_rows(rows);
    let boot = Boot {
        place,
        from,
        head: BranchHead::Tokens,
        batching: Batching::Sequences(settings.batch.max(1)),
        reference: None,
        rollouts: Some(rollouts),
        divergence: !course.standards.written.is_empty(),
    };
    Trainer::boot(model, task, settings, &boot)
}

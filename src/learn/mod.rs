//! A model learns from what its user said: journal, lesson, shadow adapter, gates, switch.
//!
//! A [`Learner`] reads a journal, sorts what is new into **facts** (corrections that tell something) and **style** (how to
//! answer), trains a shadow adapter on both, and asks it. A fact that is not known when asked is taught further while
//! there is time, and what is not known at the end is said so and stays in the journal as not learnt. What has nothing to do
//! with it may not change by more than the limits; then the new adapter becomes the live one in one commit, or nothing
//! changes.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use emberlm::learn::{LearnOptions, Learner, Outcome, Places};
//! use emberlm::model::Model;
//! use emberlm::session::SessionOptions;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::open("model.gguf")?;
//! let places = Places { journal: "journal.jsonl".into(), live: "live".into(), cache: None };
//! let learner = Learner::open(&model, places, LearnOptions::default(), None)?;
//! match learner.run(&SessionOptions::default(), &mut |_| ControlFlow::Continue(()))? {
//!     Outcome::Learnt(report) => println!("version {} is live", report.version.number),
//!     Outcome::Refused(refusal) => println!("nothing has changed: {}", refusal.why),
//!     Outcome::Ended => println!("ended"),
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod facts;
mod fixed;
mod hold;
pub mod memory;
mod options;
mod questions;
pub mod recall;
mod run;
mod style;
pub mod wording;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::SystemTime;

pub use error::LearnError;
pub use fixed::CANARIES;
pub use hold::{Hold, Progress, Written, texts};
pub use memory::Memory;
pub use options::LearnOptions;
pub use questions::QuestionEncoder;
#[cfg(feature = "cli")]
pub(crate) use run::beyond;
pub use run::{FactReport, Outcome, Refusal, Report};

use crate::adapter::BaseFingerprint;
use crate::io::FolderSlots;
use crate::journal::live::Live;
use crate::journal::{Entry, Lesson, Reading, read};
use crate::model::Model;
use crate::text::ChatTemplate;
use crate::train::{Gate, StepReport};

/// Where things lie.
#[derive(Clone, Debug)]
pub struct Places {
    /// The journal.
    pub journal: PathBuf,
    /// The folder of the model's live adapter.
    pub live: PathBuf,
    /// A folder for what is made once per model; `None`: it is made each time.
    pub cache: Option<PathBuf>,
}

/// What is being learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// How to answer.
    Style,
    /// What is so.
    Facts,
}

/// What happens while a model learns.
pub enum Event<'a> {
    /// The model writes the texts that hold it in place; once per model.
    Writing {
        /// So many are written,
        done: usize,
        /// of so many.
        total: usize,
    },
    /// An entry cannot be learnt from.
    LeftOut {
        /// Its number in the journal.
        entry: u64,
        /// Why.
        why: String,
    },
    /// What training begins with is about to be measured.
    Measuring(Stage),
    /// A step of training.
    Step {
        /// Of what.
        stage: Stage,
        /// What it did.
        report: &'a StepReport,
        /// Steps done of this stage,
        done: u64,
        /// of so many at most.
        total: u64,
    },
    /// The facts are about to be asked for.
    Asking {
        /// How many questions.
        questions: usize,
    },
    /// So many facts are known.
    Asked {
        /// Of the new ones,
        known: usize,
        /// of so many,
        of: usize,
        /// and of those learnt before, if they were asked for.
        earlier: Option<(usize, usize)>,
    },
    /// A shadow adapter is about to be judged.
    Judging {
        /// Of what.
        stage: Stage,
        /// How much of the change.
        share: f64,
    },
    /// It was.
    Judged {
        /// How.
        gates: &'a [Gate],
        /// How much of the change.
        share: f64,
    },
    /// What was moved too far is about to be moved back.
    Mending,
    /// What was learnt of style goes too far, and is left out.
    StyleRefused {
        /// How it was judged.
        gates: &'a [Gate],
    },
}

/// A transaction that is about to begin. While it is open no other process can change the live adapter.
pub struct Learner<'m> {
    model: &'m Model,
    base: BaseFingerprint,
    live: Live<FolderSlots>,
    lesson: Lesson,
    voice: QuestionEncoder,
    options: LearnOptions,
    cache: Option<PathBuf>,
    reading: Reading,
}

impl<'m> Learner<'m> {
    /// Reads the journal and opens the live adapter for changes. `template` is the chat template, if it is not the model's;
    /// a model without any is spoken to as in a chat, with ChatML.
    ///
    /// # Errors
    /// [`LearnError`]: another process is learning, or a file cannot be used.
    pub fn open(
        model: &'m Model,
        places: Places,
        options: LearnOptions,
        template: Option<ChatTemplate>,
    ) -> Result<Self, LearnError> {
        let base = BaseFingerprint::of(model.file())?;
        let mut reading = read(&places.journal)?;
        let live = Live::open_folder(&places.live)?;
        let lesson = lesson(&mut reading, &live, &base, &options);
        let mut voice = QuestionEncoder::new(model, template)?;
        if voice.template().is_none() {
            let chatml = ChatTemplate::builtin("chatml")?.with_tokens_of(voice.tokenizer());
            voice = QuestionEncoder::new(model, Some(chatml))?;
        }
        Ok(Self { model, base, live, lesson, voice, options, cache: places.cache, reading })
    }

    /// What there is to learn.
    pub fn lesson(&self) -> &Lesson {
        &self.lesson
    }

    /// What could not be read of the journal; its entries are taken out.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// What is to be learnt: facts, and entries about style.
    pub fn counts(&self) -> (usize, usize) {
        let facts = self.lesson.train.iter().filter(|entry| recall::fact(entry).is_some()).count();
        (facts, self.lesson.train.len() - facts)
    }

    /// When and why just this was refused, if it was.
    pub fn refused(&self) -> Option<(&str, &str)> {
        self.live.refused(&self.options.identity(&self.lesson))
    }
}

/// What a journal says that is new, for one base model.
pub fn lesson(
    reading: &mut Reading,
    live: &Live<FolderSlots>,
    base: &BaseFingerprint,
    options: &LearnOptions,
) -> Lesson {
    let mine = |entries: &mut Vec<Entry>| -> Vec<Entry> {
        std::mem::take(entries).into_iter().filter(|entry| entry.base == base.short()).collect()
    };
    let (entries, withdrawn) = (mine(&mut reading.entries), mine(&mut reading.withdrawn));
    let (cursor, held_out) = (live.cursor(), f64::from(options.held_out));
    let is_fact = |entry: &Entry| recall::fact(entry).is_some();
    let lesson = Lesson::plan_with(entries, &cursor, options.again, held_out, is_fact);
    lesson.forgetting(withdrawn, &cursor)
}

/// Goes on, or ends what is going on.
type Events<'a> = &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

fn now() -> String {
    crate::text::utc(SystemTime::now())
}

//! What of a journal is new, and what of that is kept back to judge by.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Entry, Key};

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    New,
    /// The live adapter learnt it.
    Learnt {
        /// In which version.
        version: u64,
    },
    /// It was kept back to judge the live adapter, or one it was learnt from, by.
    HeldOut {
        /// Which version.
        version: u64,
    },
    /// A version that was rolled back learnt it or was judged by it.
    Undone {
        /// Which version.
        version: u64,
    },
}

/// How far learning has come: what became of each entry. It follows from the live store's versions, so that it cannot
/// be of another adapter than the one in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub(super) HashMap<Key, Standing>);

impl Cursor {
    /// What became of an entry.
    pub fn standing(&self, key: Key) -> Standing {
        self.0.get(&key).copied().unwrap_or(Standing::New)
    }

    /// How many of `entries` are new.
    pub fn count_new<'a>(&self, entries: impl IntoIterator<Item = &'a Entry>) -> usize {
        entries.into_iter().filter(|entry| self.standing(entry.key()) == Standing::New).count()
    }
}

/// Entries sorted by what they are used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lesson {
    /// New, to be learnt.
    pub train: Vec<Entry>,
    /// To judge by and never to be learnt: new ones, and those that were held out before.
    pub held_out: Vec<Entry>,
    /// Learnt before, in the order of the journal: to see that they are not forgotten.
    pub earlier: Vec<Entry>,
    /// How many were left out because the version that knew them was rolled back.
    pub undone: usize,
    /// How many of `held_out` are new.
    pub new_held_out: usize,
    /// Learnt, and taken back since: to be forgotten.
    pub forget: Vec<Entry>,
}

impl Lesson {
    /// Sorts `entries` by `cursor`. About `fraction` (0 to 1) of the new questions are held out, those whose hash lies
    /// below it, and never more than that part of all questions there have been: what little is said first is learnt.
    /// New answers to a question that was learnt or held out before go where it is. So no question is on both sides, now
    /// or later. `again` takes what a version that was rolled back knew for new.
    pub fn plan(entries: Vec<Entry>, cursor: &Cursor, again: bool, fraction: f64) -> Self {
        Self::plan_with(entries, cursor, again, fraction, |_| false)
    }

    /// The same, where `is_fact` tells what is learnt for its own sake: it is never held out, as one fact says nothing of
    /// another, and of several answers to one question the newest counts.
    pub fn plan_with(
        mut entries: Vec<Entry>,
        cursor: &Cursor,
        again: bool,
        fraction: f64,
        is_fact: impl Fn(&Entry) -> bool,
    ) -> Self {
        let mut lesson = Lesson::default();
        let mut answered: HashSet<Key> = HashSet::new();
        entries.reverse();
        entries.retain(|entry| !is_fact(entry) || answered.insert(entry.prompt_key()));
        entries.reverse();
        let mut fresh: BTreeMap<Key, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            match cursor.standing(entry.key()) {
                Standing::Learnt { .. } => lesson.earlier.push(entry),
                Standing::HeldOut { .. } => lesson.held_out.push(entry),
                Standing::Undone { .. } if !again => lesson.undone += 1,
                Standing::New | Standing::Undone { .. } if is_fact(&entry) => lesson.train.push(entry),
                Standing::New | Standing::Undone { .. } => {
                    fresh.entry(entry.prompt_key()).or_default().push(entry);
                }
            }
        }
        let questions = |entries: &[Entry]| entries.iter().map(Entry::prompt_key).collect::<HashSet<Key>>();
        let (known, held) = (questions(&lesson.earlier), questions(&lesson.held_out));
        let open: Vec<Key> =
            fresh.keys().filter(|key| !known.contains(key) && !held.contains(key)).copied().collect();
        let may_be = (fraction * (known.union(&held).count() + open.len()) as f64) as usize;
        let room = may_be.saturating_sub(held.len());
        let held_back = open.get(..hold_back(&open, fraction, held.is_empty(), room)).unwrap_or_default();
        for (question, entries) in fresh {
            if !known.contains(&question) && (held.contains(&question) || held_back.contains(&question)) {
                lesson.new_held_out += entries.len();
                lesson.held_out.extend(entries);
            } else {
                lesson.train.extend(entries);
            }
        }
        for entries in [&mut lesson.train, &mut lesson.held_out] {
            entries.sort_by_key(|entry| entry.id);
        }
        lesson
    }

    /// What of `withdrawn` the live adapter knows still is to be forgotten.
    #[must_use]
    pub fn forgetting(mut self, withdrawn: Vec<Entry>, cursor: &Cursor) -> Self {
        let known = |entry: &Entry| matches!(cursor.standing(entry.key()), Standing::Learnt { .. });
        self.forget = withdrawn.into_iter().filter(known).collect();
        self
    }

    /// How many entries are new.
    pub fn fresh(&self) -> usize {
        self.train.len() + self.new_held_out
    }
}

/// How many of the questions, in the order of their hashes, are held out: those below `fraction`, at least one if there
/// is none yet, as far as there is room, and not all.
fn hold_back(questions: &[Key], fraction: f64, none_yet: bool, room: usize) -> usize {
    let bound = (fraction.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
    let below = questions.iter().take_while(|key| key.place() <= bound).count();
    below.max(usize::from(none_yet)).min(room).min(questions.len().saturating_sub(1))
}

//! What is committed beside the adapters: the versions, the one in use, and what happened.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::LiveError;
use crate::journal::{Cursor, Key, Standing};

/// The layout of the state: another one gets another number.
const FORMAT: u32 = 1;
/// How many versions are kept whole: the live one, those it was learnt from, then the newest others.
pub const KEPT_VERSIONS: usize = 5;

/// What a gate measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured, such as `held-out loss`.
    pub name: String,
    /// With the adapter that was live. Numbers that are not finite are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// With the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
    /// What it had to stay on the right side of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
    /// Whether it did.
    pub passed: bool,
    /// What it is about, where it is about one of many things.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

impl Figure {
    fn finite(self) -> Self {
        let finite = |value: Option<f64>| value.filter(|v| v.is_finite());
        Self { before: finite(self.before), after: finite(self.after), limit: finite(self.limit), ..self }
    }
}

/// Figures without numbers that JSON does not have.
pub(super) fn finite(figures: Vec<Figure>) -> Vec<Figure> {
    figures.into_iter().map(Figure::finite).collect()
}

/// An adapter that was, or is, live.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Counts up from 1.
    pub number: u64,
    /// The version that was live before, which training began from; `None`: the base alone.
    pub parent: Option<u64>,
    /// When it was switched to, in UTC as RFC 3339 has it.
    pub time: String,
    /// Of the adapter's bytes, in lower-case hexadecimal.
    pub sha256: String,
    /// Length of the adapter in bytes.
    pub bytes: u64,
    /// Whether the adapter's bytes are still there.
    pub kept: bool,
    /// The entries that it learnt.
    pub learnt: Vec<Key>,
    /// The entries that it was judged by.
    pub held_out: Vec<Key>,
    /// The facts that it knew when it was judged, of all that were learnt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<Key>,
    /// The entries that it forgot, because they were taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forgotten: Vec<Key>,
    /// What the gates measured.
    pub figures: Vec<Figure>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A new version went live.
    Switched {
        /// When.
        time: String,
        /// Its number.
        version: u64,
    },
    /// A new adapter was not good enough.
    Refused {
        /// When.
        time: String,
        /// The version that was live, and stayed.
        live: Option<u64>,
        /// How many entries it had learnt.
        entries: u64,
        /// What the gates measured.
        figures: Vec<Figure>,
        /// Why, in words.
        why: String,
        /// What stands for the lesson and how it was learnt: the same again would be refused again.
        #[serde(default)]
        lesson: String,
    },
    /// An earlier version, or the base alone, went live again.
    RolledBack {
        /// When.
        time: String,
        /// From this version.
        from: Option<u64>,
        /// To this version; `None`: the base alone.
        to: Option<u64>,
    },
}

/// All that is committed but the adapters' bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    format: u32,
    pub(super) current: Option<u64>,
    /// By number.
    pub(super) versions: Vec<Version>,
    pub(super) log: Vec<Event>,
}

impl Default for State {
    fn default() -> Self {
        Self { format: FORMAT, current: None, versions: Vec::new(), log: Vec::new() }
    }
}

impl State {
    pub(super) fn parse(text: &str) -> Result<Self, LiveError> {
        let state: State = serde_json::from_str(text).map_err(|e| LiveError::Damaged(e.to_string()))?;
        state.check()?;
        Ok(state)
    }

    /// What the rest relies on. Parents are older than their children, so that walking up ends.
    fn check(&self) -> Result<(), LiveError> {
        let damaged = |what: String| Err(LiveError::Damaged(what));
        if self.format != FORMAT {
            return damaged(format!("it has format {}, this program knows {FORMAT}", self.format));
        }
        let mut before = 0;
        for version in &self.versions {
            let number = version.number;
            if number <= before {
                return damaged(format!("version {number} comes after version {before}"));
            }
            before = number;
            if version.parent.is_some_and(|parent| parent >= number || self.version(parent).is_none()) {
                return damaged(format!("version {number} has no parent"));
            }
        }
        match self.current.map(|number| (number, self.version(number))) {
            Some((number, None)) => damaged(format!("the live version {number} is not there")),
            Some((number, Some(version))) if !version.kept => {
                damaged(format!("the live version {number} is not kept"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn version(&self, number: u64) -> Option<&Version> {
        let index = self.versions.binary_search_by_key(&number, |version| version.number).ok()?;
        self.versions.get(index)
    }

    pub(super) fn last(&self) -> u64 {
        self.versions.last().map_or(0, |version| version.number)
    }

    /// The live version, its parent, and so on.
    fn chain(&self) -> impl Iterator<Item = &Version> {
        let start = self.current.and_then(|number| self.version(number));
        std::iter::successors(start, |version| self.version(version.parent?))
    }

    /// What became of every entry.
    pub(super) fn cursor(&self) -> Cursor {
        let mut all: HashMap<Key, Standing> = HashMap::new();
        for version in &self.versions {
            let undone = Standing::Undone { version: version.number };
            all.extend(version.learnt.iter().chain(&version.held_out).map(|key| (*key, undone)));
        }
        let chain: Vec<&Version> = self.chain().collect();
        for version in chain.into_iter().rev() {
            let number = version.number;
            all.extend(version.held_out.iter().map(|key| (*key, Standing::HeldOut { version: number })));
            all.extend(version.learnt.iter().map(|key| (*key, Standing::Learnt { version: number })));
            for key in &version.forgotten {
                all.remove(key);
            }
        }
        Cursor(all)
    }

    /// Marks as kept no more than [`KEPT_VERSIONS`]; what was given up before does not return.
    pub(super) fn give_up_old(&mut self) {
        let chain = self.chain().map(|version| version.number);
        let others = self.versions.iter().rev().map(|version| version.number);
        let mut keep: Vec<u64> = Vec::new();
        for number in chain.chain(others) {
            let there = self.version(number).is_some_and(|version| version.kept);
            if there && keep.len() < KEPT_VERSIONS && !keep.contains(&number) {
                keep.push(number);
            }
        }
        self.versions.iter_mut().for_each(|version| version.kept = keep.contains(&version.number));
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = &Version> {
        self.versions.iter().filter(|version| version.kept)
    }
}

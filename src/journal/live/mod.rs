//! The live adapter: what was learnt from the journal, version by version, switched and rolled back in one commit.
//!
//! One state in a two-slot [`CommitStore`] holds everything: the adapters of the last [`KEPT_VERSIONS`] versions as GGUF,
//! which of them is live, what each learnt and was judged by, and the log. A power cut at any byte therefore leaves the old
//! adapter with the old cursor or the new with the new. Adapters are small, so that writing the kept ones with each
//! commit costs little, and there is no second place whose files could be missing.
//!
//! What became of an entry is not stored by itself, it follows from the versions: those of the live version and of the
//! versions it was learnt from are learnt, those of other versions are undone. So a roll back undoes the cursor too.
//!
//! A commit holds a lock; a second process gets [`IoError::Busy`]. Readers need none.
//!
//! ```
//! # use emberlm::adapter::{Adapter, LoraPair};
//! use emberlm::journal::live::{Learnt, Live};
//!
//! # fn main() -> Result<(), emberlm::journal::live::LiveError> {
//! # let pair = LoraPair {
//! #     target: "blk.0.attn_q".into(), rank: 1, inputs: 2, outputs: 2, a: vec![1.0, 0.0], b: vec![0.0, 3.0],
//! # };
//! # let adapter = Adapter { architecture: "llama".into(), alpha: 2.0, pairs: vec![pair], ..Adapter::default() };
//! # let Ok(folder) = tempfile::tempdir() else { return Ok(()) };
//! let mut live = Live::open_folder(folder.path().join("live"))?;
//! assert!(live.current().is_none());
//! assert_eq!(live.switch(&adapter, Learnt::default(), "2026-11-25T03:04:11Z")?.number, 1);
//! assert_eq!(live.adapter(1)?, adapter);
//! live.roll_back(None, "2026-11-25T03:05:00Z")?;
//! assert!(live.current().is_none());
//! # Ok(())
//! # }
//! ```

mod error;
mod state;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use error::LiveError;
pub use state::{Event, Figure, KEPT_VERSIONS, Version};

use super::{Cursor, Key};
use crate::adapter::{Adapter, BaseFingerprint};
use crate::io::commit::{Notice, Slots};
use crate::io::{CommitError, CommitStore, FolderSlots, IoError, MemStream, Sections, private};
use state::State;

/// The slots are `live.0` and `live.1`.
const NAME: &str = "live";
/// The section of the state.
const STATE: &str = "state";
/// How often a reader starts anew because somebody commits meanwhile.
const ATTEMPTS: usize = 3;

/// The folder of a base model's live adapter in the user's folder.
pub fn folder(data: &Path, base: &BaseFingerprint) -> PathBuf {
    data.join("live").join(base.short())
}

/// What a new version was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learnt {
    /// The entries that were trained on.
    pub learnt: Vec<Key>,
    /// The entries that it was judged by.
    pub held_out: Vec<Key>,
    /// The facts that are known, of these and all before.
    pub known: Vec<Key>,
    /// The entries that were taken back, and are forgotten.
    pub forgotten: Vec<Key>,
    /// What the gates measured.
    pub figures: Vec<Figure>,
}

/// A new adapter that was not good enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refused {
    /// How many entries it had learnt.
    pub entries: usize,
    /// What the gates measured.
    pub figures: Vec<Figure>,
    /// Why, in words.
    pub why: String,
    /// What stands for the lesson and how it was learnt, for [`Live::refused`].
    pub lesson: String,
}

/// The live adapter of one base model. See the [module](self).
#[derive(Debug)]
pub struct Live<S> {
    store: CommitStore<S>,
    state: State,
}

impl Live<FolderSlots> {
    /// Opens the store in `folder` for changes, and makes the folder where it is missing. It is locked until the value is
    /// dropped.
    ///
    /// # Errors
    /// As [`Live::open`], and [`IoError::Busy`] if another process has it open for changes.
    pub fn open_folder(folder: impl AsRef<Path>) -> Result<Self, LiveError> {
        let folder = folder.as_ref();
        // Adapters say what was learnt from private talk; the folder of all of them is as private as each.
        private::folder(folder).map_err(|e| IoError::system("create", folder, e))?;
        if let Some(all) = folder.parent().filter(|all| all.file_name().is_some_and(|name| name == NAME)) {
            private::folder(all).map_err(|e| IoError::system("create", all, e))?;
        }
        Self::open(FolderSlots::open(folder, NAME)?)
    }

    /// Opens what is in `folder` for reading; a folder that does not exist holds nothing.
    ///
    /// # Errors
    /// As [`Live::open`].
    pub fn open_to_read(folder: impl AsRef<Path>) -> Result<Self, LiveError> {
        let mut attempt = 1;
        loop {
            match Self::open(FolderSlots::open_to_read(&folder, NAME)?) {
                Err(LiveError::Store(CommitError::Changed { .. } | CommitError::Corrupted { .. }))
                    if attempt < ATTEMPTS =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

impl<S: Slots> Live<S> {
    /// Opens the store and reads its state; empty slots hold nothing.
    ///
    /// # Errors
    /// [`LiveError::Store`] if no sound state is left, [`LiveError::Sections`] and [`LiveError::Damaged`] if it is not
    /// one of this kind.
    pub fn open(slots: S) -> Result<Self, LiveError> {
        let mut store = CommitStore::open(slots)?;
        let state = match store.read_all()? {
            None => State::default(),
            Some(bytes) => {
                let sections = Sections::from_bytes(&bytes)?;
                let state = State::parse(sections.get_text(STATE)?)?;
                for version in state.kept() {
                    check_length(version, sections.get_bytes(&section(version.number))?)?;
                }
                state
            }
        };
        Ok(Self { store, state })
    }

    /// What the user should be told of the store.
    pub fn notice(&self) -> Option<Notice> {
        self.store.notice()
    }

    /// The live version; `None`: the base alone.
    pub fn current(&self) -> Option<&Version> {
        self.state.version(self.state.current?)
    }

    /// All versions, by number.
    pub fn versions(&self) -> &[Version] {
        &self.state.versions
    }

    /// A version.
    pub fn version(&self, number: u64) -> Option<&Version> {
        self.state.version(number)
    }

    /// What happened, in order.
    pub fn log(&self) -> &[Event] {
        &self.state.log
    }

    /// What became of the journal's entries.
    pub fn cursor(&self) -> Cursor {
        self.state.cursor()
    }

    /// The bytes of a version's adapter, a GGUF file.
    ///
    /// # Errors
    /// [`LiveError::Unknown`], [`LiveError::NotKept`], and [`LiveError::Damaged`] if they are not those of the version.
    pub fn bytes(&mut self, number: u64) -> Result<Vec<u8>, LiveError> {
        self.there(number)?;
        let all = self.store.read_all()?.unwrap_or_default();
        let bytes = Sections::from_bytes(&all)?.get_bytes(&section(number))?.to_vec();
        drop(all);
        let expected = self.state.version(number).map(|version| version.sha256.as_str());
        if expected != Some(sha256(&bytes).as_str()) {
            return Err(LiveError::Damaged(format!("the bytes of version {number} have another hash")));
        }
        Ok(bytes)
    }

    /// A version's adapter.
    ///
    /// # Errors
    /// As [`Live::bytes`], and [`LiveError::Adapter`].
    pub fn adapter(&mut self, number: u64) -> Result<Adapter, LiveError> {
        Ok(Adapter::read_gguf(&mut MemStream::new(&self.bytes(number)?))?)
    }

    /// Makes `new` the live adapter, as a new version, and its entries learnt; all in one commit.
    ///
    /// # Errors
    /// [`LiveError`]; what was live before still is.
    pub fn switch(&mut self, new: &Adapter, learnt: Learnt, time: &str) -> Result<Version, LiveError> {
        let bytes = new.write_gguf(Vec::new())?;
        let last = self.state.last();
        let none_left = || LiveError::Damaged(format!("there is no number after version {last}"));
        let version = Version {
            number: last.checked_add(1).ok_or_else(none_left)?,
            parent: self.state.current,
            time: time.to_owned(),
            sha256: sha256(&bytes),
            bytes: bytes.len() as u64,
            kept: true,
            learnt: learnt.learnt,
            held_out: learnt.held_out,
            known: learnt.known,
            forgotten: learnt.forgotten,
            figures: state::finite(learnt.figures),
        };
        let mut state = self.state.clone();
        state.current = Some(version.number);
        state.log.push(Event::Switched { time: time.to_owned(), version: version.number });
        state.versions.push(version.clone());
        self.commit(state, Some((version.number, &bytes)))?;
        Ok(version)
    }

    /// Makes an earlier version live again: the one before the live one, version `to`, or for `to` 0 the base alone. What
    /// it learnt is learnt, what only the others learnt is undone. Gives the version, `None` for the base alone.
    ///
    /// # Errors
    /// [`LiveError::NoneLive`], [`LiveError::Unknown`], [`LiveError::AlreadyLive`], [`LiveError::NotKept`], and those of
    /// the store; what was live before still is.
    pub fn roll_back(&mut self, to: Option<u64>, time: &str) -> Result<Option<Version>, LiveError> {
        let from = self.state.current;
        let target = match to {
            Some(0) if from.is_none() => return Err(LiveError::NoneLive),
            Some(0) => None,
            Some(number) => Some(number),
            None => self.current().ok_or(LiveError::NoneLive)?.parent,
        };
        if let Some(number) = target {
            self.there(number)?;
            if from == target {
                return Err(LiveError::AlreadyLive { version: number });
            }
        }
        let mut state = self.state.clone();
        state.current = target;
        state.log.push(Event::RolledBack { time: time.to_owned(), from, to: target });
        self.commit(state, None)?;
        Ok(self.current().cloned())
    }

    /// Notes that a new adapter was not good enough. Nothing else changes.
    ///
    /// # Errors
    /// Those of the store.
    pub fn refuse(&mut self, refused: Refused, time: &str) -> Result<(), LiveError> {
        let Refused { entries, figures, why, lesson } = refused;
        let mut state = self.state.clone();
        state.log.push(Event::Refused {
            time: time.to_owned(),
            live: state.current,
            entries: entries as u64,
            figures: state::finite(figures),
            why,
            lesson,
        });
        self.commit(state, None)
    }

    /// When and why this lesson was refused to become the version after the one that is live, if it was.
    pub fn refused(&self, lesson: &str) -> Option<(&str, &str)> {
        self.log().iter().rev().find_map(|event| match event {
            Event::Refused { time, live, why, lesson: of, .. } => {
                (of == lesson && *live == self.state.current).then_some((time.as_str(), why.as_str()))
            }
            _ => None,
        })
    }

    /// The storage.
    pub fn into_slots(self) -> S {
        self.store.into_slots()
    }

    /// Checks that a version's bytes are there.
    fn there(&self, number: u64) -> Result<(), LiveError> {
        match self.state.version(number) {
            Some(version) if version.kept => Ok(()),
            Some(_) => {
                let kept: Vec<String> = self.state.kept().map(|version| version.number.to_string()).collect();
                Err(LiveError::NotKept { version: number, kept: kept.join(", ") })
            }
            None => Err(LiveError::Unknown { version: number, last: self.state.last() }),
        }
    }

    /// Commits `state` with the adapters it keeps: `new`, and those that are there.
    fn commit(&mut self, mut state: State, new: Option<(u64, &[u8])>) -> Result<(), LiveError> {
        state.give_up_old();
        let text = serde_json::to_string(&state)
            .map_err(|e| LiveError::Damaged(format!("it cannot be written: {e}")))?;
        let old = self.store.read_all()?;
        let old = old.as_deref().map(Sections::from_bytes).transpose()?.unwrap_or_default();
        let mut sections = Sections::new();
        sections.text(STATE, &text);
        for version in state.kept() {
            let name = section(version.number);
            let bytes = match new {
                Some((number, bytes)) if number == version.number => bytes,
                _ => old.get_bytes(&name)?,
            };
            sections.bytes(name, bytes);
        }
        self.store
            .commit(sections.len_bytes(), |out| -> Result<(), LiveError> { Ok(sections.write(out)?) })?;
        self.state = state;
        Ok(())
    }
}

/// The section of a version's adapter.
fn section(number: u64) -> String {
    format!("adapter.{number}")
}

fn check_length(version: &Version, bytes: &[u8]) -> Result<(), LiveError> {
    let (number, claimed, found) = (version.number, version.bytes, bytes.len());
    if claimed == found as u64 {
        return Ok(());
    }
    Err(LiveError::Damaged(format!("version {number} should have {claimed} bytes and has {found}")))
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

//! One line of the journal.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::chat::{Role, Said};

/// The largest number an entry may have: what every JSON reader keeps exactly.
pub const MAX_ID: u64 = (1 << 53) - 1;
/// The longest line that is read, in bytes. Longer ones are passed over and reported.
pub const MAX_LINE: usize = crate::train::data::MAX_ROW;
/// What the hashes begin with: another way of hashing gets another number.
const DOMAIN: &[u8] = b"ember journal entry 1";

/// Which of two answers was preferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// The first, in the entry's `answer`.
    Answer,
    /// The second, in `other`.
    Other,
}

/// What the user thought of an answer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Feedback {
    /// Good.
    #[default]
    Good,
    /// Bad.
    Bad {
        /// The reason, if one was given. It is kept for people and not learnt from.
        why: Option<String>,
    },
    /// This would have been right.
    Edit {
        /// The better answer.
        better: String,
    },
    /// Of two answers one was preferred.
    Choice {
        /// The second answer.
        other: String,
        /// Whether the second answer ended before its end.
        other_cut: bool,
        /// The one preferred.
        chosen: Chosen,
    },
    /// Nothing: takes back the entry that it supersedes.
    Withdrawn,
}

impl Feedback {
    /// As the field `feedback` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Feedback::Good => "good",
            Feedback::Bad { .. } => "bad",
            Feedback::Edit { .. } => "edit",
            Feedback::Choice { .. } => "choice",
            Feedback::Withdrawn => "withdrawn",
        }
    }
}

/// An answer and what the user thought of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Line", into = "Line")]
pub struct Entry {
    /// Counted up by [`Journal::append`](super::Journal::append); at most [`MAX_ID`].
    pub id: u64,
    /// When, in UTC as RFC 3339 has it.
    pub time: String,
    /// What was thought of it.
    pub feedback: Feedback,
    /// An earlier entry that this one replaces.
    pub supersedes: Option<u64>,
    /// The model's name, for people.
    pub model: String,
    /// The first 12 digits of the base model's fingerprint ([`BaseFingerprint`](crate::adapter::BaseFingerprint)).
    pub base: String,
    /// The adapters that were on; empty for none.
    pub adapter: String,
    /// The system prompt.
    pub system: Option<String>,
    /// What was said, up to and including the user's last message.
    pub messages: Vec<Said>,
    /// What the model answered.
    pub answer: String,
    /// Whether the answer ended before its end: by Ctrl-C, by a limit, or because the context was full.
    pub cut: bool,
}

/// A hash of what an entry says: what is known to have been learnt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The first bits as a number, for places in a split.
    pub(super) fn place(self) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|i| self.0[i]))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::str::FromStr for Key {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a key has 32 hexadecimal digits";
        if text.len() != 32 || !text.is_ascii() {
            return Err(WRONG);
        }
        let mut key = [0; 16];
        for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| WRONG)?;
            // The parser would take a sign.
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(WRONG);
            }
            *byte = u8::from_str_radix(digits, 16).map_err(|_| WRONG)?;
        }
        Ok(Key(key))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl Entry {
    /// What identifies the entry's content: base model, conversation, answer and feedback. Number, time, adapters and
    /// reasons do not count, so that the same words are learnt once.
    pub fn key(&self) -> Key {
        let mut hash = self.hash(&[&self.base, &self.answer, self.feedback.name()]);
        match &self.feedback {
            Feedback::Edit { better } => put(&mut hash, better),
            Feedback::Choice { other, chosen, .. } => {
                put(&mut hash, other);
                put(&mut hash, if *chosen == Chosen::Other { "other" } else { "answer" });
            }
            Feedback::Good | Feedback::Bad { .. } | Feedback::Withdrawn => {}
        }
        finish(hash)
    }

    /// What identifies the conversation before the answer. Entries of one question stay together when some are held out.
    pub fn prompt_key(&self) -> Key {
        finish(self.hash(&[]))
    }

    /// What identifies the answer in its conversation with its model.
    pub(super) fn answer_key(&self) -> Key {
        finish(self.hash(&[&self.base, &self.answer]))
    }

    fn hash(&self, more: &[&str]) -> Sha256 {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update([u8::from(self.system.is_some())]);
        put(&mut hash, self.system.as_deref().unwrap_or_default());
        hash.update((self.messages.len() as u64).to_le_bytes());
        for said in &self.messages {
            put(&mut hash, said.role.name());
            put(&mut hash, &said.content);
        }
        more.iter().for_each(|text| put(&mut hash, text));
        hash
    }
}

/// With its length, so that no two sequences of texts run together.
fn put(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

fn finish(hash: Sha256) -> Key {
    let digest = hash.finalize();
    Key(std::array::from_fn(|i| digest[i]))
}

/// An entry as it stands in the file: flat, in the order people read it.
#[derive(Clone, Serialize, Deserialize)]
struct Line {
    id: u64,
    #[serde(default)]
    time: String,
    feedback: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    supersedes: Option<u64>,
    #[serde(default)]
    model: String,
    #[serde(default)]
    base: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    adapter: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    messages: Vec<Said>,
    answer: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    better: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    other_cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Chosen>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Good,
    Bad,
    Edit,
    Choice,
    Withdrawn,
}

impl From<Entry> for Line {
    fn from(entry: Entry) -> Self {
        let mut line = Line {
            id: entry.id,
            time: entry.time,
            feedback: Kind::Good,
            why: None,
            supersedes: entry.supersedes,
            model: entry.model,
            base: entry.base,
            adapter: entry.adapter,
            system: entry.system,
            messages: entry.messages,
            answer: entry.answer,
            cut: entry.cut,
            better: None,
            other: None,
            other_cut: false,
            chosen: None,
        };
        match entry.feedback {
            Feedback::Good => {}
            Feedback::Bad { why } => (line.feedback, line.why) = (Kind::Bad, why),
            Feedback::Edit { better } => (line.feedback, line.better) = (Kind::Edit, Some(better)),
            Feedback::Choice { other, other_cut, chosen } => {
                (line.feedback, line.other_cut) = (Kind::Choice, other_cut);
                (line.other, line.chosen) = (Some(other), Some(chosen));
            }
            Feedback::Withdrawn => line.feedback = Kind::Withdrawn,
        }
        line
    }
}

impl TryFrom<Line> for Entry {
    type Error = String;

    fn try_from(line: Line) -> Result<Self, String> {
        if line.id > MAX_ID {
            return Err(format!("its number is above {MAX_ID}"));
        }
        let without = |field: &str| format!("it has no `{field}`");
        let feedback = match line.feedback {
            Kind::Good => Feedback::Good,
            Kind::Bad => Feedback::Bad { why: line.why },
            Kind::Edit => Feedback::Edit { better: line.better.ok_or_else(|| without("better"))? },
            Kind::Choice => Feedback::Choice {
                other: line.other.ok_or_else(|| without("other"))?,
                other_cut: line.other_cut,
                chosen: line.chosen.ok_or_else(|| without("chosen"))?,
            },
            Kind::Withdrawn => Feedback::Withdrawn,
        };
        if feedback != Feedback::Withdrawn && line.messages.last().is_none_or(|said| said.role != Role::User)
        {
            return Err("its messages do not end with one of the user".into());
        }
        Ok(Entry {
            id: line.id,
            time: line.time,
            feedback,
            supersedes: line.supersedes,
            model: line.model,
            base: line.base,
            adapter: line.adapter,
            system: line.system,
            messages: line.messages,
            answer: line.answer,
            cut: line.cut,
        })
    }
}

//! Token sequences and what they came from.

use std::path::{Path, PathBuf};

use super::encode::Encoder;
use super::error::{DataError, RowError};
use super::items::private::{FromRow, FromText};
use super::items::{Intake, Item, Items, Made};
use super::message::Turns;
use super::random::mix;
use super::report::Report;
use super::row::{self, Chat, Row};
use crate::text::Message;

/// Where a sequence came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Source {
    /// The index of the file in [`Items::files`].
    pub file: usize,
    /// The line on which the row begins, from 1.
    pub line: u64,
}

/// A sequence to learn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The token ids.
    pub tokens: Vec<u32>,
    /// As long as `tokens`. `trained[i]`: token `i` is a target, predicted from the tokens before it. Never the first.
    pub trained: Vec<bool>,
    /// Where it came from.
    pub source: Source,
    /// A hash of the row's content: sequences of equal keys stay together when the data is split.
    pub key: u64,
}

impl Example {
    /// A sequence of one's own. `trained` is made as long as `tokens`; its first entry becomes false.
    pub fn new(tokens: Vec<u32>, mut trained: Vec<bool>, source: Source) -> Self {
        trained.resize(tokens.len(), false);
        if let Some(first) = trained.first_mut() {
            *first = false;
        }
        let key = hash(0, &tokens);
        Self { tokens, trained, source, key }
    }

    /// The tokens before the first target.
    pub fn prompt(&self) -> &[u32] {
        self.parts().0
    }

    /// The tokens from the first target on.
    pub fn answer(&self) -> &[u32] {
        self.parts().1
    }

    fn parts(&self) -> (&[u32], &[u32]) {
        let first = self.trained.iter().position(|&t| t).unwrap_or(self.tokens.len());
        self.tokens.split_at(first.min(self.tokens.len()))
    }

    /// How many tokens are targets, of how many.
    pub fn counts(&self) -> TokenCounts {
        let trained = self.trained.iter().filter(|&&t| t).count() as u64;
        TokenCounts { trained, total: self.tokens.len() as u64 }
    }
}

/// A hash that goes on from `start`.
pub(super) fn hash(start: u64, tokens: &[u32]) -> u64 {
    tokens.iter().fold(mix(start ^ 0x6a09_e667_f3bc_c909), |h, &t| mix(h ^ u64::from(t)).wrapping_add(h << 1))
}

/// Numbers of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenCounts {
    /// Targets.
    pub trained: u64,
    /// All.
    pub total: u64,
}

impl std::ops::Add for TokenCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { trained: self.trained + other.trained, total: self.total + other.total }
    }
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// The SHA-256 of its bytes, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// Sequences. Rows are those that the [module](super) tells of, and plain text.
pub type Dataset = Items<Example>;

impl Dataset {
    /// Makes sequences of conversations that are in memory, as [`Items::load`] does of those in a file; a row's number is the
    /// line in the report. Its last message that is learnt is an assistant's.
    ///
    /// # Errors
    /// [`DataError`]: in strict mode, the first row that cannot be used; no usable row at all.
    pub fn from_rows(rows: &[Vec<Message>], encoder: &Encoder) -> Result<(Self, Report), DataError> {
        let (mut dataset, mut report) = (Self::default(), Report::default());
        let path = Path::new("rows in memory");
        for (line, row) in (1..).zip(rows) {
            report.rows += 1;
            let chat = Chat { turns: Turns::from(row.clone()), train_from: 0, tools: None };
            let made = Made::examples(encoder.encode(Row::Chat(chat)), Source { file: 0, line });
            Intake { path, encoder, data: &mut dataset, report: &mut report }.add(line, Ok(made))?;
        }
        dataset.or_nothing(report)
    }
}

impl FromRow for Example {
    const FROM_TEXT: Option<FromText<Self>> = Some(|cut, source| Made::examples(vec![cut], source));

    fn from_row(text: &str, encoder: &Encoder, source: Source) -> Result<Made<Self>, RowError> {
        Ok(Made::examples(encoder.encode(row::from_object(text)?), source))
    }
}

impl Item for Example {
    fn key(&self) -> u64 {
        self.key
    }

    fn counts(&self) -> TokenCounts {
        Self::counts(self)
    }

    fn identify(&self, take: &mut dyn FnMut(&[u8])) {
        take(bytemuck::cast_slice(&self.tokens));
    }
}

/// Where a sequence lies in a micro-batch whose sequences are laid one behind another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The sequence's index.
    pub example: usize,
    /// Its first row, which is also the first row that its rows may see.
    pub first: usize,
    /// Its number of rows.
    pub len: usize,
}

/// Lays sequences of the given `lengths` one behind another, without padding.
pub fn lay_out<'a>(examples: &'a [usize], lengths: &'a [usize]) -> impl Iterator<Item = Span> + 'a {
    let mut first = 0;
    examples.iter().map(move |&example| {
        let len = lengths.get(example).copied().unwrap_or(0);
        let span = Span { example, first, len };
        first += len;
        span
    })
}

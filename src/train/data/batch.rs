//! Micro-batches in an order that the seed fixes.

use thiserror::Error;

use super::pack::first_fit;
use super::random::Random;

/// Sequences of similar length are looked for among this many micro-batches' worth of shuffled ones.
const WINDOW: usize = 32;

/// How sequences are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// So many sequences, of similar length.
    Sequences(usize),
    /// As many sequences as fit into so many rows.
    Packed {
        /// The most rows of a micro-batch.
        max_rows: usize,
    },
}

/// Why sequences cannot be put into batches.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError {
    /// There are none.
    #[error("there are no sequences to train on")]
    NoExamples,
    /// The size is 0.
    #[error("a micro-batch must have at least one sequence, or one row")]
    NoRoom,
    /// A sequence is empty.
    #[error("sequence {example} is empty")]
    EmptyExample {
        /// Its index.
        example: usize,
    },
    /// A sequence is longer than a micro-batch.
    #[error(
        "sequence {example} has {len} rows, a packed micro-batch has {max_rows}: allow more rows or shorten sequences"
    )]
    TooLong {
        /// Its index.
        example: usize,
        /// Its length.
        len: usize,
        /// The most rows.
        max_rows: usize,
    },
    /// A cursor points behind its epoch's last micro-batch.
    #[error(
        "micro-batch {index} of epoch {epoch} does not exist, there are {batches}: was the data changed?"
    )]
    BadCursor {
        /// The epoch.
        epoch: u64,
        /// The micro-batch.
        index: usize,
        /// How many the epoch has.
        batches: usize,
    },
}

/// A place in the endless sequence of micro-batches. With the same data, batching and seed it is all there is to
/// keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Cursor {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The micro-batch that is next, from 0; at most the number of the epoch's micro-batches.
    pub index: usize,
}

/// A micro-batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Its index in the epoch, from 0.
    pub index: usize,
    /// Indices of sequences. Lay them one behind another ([`lay_out`](super::lay_out)); there is no padding.
    pub examples: Vec<usize>,
}

/// An endless iterator over micro-batches: epoch after epoch, each with every sequence once, in an order of its own.
///
/// An epoch's order is a shuffle with [`Random::new`]`(seed, epoch)`. [`Batching::Sequences`] sorts stretches of it by
/// length, cuts them into micro-batches and shuffles these; an incomplete one comes last. [`Batching::Packed`] puts each
/// sequence into the first micro-batch that has room.
#[derive(Debug, Clone)]
pub struct Batcher {
    lengths: Vec<usize>,
    batching: Batching,
    seed: u64,
    cursor: Cursor,
    batches: Vec<Vec<usize>>,
}

impl Batcher {
    /// A batcher at the beginning, for sequences of these lengths (rows).
    ///
    /// # Errors
    /// [`BatchError`], for sequences that cannot be put together so.
    pub fn new(
        lengths: impl IntoIterator<Item = usize>,
        batching: Batching,
        seed: u64,
    ) -> Result<Self, BatchError> {
        let lengths: Vec<usize> = lengths.into_iter().collect();
        if lengths.is_empty() {
            return Err(BatchError::NoExamples);
        }
        let max = match batching {
            Batching::Sequences(0) | Batching::Packed { max_rows: 0 } => return Err(BatchError::NoRoom),
            Batching::Sequences(_) => usize::MAX,
            Batching::Packed { max_rows } => max_rows,
        };
        for (example, &len) in lengths.iter().enumerate() {
            if len == 0 {
                return Err(BatchError::EmptyExample { example });
            }
            if len > max {
                return Err(BatchError::TooLong { example, len, max_rows: max });
            }
        }
        let batches = epoch_batches(&lengths, batching, seed, 0);
        Ok(Self { lengths, batching, seed, cursor: Cursor::default(), batches })
    }

    /// The place of the micro-batch that comes next.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes to a place, so that what follows is what followed it before.
    ///
    /// # Errors
    /// [`BatchError::BadCursor`].
    pub fn resume(&mut self, cursor: Cursor) -> Result<(), BatchError> {
        let batches = epoch_batches(&self.lengths, self.batching, self.seed, cursor.epoch);
        if cursor.index > batches.len() {
            let (epoch, index) = (cursor.epoch, cursor.index);
            return Err(BatchError::BadCursor { epoch, index, batches: batches.len() });
        }
        self.batches = batches;
        self.cursor = cursor;
        Ok(())
    }

    /// Number of micro-batches of an epoch; packed epochs may differ.
    pub fn batches_in(&self, epoch: u64) -> usize {
        epoch_batches(&self.lengths, self.batching, self.seed, epoch).len()
    }

    /// The sequences' lengths.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The rows of a micro-batch.
    pub fn rows(&self, batch: &Batch) -> usize {
        batch.examples.iter().filter_map(|&e| self.lengths.get(e)).sum()
    }
}

impl Iterator for Batcher {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.cursor.index >= self.batches.len() {
            self.cursor = Cursor { epoch: self.cursor.epoch.wrapping_add(1), index: 0 };
            self.batches = epoch_batches(&self.lengths, self.batching, self.seed, self.cursor.epoch);
        }
        let Cursor { epoch, index } = self.cursor;
        let examples = self.batches.get(index)?.clone();
        self.cursor.index += 1;
        Some(Batch { epoch, index, examples })
    }
}

fn epoch_batches(lengths: &[usize], batching: Batching, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let mut random = Random::new(seed, epoch);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    random.shuffle(&mut order);
    match batching {
        Batching::Sequences(size) => {
            for window in order.chunks_mut(size.saturating_mul(WINDOW).max(1)) {
                window.sort_by_key(|&e| lengths.get(e));
            }
            let mut batches: Vec<Vec<usize>> = order.chunks(size.max(1)).map(<[usize]>::to_vec).collect();
            let complete = order.len() / size.max(1);
            if let Some(complete) = batches.get_mut(..complete) {
                random.shuffle(complete);
            }
            batches
        }
        Batching::Packed { max_rows } => {
            // The last bins are the emptiest: they are not left for the end.
            let mut batches = first_fit(&order, lengths, max_rows);
            random.shuffle(&mut batches);
            batches
        }
    }
}

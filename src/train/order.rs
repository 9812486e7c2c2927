//! The order in which a run goes through its data.

use crate::train::TrainError;
use crate::train::data::{Batch, BatchError, Batcher, Batching, Cursor};

/// What a step goes through.
#[derive(Default)]
pub(super) struct Window {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Its micro-batches, all of that epoch; none where the data's places follow from the number of the step.
    pub batches: Vec<Batch>,
}

impl Window {
    /// Indices of all items.
    pub fn items(&self) -> Vec<usize> {
        self.batches.iter().flat_map(|batch| &batch.examples).copied().collect()
    }
}

/// The order of the data.
pub(super) enum Order {
    /// Micro-batches in a seeded order, so many a step.
    Shuffled(Box<Batcher>, usize),
    /// Places that follow from the number of the step.
    Counted {
        /// Places of a step.
        each: u64,
        /// Places of an epoch.
        all: u64,
    },
}

fn failed(error: BatchError) -> TrainError {
    TrainError::Data(error.to_string())
}

impl Order {
    /// Of items of these lengths.
    pub fn shuffled(
        lengths: Vec<usize>,
        batching: Batching,
        accumulate: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let batcher = Batcher::new(lengths, batching, seed).map_err(failed)?;
        Ok(Self::Shuffled(Box::new(batcher), accumulate.max(1)))
    }

    /// Steps of an epoch.
    pub fn steps_in(&self, epoch: u64) -> u64 {
        match self {
            Self::Shuffled(batcher, accumulate) => {
                (batcher.batches_in(epoch) as u64).div_ceil(*accumulate as u64)
            }
            Self::Counted { each, all } => all.div_ceil((*each).max(1)),
        }
    }

    /// What the step with this number, from 0, goes through; `None` if there is nothing.
    pub fn next(&mut self, step: u64) -> Result<Option<Window>, TrainError> {
        let (batcher, accumulate) = match self {
            Self::Shuffled(batcher, accumulate) => (batcher, *accumulate),
            Self::Counted { each, all } => {
                return Ok(Some(Window { epoch: step * *each / (*all).max(1), batches: vec![] }));
            }
        };
        let mut batches: Vec<Batch> = Vec::new();
        while batches.len() < accumulate {
            let before = batcher.cursor();
            let Some(batch) = batcher.next() else { break };
            if batches.first().is_some_and(|first| first.epoch != batch.epoch) {
                // An epoch's last window may be shorter.
                batcher.resume(before).map_err(failed)?;
                break;
            }
            batches.push(batch);
        }
        Ok(batches.first().map(|first| first.epoch).map(|epoch| Window { epoch, batches }))
    }

    /// Where the next step begins.
    pub fn cursor(&self) -> Cursor {
        match self {
            Self::Shuffled(batcher, _) => batcher.cursor(),
            Self::Counted { .. } => Cursor::default(),
        }
    }

    /// Goes to a place.
    pub fn resume(&mut self, cursor: Cursor) -> Result<(), TrainError> {
        match self {
            Self::Shuffled(batcher, _) => batcher.resume(cursor).map_err(failed),
            Self::Counted { .. } => Ok(()),
        }
    }
}

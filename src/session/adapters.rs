//! Adapters in a session: any number at once, in one pair of factors per matrix.
//!
//! The products of several adapters add up, so their factors stand side by side: the rows of each A below those of the
//! one before, the columns of each B, times the adapter's scale, to its right.

use super::{Session, SessionError};
use crate::adapter::{Adapter, LoraPair};
use crate::model::{AdapterShape, PairShape};
use crate::plan::TensorId;

/// An adapter that a session uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAdapter {
    /// Its `general.name`; may be empty.
    pub name: String,
    /// What its effect is multiplied with, on top of its own scale.
    pub scale: f32,
}

/// Room for `adapters` together, for [`SessionOptions::adapters`](super::SessionOptions::adapters): the ranks of each
/// matrix added up. The factors' scales are in the values that [`Session::set_adapters`] writes.
pub fn adapter_room<'a>(adapters: impl IntoIterator<Item = &'a Adapter>) -> AdapterShape {
    let mut shape = AdapterShape::default();
    for pair in adapters.into_iter().flat_map(|adapter| &adapter.pairs) {
        let room = shape.pairs.entry(pair.target.clone()).or_insert(PairShape { rank: 0, scale: 1.0 });
        room.rank += pair.rank;
    }
    shape
}

/// A matrix's pairs, each with the factor of its product.
type Stack<'a> = Vec<(&'a LoraPair, f32)>;

impl Session {
    /// Applies `adapters`, each with a scale on top of its own, in place of those before; none at all is the base
    /// model. What slots hold is forgotten, because other weights made it.
    ///
    /// # Errors
    /// Nothing is changed by [`SessionError::Adapter`] (not sound, or of another base),
    /// [`SessionError::AdapterScale`] (not finite) and [`SessionError::AdapterRoom`] (the session was booted with lower
    /// ranks, or without a matrix). After [`SessionError::Exec`] the session must not be used.
    pub fn set_adapters(&mut self, adapters: &[(&Adapter, f32)]) -> Result<(), SessionError> {
        for (adapter, scale) in adapters {
            adapter.check()?;
            adapter.check_base(self.model.file(), false)?;
            if !scale.is_finite() {
                return Err(SessionError::AdapterScale { name: adapter.name.clone(), scale: *scale });
            }
        }
        self.check_room(adapters)?;
        self.reset();
        let program = self.executor.program();
        let factors: Vec<(TensorId, String, usize, usize)> = program
            .trained
            .iter()
            .map(|&id| {
                let tensor = program.get(id);
                (id, tensor.name.clone(), program.capacity_rows(id), tensor.width)
            })
            .collect();
        for (id, name, rows, width) in factors {
            let mut values = vec![0.0; rows * width];
            if let Some(target) = name.strip_suffix(".weight.lora_a") {
                fill_a(&mut values, &self.stack(adapters, target));
            } else if let Some(target) = name.strip_suffix(".weight.lora_b") {
                fill_b(&mut values, width, &self.stack(adapters, target));
            }
            self.executor.write(id, &values)?;
        }
        let active =
            |(adapter, scale): &(&Adapter, f32)| ActiveAdapter { name: adapter.name.clone(), scale: *scale };
        self.active = adapters.iter().map(active).collect();
        Ok(())
    }

    /// The adapters in use.
    pub fn adapters(&self) -> &[ActiveAdapter] {
        &self.active
    }

    /// Checks that the ranks it was booted with are enough.
    fn check_room(&self, adapters: &[(&Adapter, f32)]) -> Result<(), SessionError> {
        for (target, needed) in adapter_room(adapters.iter().map(|(adapter, _)| *adapter)).pairs {
            let rank = self.room.pairs.get(&target).map_or(0, |room| room.rank);
            if needed.rank > rank {
                return Err(SessionError::AdapterRoom { target, needed: needed.rank, rank });
            }
        }
        Ok(())
    }

    /// What is added to a matrix.
    fn stack<'a>(&self, adapters: &[(&'a Adapter, f32)], target: &str) -> Stack<'a> {
        // The plan multiplies the product with the scale it was booted with.
        let booted = self.room.pairs.get(target).map_or(1.0, |room| room.scale);
        let scaled = |(adapter, scale): &(&'a Adapter, f32)| {
            let pair = adapter.pair(target)?;
            Some((pair, scale * adapter.scale(pair) / booted))
        };
        adapters.iter().filter_map(scaled).collect()
    }
}

/// A, (rank, inputs): rows one below the other.
fn fill_a(values: &mut [f32], stack: &Stack<'_>) {
    let rows = stack.iter().flat_map(|(pair, _)| &pair.a);
    values.iter_mut().zip(rows).for_each(|(to, from)| *to = *from);
}

/// B, (outputs, rank): columns side by side, times their scale.
fn fill_b(values: &mut [f32], rank: usize, stack: &Stack<'_>) {
    let mut first = 0;
    for (pair, scale) in stack {
        let rows = values.chunks_exact_mut(rank).zip(pair.b.chunks_exact(pair.rank));
        for (to, from) in rows {
            to[first..first + pair.rank].iter_mut().zip(from).for_each(|(to, from)| *to = from * scale);
        }
        first += pair.rank;
    }
}

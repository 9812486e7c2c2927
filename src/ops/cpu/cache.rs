//! KV storage: floats, or blocks of 16-bit lanes.

use std::ops::Range;

use super::{Columns, Real};
use crate::ops::block16;
use crate::simd;

/// Rows of the KV storage, readable as floats.
#[derive(Clone, Copy)]
pub enum Cache<'a, F> {
    /// Stored in the executor's float type.
    Full(&'a [F]),
    /// Stored in blocks of 16-bit lanes.
    Block16(&'a [u16]),
}

impl<F: Real> Cache<'_, F> {
    /// Copies `out.len()` elements from `start` on, both multiples of [`block16::BLOCK`].
    pub fn load(&self, start: usize, out: &mut [F]) {
        match self {
            Cache::Full(all) => out.copy_from_slice(&all[start..start + out.len()]),
            Cache::Block16(all) => F::unpack(&all[start..start + out.len()], out),
        }
    }

    /// Starts to fetch `len` elements from `start` on, if they exist.
    pub fn prefetch(&self, start: usize, len: usize) {
        match self {
            Cache::Full(all) => simd::prefetch_all(all.get(start..start + len).unwrap_or(&[])),
            Cache::Block16(all) => simd::prefetch_all(all.get(start..start + len).unwrap_or(&[])),
        }
    }
}

/// Writable columns of the KV storage.
pub enum CacheColumns<'a, F> {
    /// Stored in the executor's float type.
    Full(Columns<'a, F>),
    /// Stored in blocks of 16-bit lanes.
    Block16(Columns<'a, u16>),
}

impl<F: Real> CacheColumns<'_, F> {
    /// The part's columns.
    pub fn range(&self) -> Range<usize> {
        match self {
            CacheColumns::Full(c) => c.range.clone(),
            CacheColumns::Block16(c) => c.range.clone(),
        }
    }

    /// Copies the part's columns of row `from` to row `to`.
    pub fn copy(&mut self, from: usize, to: usize) {
        match self {
            CacheColumns::Full(c) => c.copy(from, to),
            CacheColumns::Block16(c) => c.copy(from, to),
        }
    }

    /// Stores `values` (the part's columns) as row `r`.
    pub fn store(&mut self, r: usize, values: &[F]) {
        match self {
            CacheColumns::Full(c) => c.row_mut(r).copy_from_slice(values),
            CacheColumns::Block16(c) => {
                let (lanes, _) = c.row_mut(r).as_chunks_mut::<{ block16::BLOCK }>();
                for (lanes, values) in lanes.iter_mut().zip(values.as_chunks().0) {
                    *lanes = block16::pack(values.map(F::to_f32));
                }
            }
        }
    }
}

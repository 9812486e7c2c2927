//! Arguments in memory, and the pieces of them that parts of a call may write.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernels;
use crate::quant::Format;

/// Memory of one argument, shared by all parts of a call.
#[derive(Clone, Copy)]
pub struct Raw<T> {
    pub(super) ptr: *mut T,
    pub(super) len: usize,
}

// SAFETY: a `Raw` is only turned into references by `Context`, which hands every part a disjoint piece of what
// is written, and never a piece of what another part writes.
unsafe impl<T: Send> Send for Raw<T> {}
unsafe impl<T: Sync> Sync for Raw<T> {}

impl<T> Raw<T> {
    /// Wraps `len` elements at `ptr`.
    ///
    /// # Safety
    /// The memory is valid and aligned for as long as contexts made from it live, and no other argument of the
    /// same call overlaps it (the layout's liveness guarantees it).
    pub unsafe fn new(ptr: *mut T, len: usize) -> Self {
        Self { ptr, len }
    }
}

/// One argument as an executor stores it.
#[derive(Clone, Copy)]
pub enum View<F> {
    /// An absent optional argument.
    Absent,
    /// Floats.
    Float(Raw<F>),
    /// Words.
    Word(Raw<u32>),
    /// 16-bit cache.
    Block16(Raw<u16>),
    /// An encoded matrix: whole rows.
    Matrix(Format, Raw<u8>),
}

/// A range of columns of a matrix, writable by one part.
pub struct Columns<'a, T> {
    pub(super) raw: Raw<T>,
    pub(super) stride: usize,
    /// The columns that belong to this part.
    pub range: Range<usize>,
    pub(super) life: PhantomData<&'a mut T>,
}

impl<'a, T> Columns<'a, T> {
    /// The columns `range` of a matrix with rows of `stride` elements.
    pub fn new(values: &'a mut [T], stride: usize, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= stride, "columns {range:?} of {stride}");
        let raw = Raw { ptr: values.as_mut_ptr(), len: values.len() };
        Self { raw, stride, range, life: PhantomData }
    }

    /// This part's columns of row `r`.
    pub fn row_mut(&mut self, r: usize) -> &mut [T] {
        let start = r * self.stride + self.range.start;
        assert!(start + self.range.len() <= self.raw.len, "row {r} lies outside the tensor");
        // SAFETY: in bounds (checked above); other parts hold other columns; `&mut self` forbids a second slice.
        unsafe { std::slice::from_raw_parts_mut(self.raw.ptr.add(start), self.range.len()) }
    }
}

impl<T: Copy> Columns<'_, T> {
    /// Those of this part's columns that lie in `range`.
    pub fn within(&mut self, range: Range<usize>) -> Columns<'_, T> {
        let start = self.range.start.max(range.start);
        let range = start..self.range.end.min(range.end).max(start);
        Columns { raw: self.raw, stride: self.stride, range, life: PhantomData }
    }

    /// Copies this part's columns of row `from` to row `to`.
    pub fn copy(&mut self, from: usize, to: usize) {
        let cut = |r: usize| r * self.stride + self.range.start;
        let (from, to, len) = (cut(from), cut(to), self.range.len());
        assert!(from.max(to) + len <= self.raw.len, "row lies outside the tensor");
        // SAFETY: in bounds (checked above); other parts hold other columns; `&mut self` forbids slices; `copy` may overlap.
        unsafe { std::ptr::copy(self.raw.ptr.add(from), self.raw.ptr.add(to), len) }
    }
}

/// Pieces of an output, dealt out to the parts in turn.
pub struct Pieces<'a, T> {
    pub(super) raw: Raw<T>,
    pub(super) len: usize,
    pub(super) part: usize,
    pub(super) parts: usize,
    pub(super) life: PhantomData<&'a mut T>,
}

/// The part that item `item` is dealt to: there and back again, so that items of rising cost come out even.
pub(super) fn dealt_to(item: usize, parts: usize) -> usize {
    let turn = item % (2 * parts);
    turn.min(2 * parts - 1 - turn)
}

impl<T> Pieces<'_, T> {
    /// Piece `item`, one of those that [`deal`](super::Context::deal) gave this part; the tensor's last may be shorter.
    pub fn piece(&mut self, item: usize) -> &mut [T] {
        assert!(dealt_to(item, self.parts) == self.part, "piece {item} is another part's");
        let (start, end) = (item * self.len, ((item + 1) * self.len).min(self.raw.len));
        assert!(start <= end, "piece {item} lies outside the tensor");
        // SAFETY: in bounds and this part's (checked above); `&mut self` forbids a second slice.
        unsafe { std::slice::from_raw_parts_mut(self.raw.ptr.add(start), end - start) }
    }
}

impl kernels::Rows for &mut Columns<'_, f32> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        self.row_mut(r)
    }
}

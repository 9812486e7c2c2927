//! What one part of a call sees.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU32;

use super::parts::dealt_to;
use super::{Cache, CacheColumns, Columns, Matrix, Pieces, Real, View};
use crate::ops::Access;
use crate::plan::{Call, OpCall, Out, Over, Row, Scalars, Step};

/// One part's view of one op call.
pub struct Context<'a, F> {
    /// The call.
    pub call: &'a OpCall,
    step: &'a Step,
    views: &'a [View<F>],
    part: usize,
    parts: usize,
    exact: bool,
    taken: Cell<u32>,
}

impl<'a, F: Real> Context<'a, F> {
    /// A context for part `part` of `parts`; `views` has one entry per argument.
    pub fn new(call: &'a OpCall, step: &'a Step, views: &'a [View<F>], part: usize, parts: usize) -> Self {
        Self { call, step, views, part, parts, exact: false, taken: Cell::new(0) }
    }

    /// Whether products with encoded weights take activations as they are, or round them.
    pub fn exact(self, exact: bool) -> Self {
        Self { exact, ..self }
    }

    /// Number of parts of the call.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The parameters of the op that the twin is of.
    pub fn params<C: Call>(&self) -> C::Params {
        self.call.params::<C>()
    }

    /// Active rows of the step.
    pub fn rows(&self, over: Over) -> usize {
        over.rows(self.step)
    }

    /// The numbers of an optimizer step.
    pub fn scalars(&self) -> Scalars {
        self.step.scalars
    }

    /// The seed of this step's dropout.
    pub fn seed(&self) -> u32 {
        self.step.seed
    }

    /// Token row `t`.
    pub fn row(&self, t: usize) -> Row {
        self.step.rows[t]
    }

    /// Output row `o`.
    pub fn out(&self, o: usize) -> Out {
        self.step.outs[o]
    }

    /// Floats of a read argument; empty if absent.
    ///
    /// # Panics
    /// This and all that follows, if a twin asks for an argument as what it is not: a fault of the twin, which the executor
    /// reports.
    pub fn read(&self, arg: usize) -> &'a [F] {
        match (self.access(arg), self.views[arg]) {
            // SAFETY: nobody writes a read argument during the call.
            (Access::Read, View::Float(raw)) => unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) },
            (Access::Read, View::Absent) => &[],
            _ => self.misused(arg, "floats to read"),
        }
    }

    /// What a twin does with an argument that is something else. Nothing sensible could come of going on.
    #[cold]
    fn misused(&self, arg: usize, what: &str) -> ! {
        let name = self.call.def().args[arg].name;
        panic!("{}: argument `{name}` is taken as {what}, which it is not, or a second time", self.call.label)
    }

    /// Whether an optional argument is there.
    pub fn present(&self, arg: usize) -> bool {
        !matches!(self.views[arg], View::Absent)
    }

    /// An encoded matrix with rows of `cols` weights.
    pub fn matrix(&self, arg: usize, cols: usize) -> Matrix<'a> {
        match self.views[arg] {
            View::Matrix(format, raw) => {
                // SAFETY: nobody writes the mapped model file.
                let bytes = unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) };
                let row_bytes = cols / format.block_len() * format.block_bytes();
                Matrix { format, bytes, row_bytes, exact: self.exact }
            }
            _ => self.misused(arg, "an encoded matrix"),
        }
    }

    /// KV storage or activations read by attention.
    pub fn cache(&self, arg: usize) -> Cache<'a, F> {
        match (self.access(arg), self.views[arg]) {
            // SAFETY: nobody writes a read argument during the call.
            (Access::Read, View::Block16(raw)) => {
                Cache::Block16(unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) })
            }
            _ => Cache::Full(self.read(arg)),
        }
    }

    /// Words shared by all parts, as atomics (token table).
    pub fn words(&self, arg: usize) -> &'a [AtomicU32] {
        match self.views[arg] {
            // SAFETY: all parts see these words as atomics only.
            View::Word(raw) => unsafe { std::slice::from_raw_parts(raw.ptr.cast::<AtomicU32>(), raw.len) },
            View::Absent => &[],
            _ => self.misused(arg, "words"),
        }
    }

    /// This part's share of `total` work items, contiguous, cut at multiples of `granule`.
    pub fn share(&self, total: usize, granule: usize) -> Range<usize> {
        let units = total.div_ceil(granule);
        let cut = |part: usize| (units * part / self.parts * granule).min(total);
        cut(self.part)..cut(self.part + 1)
    }

    /// This part's share of `total` work items, dealt out one by one, for items of rising or falling cost.
    pub fn deal(&self, total: usize) -> impl Iterator<Item = usize> + use<F> {
        let (part, parts) = (self.part, self.parts);
        (0..total).filter(move |item| dealt_to(*item, parts) == part)
    }

    /// Output in pieces of `len` elements, for the items of [`Context::deal`].
    pub fn write_pieces(&self, arg: usize, len: usize) -> Pieces<'a, F> {
        let raw = match (self.take(arg), self.views[arg]) {
            (true, View::Float(raw)) => raw,
            _ => self.misused(arg, "pieces to write"),
        };
        Pieces { raw, len, part: self.part, parts: self.parts, life: PhantomData }
    }

    /// Output cut into `chunks` pieces of `len` elements: the index of this part's first piece, and its pieces.
    pub fn write_chunks(&self, arg: usize, chunks: usize, len: usize) -> (usize, &'a mut [F]) {
        let share = self.share(chunks, 1);
        match (self.take(arg), self.views[arg]) {
            (true, View::Float(raw)) if chunks * len <= raw.len => {
                // SAFETY: in bounds; shares of parts are disjoint; `take` allows one slice per part and argument.
                let mine = unsafe {
                    std::slice::from_raw_parts_mut(raw.ptr.add(share.start * len), share.len() * len)
                };
                (share.start, mine)
            }
            _ => self.misused(arg, "chunks to write"),
        }
    }

    /// Output rows of `stride` elements cut by columns `first..first + cols`.
    pub fn write_columns(
        &self,
        arg: usize,
        stride: usize,
        first: usize,
        cols: usize,
        granule: usize,
    ) -> Columns<'a, F> {
        let share = self.share(cols, granule);
        let range = first + share.start..first + share.end;
        match (self.take(arg), self.views[arg]) {
            (true, View::Float(raw)) => Columns { raw, stride, range, life: PhantomData },
            _ => self.misused(arg, "columns to write"),
        }
    }

    /// KV storage rows of `width` elements cut by columns.
    pub fn write_cache(&self, arg: usize, width: usize) -> CacheColumns<'a, F> {
        match self.views[arg] {
            View::Block16(raw) if self.take(arg) => {
                let range = self.share(width, 32);
                CacheColumns::Block16(Columns { raw, stride: width, range, life: PhantomData })
            }
            _ => CacheColumns::Full(self.write_columns(arg, width, 0, width, 32)),
        }
    }

    fn access(&self, arg: usize) -> Access {
        self.call.def().args[arg].access
    }

    fn take(&self, arg: usize) -> bool {
        let bit = 1 << arg;
        let free = self.taken.get() & bit == 0 && self.access(arg) != Access::Read;
        self.taken.set(self.taken.get() | bit);
        free
    }
}

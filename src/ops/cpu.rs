//! What a CPU twin sees: its arguments as slices, its parameters, the step, and its share of the work.
//!
//! Twins run on several threads at once. Each part gets a disjoint piece of every output, so that the code of
//! the ops stays free of `unsafe`; it is confined to this file.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Range, Sub};
use std::sync::atomic::AtomicU32;

use crate::ops::{Access, block16};
use crate::plan::{OpCall, Out, Row, Scalars, Step};
pub use crate::quant::Matrix;
use crate::quant::{self, Format, Left, Operand, Right};
use crate::text::{Choice, SamplerError, SamplerParams, choose};

/// The float type a twin is instantiated with: f32 to run, f64 to check gradients by central differences.
pub trait Real:
    Copy
    + Send
    + Sync
    + 'static
    + PartialOrd
    + Default
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + MulAssign
    + bytemuck::Pod
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Minus infinity.
    const LOWEST: Self;
    /// Conversion.
    fn from_f32(v: f32) -> Self;
    /// Conversion.
    fn from_f64(v: f64) -> Self;
    /// Conversion, rounding.
    fn to_f32(self) -> f32;
    /// Conversion.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// e^x.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Dot product of an encoded row with one activation row.
    fn dot_row(format: Format, row: &[u8], x: &[Self]) -> Self;

    /// y = (accumulate ? y : 0) + alpha x w^T over the part's columns, for at most [`quant::FEW`] rows of `cols`; each
    /// element as by [`Real::dot_row`] or [`Real::dot`]. Row `first` of w makes the part's first column.
    #[allow(clippy::too_many_arguments)]
    fn few(
        w: Operand<'_, Self>,
        cols: usize,
        first: usize,
        x: &[Self],
        rows: usize,
        alpha: Self,
        accumulate: bool,
        y: &mut Columns<'_, Self>,
    );

    /// y = (accumulate ? y : 0) + alpha L R over the part's columns, `rows` rows and `depth` terms.
    #[allow(clippy::too_many_arguments)]
    fn product(
        left: Left<'_, Self>,
        right: Right<'_, Self>,
        rows: usize,
        depth: usize,
        alpha: Self,
        accumulate: bool,
        y: &mut Columns<'_, Self>,
    );

    /// x = exp(x - less), element by element.
    fn exp_less(x: &mut [Self], less: Self) {
        for x in x {
            *x = (*x - less).exp();
        }
    }

    /// Chooses the next token from logits.
    fn choose(logits: &[Self], history: &[u32], p: &SamplerParams, pos: u32) -> Result<Choice, SamplerError>;

    /// Dot product in a fixed order: eight running sums, then their tree.
    fn dot(a: &[Self], b: &[Self]) -> Self {
        let mut acc = [Self::ZERO; 8];
        let (ca, cb) = (a.chunks_exact(8), b.chunks_exact(8));
        let (ra, rb) = (ca.remainder(), cb.remainder());
        for (a, b) in ca.zip(cb) {
            for i in 0..8 {
                acc[i] += a[i] * b[i];
            }
        }
        let mut sum = ((acc[0] + acc[4]) + (acc[1] + acc[5])) + ((acc[2] + acc[6]) + (acc[3] + acc[7]));
        for (a, b) in ra.iter().zip(rb) {
            sum += *a * *b;
        }
        sum
    }

    /// y += a * x.
    fn axpy(a: Self, x: &[Self], y: &mut [Self]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y += a * *x;
        }
    }
}

macro_rules! real {
    ($t:ty) => {
        const ZERO: Self = 0.0;
        const ONE: Self = 1.0;
        const LOWEST: Self = <$t>::NEG_INFINITY;
        fn from_f32(v: f32) -> Self {
            v as $t
        }
        fn from_f64(v: f64) -> Self {
            v as $t
        }
        fn to_f32(self) -> f32 {
            self as f32
        }
        fn to_f64(self) -> f64 {
            f64::from(self)
        }
        fn sqrt(self) -> Self {
            <$t>::sqrt(self)
        }
        fn exp(self) -> Self {
            <$t>::exp(self)
        }
        fn ln(self) -> Self {
            <$t>::ln(self)
        }
        fn tanh(self) -> Self {
            <$t>::tanh(self)
        }
    };
}

impl Real for f32 {
    real!(f32);

    fn dot_row(format: Format, row: &[u8], x: &[f32]) -> f32 {
        format.dot(row, x)
    }

    fn few(
        w: Operand<'_, f32>,
        cols: usize,
        first: usize,
        x: &[f32],
        rows: usize,
        alpha: f32,
        accumulate: bool,
        y: &mut Columns<'_, f32>,
    ) {
        if rows == 1 {
            return super::matmul::by_dots(w, cols, first, x, rows, alpha, accumulate, y);
        }
        quant::FewRows { rows, width: y.range.len(), cols, x, w, first, alpha, accumulate, y }.run();
    }

    fn product(
        left: Left<'_, f32>,
        right: Right<'_, f32>,
        rows: usize,
        depth: usize,
        alpha: f32,
        accumulate: bool,
        y: &mut Columns<'_, f32>,
    ) {
        quant::Product { rows, width: y.range.len(), depth, left, right, alpha, accumulate, y }.run();
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        quant::dot_f32(a, b)
    }

    fn exp_less(x: &mut [f32], less: f32) {
        for x in x {
            *x = quant::exp(*x - less);
        }
    }

    fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
        quant::axpy_f32(a, x, y);
    }

    fn choose(logits: &[f32], history: &[u32], p: &SamplerParams, pos: u32) -> Result<Choice, SamplerError> {
        choose(logits, history, p, pos)
    }
}

impl Real for f64 {
    real!(f64);

    fn dot_row(format: Format, row: &[u8], x: &[f64]) -> f64 {
        let mut sum = 0.0;
        let mut block = [0f32; 256];
        for (bytes, x) in row.chunks_exact(format.block_bytes()).zip(x.chunks(format.block_len())) {
            let block = &mut block[..format.block_len()];
            if format.decode(bytes, block).is_err() {
                return f64::NAN;
            }
            sum += block.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum::<f64>();
        }
        sum
    }

    fn few(
        w: Operand<'_, f64>,
        cols: usize,
        first: usize,
        x: &[f64],
        rows: usize,
        alpha: f64,
        accumulate: bool,
        y: &mut Columns<'_, f64>,
    ) {
        super::matmul::by_dots(w, cols, first, x, rows, alpha, accumulate, y);
    }

    fn product(
        left: Left<'_, f64>,
        right: Right<'_, f64>,
        rows: usize,
        depth: usize,
        alpha: f64,
        accumulate: bool,
        y: &mut Columns<'_, f64>,
    ) {
        super::matmul::plain_product(left, right, rows, depth, alpha, accumulate, y);
    }

    fn choose(logits: &[f64], history: &[u32], p: &SamplerParams, pos: u32) -> Result<Choice, SamplerError> {
        // The double-precision executor checks gradients, it is not timed: a copy is fine.
        let single: Vec<f32> = logits.iter().map(|l| *l as f32).collect();
        choose(&single, history, p, pos)
    }
}

/// Memory of one argument, shared by all parts of a call.
#[derive(Clone, Copy)]
pub struct Raw<T> {
    ptr: *mut T,
    len: usize,
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
    raw: Raw<T>,
    stride: usize,
    /// The columns that belong to this part.
    pub range: Range<usize>,
    life: PhantomData<&'a mut T>,
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
    raw: Raw<T>,
    len: usize,
    part: usize,
    parts: usize,
    life: PhantomData<&'a mut T>,
}

/// The part that item `item` is dealt to: there and back again, so that items of rising cost come out even.
fn dealt_to(item: usize, parts: usize) -> usize {
    let turn = item % (2 * parts);
    turn.min(2 * parts - 1 - turn)
}

impl<T> Pieces<'_, T> {
    /// Piece `item`, one of those that [`Context::deal`] gave this part; the tensor's last may be shorter.
    pub fn piece(&mut self, item: usize) -> &mut [T] {
        assert!(dealt_to(item, self.parts) == self.part, "piece {item} is another part's");
        let (start, end) = (item * self.len, ((item + 1) * self.len).min(self.raw.len));
        assert!(start <= end, "piece {item} lies outside the tensor");
        // SAFETY: in bounds and this part's (checked above); `&mut self` forbids a second slice.
        unsafe { std::slice::from_raw_parts_mut(self.raw.ptr.add(start), end - start) }
    }
}

impl quant::Rows for &mut Columns<'_, f32> {
    fn row(&mut self, r: usize) -> &mut [f32] {
        self.row_mut(r)
    }
}

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
            Cache::Block16(all) => {
                let mut buffer = [0f32; 64];
                let mut at = start;
                for piece in out.chunks_mut(64) {
                    let buffer = &mut buffer[..piece.len()];
                    block16::unpack_row(&all[at..at + piece.len()], buffer);
                    for (o, v) in piece.iter_mut().zip(buffer.iter()) {
                        *o = F::from_f32(*v);
                    }
                    at += piece.len();
                }
            }
        }
    }

    /// Starts to fetch `len` elements from `start` on, if they exist.
    pub fn prefetch(&self, start: usize, len: usize) {
        match self {
            Cache::Full(all) => quant::prefetch_all(all.get(start..start + len).unwrap_or(&[])),
            Cache::Block16(all) => quant::prefetch_all(all.get(start..start + len).unwrap_or(&[])),
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

/// One part's view of one op call.
pub struct Context<'a, F> {
    /// The call.
    pub call: &'a OpCall,
    step: &'a Step,
    views: &'a [View<F>],
    part: usize,
    parts: usize,
    taken: Cell<u32>,
}

impl<'a, F: Real> Context<'a, F> {
    /// A context for part `part` of `parts`; `views` has one entry per argument.
    pub fn new(call: &'a OpCall, step: &'a Step, views: &'a [View<F>], part: usize, parts: usize) -> Self {
        Self { call, step, views, part, parts, taken: Cell::new(0) }
    }

    /// Number of parts of the call.
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// The parameters.
    pub fn params<P: bytemuck::Pod>(&self) -> P {
        self.call.params.get()
    }

    /// Active token rows (`count` 0) or output rows (1), or the one row of a fixed tensor (2).
    pub fn rows(&self, count: u32) -> usize {
        match count {
            1 => self.step.outs.len(),
            2 => 1,
            _ => self.step.rows.len(),
        }
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
    pub fn read(&self, arg: usize) -> &'a [F] {
        match (self.access(arg), self.views[arg]) {
            // SAFETY: nobody writes a read argument during the call.
            (Access::Read, View::Float(raw)) => unsafe { std::slice::from_raw_parts(raw.ptr, raw.len) },
            _ => &[],
        }
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
                Matrix { format, bytes, row_bytes: cols / format.block_len() * format.block_bytes() }
            }
            _ => Matrix { format: Format::F32, bytes: &[], row_bytes: 0 },
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
            _ => &[],
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
            _ => Raw { ptr: std::ptr::dangling_mut(), len: 0 },
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
            _ => (0, &mut []),
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
            _ => Columns {
                raw: Raw { ptr: std::ptr::dangling_mut(), len: 0 },
                stride,
                range: 0..0,
                life: PhantomData,
            },
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

//! Products of encoded rows with many rows of activations, as prompts have: y = (y +) alpha x w^T.
//!
//! Blocked as in `gemm.rs`. Weights become numbers of 16 bits, two terms beside each other for each of a panel's columns;
//! activations are rounded as for a few rows. Sums of 32 products are exact, floats come in behind.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::operand::{Matrix, Rows};
use super::round::steps;
use super::tile::{Sums, four};
use crate::quant::codec::{BlockCodec, Factors, each_group};
use crate::simd::wide::{self, TileJob, Wide, WideJob};
use crate::simd::{self, Ints, Job, Lanes};

/// Terms of the sum in a block, pairs of them, and groups of 32.
const DEPTH: usize = 256;
const PAIRS: usize = DEPTH / 2;
const GROUPS: usize = DEPTH / 32;
/// Sums of activations in a block, at most.
const SUMS: usize = DEPTH / 16;
/// Columns in a block, and of the widest panel.
const WIDTH: usize = 256;
const WIDEST: usize = 32;
/// Rows of the tallest tile.
const TALL: usize = 14;

/// What a format does for it.
#[derive(Clone, Copy)]
pub(super) struct Many {
    pack: fn(&[&[u8]; 8], &mut Packed, usize, usize),
    /// See [`BlockCodec::MOST`].
    most: f32,
    sums: Sums,
    /// Weights in a block.
    len: usize,
}

/// That of a block format.
pub(super) const fn many<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>() -> Many {
    Many { pack: pack::<B, LEN, BYTES>, most: B::MOST, sums: Sums::of::<B, LEN, BYTES>(), len: LEN }
}

/// y = (accumulate ? y : 0) + alpha x w^T.
pub(super) struct ManyRows<'a, Y> {
    pub format: Many,
    pub w: Matrix<'a>,
    /// Row of w that makes the first column of y.
    pub first: usize,
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of y.
    pub width: usize,
    /// Columns of x and w.
    pub cols: usize,
    /// x, rows `stride` apart.
    pub x: &'a [f32],
    pub stride: usize,
    pub alpha: f32,
    pub accumulate: bool,
    pub y: Y,
}

/// A row of activations in a block.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    /// Two terms in each.
    pairs: [i32; PAIRS],
    /// What one is worth: of each group, or in the first of all.
    steps: [f32; GROUPS],
    /// What they add up to before they are rounded.
    sums: [f32; SUMS],
}

/// Columns of weights in a block.
pub(super) struct Packed {
    /// Pair after pair within each panel.
    pairs: Vec<i32>,
    /// By group: in the first those of all, if the block has one scale.
    scales: Vec<[f32; WIDTH]>,
    plus: Vec<[f32; WIDTH]>,
}

/// What a thread needs, which grows to its largest product.
struct Room {
    lines: Vec<Line>,
    packed: Packed,
}

thread_local! {
    static ROOM: RefCell<Room> = const {
        RefCell::new(Room {
            lines: Vec::new(),
            packed: Packed { pairs: Vec::new(), scales: Vec::new(), plus: Vec::new() },
        })
    };
}

impl<Y: Rows> ManyRows<'_, Y> {
    /// Computes it on the calling thread.
    pub(super) fn run(self) {
        ROOM.with_borrow_mut(|room| {
            // A tile sees as many lines as it has room for.
            let needed = self.rows * self.cols.div_ceil(DEPTH) + TALL;
            if room.lines.len() < needed {
                let empty = Line { pairs: [0; PAIRS], steps: [0.0; GROUPS], sums: [0.0; SUMS] };
                room.lines.resize(needed, empty);
            }
            room.packed.pairs.resize(PAIRS * WIDTH, 0);
            room.packed.scales.resize(GROUPS, [0.0; WIDTH]);
            room.packed.plus.resize(SUMS, [0.0; WIDTH]);
            wide::run(Blocked { product: self, room });
        });
    }
}

struct Blocked<'a, 'r, Y> {
    product: ManyRows<'a, Y>,
    room: &'r mut Room,
}

impl<Y: Rows> WideJob for Blocked<'_, '_, Y> {
    #[inline(always)]
    fn run<S: Wide>(self, s: S) {
        let Blocked { product: mut p, room: Room { lines, packed } } = self;
        let blocks = p.cols.div_ceil(DEPTH);
        let tiles = p.rows.div_ceil(S::ROWS);
        let bounds = |i: usize| p.rows * i / tiles;
        for i in 0..tiles {
            let rows = bounds(i)..bounds(i + 1);
            let lines = &mut lines[rows.start * blocks..rows.end * blocks];
            let x = &p.x[rows.start * p.stride..];
            simd::run(Round { x, stride: p.stride, cols: p.cols, rows: rows.len(), format: p.format, lines });
        }
        let mut col = 0;
        while col < p.width {
            let cols = share(p.width - col, 2 * S::W);
            for block in 0..blocks {
                let depth = DEPTH.min(p.cols - block * DEPTH);
                pack_block(
                    &p.format,
                    &p.w,
                    p.first + col..p.first + col + cols,
                    block,
                    depth,
                    2 * S::W,
                    packed,
                );
                for i in 0..tiles {
                    let (first_row, rows) = (bounds(i), bounds(i + 1) - bounds(i));
                    let lines = &lines[first_row * blocks + block * rows..];
                    for first in (0..cols).step_by(2 * S::W) {
                        let t = Tile {
                            lines,
                            rows,
                            pairs: &packed.pairs[first * PAIRS..][..2 * S::W * depth / 2],
                            packed,
                            first,
                            first_row,
                            first_col: col + first,
                            cols: (2 * S::W).min(cols - first),
                            one: p.format.len > 32,
                            plus: p.format.sums.count(depth),
                            alpha: p.alpha,
                            accumulate: p.accumulate || block > 0,
                        };
                        s.tall(rows, Sum { tile: &t, y: &mut p.y });
                    }
                }
            }
            col += cols;
        }
    }
}

/// Columns of a block where so many are left: equal shares of whole panels.
fn share(rest: usize, panel: usize) -> usize {
    rest.div_ceil(rest.div_ceil(WIDTH)).next_multiple_of(panel).min(rest)
}

/// Rows of activations of a tile to be rounded, block after block.
struct Round<'a> {
    x: &'a [f32],
    stride: usize,
    cols: usize,
    rows: usize,
    format: Many,
    lines: &'a mut [Line],
}

impl Job for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let Many { most, sums, len, .. } = self.format;
        for (block, lines) in self.lines.chunks_exact_mut(self.rows).enumerate() {
            for (row, line) in lines.iter_mut().enumerate() {
                let x = &self.x[row * self.stride..][..self.cols];
                let x = x[block * DEPTH..].as_chunks::<32>().0;
                let x = &x[..x.len().min(GROUPS)];
                let whole = x.iter().fold(0, |size, x| size.max(l.largest(four(l, x))));
                for (g, x) in x.iter().enumerate() {
                    let x = four(l, x);
                    let (by, step) = steps(if len > 32 { whole } else { l.largest(x) }, most);
                    line.steps[g] = step;
                    let rounded: [i32; 16] = bytemuck::cast(l.ints().rounded(x, by));
                    line.pairs.as_chunks_mut::<16>().0[g] = rounded;
                    if sums == Sums::None {
                        continue;
                    }
                    let [a, b, c, d, e, f, m, n] = l.to_array(l.fours(x));
                    let (first, second) = ((a + b) + (c + d), (e + f) + (m + n));
                    if sums == Sums::Groups(16) {
                        line.sums[2 * g..2 * g + 2].copy_from_slice(&[first, second]);
                    } else {
                        line.sums[g] = first + second;
                    }
                }
            }
        }
    }
}

/// Decodes terms of some columns.
fn pack_block(
    format: &Many,
    w: &Matrix<'_>,
    columns: std::ops::Range<usize>,
    block: usize,
    depth: usize,
    panel: usize,
    packed: &mut Packed,
) {
    let bytes = w.format.block_bytes();
    let piece = block * DEPTH / format.len * bytes..(block * DEPTH + depth) / format.len * bytes;
    for col in (0..columns.len()).step_by(8) {
        // Past the last the last is repeated: nobody looks at what comes of it.
        let rows =
            std::array::from_fn(|i| &w.row((columns.start + col + i).min(columns.end - 1))[piece.clone()]);
        (format.pack)(&rows, packed, panel, col);
    }
}

/// Eight columns from column `col` on, of whole blocks of weights.
fn pack<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    rows: &[&[u8]; 8],
    packed: &mut Packed,
    panel: usize,
    col: usize,
) {
    simd::run(Pack::<B, LEN, BYTES> { rows, packed, panel, col, format: PhantomData });
}

struct Pack<'a, B, const LEN: usize, const BYTES: usize> {
    rows: &'a [&'a [u8]; 8],
    packed: &'a mut Packed,
    panel: usize,
    col: usize,
    format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Pack<'_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let (s, col) = (l.ints(), self.col);
        let first = col / self.panel * self.panel;
        let panel = &mut self.packed.pairs[first * PAIRS..];
        let blocks = self.rows[0].len() / BYTES;
        let mut lines = [[[0i32; 16]; 8]; GROUPS];
        for b in 0..blocks {
            for (r, row) in self.rows.iter().enumerate() {
                let block = &row.as_chunks::<BYTES>().0[b];
                let mut f = Factors::NONE;
                B::about(l, block, B::MIDDLE, &mut f);
                self.packed.scales[b % GROUPS][col + r] = f.scale;
                if B::PLUS {
                    let count = LEN / B::GROUP;
                    for (i, plus) in f.plus.iter().enumerate().take(count) {
                        self.packed.plus[(b * count + i) % SUMS][col + r] = *plus;
                    }
                }
                let scales = s.scales(&f.whole[0], (B::GROUP == 16).then_some(&f.whole[1]));
                each_group!(LEN, G => {
                    let mut words = s.words(B::values(l, B::codes::<L, G>(l, block)), B::MIDDLE);
                    if LEN > 32 {
                        words = s.times::<G>(words, scales);
                    }
                    lines[(b + G) % GROUPS][r] = s.pairs(words);
                });
            }
        }
        for (g, lines) in lines.iter().enumerate().take(blocks * LEN / 32) {
            for half in 0..2 {
                let mut rows = [l.zero(); 8];
                for (row, line) in rows.iter_mut().zip(lines) {
                    *row = l.load(bytemuck::cast_ref(&line.as_chunks::<8>().0[half]));
                }
                for (i, pair) in l.transpose(rows).into_iter().enumerate() {
                    let at = (16 * g + 8 * half + i) * self.panel + col - first;
                    panel[at..at + 8].copy_from_slice(&bytemuck::cast::<_, [i32; 8]>(l.to_array(pair)));
                }
            }
        }
    }
}

/// A tile of y: some lines times a panel.
struct Tile<'a> {
    /// Its own come first.
    lines: &'a [Line],
    rows: usize,
    pairs: &'a [i32],
    packed: &'a Packed,
    /// First column of the panel in the block.
    first: usize,
    first_row: usize,
    first_col: usize,
    cols: usize,
    /// Whether the block has one scale.
    one: bool,
    /// Summands of the block.
    plus: usize,
    alpha: f32,
    accumulate: bool,
}

/// A tile, and where it goes.
struct Sum<'a, 'b, Y> {
    tile: &'b Tile<'a>,
    y: &'b mut Y,
}

impl<Y: Rows> TileJob for Sum<'_, '_, Y> {
    #[inline(always)]
    fn run<S: Wide, const ROWS: usize, const VECTORS: usize, const COLS: usize>(self, s: S) {
        tile::<S, Y, ROWS, COLS>(s, self.tile, self.y);
    }
}

/// Multiplies up to `ROWS` lines with a panel of two vectors, `COLS` columns, in registers.
#[inline(always)]
fn tile<S: Wide, Y: Rows, const ROWS: usize, const COLS: usize>(s: S, t: &Tile<'_>, y: &mut Y) {
    let Some(lines) = t.lines.first_chunk::<ROWS>() else { return };
    let mut sums = [[s.zero(); 2]; ROWS];
    let vectors = |x: &[f32; WIDTH]| {
        let x = &x[t.first..t.first + COLS];
        [s.load(&x[..S::W]), s.load(&x[S::W..])]
    };
    for (g, group) in t.pairs.as_chunks::<COLS>().0.as_chunks::<16>().0.iter().enumerate().take(GROUPS) {
        // Two arrays of names, not an array of arrays: the compiler then keeps all of it in registers.
        let (mut first, mut second) = ([s.no_ints(); ROWS], [s.no_ints(); ROWS]);
        for (p, pairs) in group.iter().enumerate() {
            let (b0, b1) = (s.ints(&pairs[..S::W]), s.ints(&pairs[COLS - S::W..]));
            for i in 0..ROWS {
                let a = s.pair(lines[i].pairs[16 * g + p]);
                first[i] = s.products(first[i], a, b0);
                second[i] = s.products(second[i], a, b1);
            }
        }
        if t.one {
            for i in 0..ROWS {
                sums[i] = [s.add(sums[i][0], s.float(first[i])), s.add(sums[i][1], s.float(second[i]))];
            }
        } else {
            let scales = vectors(&t.packed.scales[g]);
            for i in 0..ROWS {
                let step = s.splat(lines[i].steps[g]);
                sums[i][0] = s.mul_add(s.mul(s.float(first[i]), step), scales[0], sums[i][0]);
                sums[i][1] = s.mul_add(s.mul(s.float(second[i]), step), scales[1], sums[i][1]);
            }
        }
    }
    if t.one {
        let scales = vectors(&t.packed.scales[0]);
        for i in 0..ROWS {
            let step = s.splat(lines[i].steps[0]);
            sums[i] = [s.mul(s.mul(sums[i][0], step), scales[0]), s.mul(s.mul(sums[i][1], step), scales[1])];
        }
    }
    for n in 0..t.plus {
        let plus = vectors(&t.packed.plus[n]);
        for i in 0..ROWS {
            let sum = s.splat(lines[i].sums[n]);
            sums[i] = [s.mul_add(plus[0], sum, sums[i][0]), s.mul_add(plus[1], sum, sums[i][1])];
        }
    }
    let alpha = s.splat(t.alpha);
    for (i, sums) in sums.iter().enumerate().take(t.rows) {
        let y = &mut y.row(t.first_row + i)[t.first_col..t.first_col + t.cols];
        let mut room = [0.0; WIDEST];
        let whole = t.cols == COLS;
        if t.accumulate && !whole {
            room[..t.cols].copy_from_slice(y);
        }
        let out = if whole { &mut *y } else { &mut room[..COLS] };
        for (sum, out) in sums.iter().zip(out.chunks_exact_mut(S::W)) {
            let base = if t.accumulate { s.load(out) } else { s.zero() };
            s.store(s.mul_add(alpha, *sum, base), out);
        }
        if !whole {
            y.copy_from_slice(&room[..t.cols]);
        }
    }
}

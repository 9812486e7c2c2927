//! Matrix product in f32: y = (y +) alpha L R, where R is decoded piece by piece.
//!
//! Blocking as in Goto & van de Geijn 2008: a block of R ([`DEPTH`] terms, [`WIDTH`] columns) is decoded once into
//! panels that stay in the second-level cache, then met by all rows of L, a tile at a time. Every element is the sum
//! over blocks of [`DEPTH`] terms, each summed in order: it depends on nothing else of the call.

use super::many::ManyRows;
use super::operand::{Left, Operand, Right, Rows};
use crate::simd::wide::{self, TileJob, Wide, WideJob};
use crate::simd::{self, Job, Lanes};

/// Terms of the sum in a block.
const DEPTH: usize = 256;
/// Columns in a block.
const WIDTH: usize = 256;
/// Rows of the tallest tile.
const TALL: usize = 14;
/// Floats of a row of L in a tile: a little more than `DEPTH`, lest the rows share cache sets.
const LINE: usize = DEPTH + 16;
/// Scratch of products that need no more: clearing it takes a while. The smallest is that of a tile of attention.
const SMALLEST: usize = 4 * 1024;
const SMALL: usize = 16 * 1024;

/// y = (accumulate ? y : 0) + alpha L R.
pub struct Product<'a, Y> {
    /// Rows of L and y.
    pub rows: usize,
    /// Columns of R and y.
    pub width: usize,
    /// Terms of the sums.
    pub depth: usize,
    /// L.
    pub left: Left<'a, f32>,
    /// R.
    pub right: Right<'a, f32>,
    /// Factor.
    pub alpha: f32,
    /// Whether to add to what y holds.
    pub accumulate: bool,
    /// y.
    pub y: Y,
}

impl<Y: Rows> Product<'_, Y> {
    /// Computes it on the calling thread; scratch on its stack, at most 300 KB.
    pub fn run(mut self) {
        if self.depth == 0 && !self.accumulate {
            return (0..self.rows).for_each(|r| self.y.row(r).fill(0.0));
        }
        if let (Operand::Encoded(w), true, 1) = (self.right.w, self.right.by_row, self.left.depth_stride)
            && !w.exact
            && let Some(format) = w.format.kernels().many
            && w.format.row_bytes(self.depth).is_ok_and(|bytes| bytes == w.row_bytes)
            && self.width > 0
            && self.rows > 0
        {
            return ManyRows {
                format,
                w,
                first: self.right.first,
                rows: self.rows,
                width: self.width,
                cols: self.depth,
                x: self.left.values,
                stride: self.left.row_stride,
                alpha: self.alpha,
                accumulate: self.accumulate,
                y: self.y,
            }
            .run();
        }
        // No panel is wider than 32 columns.
        let needed = self.depth.min(DEPTH) * self.width.min(WIDTH).next_multiple_of(32);
        if needed <= SMALLEST {
            wide::run(Blocked { product: self, panels: &mut [0.0; SMALLEST] });
        } else if needed <= SMALL {
            wide::run(Blocked { product: self, panels: &mut [0.0; SMALL] });
        } else {
            wide::run(Blocked { product: self, panels: &mut [0.0; DEPTH * WIDTH] });
        }
    }
}

struct Blocked<'a, 's, Y> {
    product: Product<'a, Y>,
    panels: &'s mut [f32],
}

/// A tile of y: some rows of L (as lines) times a panel of R.
struct Tile<'a> {
    lines: &'a [[f32; LINE]; TALL],
    panel: &'a [f32],
    /// First row of y.
    first_row: usize,
    rows: usize,
    /// First column of y.
    first_col: usize,
    cols: usize,
    alpha: f32,
    accumulate: bool,
}

impl<Y: Rows> WideJob for Blocked<'_, '_, Y> {
    #[inline(always)]
    fn run<S: Wide>(self, s: S) {
        let Blocked { product: mut p, panels } = self;
        let mut lines = [[0.0; LINE]; TALL];
        let mut col = 0;
        while col < p.width {
            let cols = block_width(&p.right, p.width, col, 2 * S::W);
            for k in (0..p.depth).step_by(DEPTH) {
                let depth = DEPTH.min(p.depth - k);
                let block = Panel { k, depth, col, cols, panel: 2 * S::W, narrow: S::W };
                block.pack(&p.right, panels);
                let tiles = p.rows.div_ceil(S::ROWS);
                for i in 0..tiles {
                    let (first_row, end) = (p.rows * i / tiles, p.rows * (i + 1) / tiles);
                    copy_lines(&p.left, first_row, end, k, depth, &mut lines);
                    for (first, width, panel) in block.panels(panels) {
                        let t = Tile {
                            lines: &lines,
                            panel,
                            first_row,
                            rows: end - first_row,
                            first_col: col + first,
                            cols: width.min(cols - first),
                            alpha: p.alpha,
                            accumulate: p.accumulate || k > 0,
                        };
                        let (rows, sum) = (t.rows, Sum { tile: &t, y: &mut p.y });
                        if width == S::W { s.slim(rows, sum) } else { s.tall(rows, sum) }
                    }
                }
            }
            col += cols;
        }
    }
}

/// Columns of the block at `col`: equal shares, or up to where super-blocks end.
fn block_width(right: &Right<'_, f32>, width: usize, col: usize, panel: usize) -> usize {
    let rest = width - col;
    if right.by_row {
        let blocks = rest.div_ceil(WIDTH);
        return rest.div_ceil(blocks).next_multiple_of(panel).min(rest);
    }
    rest.min(WIDTH - (right.first + col) % WIDTH)
}

/// A block of R.
struct Panel {
    k: usize,
    depth: usize,
    col: usize,
    cols: usize,
    /// Columns of a panel, and of the last one if it needs no more.
    panel: usize,
    narrow: usize,
}

impl Panel {
    /// First column, width and where it starts in the scratch, of the panel of column `col`.
    fn place(&self, col: usize) -> (usize, usize, usize) {
        let first = col / self.panel * self.panel;
        let width = if self.cols - first <= self.narrow { self.narrow } else { self.panel };
        (first, width, first * self.depth)
    }

    /// First column, width and content of every panel.
    #[inline(always)]
    fn panels<'p>(&self, panels: &'p [f32]) -> impl Iterator<Item = (usize, usize, &'p [f32])> {
        (0..self.cols).step_by(self.panel).map(move |col| {
            let (first, width, start) = self.place(col);
            (first, width, &panels[start..start + width * self.depth])
        })
    }

    /// Decodes the block: term after term within each panel.
    fn pack(&self, right: &Right<'_, f32>, panels: &mut [f32]) {
        if !right.by_row {
            return self.pack_terms(right, panels);
        }
        let mut lines = [[0.0; DEPTH]; 8];
        for col in (0..self.cols).step_by(8) {
            for (i, line) in lines.iter_mut().enumerate() {
                let line = &mut line[..self.depth];
                if col + i < self.cols {
                    right.load(right.first + self.col + col + i, self.k, line);
                } else {
                    line.fill(0.0);
                }
            }
            let (first, width, start) = self.place(col);
            let panel = &mut panels[start..start + width * self.depth];
            simd::run(Transpose { lines: &lines, panel, width, col: col - first });
        }
    }

    /// Each row of weights is one term.
    fn pack_terms(&self, right: &Right<'_, f32>, panels: &mut [f32]) {
        let mut line = [0.0; WIDTH];
        for k in 0..self.depth {
            right.load(self.k + k, right.first + self.col, &mut line[..self.cols]);
            for col in (0..self.cols).step_by(self.panel) {
                let (_, width, start) = self.place(col);
                let (panel, line) = (&mut panels[start + k * width..][..width], &line[col..col + width]);
                // Eight at a time, for want of a width that the compiler knows.
                for (to, from) in panel.as_chunks_mut::<8>().0.iter_mut().zip(line.as_chunks::<8>().0) {
                    *to = *from;
                }
            }
        }
    }
}

/// Columns `col..col + 8` of a panel from eight rows.
struct Transpose<'a> {
    lines: &'a [[f32; DEPTH]; 8],
    panel: &'a mut [f32],
    width: usize,
    col: usize,
}

impl Job for Transpose<'_> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for (oct, eight) in self.panel.chunks_mut(8 * self.width).enumerate() {
            let rows = self.lines.each_ref().map(|line| l.load(&line.as_chunks::<8>().0[oct]));
            for (term, values) in eight.chunks_exact_mut(self.width).zip(l.transpose(rows)) {
                term[self.col..self.col + 8].copy_from_slice(&l.to_array(values));
            }
        }
    }
}

/// Rows `first..end` of L, terms `k..k + depth`.
#[inline(always)]
fn copy_lines(
    left: &Left<'_, f32>,
    first: usize,
    end: usize,
    k: usize,
    depth: usize,
    lines: &mut [[f32; LINE]; TALL],
) {
    let start = first * left.row_stride + k * left.depth_stride;
    if left.depth_stride == 1 {
        for (i, line) in lines.iter_mut().take(end - first).enumerate() {
            line[..depth].copy_from_slice(&left.values[start + i * left.row_stride..][..depth]);
        }
        return;
    }
    if left.row_stride == 1 {
        let values = &left.values[start..];
        return simd::run(Turn { values, stride: left.depth_stride, rows: end - first, depth, lines });
    }
    for (i, line) in lines.iter_mut().take(end - first).enumerate() {
        for (k, value) in line[..depth].iter_mut().enumerate() {
            *value = left.values[start + i * left.row_stride + k * left.depth_stride];
        }
    }
}

/// Rows of L that lie as columns: term after term, `stride` apart.
struct Turn<'a> {
    values: &'a [f32],
    stride: usize,
    rows: usize,
    depth: usize,
    lines: &'a mut [[f32; LINE]; TALL],
}

impl Job for Turn<'_> {
    type Out = ();

    /// Eight rows and terms at a time; the lines have room for what is behind the last term.
    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        for first in (0..self.rows).step_by(8) {
            let count = (self.rows - first).min(8);
            for at in (0..self.depth).step_by(8) {
                let terms: [L::V; 8] = std::array::from_fn(|n| {
                    let from = &self.values[(at + n).min(self.depth - 1) * self.stride + first..];
                    match from.first_chunk::<8>() {
                        Some(eight) => l.load(eight),
                        None => {
                            let mut eight = [0.0; 8];
                            eight[..count].copy_from_slice(&from[..count]);
                            l.load(&eight)
                        }
                    }
                });
                for (i, line) in l.transpose(terms).into_iter().take(count).enumerate() {
                    self.lines[first + i][at..at + 8].copy_from_slice(&l.to_array(line));
                }
            }
        }
    }
}

/// A tile, and where it goes.
struct Sum<'a, 'b, Y> {
    tile: &'b Tile<'a>,
    y: &'b mut Y,
}

impl<Y: Rows> TileJob for Sum<'_, '_, Y> {
    #[inline(always)]
    fn run<S: Wide, const ROWS: usize, const VECTORS: usize, const COLS: usize>(self, s: S) {
        tile::<S, Y, ROWS, VECTORS, COLS>(s, self.tile, self.y);
    }
}

/// Multiplies up to `ROWS` lines with a panel of `VECTORS` vectors, `COLS` columns, in registers.
#[inline(always)]
fn tile<S: Wide, Y: Rows, const ROWS: usize, const VECTORS: usize, const COLS: usize>(
    s: S,
    t: &Tile<'_>,
    y: &mut Y,
) {
    // Two arrays of names, not an array of arrays: the compiler then keeps all of it in registers.
    let (mut first, mut second) = ([s.zero(); ROWS], [s.zero(); ROWS]);
    for (k, b) in t.panel.as_chunks::<COLS>().0.iter().take(LINE).enumerate() {
        let b0 = s.load(&b[..S::W]);
        let b1 = if VECTORS == 2 { s.load(&b[COLS - S::W..]) } else { b0 };
        for i in 0..ROWS {
            let left = s.splat(t.lines[i][k]);
            first[i] = s.mul_add(left, b0, first[i]);
            if VECTORS == 2 {
                second[i] = s.mul_add(left, b1, second[i]);
            }
        }
    }
    let sums: [[S::V; 2]; ROWS] = std::array::from_fn(|i| [first[i], second[i]]);
    let alpha = s.splat(t.alpha);
    for (i, sums) in sums.iter().enumerate().take(t.rows) {
        let y = &mut y.row(t.first_row + i)[t.first_col..t.first_col + t.cols];
        if t.cols == VECTORS * S::W {
            for (v, sum) in sums.iter().enumerate().take(VECTORS) {
                let y = &mut y[v * S::W..];
                let base = if t.accumulate { s.load(y) } else { s.zero() };
                s.store(s.mul_add(alpha, *sum, base), y);
            }
        } else {
            // The same arithmetic, on a copy with room for all columns.
            let mut room = [0.0; 32];
            if t.accumulate {
                room[..t.cols].copy_from_slice(y);
            }
            for (v, sum) in sums.iter().enumerate().take(VECTORS) {
                let room = &mut room[v * S::W..];
                s.store(s.mul_add(alpha, *sum, s.load(room)), room);
            }
            y.copy_from_slice(&room[..t.cols]);
        }
    }
}

#[cfg(test)]
#[path = "gemm_tests.rs"]
mod tests;

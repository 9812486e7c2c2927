//! Products of rows of super-blocks with one row of activations, byte by byte: the same bits as [`tile`](super::tile) makes of it
//! in a batch, with half of the work. Generation of one text is this.

use std::cell::RefCell;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

use super::operand::Matrix;
use super::round::steps;
use super::tile::{FEW, STRIP, Sums, four};
use crate::quant::codec::{BlockCodec, Factors};
use crate::simd::{Bytes, BytesJob, Ints, Level, Pair, prefetch_ahead, run_bytes};

/// The activations of a block, as the products read them.
#[derive(Clone, Copy)]
struct Block {
    pairs: [Pair; 4],
    /// What groups add up to before they are rounded; see [`Sums`].
    sums: [[f32; 8]; 2],
    /// What one is worth.
    step: f32,
}

impl Block {
    const NONE: Block = Block { pairs: [Pair::NONE; 4], sums: [[0.0; 8]; 2], step: 0.0 };
}

/// Blocks of activations that stay in the first-level cache.
const CACHED: usize = 16;
/// Rows of weights at a time.
const ROWS: usize = 2;

thread_local! {
    /// Room for activations, which grows to what a thread needs.
    static ROOM: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Whether this machine has the instructions, and the format blocks of a size for it.
pub(super) fn suits(block_len: usize) -> bool {
    block_len == 256 && Level::in_use() >= Level::Avx2
}

/// Activations to be prepared for a format.
struct Prepare<'a, B, const LEN: usize, const BYTES: usize> {
    x: &'a [f32],
    room: &'a mut [Block],
    format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> BytesJob
    for Prepare<'_, B, LEN, BYTES>
{
    type Out = ();

    #[inline(always)]
    fn run<L: Bytes>(self, l: L) {
        let sums = Sums::of::<B, LEN, BYTES>();
        for (x, block) in self.x.as_chunks::<LEN>().0.iter().zip(self.room) {
            let x = x.as_chunks::<32>().0;
            let size = x.iter().fold(0, |size, x| size.max(l.largest(four(l, x))));
            let (by, step) = steps(size, B::MOST);
            block.step = step;
            let mut fours = [l.zero(); 8];
            for (g, x) in x.iter().enumerate() {
                let x = four(l, x);
                l.split(&l.ints().rounded(x, by), g % 2, &mut block.pairs[g / 2]);
                fours[g % 8] = l.fours(x);
            }
            if B::MIDDLE > 0 {
                block.pairs.iter_mut().for_each(|pair| l.take_off(B::MIDDLE, pair));
            }
            sums.put(l, &fours, &mut block.sums);
        }
    }
}

/// Rows of weights that meet one row of activations.
struct Tile<'a, B, const LEN: usize, const BYTES: usize> {
    w: [&'a [u8]; STRIP],
    x: &'a [Block],
    /// From a row of weights to the one that is read next.
    stride: usize,
    format: PhantomData<B>,
}

impl<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize> BytesJob for Tile<'_, B, LEN, BYTES> {
    type Out = [f32; STRIP];

    #[inline(always)]
    fn run<L: Bytes>(self, l: L) -> [f32; STRIP] {
        let blocks = self.w.iter().map(|w| w.len() / BYTES).fold(self.x.len(), usize::min);
        let w = self.w.map(|w| &w.as_chunks::<BYTES>().0[..blocks]);
        let mut sums = [l.zero(); STRIP];
        for start in (0..blocks).step_by(CACHED) {
            let end = blocks.min(start + CACHED);
            for (w, sums) in w.as_chunks::<ROWS>().0.iter().zip(sums.as_chunks_mut::<ROWS>().0) {
                let mut acc = *sums;
                for b in start..end {
                    let (x, w) = (&self.x[b], [&w[0][b], &w[1][b]]);
                    w.iter().for_each(|w| prefetch_ahead(&w[..], self.stride));
                    // Written out, as a loop would keep all of `x` in registers that there are not.
                    acc[0] = block::<B, L, LEN, BYTES>(l, w[0], x, acc[0]);
                    acc[1] = block::<B, L, LEN, BYTES>(l, w[1], x, acc[1]);
                }
                *sums = acc;
            }
        }
        l.sums(sums)
    }
}

/// Adds the products of a block of a row.
#[inline(always)]
fn block<B: BlockCodec<LEN, BYTES>, L: Bytes, const LEN: usize, const BYTES: usize>(
    l: L,
    w: &[u8; BYTES],
    x: &Block,
    acc: L::V,
) -> L::V {
    let mut f = Factors::NONE;
    B::about(l, w, B::MIDDLE, &mut f);
    // Through memory: the compiler would take known scales apart, one by one.
    let whole = black_box(f.whole);
    let scales = l.whole(&whole[0], (B::GROUP == 16).then_some(&whole[1]));
    let mut sums = l.no_sums();
    macro_rules! pairs {
        ($($p:literal: $a:literal, $b:literal;)*) => {$(
            let codes = [B::codes::<L, $a>(l, w), B::codes::<L, $b>(l, w)];
            sums = if B::MIDDLE > 0 {
                l.products::<$p, true>(sums, codes, &x.pairs[$p], scales)
            } else {
                l.products::<$p, false>(sums, codes, &x.pairs[$p], scales)
            };
        )*};
    }
    pairs!(0: 0, 1; 1: 2, 3; 2: 4, 5; 3: 6, 7;);
    let mut acc = l.mul_add(l.eight(sums), l.splat(f.scale * x.step), acc);
    if B::PLUS {
        for (plus, sums) in f.plus.as_chunks::<8>().0.iter().zip(&x.sums).take(LEN / B::GROUP / 8) {
            acc = l.mul_add(l.load(plus), l.load(sums), acc);
        }
    }
    acc
}

/// As [`tile::rows`](super::tile::rows), of one row of activations and a format that [`suits`].
pub(super) fn rows<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    w: Matrix<'_>,
    columns: Range<usize>,
    x: &[f32],
    put: &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]),
) {
    let fits = w.format.row_bytes(x.len()).is_ok_and(|bytes| bytes == w.row_bytes);
    prepared::<B, LEN, BYTES, _>(x, |x| {
        for first in columns.clone().step_by(STRIP) {
            let mut out = [[f32::NAN; STRIP]; FEW];
            let row = |i: usize| w.row((first + i).min(columns.end - 1));
            if fits {
                let w_rows = std::array::from_fn(row);
                let tile =
                    Tile::<B, LEN, BYTES> { w: w_rows, x, stride: STRIP * w.row_bytes, format: PhantomData };
                out[0] = run_bytes(tile).unwrap_or(out[0]);
            }
            put(first - columns.start, &out);
        }
    });
}

/// Dot product of a row, over the blocks that both have.
pub(super) fn dot<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    row: &[u8],
    x: &[f32],
) -> f32 {
    prepared::<B, LEN, BYTES, _>(x, |x| {
        let tile = Tile::<B, LEN, BYTES> { w: [row; STRIP], x, stride: 0, format: PhantomData };
        run_bytes(tile).map_or(f32::NAN, |out| out[0])
    })
}

fn prepared<B: BlockCodec<LEN, BYTES>, const LEN: usize, const BYTES: usize, T>(
    x: &[f32],
    with: impl FnOnce(&[Block]) -> T,
) -> T {
    ROOM.with_borrow_mut(|room| {
        let blocks = x.len() / LEN;
        if room.len() < blocks {
            room.resize(blocks, Block::NONE);
        }
        let room = &mut room[..blocks];
        run_bytes(Prepare::<B, LEN, BYTES> { x, room, format: PhantomData });
        with(room)
    })
}

//! Products of encoded rows with one to eight rows of activations, in f32 and in a fixed order: generation alone and in
//! a batch.
//!
//! Weights become 32 bytes first, whatever the format; a byte where it lies in its word is a number after one mask and
//! one conversion, so activations are put in the order of words beforehand. Scales are met by sums of 32 products.

use std::cell::RefCell;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;

use super::codec::{Block, Scales, each_group};
use super::few::FEW;
use super::operand::Matrix;
use super::simd::{Job, Lanes, prefetch_ahead, run};

/// Thirty-two activations as the products read them.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(super) struct Prepared {
    /// Those of the words' first bytes, second, third and fourth.
    x: [[f32; 8]; 4],
    /// What they add up to; see [`Sums`].
    sums: [f32; 8],
}

/// Which sums of activations a format needs.
#[derive(Clone, Copy, PartialEq)]
enum Sums {
    /// Those of each word's four, times this.
    Words(f32),
    /// In the first of each 256 those of groups of so many weights, in order, eight here and eight in the next.
    Groups(usize),
}

/// Prepared activations that stay in the first-level cache.
const CACHED: usize = 128;

thread_local! {
    /// Room for activations, which grows to what a thread needs.
    static ROOM: RefCell<Vec<Prepared>> = const { RefCell::new(Vec::new()) };
}

/// Hands on the activations of rows of `cols`, prepared for a format, those of the same columns together; what does not
/// fill a block is left out.
pub(super) fn prepared<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize, T>(
    x: &[f32],
    cols: usize,
    with: impl FnOnce(&[Prepared]) -> T,
) -> T {
    let sums = match (B::PLUS, LEN) {
        (true, 256) => Sums::Groups(B::GROUP),
        (true, _) => Sums::Words(1.0),
        (false, _) => Sums::Words(-f32::from(B::CENTRE)),
    };
    let rows = x.len() / cols.max(1);
    let (each, groups) = (tall(rows), LEN / 32);
    ROOM.with_borrow_mut(|room| {
        room.clear();
        room.resize(cols / LEN * groups * each, Prepared { x: [[0.0; 8]; 4], sums: [0.0; 8] });
        for (t, row) in x.chunks_exact(cols.max(1)).enumerate() {
            for (x, out) in row.as_chunks::<LEN>().0.iter().zip(room.chunks_exact_mut(groups * each)) {
                for (x, out) in x.as_chunks::<32>().0.iter().zip(out.chunks_exact_mut(each)) {
                    out[t] = prepare(x, sums);
                }
                if let Sums::Groups(len) = sums {
                    for (i, group) in x.chunks_exact(len).enumerate() {
                        let words = group.as_chunks::<4>().0.iter();
                        out[i / 8 * each + t].sums[i % 8] = words.map(|[a, b, c, d]| (a + b) + (c + d)).sum();
                    }
                }
            }
        }
        with(room)
    })
}

/// Rows of activations in a tile that takes so many.
fn tall(rows: usize) -> usize {
    if rows > 4 { rows.next_multiple_of(2) } else { rows }
}

fn prepare(x: &[f32; 32], sums: Sums) -> Prepared {
    let mut out = Prepared { x: [[0.0; 8]; 4], sums: [0.0; 8] };
    let times = if let Sums::Words(times) = sums { times } else { 0.0 };
    for (i, [a, b, c, d]) in x.as_chunks::<4>().0.iter().enumerate() {
        let each = [*a, *b, *c, *d];
        out.x.iter_mut().zip(each).for_each(|(out, v)| out[i] = v);
        out.sums[i] = times * ((a + b) + (c + d));
    }
    out
}

/// Rows of weights that are met together, columns of the result.
pub(super) const STRIP: usize = 8;

/// Some rows of weights, and the activations that they meet.
pub(super) struct Columns<'a> {
    /// Encoded rows.
    pub w: [&'a [u8]; STRIP],
    /// Activations of as many rows as [`tall`] says.
    pub x: &'a [Prepared],
    /// How many, at most [`FEW`].
    pub rows: usize,
    /// From a row of weights to the one that is read next: it is fetched meanwhile.
    pub stride: usize,
}

/// Products of a matrix's rows, from the first to the last of the range, with rows of activations: handed out for
/// [`STRIP`] rows at a time, by row of activations.
pub(super) type Product =
    fn(Matrix<'_>, Range<usize>, (&[f32], usize), &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]));

/// [`Columns`] of a format.
pub(super) struct Tiles<'a, 'b, B, const LEN: usize, const BYTES: usize> {
    pub columns: &'a Columns<'b>,
    pub out: &'a mut [[f32; STRIP]; FEW],
    pub format: PhantomData<B>,
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Job for Tiles<'_, '_, B, LEN, BYTES> {
    type Out = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        match self.columns.rows {
            1 => self.tiles::<L, 4, 1>(l),
            2 => self.tiles::<L, 2, 2>(l),
            3 => self.tiles::<L, 1, 3>(l),
            4 => self.tiles::<L, 1, 4>(l),
            5..=6 => self.tiles::<L, 1, 6>(l),
            _ => self.tiles::<L, 1, 8>(l),
        }
    }
}

impl<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize> Tiles<'_, '_, B, LEN, BYTES> {
    /// `R` rows of weights and `T` of activations at a time; of fewer, the last are zeros.
    #[inline(always)]
    fn tiles<L: Lanes, const R: usize, const T: usize>(self, l: L) {
        let Columns { w, x, rows, stride } = *self.columns;
        let x = x.as_chunks::<T>().0;
        let blocks = w.iter().map(|w| w.len() / BYTES).fold(x.len() / (LEN / 32), usize::min);
        let w = w.map(|w| &w.as_chunks::<BYTES>().0[..blocks]);
        let mut sums = [[l.zero(); T]; STRIP];
        let step = (CACHED / T / (LEN / 32)).max(1);
        for start in (0..blocks).step_by(step) {
            let end = blocks.min(start + step);
            for (w, sums) in w.as_chunks::<R>().0.iter().zip(sums.as_chunks_mut::<R>().0) {
                let mut s = [const { Scales::ZERO }; R];
                let mut acc = *sums;
                for b in start..end {
                    let x = &x[b * (LEN / 32)..(b + 1) * (LEN / 32)];
                    for r in 0..R {
                        B::scales(l, &w[r][b], &mut s[r]);
                        prefetch_ahead(&w[r][b], stride);
                    }
                    if LEN > 32 {
                        // Kept in memory, whence a broadcast costs nothing: there are not as many registers.
                        black_box(&mut s);
                    }
                    if B::PLUS && LEN == 256 {
                        for r in 0..R {
                            sums_of_groups::<B, L, T, LEN, BYTES>(l, &s[r], x, &mut acc[r]);
                        }
                    }
                    each_group!(LEN, G => {
                        for r in 0..R {
                            group::<B, L, G, T, LEN, BYTES>(l, &w[r][b], &s[r], &x[G], &mut acc[r]);
                        }
                    });
                }
                *sums = acc;
            }
        }
        for (t, out) in self.out.iter_mut().enumerate().take(rows.min(T)) {
            let mut eight = [l.zero(); STRIP];
            for (eight, sums) in eight.iter_mut().zip(&sums) {
                *eight = sums[t];
            }
            *out = l.sums(eight);
        }
    }
}

/// Adds the products of the 32 weights from `32 * G` on of a block with their activations.
#[inline(always)]
fn group<
    B: Block<LEN, BYTES>,
    L: Lanes,
    const G: usize,
    const T: usize,
    const LEN: usize,
    const BYTES: usize,
>(
    l: L,
    block: &[u8; BYTES],
    s: &Scales,
    x: &[Prepared; T],
    acc: &mut [L::V; T],
) {
    let values = B::values(l, B::codes::<L, G>(l, block));
    let w = [l.fourth::<0>(values), l.fourth::<1>(values), l.fourth::<2>(values), l.fourth::<3>(values)];
    let scale = if B::GROUP == 16 { l.both(s.scale[2 * G], s.scale[2 * G + 1]) } else { l.splat(s.scale[G]) };
    for t in 0..T {
        let Prepared { x, sums } = &x[t];
        let mut products = if B::CENTRE > 0 {
            l.mul_add(w[0], l.load(&x[0]), l.load(sums))
        } else {
            l.mul(w[0], l.load(&x[0]))
        };
        products = l.mul_add(w[1], l.load(&x[1]), products);
        products = l.mul_add(w[2], l.load(&x[2]), products);
        products = l.mul_add(w[3], l.load(&x[3]), products);
        acc[t] = l.mul_add(scale, products, acc[t]);
        if B::PLUS && LEN == 32 {
            acc[t] = l.mul_add(l.splat(s.plus[0]), l.load(sums), acc[t]);
        }
    }
}

/// Adds what is added to a block's scaled values, times its activations: eight groups in a vector.
#[inline(always)]
fn sums_of_groups<B: Block<LEN, BYTES>, L: Lanes, const T: usize, const LEN: usize, const BYTES: usize>(
    l: L,
    s: &Scales,
    x: &[[Prepared; T]],
    acc: &mut [L::V; T],
) {
    for (plus, x) in s.plus.as_chunks::<8>().0.iter().zip(x).take(LEN / B::GROUP / 8) {
        for t in 0..T {
            acc[t] = l.mul_add(l.load(plus), l.load(&x[t].sums), acc[t]);
        }
    }
}

/// See [`FewRows`]: rows of a block format; past the last, it is repeated. NaN if they are not as long as the activations.
pub(super) fn rows<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(
    w: Matrix<'_>,
    columns: Range<usize>,
    (x, cols): (&[f32], usize),
    put: &mut dyn FnMut(usize, &[[f32; STRIP]; FEW]),
) {
    let fits = w.format.row_bytes(cols).is_ok_and(|bytes| bytes == w.row_bytes);
    prepared::<B, LEN, BYTES, _>(x, cols, |prepared| {
        for first in columns.clone().step_by(STRIP) {
            let mut out = [[f32::NAN; STRIP]; FEW];
            if fits {
                let row = |i: usize| w.row((first + i).min(columns.end - 1));
                let rows = x.len() / cols.max(1);
                let columns =
                    Columns { w: std::array::from_fn(row), x: prepared, rows, stride: STRIP * w.row_bytes };
                run(Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut out, format: PhantomData });
            }
            put(first - columns.start, &out);
        }
    });
}

/// Dot product of a row of a block format, over the blocks that both have.
pub(super) fn dot<B: Block<LEN, BYTES>, const LEN: usize, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    prepared::<B, LEN, BYTES, _>(x, x.len(), |x| {
        let mut out = [[0.0; STRIP]; FEW];
        let columns = Columns { w: [row; STRIP], x, rows: 1, stride: 0 };
        run(Tiles::<B, LEN, BYTES> { columns: &columns, out: &mut out, format: PhantomData });
        out[0][0]
    })
}
